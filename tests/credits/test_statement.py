import functools
import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from credits import ledger, statement
from credits.models import Kind, Lot
from credits.statement import Day, Expiry, Filter, Line, Part
from tests.credits.test_expiry import pass_time

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)


def at(moment: datetime, amount: int, kind: str = "spend", **values: object) -> int:
    """An entry of the one wallet there is at some time in the past; its id."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO credits_entry
                (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
            SELECT w.id, %(kind)s, 'spent', %(amount)s, 0,
                   coalesce((SELECT balance FROM credits_entry ORDER BY id DESC LIMIT 1), 0)
                   + %(amount)s, gen_random_uuid(), '', %(moment)s
            FROM credits_wallet w RETURNING id""".replace("'spent'", f"'{account_of(kind)}'"),
            {"kind": kind, "amount": amount, "moment": moment},
        )
        return cursor.fetchone()[0]


def account_of(kind: str) -> str:
    return str(ledger.ACCOUNT_OF[Kind(kind)])


@pytest.fixture
def past(wallet):
    """What a test writes into the past is gone before the books are checked."""
    with transaction.atomic():
        yield wallet
        transaction.set_rollback(True)


def fill(wallet, other, entries: int) -> None:
    """A purchase 40 days ago and so many spends since; in the other wallet many more of both.

    So by the statistics of the table purchases are common, and no wallet's entries are most of it.
    """
    at(datetime.now(UTC) - timedelta(days=40), 10_000_000, "purchase")
    for owner, count, purchase_each in (
        (wallet, entries, 2 * entries),
        (ledger.wallet_of(other), 9 * entries, 5),
    ):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO credits_entry
                    (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
                SELECT %s, kind, CASE kind WHEN 'spend' THEN 'spent' ELSE 'issued' END,
                       CASE kind WHEN 'spend' THEN -1 ELSE 1 END, 0, 10000000 - n, n::text, '',
                       now() - interval '40 days' * (1 - n / %s::float)
                FROM generate_series(1, %s) AS series (n)
                    CROSS JOIN LATERAL (SELECT CASE WHEN series.n %% %s = 0
                        THEN 'purchase' ELSE 'spend' END) AS kinds (kind)
                ORDER BY series.n""",
                [owner.pk, count, count, purchase_each],
            )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE credits_entry")


def ids(page: statement.Page) -> list[int]:
    return [line.id for line in page.lines]


# --- The history ------------------------------------------------------------------------------


def test_a_line_is_an_entry_with_what_was_paid(wallet):
    bought = ledger.grant(wallet, 500, key="p", kind="purchase", paid=475, note="Thanks")
    spent = ledger.spend(wallet, 30, key="s", note="A picture")
    assert statement.history(wallet, Filter()).lines == [
        Line(spent.pk, spent.created_at, "spend", "A picture", -30, 470, None),
        Line(bought.pk, bought.created_at, "purchase", "Thanks", 500, 500, 475),
    ]


def test_no_one_else_s_entries(wallet, other_user):
    other = ledger.wallet_of(other_user)
    ledger.grant(other, 500, key="p", kind="purchase")
    assert statement.history(wallet, Filter()) == statement.Page([])
    assert statement.history(wallet, Filter(kinds=("purchase",))) == statement.Page([])
    assert list(statement.export(wallet, Filter())) == []
    assert {day.balance for day in statement.daily_balances(wallet, 30)} == {0}
    assert statement.expiries(wallet) == ([], 0)


def test_pages_there_and_back_show_each_entry_once(past):
    entries = [at(NOON + timedelta(minutes=n), 1, "adjustment") for n in range(60)][::-1]
    first = statement.history(past, Filter())
    assert (ids(first), first.newer) == (entries[:25], None)
    second = statement.history(past, Filter(), before=first.older)
    assert ids(second) == entries[25:50]
    last = statement.history(past, Filter(), before=second.older)
    assert (ids(last), last.older) == (entries[50:], None)
    back = statement.history(past, Filter(), after=last.newer)
    assert (ids(back), back.newer, back.older) == (entries[25:50], entries[25], entries[49])
    # Newer than that is the newest page, which has no cursor.
    assert statement.history(past, Filter(), after=back.newer).is_stray


def test_a_page_stays_as_it_is_while_entries_arrive(past):
    entries = [at(NOON, 1, "adjustment") for _ in range(30)][::-1]
    first = statement.history(past, Filter())
    arrived = at(NOON, 1, "adjustment")
    second = statement.history(past, Filter(), before=first.older)
    assert ids(second) == entries[25:]
    assert ids(statement.history(past, Filter()))[0] == arrived


@pytest.mark.parametrize("cursor", [0, 1, 10**17])
def test_a_cursor_that_leads_nowhere_is_told(past, cursor):
    at(NOON, 1, "adjustment")
    is_beyond = cursor == 10**17
    assert statement.history(past, Filter(), before=cursor).is_stray is not is_beyond
    assert statement.history(past, Filter(), after=cursor).is_stray


def test_exactly_one_page_has_no_older_one(past):
    for _ in range(25):
        at(NOON, 1, "adjustment")
    page = statement.history(past, Filter())
    assert (len(page.lines), page.newer, page.older) == (25, None, None)


def test_kinds_and_days_together(past):
    at(NOON, 100, "purchase")
    at(NOON, -10)
    promotion = at(NOON + timedelta(days=1), 50, "promotion")
    spend = at(NOON + timedelta(days=1), -5)
    at(NOON + timedelta(days=2), 7, "promotion")
    day = date(2026, 3, 16)
    of = lambda *kinds, **days: ids(statement.history(past, Filter(kinds, **days)))  # noqa: E731
    assert of("promotion", "spend", first=day, last=day) == [spend, promotion]
    assert of("promotion", first=day, last=day) == [promotion]
    assert of("purchase", first=day) == []
    assert len(of("promotion", "purchase", last=day)) == 2
    assert len(of(first=day)) == 3


def test_pages_of_some_kinds(past):
    every = [at(NOON, 2, kind) for _ in range(20) for kind in ("promotion", "purchase", "renewal")]
    wanted = [entry for n, entry in enumerate(every) if n % 3][::-1]
    chosen = Filter(kinds=("purchase", "renewal"))
    first = statement.history(past, chosen)
    second = statement.history(past, chosen, before=first.older)
    assert ids(first) + ids(second) == wanted
    (exported,) = statement.export(past, chosen)
    assert exported[::-1] == first.lines + second.lines


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", datetime(2026, 3, 29, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2026, 3, 28, 15, tzinfo=UTC)),
        # The day on which its clocks go forward, of 23 hours.
        ("Europe/Berlin", datetime(2026, 3, 28, 23, tzinfo=UTC)),
    ],
)
def test_a_day_begins_and_ends_at_midnight_of_its_zone(past, zone, midnight):
    length = timedelta(hours=23 if zone == "Europe/Berlin" else 24)
    moment = timedelta(microseconds=1)
    at(midnight - moment, 1, "adjustment")
    first = at(midnight, 1, "adjustment")
    last = at(midnight + length - moment, 1, "adjustment")
    at(midnight + length, 1, "adjustment")
    day = date(2026, 3, 29)
    chosen = Filter(first=day, last=day, zone=ZoneInfo(zone))
    assert ids(statement.history(past, chosen)) == [last, first]


@pytest.mark.parametrize(("first", "last"), [(date.min, date.max), (None, date.max)])
def test_the_first_and_the_last_day_that_there_are(past, first, last):
    entry = at(NOON, 1, "adjustment")
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        chosen = Filter(first=first, last=last, zone=ZoneInfo(zone))
        assert ids(statement.history(past, chosen)) == [entry]


def test_days_in_the_wrong_order_are_no_days(past):
    at(NOON, 1, "adjustment")
    chosen = Filter(first=date(2026, 3, 16), last=date(2026, 3, 14))
    assert statement.history(past, chosen).lines == []


def test_the_export_is_oldest_first_and_in_batches(past, monkeypatch):
    monkeypatch.setattr(statement, "EXPORT_BATCH", 4)
    entries = [at(NOON, 1, "adjustment") for _ in range(10)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        batches = list(statement.export(past, Filter()))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [line.id for batch in batches for line in batch] == entries
    assert len(queries) == 4
    assert not any("CURSOR" in query["sql"].upper() for query in queries)


# --- By day -----------------------------------------------------------------------------------


def test_days_of_a_wallet_without_entries(wallet):
    days = statement.daily_balances(wallet, 30)
    today = datetime.now(UTC).date()
    assert days[0] == Day(today - timedelta(days=29), 0, 0, 0, 0)
    assert days[-1] == Day(today, 0, 0, 0, 0)
    assert len(days) == 30


def test_each_day_has_its_last_balance_and_what_moved(past):
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    today = noon.date()
    at(noon - timedelta(days=40), 1000, "purchase")
    at(noon - timedelta(days=4), 500, "renewal")
    at(noon - timedelta(days=4), -20)
    at(noon - timedelta(days=4), -30)
    at(noon - timedelta(days=2), -100, "expiry")
    at(noon - timedelta(days=2), 40, "promotion")
    at(noon - timedelta(days=1), -7)
    assert statement.daily_balances(past, 5) == [
        Day(today - timedelta(days=4), 1450, 500, 50, 0),
        Day(today - timedelta(days=3), 1450, 0, 0, 0),
        Day(today - timedelta(days=2), 1390, 0, 0, 0),
        Day(today - timedelta(days=1), 1383, 0, 7, 0),
        Day(today, 1383, 0, 0, 0),
    ]
    assert statement.daily_balances(past, 4)[0].balance == 1450


def test_what_was_bought_today_and_for_how_much(wallet):
    ledger.grant(wallet, 500, key="p", kind="purchase", paid=475)
    ledger.grant(wallet, 100, key="g", kind="promotion", category="promotional")
    ledger.grant(wallet, 2000, key="r", kind="renewal", paid=1800)
    ledger.spend(wallet, 60, key="s")
    (today,) = statement.daily_balances(wallet, 1)
    assert today == Day(today.date, 2540, 2500, 60, 2275)


def test_a_day_of_a_zone(past):
    zone = ZoneInfo("Pacific/Auckland")
    today = datetime.now(zone).date()
    at(datetime.now(UTC), 10, "purchase")
    days = statement.daily_balances(past, 2, zone)
    assert days == [Day(today - timedelta(days=1), 0, 0, 0, 0), Day(today, 10, 10, 0, 0)]


@pytest.mark.corrupts_the_books
def test_what_has_expired_and_is_not_booked_is_in_no_balance(user, wallet):
    soon = datetime.now(UTC) + timedelta(days=1)
    ledger.grant(wallet, 300, key="p", kind="promotion", category="promotional", expires_at=soon)
    ledger.grant(wallet, 100, key="b", kind="purchase")
    Lot.objects.filter(amount=300).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    (today,) = statement.daily_balances(wallet, 1)
    now = ledger.wallet_now(user)
    assert (today.balance, today.used) == (100, 0)
    assert (now.balance, now.held, now.owed) == (100, 0, 0)
    assert ledger.standing(user) == ledger.Standing(100, 0, 0)
    assert statement.expiries(wallet) == ([], 0)


def test_the_wallet_now_has_what_is_held_and_owed(user, wallet):
    assert ledger.wallet_now(user) == wallet
    ledger.grant(wallet, 100, key="p", kind="purchase")
    ledger.hold(wallet, 30, key="h", expires_in=timedelta(hours=1))
    ledger.revoke(wallet, 100, of="p", key="r", kind="refund")
    now = ledger.wallet_now(user)
    assert (now.pk, now.balance, now.held, now.owed) == (wallet.pk, 30, 30, 30)


def test_there_is_no_wallet_before_the_first_entry(other_user):
    assert ledger.wallet_now(other_user) is None


def days_of(*used: int, balance: int = 100) -> list[Day]:
    return [Day(date(2026, 1, 1), balance, 0, count, 0) for count in used]


def test_days_left_go_by_what_was_used_since_the_beginning():
    assert statement.days_left(days_of(*[10] * 30), 100) == 10
    assert statement.days_left(days_of(*[10] * 30), 99) == 9
    assert statement.days_left(days_of(*[10] * 30), 5) == 0
    before = days_of(*[0] * 20, balance=0)
    assert statement.days_left(before + days_of(*[10] * 10), 100) == 10


def test_days_left_are_not_told_without_use_or_within_a_week():
    assert statement.days_left(days_of(*[0] * 30), 100) is None
    before = days_of(*[0] * 24, balance=0)
    assert statement.days_left(before + days_of(*[10] * 6), 100) is None
    assert statement.days_left(before, 0) is None


# --- What expires -----------------------------------------------------------------------------


def test_what_expires_soonest_is_first_and_equal_moments_are_one(wallet):
    now = datetime.now(UTC)
    for n, days in enumerate([5, 3, 3, 9, 7, 11, 13]):
        ledger.grant(
            wallet, 10 + n, key=f"g{n}", kind="promotion", category="promotional",
            expires_at=now + timedelta(days=days),
        )  # fmt: skip
    ledger.grant(wallet, 1000, key="p", kind="purchase")
    shown, later = statement.expiries(wallet)
    assert shown == [
        Expiry(now + timedelta(days=3), 11 + 12),
        Expiry(now + timedelta(days=5), 10),
        Expiry(now + timedelta(days=7), 14),
        Expiry(now + timedelta(days=9), 13),
    ]
    assert later == 15 + 16


def test_what_is_spent_or_held_does_not_expire(wallet):
    soon = datetime.now(UTC) + timedelta(days=1)
    ledger.grant(wallet, 50, key="g", kind="promotion", category="promotional", expires_at=soon)
    ledger.spend(wallet, 20, key="s")
    assert statement.expiries(wallet) == ([Expiry(soon, 30)], 0)
    ledger.hold(wallet, 30, key="h", expires_in=timedelta(hours=1))
    assert statement.expiries(wallet) == ([], 0)


def test_what_can_be_spent_by_until_when(user, wallet):
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (1, 9))
    ledger.grant(wallet, 100, key="p", kind="purchase")
    for key, priority in (("1", 50), ("2", 0)):
        ledger.grant(wallet, 30, key=key, kind="purchase", expires_at=later, priority=priority)
    for key, at in (("3", soon), ("4", later), ("5", ledger.NEVER)):
        ledger.grant(wallet, 20, key=key, kind="promotion", category="promotional", expires_at=at)
    ledger.hold(wallet, 34, key="h", expires_in=timedelta(hours=1))  # all of "2", some of "3"
    ledger.spend(wallet, 1, key="s")
    assert statement.spendable(user) == (
        ledger.Standing(balance=219, held=34),
        [
            Part(soon, "promotional", 15),
            Part(later, "promotional", 20),
            Part(later, "paid", 30),
            Part(None, "promotional", 20),
            Part(None, "paid", 100),
        ],
    )
    pass_time(hours=2)  # the hold lapses
    assert [part.credits for part in statement.spendable(user)[1]] == [19, 20, 60, 20, 100]
    pass_time(days=1)
    now, parts = statement.spendable(user)
    assert now == ledger.Standing(balance=200)
    assert [part.credits for part in parts] == [20, 60, 20, 100]
    ledger.expire_due()
    assert statement.spendable(user) == (now, parts)


def test_who_has_nothing_can_spend_nothing(user, other_user):
    assert statement.spendable(other_user) == (ledger.Standing(), [])
    ledger.spend(ledger.wallet_of(user), 5, key="s", owe_up_to=5)
    assert statement.spendable(user) == (ledger.Standing(owed=5), [])


def test_what_can_be_spent_takes_one_query(user, wallet, django_assert_num_queries):
    ledger.grant(wallet, 100, key="p", kind="purchase")
    with django_assert_num_queries(1):
        statement.spendable(user)


# --- All of it --------------------------------------------------------------------------------


def test_an_overview_is_all_of_it_in_one_query(past, other_user, django_assert_num_queries):
    fill(past, other_user, 60)
    ledger.grant(past, 30, key="p", kind="promotion", category="promotional")
    zone = ZoneInfo("Pacific/Kiritimati")
    chosen = Filter(zone=zone)
    where = middle(past)
    with django_assert_num_queries(1):
        found = statement.overview(past.user, chosen, before=where, days=30, zone=zone)
    shown, later = statement.expiries(past)
    assert found.standing == ledger.standing(past.user)
    assert found.page == statement.history(past, chosen, before=where)
    assert None not in (found.page.older, found.page.newer)
    assert found.days == statement.daily_balances(past, 30, zone)
    assert (found.expiries, found.expiring_later) == (shown, later)
    assert [expiry.credits for expiry in shown] == [30]


def test_who_has_no_wallet_has_no_overview(wallet, other_user):
    ledger.grant(wallet, 100, key="g", kind="purchase")
    assert statement.overview(other_user, Filter(), days=30) is None


# --- What it costs ----------------------------------------------------------------------------


def buffers(call) -> int:
    """Pages of tables and indexes that the queries of a call look at."""
    with CaptureQueriesContext(connection) as queries:
        call()
    total = 0
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {query['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall()).split("Planning:")[0]
            found = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan)
            total += sum(int(count or 0) for count in found.groups()) if found else 0
    return total


QUESTIONS = {
    "the newest page": lambda w: statement.history(w, Filter()),
    "a page far down": lambda w: statement.history(w, Filter(), before=middle(w)),
    "back up": lambda w: statement.history(w, Filter(), after=middle(w)),
    "a kind that is rare": lambda w: statement.history(w, Filter(kinds=("purchase",))),
    "kinds that are not there": lambda w: statement.history(w, Filter(kinds=("gift_sent",))),
    "rare kinds together": lambda w: statement.history(w, Filter(("purchase", "refund"))),
    "many days long ago": lambda w: statement.history(w, days_ago(w, 39, 20)),
    "a day long ago": lambda w: statement.history(w, days_ago(w, 39, 38)),
    "a rare kind in many days": lambda w: statement.history(w, days_ago(w, 35, 0, "refund")),
    "an empty day": lambda w: statement.history(w, days_ago(w, 400, 390)),
    "two kinds from a day on": lambda w: statement.history(
        w, days_ago(w, 20, 0, "spend", "expiry")
    ),
    "30 days": lambda w: statement.daily_balances(w, 30),
    "all at once": lambda w: statement.overview(w.user, Filter(), days=30),
}


def middle(wallet) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (min(id) + max(id)) / 2 FROM credits_entry WHERE wallet_id = %s", [wallet.pk]
        )
        return cursor.fetchone()[0]


def days_ago(wallet, first: int, last: int, *kinds: str) -> Filter:
    today = datetime.now(UTC).date()
    return Filter(kinds, today - timedelta(days=first), today - timedelta(days=last))


def test_no_question_costs_more_with_tens_of_thousands_of_entries(past, other_user, monkeypatch):
    fill(past, other_user, 30_000)
    where = middle(past)
    monkeypatch.setitem(globals(), "middle", lambda wallet: where)
    cost = {name: buffers(functools.partial(ask, past)) for name, ask in QUESTIONS.items()}
    # Two looks for each day; dead rows of other tests make everything dearer alike.
    whole = buffers(lambda: list(past.entries.all()))
    assert 0 < cost.pop("30 days") < 0.8 * whole
    assert 0 < cost.pop("all at once") < 0.9 * whole
    assert {name: pages for name, pages in cost.items() if not 0 < pages < 100} == {}
