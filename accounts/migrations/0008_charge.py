from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_forms_of_keys")]
    operations = [migrations.RunSQL((SQL / "0008_charge.sql").read_text())]
