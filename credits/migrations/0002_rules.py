from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("credits", "0001_initial")]
    operations = [
        migrations.RunSQL((SQL / name).read_text())
        for name in ("0002_keys_and_guards.sql", "0002_verbs.sql")
    ]
