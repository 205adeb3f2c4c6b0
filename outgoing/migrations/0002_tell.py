from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("outgoing", "0001_initial"), ("credits", "0009_plan_a_standing_once")]
    operations = [migrations.RunSQL((SQL / "0002_tell.sql").read_text())]
