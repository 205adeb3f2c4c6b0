import uuid
from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
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
    dependencies = [
        ("credits", "0011_spend_on_debt"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
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
        migrations.RunSQL((SQL / "0012_gifts.sql").read_text()),
        migrations.RunSQL((SQL / "0012_origins.sql").read_text()),
        migrations.CreateModel(
            name='Gift',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('recipient', models.CharField(blank=True, max_length=254, verbose_name='to')),
                ('credits', models.BigIntegerField(validators=[django.core.validators.MinValueValidator(1)], verbose_name='credits')),
                ('message', models.CharField(blank=True, max_length=500, verbose_name='message')),
                ('status', models.CharField(choices=[('ordered', 'Waiting for payment'), ('open', 'Not claimed yet'), ('claimed', 'Claimed'), ('cancelled', 'Cancelled'), ('returned', 'Returned'), ('recalled', 'Taken back'), ('kept', 'Not sent')], max_length=9, verbose_name='status')),
                ('recalled', models.BigIntegerField(default=0, verbose_name='taken back')),
                ('token_hash', models.CharField(editable=False, max_length=64, null=True, unique=True)),
                ('entry_id', models.BigIntegerField(blank=True, null=True, verbose_name='entry')),
                ('request_id', models.UUIDField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='time')),
                ('expires_at', models.DateTimeField(blank=True, null=True, verbose_name='returns')),
                ('closed_at', models.DateTimeField(blank=True, null=True, verbose_name='closed')),
                ('reason', models.CharField(blank=True, max_length=500, verbose_name='reason')),
                ('cancelled_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='cancelled by')),
                ('claimed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='gifts_received', to=settings.AUTH_USER_MODEL, verbose_name='claimed by')),
                ('sender', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gifts', to=settings.AUTH_USER_MODEL, verbose_name='from')),
                ('wallet', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='credits.wallet')),
            ],
            options={
                'verbose_name': 'gift',
                'verbose_name_plural': 'gifts',
                'permissions': [('cancel_gift', 'Can cancel gifts')],
                'indexes': [models.Index(fields=['sender', '-created_at'], name='credits_gift_sent'), models.Index(fields=['claimed_by', '-closed_at'], name='credits_gift_claimed'), models.Index(fields=['recipient'], name='credits_gift_recipient'), models.Index(fields=['-created_at'], name='credits_gift_newest'), models.Index(condition=models.Q(('status', 'open')), fields=['expires_at'], name='credits_gift_due')],
                'constraints': [models.UniqueConstraint(fields=('sender', 'request_id'), name='credits_gift_request'), models.UniqueConstraint(fields=('wallet', 'entry_id'), name='credits_gift_transfer'), models.CheckConstraint(condition=models.Q(('credits__gt', 0), ('recalled__gte', 0), ('recalled__lte', models.F('credits'))), name='credits_gift_credits'), models.CheckConstraint(condition=models.Q(models.Q(('entry_id__isnull', True), ('status__in', ['ordered', 'kept'])), models.Q(('claimed_by__isnull', True), ('closed_at__isnull', True), ('entry_id__isnull', False), ('expires_at__isnull', False), ('status', 'open'), ('token_hash__isnull', False)), models.Q(('claimed_by__isnull', False), ('closed_at__isnull', False), ('entry_id__isnull', False), ('status', 'claimed')), models.Q(('closed_at__isnull', False), ('entry_id__isnull', False), ('status__in', ['cancelled', 'returned', 'recalled'])), _connector='OR'), name='credits_gift_status')],
            },
        ),
        # What carries it is a transfer.
        migrations.RunSQL("""
            ALTER TABLE credits_gift ADD CONSTRAINT credits_gift_of_transfer
                FOREIGN KEY (wallet_id, entry_id)
                REFERENCES credits_transfer (wallet_id, entry_id)"""),
    ]
