from pathlib import Path

from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).parent.parent / "sql"
KINDS = [
    ("purchase", "Purchase"),
    ("renewal", "Monthly renewal"),
    ("promotion", "Promotion"),
    ("gift_sent", "Gift sent"),
    ("gift_received", "Gift received"),
    ("gift_returned", "Gift returned"),
    ("spend", "Spent"),
    ("spend_repaid", "Owed spending repaid"),
    ("refund", "Refund"),
    ("dispute", "Dispute"),
    ("restoral", "Given back"),
    ("repayment", "Debt repaid"),
    ("expiry", "Expired"),
    ("adjustment", "Adjustment"),
]


class Migration(migrations.Migration):
    dependencies = [
        ("credits", "0009_plan_a_standing_once"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField(
            model_name="wallet",
            name="overspent",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="overspent"),
        ),
        # One constraint with both rules: each that there is costs every booking some time.
        migrations.RemoveConstraint(model_name="wallet", name="credits_wallet_owed"),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(("overspent__gte", 0), ("owed__gte", models.F("overspent"))),
                name="credits_wallet_owed",
            ),
        ),
        migrations.AlterField(
            model_name="entry",
            name="kind",
            field=models.CharField(choices=KINDS, max_length=20, verbose_name="kind"),
        ),
        migrations.AlterField(
            model_name="monthtotal",
            name="kind",
            field=models.CharField(choices=KINDS, max_length=20),
        ),
        migrations.RunSQL((SQL / "0010_spend_on_debt.sql").read_text()),
    ]
