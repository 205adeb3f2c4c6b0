"""Spending more than there is, up to a limit: what is missing is owed, and repaid first."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from credits import errors, ledger, revenue, statement
from credits.models import Draw, Entry, Lot, Wallet
from tests.credits.test_expiry import kinds, pass_time

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def buy(wallet, amount, key, **terms) -> Entry:
    return ledger.grant(wallet, amount, key=key, kind="purchase", paid=amount, **terms)


def give(wallet, amount, key) -> Entry:
    return ledger.grant(wallet, amount, key=key, kind="promotion", category="promotional")


def spend(wallet, amount, key="s", owe_up_to=100) -> Entry:
    return ledger.spend(wallet, amount, key=key, owe_up_to=owe_up_to)


def standing(wallet) -> tuple[int, int]:
    now = ledger.standing(wallet.user)
    return now.balance, now.owed


def overspent(wallet) -> int:
    return Wallet.objects.get(pk=wallet.pk).overspent


def repayments() -> list[tuple[str, int, int]]:
    found = Entry.objects.filter(owed__lt=0).order_by("id")
    return list(found.values_list("kind", "amount", "owed"))


# --- How much, and whether --------------------------------------------------------------------


def test_what_is_there_is_taken_in_order_and_the_rest_is_owed(wallet, staff):
    bought, given = buy(wallet, 20, "b"), give(wallet, 10, "g")
    entry = ledger.spend(wallet, 100, key="s", note="A film", actor=staff, owe_up_to=70)
    assert (entry.kind, entry.account, entry.amount, entry.owed, entry.balance) == (
        "spend", "spent", -30, 70, 0,
    )  # fmt: skip
    assert (entry.note, entry.actor) == ("A film", staff)
    drawn = Draw.objects.filter(entry_id=entry.pk).order_by("lot_id")
    lots = {lot.entry_id: lot.pk for lot in Lot.objects.all()}
    assert list(drawn.values_list("lot_id", "amount", "paid")) == [
        (lots[bought.pk], 20, 20),
        (lots[given.pk], 10, 0),
    ]
    assert standing(wallet) == (0, 70)


def test_with_nothing_there_all_of_it_is_owed(wallet):
    entry = spend(wallet, 100)
    assert (entry.amount, entry.owed, entry.balance) == (0, 100, 0)
    assert standing(wallet) == (0, 100)


def test_never_past_the_limit(wallet):
    buy(wallet, 10, "b")
    spend(wallet, 60, "s1")  # owes 50
    before = list(Entry.objects.values())
    with pytest.raises(errors.InsufficientCredits) as refused:
        spend(wallet, 51, "s2")
    assert (refused.value.available, refused.value.needed) == (0, 51)
    assert list(Entry.objects.values()) == before
    assert standing(wallet) == (0, 50)
    spend(wallet, 50, "s2")  # a refused key is free
    assert standing(wallet) == (0, 100)
    with pytest.raises(errors.InsufficientCredits):
        spend(wallet, 1, "s3")
    with pytest.raises(errors.InsufficientCredits):
        spend(wallet, 1, "s3", owe_up_to=0)
    assert standing(wallet) == (0, 100)


def test_what_a_clawback_left_owed_counts_for_the_limit(wallet):
    buy(wallet, 80, "b")
    ledger.spend(wallet, 80, key="s1")
    ledger.revoke(wallet, 80, of="b", key="r", kind="refund")
    with pytest.raises(errors.InsufficientCredits):
        spend(wallet, 21, "s2")
    spend(wallet, 20, "s2")
    assert (standing(wallet), overspent(wallet)) == ((0, 100), 20)


def test_what_is_there_can_be_spent_whatever_is_owed(wallet):
    buy(wallet, 80, "b")
    give(wallet, 30, "g")
    ledger.spend(wallet, 80, key="s1")  # the 30, which expire, and 50
    give(wallet, 9, "g2")
    ledger.revoke(wallet, 80, of="b", key="r", kind="refund")
    assert standing(wallet) == (9, 50)
    assert spend(wallet, 5, "s2", owe_up_to=0).owed == 0
    assert spend(wallet, 4, "s3", owe_up_to=10).owed == 0
    with pytest.raises(errors.InsufficientCredits):
        spend(wallet, 1, "s4", owe_up_to=50)
    assert standing(wallet) == (0, 50)


def test_without_a_limit_nothing_is_owed(wallet):
    buy(wallet, 10, "b")
    for refused in (
        lambda: ledger.spend(wallet, 11, key="s"),
        lambda: ledger.spend(wallet, 11, key="s", owe_up_to=0),
    ):
        with pytest.raises(errors.InsufficientCredits) as info:
            refused()
        assert (info.value.available, info.value.needed) == (10, 11)
    assert kinds() == [("purchase", 10)]


def test_what_is_held_or_expired_is_not_there(wallet):
    buy(wallet, 10, "b")
    buy(wallet, 5, "e", expires_at=datetime.now(UTC) + HOUR, priority=100)
    ledger.hold(wallet, 6, key="h", expires_in=timedelta(hours=24))
    pass_time(hours=2)
    entry = spend(wallet, 20)
    assert (entry.amount, entry.owed) == (-4, 16)
    assert kinds() == [("purchase", 10), ("purchase", 5), ("expiry", -5), ("spend", -4)]
    assert ledger.standing(wallet.user) == ledger.Standing(balance=6, held=6, owed=16)


@pytest.mark.parametrize("limit", [-1, True, 1.0, "1", None, 2**53])
def test_a_limit_is_a_whole_number(wallet, limit):
    buy(wallet, 10, "b")
    with pytest.raises(errors.InvalidTerms):
        spend(wallet, 1, owe_up_to=limit)
    assert standing(wallet) == (10, 0)


def test_the_key_stands_for_what_was_asked_and_not_for_how_it_was_split(wallet):
    buy(wallet, 30, "b")
    first = spend(wallet, 100)
    buy(wallet, 500, "b2")  # 70 of them repay it
    for limit in (100, 0, 2**53 - 1):
        assert spend(wallet, 100, owe_up_to=limit) == first
    for other in (30, 70, 99):
        with pytest.raises(errors.KeyReused):
            spend(wallet, other)
    whole = spend(wallet, 40, "s2")
    assert spend(wallet, 40, "s2", owe_up_to=0) == whole
    assert standing(wallet) == (390, 0)


def test_only_a_spend_may_owe(wallet):
    for verb in (
        lambda: ledger.adjust(wallet, -1, key="k", note="", actor=None),
        lambda: ledger.send(wallet, 1, key="k"),
        lambda: ledger.hold(wallet, 1, key="k", expires_in=HOUR),
    ):
        with pytest.raises(errors.InsufficientCredits):
            verb()
    with pytest.raises(TypeError):
        ledger.adjust(wallet, -1, key="k", note="", actor=None, owe_up_to=5)
    assert kinds() == []


def test_who_owes_sends_nothing(wallet):
    give(wallet, 10, "g")
    hold = ledger.hold(wallet, 10, key="h", expires_in=HOUR)
    spend(wallet, 5)
    ledger.release(hold)
    with pytest.raises(errors.CreditsOwed) as refused:
        ledger.send(wallet, 1, key="t")
    assert refused.value.owed == 5
    assert standing(wallet) == (10, 5)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credits_wallet SET overspent = -1",
        "UPDATE credits_wallet SET overspent = owed + 1",
        "UPDATE credits_wallet SET owed = owed - 1",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT id, 'spend', 'spent', 0, 0, 0, 'k', '' FROM credits_wallet",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT id, 'spend', 'spent', -1, -1, 0, 'k', '' FROM credits_wallet",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT id, 'spend', 'spent', 1, 2, 0, 'k', '' FROM credits_wallet",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT id, 'spend_repaid', 'revoked', -1, -1, 0, 'k', '' FROM credits_wallet",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT id, 'spend_repaid', 'spent', -1, 0, 0, 'k', '' FROM credits_wallet",
    ],
)
def test_the_database_refuses_what_makes_no_sense(wallet, statement):
    spend(wallet, 10)
    before = list(Entry.objects.values())
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert list(Entry.objects.values()) == before


# --- Paying it back ---------------------------------------------------------------------------


@pytest.mark.parametrize("income", [buy, give])
def test_the_next_credits_in_repay_it_by_an_entry_of_their_own(wallet, income):
    spend(wallet, 10)
    entry = income(wallet, 15, "q")
    repaid = Entry.objects.order_by("-id")[0]
    assert (repaid.kind, repaid.account, repaid.amount, repaid.owed, repaid.balance) == (
        "spend_repaid", "spent", -10, -10, 5,
    )  # fmt: skip
    assert repaid.about_id == entry.pk
    assert (standing(wallet), overspent(wallet)) == ((5, 0), 0)
    assert income(wallet, 15, "q") == entry
    assert standing(wallet) == (5, 0)


def test_it_is_repaid_in_parts(wallet):
    spend(wallet, 100)
    for number in range(3):
        buy(wallet, 30, f"q{number}")
    assert (standing(wallet), overspent(wallet)) == ((0, 10), 10)
    buy(wallet, 30, "q3")
    assert (standing(wallet), overspent(wallet)) == ((20, 0), 0)
    assert repayments() == [("spend_repaid", -30, -30)] * 3 + [("spend_repaid", -10, -10)]


def test_what_a_clawback_left_owed_is_repaid_before_it(wallet):
    buy(wallet, 40, "b")
    spend(wallet, 100, "s")  # owes 60
    ledger.revoke(wallet, 40, of="b", key="r", kind="refund")  # and 40
    assert (standing(wallet), overspent(wallet)) == ((0, 100), 60)
    buy(wallet, 70, "q")
    assert (standing(wallet), overspent(wallet)) == ((0, 30), 30)
    assert repayments() == [("repayment", -40, -40), ("spend_repaid", -30, -30)]


def test_a_restoral_undoes_its_own_debt_first(wallet):
    buy(wallet, 40, "b")
    spend(wallet, 100, "s")
    ledger.revoke(wallet, 40, of="b", key="r", kind="dispute")
    ledger.restore(wallet, 40, of="b", key="won")
    assert (standing(wallet), overspent(wallet)) == ((0, 60), 60)
    assert repayments() == [("repayment", -40, -40)]


def test_what_paid_for_it_is_owed_again_when_it_is_refunded(wallet):
    spend(wallet, 60)
    buy(wallet, 100, "b")
    entry = ledger.revoke(wallet, 100, of="b", key="r", kind="refund")
    assert (entry.amount, entry.owed) == (-40, 60)
    assert (standing(wallet), overspent(wallet)) == ((0, 60), 0)


def test_what_a_hold_gives_back_repays_it_if_it_was_bought(wallet):
    buy(wallet, 3, "b")
    give(wallet, 10, "g")
    hold = ledger.hold(wallet, 13, key="h", expires_in=HOUR)
    spend(wallet, 5)
    ledger.release(hold)
    assert (standing(wallet), overspent(wallet)) == ((10, 2), 2)
    assert repayments() == [("spend_repaid", -3, -3)]
    spend(wallet, 10, "s2", owe_up_to=0)
    assert (standing(wallet), overspent(wallet)) == ((0, 2), 2)


def test_a_hold_that_lapses_repays_it_on_the_page_and_in_the_books(wallet):
    buy(wallet, 10, "b")
    ledger.hold(wallet, 10, key="h", expires_in=HOUR)
    spend(wallet, 7)
    pass_time(hours=2)
    assert ledger.standing(wallet.user) == ledger.Standing(balance=3)
    now, parts = statement.spendable(wallet.user)
    assert now == ledger.Standing(balance=3)
    assert [part.credits for part in parts] == [3]
    ledger.expire_due()
    assert ledger.standing(wallet.user) == ledger.Standing(balance=3)
    assert statement.spendable(wallet.user) == (now, parts)


# --- What it means ----------------------------------------------------------------------------


def test_money_that_came_after_the_spending_is_earned_and_not_clawed_back(wallet):
    spend(wallet, 60)
    (month,) = revenue.months()
    assert (month.spent, month.earned, month.outstanding) == (0, 0, 0)
    buy(wallet, 100, "b")
    (month,) = revenue.months()
    assert (month.sold, month.spent, month.clawed_back, month.outstanding) == (100, 60, 0, 40)
    assert (month.sold_cents, month.earned_by_spending, month.returned, month.deferred) == (
        100, 60, 0, 40,
    )  # fmt: skip


def test_credits_are_used_on_the_day_that_they_leave_the_balance(wallet):
    buy(wallet, 30, "b")
    spend(wallet, 100)
    (today,) = statement.daily_balances(wallet, 1)
    assert (today.balance, today.used, today.returned) == (0, 30, 0)
    buy(wallet, 90, "b2")
    (today,) = statement.daily_balances(wallet, 1)
    assert (today.balance, today.used, today.bought, today.returned) == (20, 100, 120, 0)


def test_the_history_tells_what_left_and_what_is_owed(wallet):
    buy(wallet, 30, "b")
    spend(wallet, 100)
    buy(wallet, 90, "b2")
    shown = statement.history(wallet, statement.Filter()).lines
    assert [(line.kind, line.amount, line.owed, line.balance) for line in shown] == [
        ("spend_repaid", -70, -70, 20),
        ("purchase", 90, 0, 90),
        ("spend", -30, 70, 0),
        ("purchase", 30, 0, 30),
    ]
