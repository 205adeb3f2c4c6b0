from datetime import timedelta

import pytest
from django.utils import timezone

from credits import errors, ledger
from credits.models import Entry, Lot
from tests.credits.test_expiry import kinds, pass_time

pytestmark = pytest.mark.django_db


def buy(wallet, amount, key, **terms):
    return ledger.grant(wallet, amount, key=key, kind="purchase", paid=amount, **terms)


def remaining(entry) -> int:
    return Lot.objects.get(entry_id=entry.pk).remaining


def standing(wallet) -> tuple[int, int]:
    now = ledger.standing(wallet.user)
    return now.balance, now.owed


def test_it_comes_from_the_purchases_own_lot_then_from_other_paid_ones(wallet):
    older = buy(wallet, 50, "older")
    own = buy(wallet, 50, "own")
    free = ledger.grant(wallet, 50, key="free", kind="promotion", category="promotional")
    entry = ledger.revoke(wallet, 40, of="own", key="r1", kind="refund")
    assert (remaining(older), remaining(own), remaining(free)) == (50, 10, 50)
    assert (entry.amount, entry.owed, entry.account, entry.about_id) == (-40, 0, "revoked", own.pk)

    ledger.spend(wallet, 55, key="s")  # the promotional lot expires, so it goes first
    assert (remaining(older), remaining(own), remaining(free)) == (45, 10, 0)
    ledger.revoke(wallet, 10, of="own", key="r2", kind="dispute")
    assert (remaining(older), remaining(own)) == (45, 0)
    assert standing(wallet) == (45, 0)


def test_what_is_not_there_is_owed_and_promotional_credits_stay(wallet):
    buy(wallet, 100, "p")
    ledger.grant(wallet, 20, key="f", kind="promotion", category="promotional")
    ledger.spend(wallet, 90, key="s")
    entry = ledger.revoke(wallet, 100, of="p", key="r", kind="refund")
    assert (entry.amount, entry.owed, entry.balance) == (-30, 70, 0)
    assert standing(wallet) == (0, 70)


def test_a_clawback_that_finds_nothing_is_an_entry_all_the_same(wallet):
    buy(wallet, 10, "p")
    ledger.spend(wallet, 10, key="s")
    entry = ledger.revoke(wallet, 10, of="p", key="r", kind="refund")
    assert (entry.amount, entry.owed) == (0, 10)
    assert ledger.revoke(wallet, 10, of="p", key="r", kind="refund") == entry
    assert standing(wallet) == (0, 10)


@pytest.mark.parametrize(
    "income",
    [
        lambda wallet: buy(wallet, 15, "q"),
        lambda wallet: ledger.grant(wallet, 15, key="q", kind="promotion", category="promotional"),
        lambda wallet: ledger.adjust(wallet, 15, key="q", note="", actor=None),
    ],
)
def test_the_next_credits_in_repay_it_first_by_an_entry_of_their_own(wallet, income):
    buy(wallet, 10, "p")
    ledger.spend(wallet, 10, key="s")
    ledger.revoke(wallet, 10, of="p", key="r", kind="refund")
    entry = income(wallet)
    assert (entry.amount, entry.balance) == (15, 15)
    repayment = Entry.objects.order_by("-id")[0]
    assert (repayment.kind, repayment.amount, repayment.owed, repayment.balance) == (
        "repayment", -10, -10, 5,
    )  # fmt: skip
    assert repayment.about_id == entry.pk
    assert standing(wallet) == (5, 0)
    assert income(wallet) == entry
    assert standing(wallet) == (5, 0)


def test_a_debt_is_repaid_in_parts(wallet):
    buy(wallet, 100, "p")
    ledger.spend(wallet, 100, key="s")
    ledger.revoke(wallet, 100, of="p", key="r", kind="refund")
    for number in range(3):
        buy(wallet, 30, f"q{number}")
    assert standing(wallet) == (0, 10)
    buy(wallet, 30, "q3")
    assert standing(wallet) == (20, 0)


def test_never_more_than_was_granted(wallet):
    buy(wallet, 100, "p")
    buy(wallet, 100, "q")
    ledger.revoke(wallet, 60, of="p", key="r1", kind="refund")
    with pytest.raises(errors.MoreThanGranted) as refused:
        ledger.revoke(wallet, 41, of="p", key="r2", kind="dispute")
    assert refused.value.left == 40
    ledger.revoke(wallet, 40, of="p", key="r2", kind="dispute")
    assert standing(wallet) == (100, 0)


def test_the_same_clawback_twice_is_one(wallet):
    buy(wallet, 100, "p")
    first = ledger.revoke(wallet, 100, of="p", key="r", kind="refund")
    assert ledger.revoke(wallet, 100, of="p", key="r", kind="refund") == first
    for other in ({"amount": 99}, {"kind": "dispute"}):
        with pytest.raises(errors.KeyReused):
            ledger.revoke(
                wallet, **{"amount": 100, "of": "p", "key": "r", "kind": "refund"} | other
            )
    assert kinds() == [("purchase", 100), ("refund", -100)]


def test_what_can_not_be_revoked(wallet):
    buy(wallet, 100, "p")
    ledger.spend(wallet, 10, key="s")
    for of in ("nothing", "s"):
        with pytest.raises(errors.UnknownGrant):
            ledger.revoke(wallet, 1, of=of, key="r", kind="refund")
    for kind in ("spend", "purchase", "restoral", "nonsense"):
        with pytest.raises(errors.InvalidTerms):
            ledger.revoke(wallet, 1, of="p", key="r", kind=kind)
    assert standing(wallet) == (90, 0)


def test_a_restoral_undoes_it_and_the_debt_first(wallet):
    buy(wallet, 100, "p")
    ledger.spend(wallet, 70, key="s")
    ledger.revoke(wallet, 100, of="p", key="r", kind="dispute")
    assert standing(wallet) == (0, 70)
    entry = ledger.restore(wallet, 100, of="p", key="r:won")
    assert (entry.kind, entry.amount) == ("restoral", 100)
    assert standing(wallet) == (30, 0)
    assert ledger.restore(wallet, 100, of="p", key="r:won") == entry
    assert standing(wallet) == (30, 0)
    # And it can be taken back again, from what came back.
    ledger.revoke(wallet, 30, of="p", key="r2", kind="refund")
    assert standing(wallet) == (0, 0)


def test_a_restoral_is_on_the_terms_of_the_grant(wallet):
    expires_at = timezone.now() + timedelta(days=9)
    ledger.grant(wallet, 99, key="p", kind="purchase", paid=100, expires_at=expires_at, priority=7)
    ledger.revoke(wallet, 33, of="p", key="r", kind="refund")
    entry = ledger.restore(wallet, 33, of="p", key="back")
    lot = Lot.objects.get(entry_id=entry.pk)
    assert (lot.expires_at, lot.priority, lot.category, lot.paid) == (expires_at, 7, "paid", 33)


def test_what_is_restored_after_its_time_is_gone_at_once(wallet):
    buy(wallet, 10, "p", expires_at=timezone.now() + timedelta(days=1))
    ledger.revoke(wallet, 10, of="p", key="r", kind="dispute")
    pass_time(days=2)
    ledger.restore(wallet, 10, of="p", key="back")
    assert standing(wallet) == (0, 0)
    assert kinds()[-2:] == [("restoral", 10), ("expiry", -10)]


def test_only_what_was_taken_is_restored(wallet):
    buy(wallet, 100, "p")
    ledger.revoke(wallet, 60, of="p", key="r", kind="refund")
    with pytest.raises(errors.MoreThanRevoked) as refused:
        ledger.restore(wallet, 61, of="p", key="back")
    assert refused.value.revoked == 60
    assert standing(wallet) == (40, 0)


def test_no_other_verb_leaves_a_debt(wallet):
    buy(wallet, 10, "p")
    for verb in (
        lambda: ledger.spend(wallet, 11, key="k"),
        lambda: ledger.adjust(wallet, -11, key="k", note="", actor=None),
        lambda: ledger.send(wallet, 11, key="k"),
        lambda: ledger.hold(wallet, 11, key="k", expires_in=timedelta(hours=1)),
    ):
        with pytest.raises(errors.InsufficientCredits):
            verb()
    assert standing(wallet) == (10, 0)


@pytest.mark.parametrize("category", ["paid", "promotional"])
def test_what_came_back_is_taken_before_other_lots(wallet, category):
    terms = {"paid": 50} if category == "paid" else {}
    buy(wallet, 50, "older")
    own = ledger.grant(wallet, 50, key="own", kind="promotion", category=category, **terms)
    ledger.revoke(wallet, 50, of="own", key="r1", kind="dispute")
    back = ledger.restore(wallet, 50, of="own", key="b1")
    assert (remaining(own), remaining(back)) == (0, 50)
    entry = ledger.revoke(wallet, 40, of="own", key="r2", kind="refund")
    assert (entry.amount, entry.owed, remaining(back)) == (-40, 0, 10)
    assert standing(wallet) == (60, 0)
