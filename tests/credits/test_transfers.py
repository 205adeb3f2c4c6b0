from datetime import timedelta

import pytest
from django.utils import timezone

from credits import errors, ledger
from credits.models import Entry, Lot, Transfer
from tests.credits.test_expiry import kinds, pass_time

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(other_user):
    return ledger.wallet_of(other_user)


@pytest.fixture
def funded(wallet):
    ledger.grant(wallet, 100, key="g", kind="purchase", paid=95)
    return wallet


def balances(*wallets) -> list[int]:
    return [ledger.balance_of(wallet.user) for wallet in wallets]


def test_credits_pass_through_escrow(funded, other):
    transfer = ledger.send(funded, 40, key="gift:1", note="For you")
    assert balances(funded, other) == [60, 0]
    sent = Entry.objects.get(kind="gift_sent")
    assert (sent.amount, sent.account, transfer.entry_id) == (-40, "escrow", sent.pk)

    entry = ledger.receive(other, transfer, key="gift:1")
    assert (entry.kind, entry.amount, entry.account) == ("gift_received", 40, "escrow")
    assert balances(funded, other) == [60, 40]
    transfer.refresh_from_db()
    assert (transfer.to_wallet, transfer.to_entry_id) == (other, entry.pk)


def test_or_back(funded):
    transfer = ledger.send(funded, 40, key="gift:1")
    entry = ledger.receive(funded, transfer, key="gift:1:back")
    assert entry.kind == "gift_returned"
    assert balances(funded) == [100]


def test_lots_keep_expiry_category_and_cost(wallet, other):
    soon = timezone.now() + timedelta(days=3)
    ledger.grant(wallet, 30, key="p", kind="purchase", paid=100, priority=60)
    ledger.grant(wallet, 10, key="f", kind="promotion", category="promotional", expires_at=soon)
    transfer = ledger.send(wallet, 21, key="t")
    entry = ledger.receive(other, transfer, key="t")
    lots = Lot.objects.filter(wallet=other).order_by("id")
    assert list(
        lots.values_list("entry_id", "amount", "category", "expires_at", "priority", "paid")
    ) == [
        (entry.pk, 10, "promotional", soon, 50, 0),
        (entry.pk, 11, "paid", None, 60, 100 - 100 * 19 // 30),
    ]


def test_both_ends_happen_once(funded, other):
    transfer = ledger.send(funded, 40, key="t")
    assert ledger.send(funded, 40, key="t") == transfer
    with pytest.raises(errors.KeyReused):
        ledger.send(funded, 41, key="t")
    first = ledger.receive(other, transfer, key="t")
    assert ledger.receive(other, transfer, key="t") == first
    for wallet in (funded, other):
        with pytest.raises(errors.TransferArrived):
            ledger.receive(wallet, transfer, key="again")
    assert balances(funded, other) == [60, 40]
    assert Transfer.objects.count() == 1


def test_a_key_of_another_transfer_is_refused(funded, other):
    first, second = (ledger.send(funded, 10, key=key) for key in ("a", "b"))
    ledger.receive(other, first, key="k")
    with pytest.raises(errors.KeyReused):
        ledger.receive(other, second, key="k")
    assert balances(funded, other) == [80, 10]


def test_an_unknown_transfer_is_refused(funded, other):
    ghost = Transfer(wallet=funded, entry_id=10**9)
    with pytest.raises(errors.UnknownTransfer):
        ledger.receive(other, ghost, key="k")


def test_who_owes_can_not_send(funded):
    ledger.grant(funded, 50, key="f", kind="promotion", category="promotional", priority=90)
    ledger.spend(funded, 60, key="s")
    ledger.revoke(funded, 100, of="g", key="r", kind="refund")
    assert balances(funded) == [50]
    with pytest.raises(errors.CreditsOwed) as refused:
        ledger.send(funded, 1, key="t")
    assert refused.value.owed == 60
    assert Transfer.objects.count() == 0


def test_a_gift_repays_the_debt_of_who_receives_it(funded, other):
    ledger.grant(other, 10, key="p", kind="purchase")
    ledger.spend(other, 10, key="s")
    ledger.revoke(other, 10, of="p", key="r", kind="refund")
    ledger.receive(other, ledger.send(funded, 15, key="t"), key="t")
    assert ledger.standing(other.user) == ledger.Standing(balance=5)


def test_what_expires_on_the_way_is_gone_on_arrival(wallet, other):
    ledger.grant(wallet, 10, key="f", kind="promotion", category="promotional")
    transfer = ledger.send(wallet, 10, key="t")
    pass_time(days=91)
    ledger.receive(other, transfer, key="t")
    assert balances(wallet, other) == [0, 0]
    assert kinds()[-2:] == [("gift_received", 10), ("expiry", -10)]
