import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from credits import ledger
from credits.models import Draw, Entry, Lot, Wallet
from tests import emptying


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("large", [0, emptying.LARGE], ids=["truncated", "deleted"])
def test_all_that_is_committed_goes_and_the_guards_stay(monkeypatch, wallet, large):
    monkeypatch.setattr(emptying, "LARGE", large)
    ledger.grant(wallet, 100, key="g", kind="purchase")
    ledger.spend(wallet, 30, key="s")
    made = [Permission.objects.count(), ContentType.objects.count()]
    emptying.empty()
    for table in (User, Wallet, Entry, Lot, Draw):
        assert table.objects.count() == 0
    assert [Permission.objects.count(), ContentType.objects.count()] == made
    newcomer = User.objects.create_user("bob@example.com")
    ledger.grant(ledger.wallet_of(newcomer), 5, key="g", kind="purchase")
    for statement in ("DELETE FROM credits_entry", "TRUNCATE credits_entry CASCADE"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert Entry.objects.count() == 1
