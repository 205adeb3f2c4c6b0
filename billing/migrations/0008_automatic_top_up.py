from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


SQL = Path(__file__).parent.parent / "sql" / "0008_consents.sql"


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_promotions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TopUpConsent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('threshold', models.PositiveIntegerField(verbose_name='below this many credits')),
                ('credits', models.PositiveIntegerField(verbose_name='credits')),
                ('total', models.PositiveIntegerField(verbose_name='price at the time, in cents')),
                ('cap', models.PositiveIntegerField(verbose_name='at most a month, in cents')),
                ('text', models.TextField(verbose_name='agreed to')),
                ('given_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='time')),
            ],
            options={
                'verbose_name': 'consent to automatic top-up',
                'verbose_name_plural': 'consents to automatic top-up',
            },
        ),
        migrations.CreateModel(
            name='TopUp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('status', models.CharField(choices=[('off', 'Off'), ('on', 'On'), ('suspended', 'Suspended')], db_index=True, default='off', max_length=9, verbose_name='status')),
                ('reason', models.CharField(blank=True, choices=[('declined', 'The card was declined three times'), ('no_card', "The card can't be charged any more"), ('price', 'The price has risen'), ('money_back', 'A payment was refunded or disputed'), ('staff', 'Turned off by staff')], max_length=10, verbose_name='reason')),
                ('stripe_customer_id', models.CharField(blank=True, max_length=255, verbose_name='Stripe customer')),
                ('payment_method_id', models.CharField(blank=True, db_index=True, max_length=255, verbose_name='saved card')),
                ('card_brand', models.CharField(blank=True, max_length=30, verbose_name='brand of the card')),
                ('card_last4', models.CharField(blank=True, max_length=4, verbose_name='last digits of the card')),
                ('card_from', models.DateTimeField(blank=True, null=True, verbose_name='card of')),
                ('to_detach', models.JSONField(blank=True, default=list)),
                ('declines', models.PositiveIntegerField(default=0, verbose_name='declined in a row')),
                ('next_try_at', models.DateTimeField(blank=True, null=True, verbose_name='next look')),
                ('asks_until', models.DateTimeField(blank=True, null=True, verbose_name='waits for its owner until')),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='top_up', to=settings.AUTH_USER_MODEL, verbose_name='customer')),
            ],
            options={
                'verbose_name': 'automatic top-up',
                'verbose_name_plural': 'automatic top-ups',
                'permissions': [('suspend_topup', 'Can turn automatic top-ups off')],
            },
        ),
        migrations.AddField(
            model_name='purchase',
            name='top_up',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='purchases', to='billing.topup', verbose_name='automatic top-up'),
        ),
        migrations.AddConstraint(
            model_name='purchase',
            constraint=models.UniqueConstraint(condition=models.Q(('status__in', ['pending', 'settling'])), fields=('top_up',), name='billing_purchase_one_top_up'),
        ),
        migrations.AddField(
            model_name='topupconsent',
            name='top_up',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='consents', to='billing.topup'),
        ),
        migrations.AddField(
            model_name='topup',
            name='consent',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.topupconsent', verbose_name='agreed'),
        ),
        migrations.AddConstraint(
            model_name='topupconsent',
            constraint=models.CheckConstraint(condition=models.Q(('credits__gte', 10), ('credits__lte', 100000)), name='billing_topupconsent_credits'),
        ),
        migrations.AddConstraint(
            model_name='topupconsent',
            constraint=models.CheckConstraint(condition=models.Q(('threshold__gt', 0), ('threshold__lte', models.F('credits'))), name='billing_topupconsent_threshold'),
        ),
        migrations.AddConstraint(
            model_name='topupconsent',
            constraint=models.CheckConstraint(condition=models.Q(('cap__gte', models.F('total')), ('total__gt', 0)), name='billing_topupconsent_cap'),
        ),
        migrations.AddIndex(
            model_name='topup',
            index=models.Index(condition=models.Q(('to_detach', []), _negated=True), fields=['id'], name='billing_topup_to_detach'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'on'), _negated=True), models.Q(('consent__isnull', False), models.Q(('payment_method_id', ''), _negated=True)), _connector='OR'), name='billing_topup_agreed'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'suspended'), models.Q(('reason', ''), _negated=True)), models.Q(models.Q(('status', 'suspended'), _negated=True), ('reason', '')), _connector='OR'), name='billing_topup_reason'),
        ),
        migrations.RunSQL(SQL.read_text()),
    ]
