import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0008_automatic_top_up"), ("credits", "0012_gifts")]
    operations = [
        migrations.AddField(
            model_name="purchase",
            name="gift",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="purchase",
                to="credits.gift",
                verbose_name="gift",
            ),
        ),
    ]
