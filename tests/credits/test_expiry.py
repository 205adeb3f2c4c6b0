from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from credits import errors, ledger
from credits.models import Entry, Lot

pytestmark = pytest.mark.django_db


def pass_time(**by) -> None:
    """All times of the ledger move back, as if so much had passed."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE credits_lot SET expires_at = expires_at - %s", [timedelta(**by)])
        cursor.execute(
            "UPDATE credits_hold SET expires_at = expires_at - %(by)s,"
            " created_at = created_at - %(by)s",
            {"by": timedelta(**by)},
        )


def kinds() -> list[tuple[str, int]]:
    return list(Entry.objects.order_by("id").values_list("kind", "amount"))


def test_paid_credits_stay_and_promotional_ones_last_90_days(wallet):
    ledger.grant(wallet, 10, key="p", kind="purchase", paid=10)
    entry = ledger.grant(wallet, 10, key="f", kind="promotion", category="promotional")
    paid, free = Lot.objects.order_by("id")
    assert paid.expires_at is None
    assert free.expires_at == entry.created_at + timedelta(days=90)


def test_the_defaults_are_settings_and_no_part_of_a_key(wallet, settings):
    terms = {"key": "f", "kind": "promotion", "category": "promotional"}
    first = ledger.grant(wallet, 10, **terms)
    settings.CREDITS_EXPIRE_AFTER_DAYS = {"paid": 30, "promotional": 0}
    assert ledger.grant(wallet, 10, **terms) == first
    ledger.grant(wallet, 10, key="p", kind="purchase")
    ledger.grant(wallet, 10, **terms | {"key": "g"})
    days = [
        lot.expires_at and (lot.expires_at - first.created_at).days for lot in wallet.lots.all()
    ]
    assert sorted(days, key=str) == [30, 90, None]


def test_corrections_do_not_expire(wallet, staff):
    ledger.adjust(wallet, 10, key="a", note="Lost at sea", actor=staff)
    assert Lot.objects.get().expires_at is None


def test_what_has_expired_is_in_no_balance_before_it_is_booked(wallet):
    ledger.grant(wallet, 10, key="p", kind="purchase")
    ledger.grant(wallet, 5, key="f", kind="promotion", category="promotional")
    pass_time(days=90)
    assert ledger.standing(wallet.user) == ledger.Standing(balance=10)
    assert ledger.balance_of(wallet.user) == 10
    assert len(kinds()) == 2


def test_the_next_booking_books_it_first(wallet):
    ledger.grant(wallet, 10, key="p", kind="purchase")
    ledger.grant(wallet, 5, key="f", kind="promotion", category="promotional")
    pass_time(days=90)
    with pytest.raises(errors.InsufficientCredits) as refused:
        ledger.spend(wallet, 11, key="s")
    assert refused.value.available == 10
    assert len(kinds()) == 2
    entry = ledger.spend(wallet, 4, key="s")
    assert entry.balance == 6
    assert kinds()[2:] == [("expiry", -5), ("spend", -4)]


def test_expire_due_books_it_once_in_wallets_that_nobody_books_on(wallet, other_user):
    ledger.grant(wallet, 5, key="f", kind="promotion", category="promotional")
    ledger.grant(ledger.wallet_of(other_user), 7, key="p", kind="purchase")
    assert ledger.expire_due() == 0
    pass_time(days=90)
    seen = []
    assert ledger.expire_due(lambda due: seen.extend(due) or due) == 1
    assert seen == [wallet.pk]
    assert ledger.expire_due() == 0
    entry = Entry.objects.get(kind="expiry")
    assert (entry.wallet, entry.amount, entry.balance, entry.account) == (wallet, -5, 0, "expired")


def test_what_expired_already_is_not_granted(wallet):
    for past in (timezone.now(), timezone.now() - timedelta(days=1)):
        with pytest.raises(errors.InvalidTerms):
            ledger.grant(wallet, 5, key="k", kind="purchase", expires_at=past)
    assert kinds() == []


def test_a_grant_told_again_after_its_expiry_is_the_same_grant(wallet):
    terms = {"key": "k", "kind": "purchase", "expires_at": timezone.now() + timedelta(hours=1)}
    first = ledger.grant(wallet, 5, **terms)
    pass_time(hours=2)
    ledger.expire_due()
    terms["expires_at"] -= timedelta(hours=2)
    assert ledger.grant(wallet, 5, **terms) == first
    assert ledger.balance_of(wallet.user) == 0


def test_priority_comes_before_expiry(wallet):
    soon = timezone.now() + timedelta(hours=1)
    ledger.grant(wallet, 5, key="soon", kind="purchase", expires_at=soon)
    first = ledger.grant(wallet, 5, key="first", kind="purchase", priority=0)
    ledger.spend(wallet, 5, key="s")
    assert Lot.objects.get(entry_id=first.pk).remaining == 0


@pytest.mark.parametrize("priority", [-1, 101, 1.5, True, None])
def test_a_priority_is_0_to_100(wallet, priority):
    with pytest.raises(errors.InvalidTerms):
        ledger.grant(wallet, 5, key="k", kind="purchase", priority=priority)
    assert kinds() == []
