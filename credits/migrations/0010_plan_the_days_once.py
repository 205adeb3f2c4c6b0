from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("credits", "0009_plan_a_standing_once")]
    operations = [
        migrations.RunSQL(
            (SQL / "0010_plan_the_days_once.sql").read_text(), "DROP FUNCTION credits_days"
        )
    ]
