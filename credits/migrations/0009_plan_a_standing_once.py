from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("credits", "0008_words_for_staff")]
    operations = [migrations.RunSQL((SQL / "0009_plan_a_standing_once.sql").read_text())]
