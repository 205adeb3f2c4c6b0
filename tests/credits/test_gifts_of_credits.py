"""Which credits may be given away, and a clawback that fetches back what was given."""

import random
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from credits import errors, ledger, revenue
from credits.models import Entry, Lot, Transfer, Wallet
from tests.credits.test_expiry import pass_time

pytestmark = pytest.mark.django_db
ORIGINS = Path(ledger.__file__).parent / "sql" / "0012_origins.sql"


def made(count: int) -> list[Wallet]:
    users = User.objects.bulk_create(
        User(email=f"w{number}@example.com") for number in range(count)
    )
    return Wallet.objects.bulk_create(Wallet(user=user) for user in users)


@pytest.fixture
def three() -> list[Wallet]:
    return made(3)


def buy(wallet, amount, key, **terms):
    return ledger.grant(wallet, amount, key=key, kind="purchase", paid=amount, **terms)


def give(sender, taker, amount, key, **what):
    transfer = ledger.send(sender, amount, key=key, only=ledger.Giftable(**what))
    ledger.receive(taker, transfer, key=key)
    return transfer


def standings(*wallets) -> list[tuple[int, int]]:
    found = [ledger.standing(wallet.user) for wallet in wallets]
    return [(now.balance, now.owed) for now in found]


def kinds(wallet) -> list[tuple[str, int]]:
    return list(Entry.objects.filter(wallet=wallet).order_by("pk").values_list("kind", "amount"))


# Which may be given


def test_only_what_was_bought_may_be_given(wallet):
    ledger.grant(wallet, 30, key="f", kind="promotion", category="promotional")
    ledger.grant(wallet, 20, key="paid promotion", kind="promotion")
    ledger.adjust(wallet, 10, key="a", note="Sorry", actor=None)
    buy(wallet, 50, "p")
    ledger.grant(wallet, 40, key="r", kind="renewal", paid=40)
    assert ledger.giftable(wallet, ledger.Giftable()) == 90

    entries = Entry.objects.count()
    with pytest.raises(errors.NotGiftable) as refused:
        ledger.send(wallet, 91, key="t", only=ledger.Giftable())
    assert refused.value.giftable == 90
    assert (Entry.objects.count(), Transfer.objects.count()) == (entries, 0)

    ledger.send(wallet, 90, key="t", only=ledger.Giftable())
    assert standings(wallet) == [(60, 0)]
    assert Lot.objects.get(category="promotional", priority=50, amount=30).remaining == 30


def test_not_what_is_younger_disputed_held_expired_or_owed(wallet):
    buy(wallet, 50, "old")
    buy(wallet, 50, "disputed")
    soon = timezone.now() + timedelta(hours=1)
    buy(wallet, 50, "expiring", expires_at=soon)
    assert ledger.giftable(wallet, ledger.Giftable(but=["disputed"])) == 100
    assert ledger.giftable(wallet, ledger.Giftable(age=timedelta(days=1))) == 0
    pass_time(hours=2)
    assert ledger.giftable(wallet, ledger.Giftable(but=["disputed"])) == 50
    ledger.hold(wallet, 20, key="h", expires_in=timedelta(hours=1))
    with pytest.raises(errors.NotGiftable) as refused:
        ledger.send(wallet, 31, key="t", only=ledger.Giftable(but=["disputed"]))
    assert refused.value.giftable == 30

    ledger.spend(wallet, 80, key="s")
    ledger.revoke(wallet, 50, of="old", key="r", kind="refund")
    buy_later = ledger.Giftable()
    with pytest.raises(errors.CreditsOwed):
        ledger.send(wallet, 1, key="t", only=buy_later)
    assert Transfer.objects.count() == 0


def test_what_came_as_a_gift_is_given_on_only_where_that_is_allowed(three):
    ada, bob, _eve = three
    buy(ada, 50, "p")
    give(ada, bob, 50, "g")
    assert ledger.giftable(bob, ledger.Giftable()) == 0
    assert ledger.giftable(bob, ledger.Giftable(regift=True)) == 50
    assert ledger.giftable(bob, ledger.Giftable(regift=True, but=["p"])) == 0


def test_what_came_back_and_what_was_restored_may_be_given_again(wallet):
    buy(wallet, 50, "p")
    transfer = ledger.send(wallet, 30, key="t", only=ledger.Giftable())
    ledger.receive(wallet, transfer, key="t:back")
    ledger.revoke(wallet, 10, of="p", key="r", kind="dispute")
    ledger.restore(wallet, 10, of="p", key="won")
    assert ledger.giftable(wallet, ledger.Giftable()) == 50
    assert ledger.giftable(wallet, ledger.Giftable(but=["p"])) == 0


def test_of_one_purchase_alone(wallet):
    buy(wallet, 50, "older")
    buy(wallet, 20, "own")
    with pytest.raises(errors.NotGiftable) as refused:
        ledger.send(wallet, 21, key="t", only=ledger.Giftable(of="own"))
    assert refused.value.giftable == 20
    transfer = ledger.send(wallet, 20, key="t", only=ledger.Giftable(of="own"))
    assert ledger.send(wallet, 20, key="t", only=ledger.Giftable(of="own")) == transfer
    assert list(Lot.objects.order_by("pk").values_list("remaining", flat=True)) == [50, 0]
    with pytest.raises(errors.UnknownGrant):
        ledger.send(wallet, 1, key="u", only=ledger.Giftable(of="none"))


# What a clawback fetches back


def test_a_refund_finds_what_was_given_before_other_lots(three):
    ada, bob, _ = three
    buy(ada, 100, "other")
    grant = buy(ada, 100, "p")
    gift = give(ada, bob, 60, "g", of="p")
    ledger.spend(bob, 10, key="s")

    entry = ledger.revoke(
        ada, 80, of="p", key="r", kind="refund", note="Refund", recall_note="Refunded"
    )

    assert (entry.amount, entry.owed) == (-80, 0)
    assert standings(ada, bob) == [(100, 0), (10, 0)]
    assert kinds(bob)[-1] == ("gift_recalled", -40)
    assert kinds(ada)[-2:] == [("gift_returned", 40), ("refund", -80)]
    back, taken = Entry.objects.filter(key__startswith="recall:").order_by("-kind")
    assert (back.about_id, taken.about_id) == (grant.pk, gift_entry(gift).pk)
    assert {back.note, taken.note} == {"Refunded"}
    assert ledger.recalled_by(entry) == [ledger.Recalled(40, Transfer.objects.get(pk=gift.pk), bob)]
    assert ledger.revoke(ada, 80, of="p", key="r", kind="refund") == entry
    assert standings(ada, bob) == [(100, 0), (10, 0)]


def gift_entry(transfer: Transfer) -> Entry:
    transfer.refresh_from_db()
    return Entry.objects.get(wallet=transfer.to_wallet, pk=transfer.to_entry_id)


def test_who_was_given_never_owes_for_anothers_refund(three):
    ada, bob, _ = three
    buy(ada, 100, "p")
    give(ada, bob, 100, "g")
    ledger.spend(bob, 70, key="s")
    entry = ledger.revoke(ada, 100, of="p", key="r", kind="refund")
    assert (entry.amount, entry.owed) == (-30, 70)
    assert standings(ada, bob) == [(0, 70), (0, 0)]


def test_a_gift_that_is_not_claimed_comes_back_whole_and_the_rest_stays(three):
    ada, bob, _ = three
    buy(ada, 100, "p")
    transfer = ledger.send(ada, 90, key="t", only=ledger.Giftable())
    entry = ledger.revoke(ada, 30, of="p", key="r", kind="refund")
    assert standings(ada) == [(70, 0)]
    assert kinds(ada)[-2:] == [("gift_returned", 90), ("refund", -30)]
    transfer.refresh_from_db()
    assert ledger.recalled_by(entry) == [ledger.Recalled(90, transfer, None)]
    with pytest.raises(errors.TransferArrived):
        ledger.receive(bob, transfer, key="t")
    assert standings(bob) == [(0, 0)]


def test_what_comes_back_of_it_beyond_the_claim_repays_older_debt(three):
    ada, *_ = three
    buy(ada, 50, "spent")
    buy(ada, 100, "p")
    ledger.spend(ada, 50, key="s")
    ledger.send(ada, 100, key="t", only=ledger.Giftable(of="p"))
    ledger.revoke(ada, 20, of="spent", key="r1", kind="refund")
    assert standings(ada) == [(0, 20)]
    ledger.revoke(ada, 30, of="p", key="r2", kind="refund")
    assert kinds(ada)[-3:] == [("gift_returned", 100), ("refund", -30), ("repayment", -20)]
    assert standings(ada) == [(50, 0)]


def test_what_one_holds_is_not_fetched_but_what_lapsed_is(three):
    ada, bob, _ = three
    buy(ada, 100, "p")
    give(ada, bob, 100, "g")
    ledger.hold(bob, 60, key="h", expires_in=timedelta(hours=1))
    ledger.revoke(ada, 50, of="p", key="r1", kind="refund")
    assert standings(ada, bob) == [(0, 10), (60, 0)]
    pass_time(hours=2)
    ledger.revoke(ada, 50, of="p", key="r2", kind="refund")
    assert standings(ada, bob) == [(0, 10), (10, 0)]


def test_along_the_chain_of_those_who_gave_it_on(three):
    ada, bob, eve = three
    buy(ada, 100, "p")
    give(ada, bob, 80, "g")
    give(bob, eve, 50, "h", regift=True)
    ledger.send(bob, 20, key="i", only=ledger.Giftable(regift=True))
    entry = ledger.revoke(ada, 90, of="p", key="r", kind="dispute")
    # Bob's own gift that nobody claimed comes back to him first, and from there.
    assert standings(ada, bob, eve) == [(0, 0), (10, 0), (0, 0)]
    assert kinds(bob)[-2:] == [("gift_returned", 20), ("gift_recalled", -20)]
    assert kinds(eve)[-1] == ("gift_recalled", -50)
    assert [(step.credits, step.transfer.amount) for step in ledger.recalled_by(entry)] == [
        (20, 20), (50, 50),
    ]  # fmt: skip


def test_a_dispute_that_is_won_gives_back_and_lets_one_give_again(three):
    ada, bob, _ = three
    buy(ada, 100, "p")
    give(ada, bob, 100, "g")
    ledger.revoke(ada, 100, of="p", key="lost", kind="dispute")
    ledger.restore(ada, 100, of="p", key="won")
    assert standings(ada, bob) == [(100, 0), (0, 0)]
    give(ada, bob, 100, "again")
    ledger.revoke(ada, 100, of="p", key="lost again", kind="dispute")
    assert standings(ada, bob) == [(0, 0), (0, 0)]


def test_cost_and_expiry_go_along_both_ways(three):
    ada, bob, _ = three
    soon = timezone.now() + timedelta(days=3)
    buy(ada, 100, "p", expires_at=soon)
    give(ada, bob, 33, "g")
    ledger.revoke(ada, 90, of="p", key="r", kind="refund")
    lots = Lot.objects.order_by("pk").values_list("amount", "remaining", "paid", "expires_at")
    assert list(lots) == [(100, 0, 100, soon), (33, 10, 33, soon), (23, 0, 23, soon)]


def test_nothing_is_left_in_escrow_in_the_report(three):
    ada, bob, _ = three
    buy(ada, 100, "p")
    give(ada, bob, 60, "g")
    ledger.send(ada, 10, key="t")
    ledger.revoke(ada, 70, of="p", key="r", kind="refund")
    (month,) = revenue.months()
    assert (month.in_escrow, month.outstanding, month.deferred) == (0, 30, 30)


# To many


def test_many_are_delivered_to_at_once(wallet):
    takers = made(3)
    buy(wallet, 100, "p")
    lines = [
        ledger.Line(taker.pk, credits, f"bulk:{number}")
        for number, (taker, credits) in enumerate(zip(takers, [10, 20, 30], strict=True))
    ]
    transfers = ledger.deliver(wallet, lines, of="p", note="From the firm")
    assert standings(wallet, *takers) == [(40, 0), (10, 0), (20, 0), (30, 0)]
    assert [(one.amount, one.to_wallet_id) for one in transfers] == [
        (line.credits, line.wallet_id) for line in lines
    ]
    assert kinds(takers[0]) == [("gift_received", 10)]

    # Sent twice, with one that is new: once, and the one.
    more = [*lines, ledger.Line(takers[0].pk, 5, "bulk:3")]
    assert ledger.deliver(wallet, more, of="p")[:3] == transfers
    assert standings(wallet, takers[0]) == [(35, 0), (15, 0)]
    for other in (ledger.Line(takers[0].pk, 11, "bulk:0"), ledger.Line(takers[1].pk, 10, "bulk:0")):
        with pytest.raises(errors.KeyReused):
            ledger.deliver(wallet, [other], of="p")


def test_a_delivery_is_whole_or_not_at_all(wallet):
    first, second = made(2)
    buy(wallet, 100, "other")
    buy(wallet, 30, "p")
    before = Entry.objects.count()
    lines = [ledger.Line(first.pk, 20, "a"), ledger.Line(second.pk, 11, "b")]
    with pytest.raises(errors.NotGiftable) as refused:
        ledger.deliver(wallet, lines, of="p")
    assert refused.value.giftable == 10
    for wrong, error in (
        ([ledger.Line(first.pk, 20, "a"), ledger.Line(10**9, 1, "b")], errors.UnknownWallet),
        ([ledger.Line(first.pk, 20, "a"), ledger.Line(second.pk, -1, "b")], errors.NegativeAmount),
        ([], errors.InvalidTerms),
        (lines * 51, errors.InvalidTerms),
    ):
        with pytest.raises(error):
            ledger.deliver(wallet, wrong, of="p")
    assert Entry.objects.count() == before
    assert standings(wallet, first, second) == [(130, 0), (0, 0), (0, 0)]


@pytest.mark.django_db(transaction=True)
def test_a_thousand_lines_are_quick(wallet):
    takers = made(1000)
    buy(wallet, 10_000, "p")
    with connection.cursor() as cursor:  # as a database that is in use
        cursor.execute("""SELECT credits_grant(id, 'purchase', 'issued', 1, 'own', '', NULL, 'paid',
            50::smallint, NULL, NULL, 1) FROM credits_wallet""")
        cursor.execute("ANALYZE")
    lines = [ledger.Line(taker.pk, 10, f"l:{taker.pk}") for taker in takers]
    began = time.perf_counter()
    for start in range(0, 1000, 100):
        ledger.deliver(wallet, lines[start : start + 100], of="p")
    took = time.perf_counter() - began
    assert standings(wallet, takers[-1]) == [(1, 0), (11, 0)]
    assert took < 4  # about a second where nothing else runs
    began = time.perf_counter()
    entry = ledger.revoke(wallet, 10_000, of="p", key="r", kind="refund")
    assert time.perf_counter() - began < 4
    assert (entry.amount, entry.owed) == (-10_000, 0)


# At once


@pytest.mark.django_db(transaction=True)
def test_refunds_claims_and_deliveries_at_once_wait_for_nobody_in_a_circle(at_once):
    wallets = made(6)
    for number, wallet in enumerate(wallets):
        buy(wallet, 500, f"p:{number}")
    only = ledger.Giftable(regift=True)

    def mix(index: int) -> str:
        chance = random.Random(index)
        for step in range(12):
            giver, taker, third = chance.sample(range(6), 3)
            key = f"{index}:{step}"
            try:
                if step % 4 == 0:
                    ledger.revoke(
                        wallets[giver], 20, of=f"p:{giver}", key=f"{key}:r", kind="refund"
                    )
                elif step % 4 == 1:
                    lines = [
                        ledger.Line(wallets[other].pk, 5, f"{key}:{other}")
                        for other in (taker, third)
                    ]
                    ledger.deliver(wallets[giver], lines, of=f"p:{giver}")
                else:
                    sent = ledger.send(wallets[giver], 15, key=key, only=only)
                    with transaction.atomic():
                        ledger.lock([wallets[taker], wallets[giver]])
                        ledger.receive(wallets[taker], sent, key=f"{key}:in")
            except (errors.NotGiftable, errors.CreditsOwed, errors.MoreThanGranted):
                pass
            except errors.TransferArrived:
                pass  # a refund was first
        return "done"

    # None was ended for a deadlock and tried again either.
    ledger_tries, ledger.TRIES = ledger.TRIES, 1
    try:
        assert at_once(16, mix) == ["done"] * 16
    finally:
        ledger.TRIES = ledger_tries
    owed = sum(Wallet.objects.values_list("owed", flat=True))
    balance = sum(Wallet.objects.values_list("balance", flat=True))
    on_the_way = sum(Transfer.objects.filter(to_wallet=None).values_list("amount", flat=True))
    refunds = Entry.objects.filter(kind="refund").values_list("amount", "owed")
    assert balance - owed + on_the_way == 3000 - sum(owed - amount for amount, owed in refunds)


# What was given before lots knew where they began


def test_lots_of_before_are_told_where_they_began(three):
    ada, bob, cleo = three
    buy(ada, 30, "soon", expires_at=timezone.now() + timedelta(days=3))
    buy(ada, 50, "later")
    give(ada, bob, 40, "a")  # of both
    give(bob, cleo, 35, "b", regift=True)  # and on
    ledger.receive(ada, ledger.send(ada, 20, key="c"), key="back")
    known = sorted(Lot.objects.values_list("pk", "origin_wallet_id", "origin_lot_id"))
    assert sum(lot is not None for _pk, _wallet, lot in known) == 5
    Lot.objects.update(origin_wallet_id=None, origin_lot_id=None)
    with connection.cursor() as cursor:
        cursor.execute(ORIGINS.read_text())
    assert sorted(Lot.objects.values_list("pk", "origin_wallet_id", "origin_lot_id")) == known
