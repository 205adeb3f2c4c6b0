from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("credits", "0004_take_back_what_came_back")]
    operations = [migrations.RunSQL((SQL / "0005_settle_before_release.sql").read_text())]
