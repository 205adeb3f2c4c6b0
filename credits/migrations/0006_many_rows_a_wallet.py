from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("credits", "0005_settle_before_release")]
    operations = [migrations.RunSQL((SQL / "0006_many_rows_a_wallet.sql").read_text())]
