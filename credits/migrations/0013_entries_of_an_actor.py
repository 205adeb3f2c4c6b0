from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # so that nobody's booking waits while the index is built

    dependencies = [("credits", "0012_gifts")]
    operations = [
        AddIndexConcurrently(
            "entry",
            models.Index(
                fields=["actor", "wallet", "id"],
                condition=models.Q(actor__isnull=False),
                name="credits_entry_of_actor",
            ),
        ),
        RemoveIndexConcurrently("entry", "credits_entry_actor"),
    ]
