from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent.parent / "sql" / "0002_price_table.sql"
TIERS = [(10, 100), (500, 95), (2000, 90), (5000, 80)]


def fill(apps, schema_editor):
    tier = apps.get_model("billing", "PriceTier")
    tier.objects.bulk_create(
        tier(min_credits=first, unit_price_e4=price) for first, price in TIERS
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunSQL(SQL.read_text()),
    ]
