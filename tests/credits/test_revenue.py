"""The report reconciles to the cent and the credit, whatever has happened."""

import csv
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.utils import timezone

from accounts.models import User
from credits import errors, ledger, revenue
from credits.models import Entry, MonthTotal
from credits.revenue import Month

pytestmark = pytest.mark.django_db
PAGE = "/admin/credits/entry/revenue/"
CSV = "/admin/credits/entry/revenue.csv"


def query(statement: str, values: list | None = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return int(row[0])


def move_back(entry: Entry, months: int) -> None:
    """As if it had been booked in the middle of an earlier month."""
    now = timezone.now()
    count = now.year * 12 + now.month - 1 - months
    back = datetime(count // 12, count % 12 + 1, 15, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE credits_entry SET created_at = %s WHERE id = %s", [back, entry.pk])
        cursor.execute("SET LOCAL session_replication_role = origin")


def test_each_kind_is_in_its_column(wallet, other_user, staff):
    other = ledger.wallet_of(other_user)
    soon = timezone.now() + timedelta(milliseconds=100)
    ledger.grant(wallet, 1000, key="p", kind="purchase", paid=950)
    ledger.grant(wallet, 100, key="r", kind="renewal", paid=80)
    ledger.grant(wallet, 50, key="f", kind="promotion", category="promotional")
    ledger.grant(wallet, 30, key="e", kind="purchase", paid=27, expires_at=soon)
    ledger.adjust(wallet, 7, key="up", note="", actor=staff)
    query("SELECT count(*) FROM (SELECT pg_sleep(0.11)) AS s")
    ledger.expire_due()
    ledger.spend(wallet, 57, key="s1")  # all that is free
    ledger.spend(wallet, 100, key="s2")  # 95 cents
    ledger.adjust(wallet, -10, key="down", note="", actor=staff)  # 9 or 10 cents
    ledger.revoke(wallet, 100, of="r", key="refund", kind="refund")  # 80 cents
    ledger.restore(wallet, 50, of="r", key="won")  # 40 of them
    ledger.receive(other, ledger.send(wallet, 40, key="t1"), key="t1")
    ledger.send(wallet, 60, key="t2")

    (month,) = revenue.months()
    by_adjustment = month.earned_by_adjustment
    assert by_adjustment in (9, 10)
    assert month == Month(
        start=timezone.now().date().replace(day=1),
        sold=1130,
        granted=57,
        spent=157,
        expired=30,
        clawed_back=50,
        adjusted_down=10,
        outstanding=940,
        in_escrow=60,
        sold_cents=1057,
        earned_by_spending=95,
        earned_by_expiry=27,
        earned_by_adjustment=by_adjustment,
        returned=40,
        deferred=1057 - 95 - 27 - by_adjustment - 40,
    )


def test_it_reconciles_over_a_random_history(monkeypatch):
    chance = random.Random(20261101)
    users = [User.objects.create_user(f"u{number}@example.com") for number in range(4)]
    wallets = [ledger.wallet_of(user) for user in users]
    granted: list[tuple] = []
    sent: list = []
    for step in range(400):
        wallet = chance.choice(wallets)
        before = Entry.objects.count()
        try:
            happen(chance, step, wallet, granted, sent)
        except errors.LedgerError:
            continue
        months = chance.randint(0, 30)
        for entry in Entry.objects.order_by("id")[before:]:
            move_back(entry, months)
    for entry in once_of_each(wallets[0], ledger.wallet_of(users[1])):
        move_back(entry, chance.randint(0, 30))
    kinds = set(Entry.objects.values_list("kind", flat=True))
    assert kinds == {
        "purchase", "renewal", "promotion", "gift_sent", "gift_received", "gift_returned", "spend",
        "refund", "dispute", "restoral", "repayment", "expiry", "adjustment",
    }  # fmt: skip
    query("SELECT count(*) FROM (SELECT pg_sleep(0.07)) AS s")  # the last lot to expire has
    ledger.expire_due()

    found = revenue.months()
    assert len(found) == 31
    previous = Month(date.min)
    for month in found:
        assert month.deferred == (
            previous.deferred + month.sold_cents - month.earned - month.returned
        )
        assert month.outstanding == (
            previous.outstanding + month.sold + month.granted
            - month.spent - month.expired - month.clawed_back - month.adjusted_down
        )  # fmt: skip
        previous = month
    standings = [ledger.standing(user) for user in users]
    assert found[-1].outstanding - found[-1].in_escrow == sum(
        standing.available + standing.held for standing in standings
    )
    assert found[-1].in_escrow == query(
        "SELECT coalesce(sum(amount), 0) FROM credits_transfer WHERE to_wallet_id IS NULL"
    )
    # What is left in lots, and what is in escrow: not by the report's own sums.
    in_lots = query("SELECT sum(div(paid::numeric * (remaining + held), amount)) FROM credits_lot")
    in_escrow = query("""
        SELECT coalesce(sum(d.paid), 0) FROM credits_transfer t
            JOIN credits_draw d ON d.wallet_id = t.wallet_id AND d.entry_id = t.entry_id
        WHERE t.to_wallet_id IS NULL""")
    assert in_escrow > 0
    assert found[-1].deferred == in_lots + in_escrow
    assert sum(month.sold_cents for month in found) == query(
        "SELECT sum(l.paid) FROM credits_lot l JOIN credits_entry e ON e.id = l.entry_id"
        " WHERE e.account = 'issued'"
    )
    # Closed months are kept, and come out the same.
    assert MonthTotal.objects.exists()
    assert revenue.months() == found
    MonthTotal.objects.all().delete()
    assert revenue.months() == found


def happen(chance, step, wallet, granted, sent) -> None:
    key, amount = f"k{step}", chance.randint(1, 60)
    match chance.choice(VERBS):
        case "sell":
            kind = chance.choice(["purchase", "renewal"])
            soon = timezone.now() + timedelta(milliseconds=chance.randint(1, 60))
            ledger.grant(
                wallet, amount, key=key, kind=kind, paid=chance.randint(0, 99),
                expires_at=chance.choice([ledger.NEVER, ledger.NEVER, soon]),
            )  # fmt: skip
            granted.append((wallet, key, amount))
        case "promote":
            ledger.grant(wallet, amount, key=key, kind="promotion", category="promotional")
        case "spend":
            ledger.spend(wallet, amount, key=key)
        case "adjust":
            ledger.adjust(wallet, chance.choice([1, -1]) * amount, key=key, note="", actor=None)
        case "revoke" if granted:
            of, grant, whole = chance.choice(granted)
            kind = chance.choice(["refund", "dispute"])
            ledger.revoke(of, chance.randint(1, whole), of=grant, key=key, kind=kind)
        case "restore" if granted:
            of, grant, whole = chance.choice(granted)
            ledger.restore(of, chance.randint(1, whole), of=grant, key=key)
        case "hold":
            held = ledger.hold(wallet, amount, key=key, expires_in=timedelta(hours=1))
            if chance.random() < 0.6:
                ledger.capture(held, chance.randint(1, amount))
        case "send":
            sent.append((wallet, ledger.send(wallet, amount, key=key)))
        case "receive" if sent:
            sender, transfer = sent.pop()
            ledger.receive(chance.choice([wallet, sender]), transfer, key=key)
        case "expire":
            ledger.expire_due()


def once_of_each(wallet, other) -> list[Entry]:
    """What chance may have left out."""
    before = Entry.objects.count()
    soon = timezone.now() + timedelta(milliseconds=20)
    ledger.grant(wallet, 100_000, key="p", kind="renewal", paid=90_001)
    ledger.grant(wallet, 9, key="e", kind="purchase", paid=7, expires_at=soon, priority=100)
    ledger.receive(other, ledger.send(wallet, 33, key="t1"), key="t1")
    ledger.receive(wallet, ledger.send(wallet, 34, key="t2"), key="t2 back")
    query("SELECT count(*) FROM (SELECT pg_sleep(0.03)) AS s")
    ledger.expire_due()
    left = ledger.balance_of(wallet.user)
    ledger.spend(wallet, left - 50, key="s")
    ledger.revoke(wallet, 70, of="p", key="r", kind="dispute")  # owes some
    ledger.grant(wallet, 100, key="p2", kind="purchase", paid=99)  # and repays
    ledger.restore(wallet, 5, of="p", key="back")
    return list(Entry.objects.order_by("id")[before:])


VERBS = [
    "sell", "sell", "sell", "promote", "spend", "spend", "adjust", "revoke", "revoke", "restore",
    "restore", "hold", "send", "send", "receive", "expire",
]  # fmt: skip


def test_a_month_is_kept_once_it_is_closed(wallet):
    entry = ledger.grant(wallet, 100, key="g", kind="purchase", paid=95)
    month = entry.created_at.date().replace(day=1)
    end = datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)

    revenue.months(now=end + revenue.SETTLED)
    assert not MonthTotal.objects.exists()
    for _ in range(2):
        found = revenue.months(now=end + revenue.SETTLED + timedelta(seconds=1))
        kept = MonthTotal.objects.get()
        assert (kept.month, kept.kind, kept.is_in, kept.credits, kept.cost) == (
            month, "purchase", True, 100, 95,
        )  # fmt: skip
        assert [(month.sold, month.deferred) for month in found] == [(100, 95), (0, 95)]


def test_a_month_is_one_of_utc(wallet):
    entry = ledger.grant(wallet, 5, key="g", kind="purchase", paid=5)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE credits_entry SET created_at = '2025-12-31 23:59:59.9+00'")
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("SET LOCAL TimeZone = 'Pacific/Auckland'")
    assert revenue.months(now=datetime(2026, 1, 1, tzinfo=UTC))[0].start == date(2025, 12, 1)
    assert entry.pk


def test_nothing_booked_is_no_month(db):
    assert revenue.months() == []


# --- The pages --------------------------------------------------------------------------------


@pytest.fixture
def finance(client) -> User:
    user = User.objects.create_user("finance@example.com", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_revenue"))
    client.force_login(user)
    return user


@pytest.mark.parametrize("address", [PAGE, CSV])
def test_it_takes_the_permission(client, address):
    client.force_login(User.objects.create_user("helper@example.com", is_staff=True))
    assert client.get(address).status_code == 403


def test_the_page_shows_money_and_credits(client, finance, wallet):
    assert b"Nothing was booked" in client.get(PAGE).content
    ledger.grant(wallet, 12_345, key="g", kind="purchase", paid=987_654)
    ledger.spend(wallet, 2_345, key="s")
    page = client.get(PAGE).content.decode()
    for shown in ("$9,876.54", "$1,876.11", "$8,000.43", "12,345", "10,000", "<svg", "<polyline"):
        assert shown in page
    assert "style=" not in page
    assert PAGE in client.get("/admin/").content.decode()


def test_a_year_is_chosen(client, finance, wallet):
    move_back(ledger.grant(wallet, 10, key="g", kind="purchase", paid=100), 30)
    months = client.get(PAGE).context["months"]
    assert len(months) == 24
    year = revenue.months()[0].start.year
    chosen = client.get(PAGE, {"year": year}).context["months"]
    assert {month.start.year for month in chosen} == {year}
    assert client.get(PAGE, {"year": "1900"}).context["months"] == []
    assert len(client.get(PAGE, {"year": "'; DROP"}).context["months"]) == 24


def test_the_csv_has_numbers_and_months_only(client, finance, wallet):
    ledger.grant(wallet, 100, key="=1+1", kind="purchase", paid=95, note="=HYPERLINK(1)")
    ledger.revoke(wallet, 50, of="=1+1", key="r", kind="refund")
    response = client.get(CSV)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    header, row = csv.reader(response.content.decode().splitlines())
    assert dict(zip(header, row, strict=True)) == {
        "month": f"{timezone.now():%Y-%m}",
        "sold": "100",
        "granted_free": "0",
        "spent": "0",
        "expired": "0",
        "clawed_back": "50",
        "adjusted_down": "0",
        "outstanding": "50",
        "of_it_in_escrow": "0",
        "sold_cents": "95",
        "earned_by_spending_cents": "0",
        "earned_by_expiry_cents": "0",
        "earned_by_adjustment_cents": "0",
        "returned_cents": "48",
        "deferred_cents": "47",
    }
