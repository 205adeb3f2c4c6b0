from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # so that nobody's booking waits while the index is built

    dependencies = [("credits", "0006_many_rows_a_wallet")]
    operations = [
        AddIndexConcurrently(
            "entry",
            models.Index(
                fields=["created_at"],
                condition=models.Q(
                    kind__in=[
                        "purchase",
                        "renewal",
                        "promotion",
                        "refund",
                        "dispute",
                        "repayment",
                        "restoral",
                    ]
                ),
                name="credits_entry_sales",
            ),
        )
    ]
