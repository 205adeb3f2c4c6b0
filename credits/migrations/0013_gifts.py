from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent.parent / "sql"
KINDS = [
    ("purchase", "Purchase"),
    ("renewal", "Monthly renewal"),
    ("promotion", "Promotion"),
    ("gift_sent", "Gift sent"),
    ("gift_received", "Gift received"),
    ("gift_returned", "Gift returned"),
    ("gift_recalled", "Gift taken back"),
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
    dependencies = [("credits", "0011_spend_on_debt")]
    operations = [
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
        migrations.AddField(
            model_name="lot",
            name="origin_wallet_id",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="lot",
            name="origin_lot_id",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="lot",
            index=models.Index(
                fields=["origin_wallet_id", "origin_lot_id"],
                condition=models.Q(("origin_lot_id__isnull", False)),
                name="credits_lot_origin",
            ),
        ),
        migrations.RunSQL((SQL / "0013_gifts.sql").read_text()),
    ]
