from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("credits", "0003_adjustments_and_month_totals")]
    operations = [migrations.RunSQL((SQL / "0004_take_back_what_came_back.sql").read_text())]
