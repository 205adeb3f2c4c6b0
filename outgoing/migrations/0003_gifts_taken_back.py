from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("outgoing", "0002_tell")]
    operations = [migrations.RunSQL((SQL / "0003_gifts_taken_back.sql").read_text())]
