import csv
import io
import os
import re
import resource
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import chart, history
from billing.models import Mode, Purchase, Subscription
from credits import ledger
from credits.models import Lot, Wallet
from credits.numbers import MINUS
from credits.statement import Day

pytestmark = pytest.mark.django_db
NOTHING_MATCHES = "Nothing here matches"


@pytest.fixture
def buyer(client, user):
    """A signed-in client."""
    client.force_login(user)
    return client


def grant(wallet: Wallet, amount: int, kind: str = "purchase", **values: object):
    return ledger.grant(wallet, amount, key=str(uuid.uuid4()), kind=kind, **values)


def spend(wallet: Wallet, amount: int, note: str = ""):
    return ledger.spend(wallet, amount, key=str(uuid.uuid4()), note=note)


def lines(response) -> list[tuple[str, int]]:
    return [(row["line"].kind, row["line"].amount) for row in response.context["lines"]]


def text(response) -> str:
    """What one reads on a page."""
    main = response.content.decode().split("<main", 1)[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main))


def rows(response) -> list[dict[str, str]]:
    content = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(content, newline="")))


@pytest.fixture
def long_ago(wallet):
    """Writes entries with times of their own; they are gone before the books are checked."""

    def write(kind: str, amount: int, moment: datetime, count: int = 1) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")  # a million take as long as they do
            cursor.execute(
                """
                INSERT INTO credits_entry
                    (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
                SELECT %(wallet)s, %(kind)s, %(account)s, %(amount)s, 0,
                       coalesce((SELECT balance FROM credits_entry WHERE wallet_id = %(wallet)s
                                 ORDER BY id DESC LIMIT 1), 0) + %(amount)s * n,
                       gen_random_uuid(), 'note', %(moment)s + interval '1 ms' * n
                FROM generate_series(1, %(count)s) AS n ORDER BY n""",
                {
                    "wallet": wallet.pk,
                    "kind": kind,
                    "account": str(ledger.ACCOUNT_OF[kind]),
                    "amount": amount,
                    "moment": moment,
                    "count": count,
                },
            )
            cursor.execute("ANALYZE credits_entry")

    with transaction.atomic():
        yield write
        transaction.set_rollback(True)


# --- Who sees what ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/history.csv"])
def test_visitors_sign_in_first(client, path):
    response = client.get(f"{path}?kind=spend")
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={path}%3Fkind%3Dspend"


def test_somebody_else_s_entries_are_never_shown(buyer, wallet, other_user):
    other = ledger.wallet_of(other_user)
    grant(wallet, 100, note="mine")
    theirs = grant(other, 777, note="theirs")
    for path in ("", "?kind=purchase", f"?before={theirs.pk + 1}", "?from=2020-01-01"):
        page = buyer.get(f"/dashboard{path}")
        assert lines(page) == [("purchase", 100)]
        assert "777" not in text(page)
        assert "theirs" not in text(page)
    assert [row["note"] for row in rows(buyer.get("/dashboard/history.csv"))] == ["mine"]


def test_without_a_wallet_there_is_an_invitation_and_no_wallet_is_made(buyer):
    page = buyer.get("/dashboard")
    assert "No credits yet." in text(page)
    assert "Download CSV" not in text(page)
    assert page.context["balance"] == 0
    assert rows(buyer.get("/dashboard/history.csv")) == []
    assert not Wallet.objects.exists()


def test_nothing_of_it_is_cached(buyer):
    for path in ("/dashboard", "/dashboard/history.csv"):
        assert "no-store" in buyer.get(path)["Cache-Control"]
        assert buyer.post(path).status_code == 405


# --- The balance ------------------------------------------------------------------------------


def test_held_and_owed_are_shown_where_there_are_any(buyer, wallet):
    grant(wallet, 100, paid=100)
    assert "reserved" not in text(buyer.get("/dashboard"))
    assert "owed" not in text(buyer.get("/dashboard"))
    ledger.grant(wallet, 50, key="p", kind="purchase")
    ledger.hold(wallet, 120, key="h", expires_in=timedelta(hours=1))
    ledger.revoke(wallet, 50, of="p", key="r", kind="refund")
    page = text(buyer.get("/dashboard"))
    assert "0 credits" in page
    assert "120 reserved" in page
    assert "20 owed: the next credits you get repay it first." in page


def test_what_was_spent_on_debt_is_told_on_the_page_and_in_the_file(buyer, wallet):
    grant(wallet, 30, paid=30)
    ledger.spend(wallet, 1_530, key="s", note="A <film>", owe_up_to=1_500)
    page = text(buyer.get("/dashboard"))
    assert "Spent A &lt;film&gt; 1,500 credits added to what you owe" in page
    assert f"{MINUS}30" in page
    assert "1,500 owed: the next credits you get repay it first." in page
    grant(wallet, 1_600, paid=1_520)
    page = text(buyer.get("/dashboard"))
    assert "Owed spending repaid" in page
    assert "the next credits" not in page
    assert buyer.get("/dashboard").context["used"] == 1_530
    assert buyer.get("/dashboard").context["returned"] == 0
    assert [
        (row["kind"], row["credits"], row["balance"], row["owed"])
        for row in rows(buyer.get("/dashboard/history.csv"))
    ] == [
        ("purchase", "30", "30", "0"),
        ("spend", "-30", "0", "1500"),
        ("purchase", "1600", "1600", "0"),
        ("spend_repaid", "-1500", "100", "-1500"),
    ]


@pytest.mark.corrupts_the_books
def test_what_has_expired_is_in_no_balance(buyer, wallet):
    grant(wallet, 100)
    grant(wallet, 5000, "promotion", category="promotional")
    Lot.objects.filter(amount=5000).update(expires_at=timezone.now() - timedelta(seconds=1))
    page = buyer.get("/dashboard")
    assert page.context["balance"] == 100
    assert page.context["days"][-1].balance == 100
    assert page.context["chart"].levels[0].label == "100"
    assert "Expiring" not in text(page)


def test_what_expires_is_shown_and_only_then(buyer, wallet):
    grant(wallet, 100)
    assert "Expiring" not in text(buyer.get("/dashboard"))
    soon = datetime(2099, 5, 6, 7, 8, tzinfo=UTC)
    grant(wallet, 40, "promotion", category="promotional", expires_at=soon)
    page = text(buyer.get("/dashboard"))
    assert "Expiring" in page
    assert "6 May 2099, 07:08 40" in page


def test_thirty_days_in_figures(buyer, wallet, long_ago):
    noon = timezone.now().replace(hour=12)
    long_ago("purchase", 9000, noon - timedelta(days=20))
    long_ago("spend", -10, noon - timedelta(days=10), 100)
    page = buyer.get("/dashboard")
    context = page.context
    assert (context["used"], context["bought"], context["paid"]) == (1000, 9000, 0)
    # 21 days of history, 1,000 credits used in them; the wallet's row says 0.
    assert context["days_left"] == 0
    assert [day.balance for day in context["days"][8:12]] == [0, 9000, 9000, 9000]
    assert 'aria-label="Credits over the last 30 days: from 0 to 0, bought on 1 day."' in (
        page.content.decode()
    )


def test_the_chart_has_its_figures_behind_it(buyer, wallet):
    grant(wallet, 1234, paid=1172)
    spend(wallet, 34)
    page = buyer.get("/dashboard")
    content = page.content.decode()
    today = timezone.localdate()
    # As long as nobody looks at another day, and without scripts, today's is read out.
    reading = f"{today:%-d %b %Y}: 1,200 credits, 1,234 bought"
    assert f"data-reading>{reading}<" in content
    assert f'aria-valuetext="{reading}"' in content
    assert f'data-reading-of="{reading}"' in content
    table = content.split('<details class="data">', 1)[1].split("</table>", 1)[0]
    assert table.count("<tr>") == 31
    figures = re.sub(r"<[^>]+>", " ", table.split("<tr>")[2]).split()
    assert figures == [*f"{today:%-d %b %Y}".split(), "1,200", "1,234", "34"]
    assert re.search(r"Used, 30 days 34 Bought 1,234 Paid \$11\.72", text(page))
    assert "style=" not in content


def test_what_went_back_is_told_beside_what_was_paid(buyer, wallet):
    ledger.grant(wallet, 500, key="p", kind="purchase", paid=475)
    figures = "Used, 30 days 0 Bought 500 Paid"
    assert f"{figures} $4.75" in text(buyer.get("/dashboard"))
    assert "before refunds" not in text(buyer.get("/dashboard"))
    ledger.revoke(wallet, 105, of="p", key="r", kind="refund", note="Refund of $1.00")
    told = f"{figures}, before refunds $4.75 Taken back by refunds 105"
    assert told in text(buyer.get("/dashboard"))
    ledger.restore(wallet, 105, of="p", key="b")
    assert f"{figures} $4.75" in text(buyer.get("/dashboard"))


# --- The chart --------------------------------------------------------------------------------


def days_of(*balances: int) -> list[Day]:
    start = datetime(2026, 1, 1, tzinfo=UTC).date()
    return [
        Day(start + timedelta(days=index), balance, 0, 0, 0)
        for index, balance in enumerate(balances)
    ]


def test_the_line_goes_in_steps():
    drawn = chart.draw(days_of(0, 50, 100))
    assert (drawn.width, drawn.height) == (300, 1000)
    assert drawn.line == "M0 1000V1000H100V500H200V0H300"
    assert drawn.area == "M0 1000V1000H100V500H200V0H300V1000H0Z"
    assert [(level.y, level.label) for level in drawn.levels] == [
        (0, "100"), (500, "50"), (1000, "0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (1, ["1", "0"]),
        (7, ["8", "6", "4", "2", "0"]),
        (1234, ["1,500", "1,000", "500", "0"]),
        (13027, ["15k", "10k", "5k", "0"]),
        (9_000_000, ["10M", "5M", "0"]),
        (2**53 - 1, ["10,000T", "5,000T", "0"]),
    ],
)
def test_the_levels_are_round(most, labels):
    assert [level.label for level in chart.draw(days_of(0, most)).levels] == labels


# --- The history's filter ---------------------------------------------------------------------


def test_filters_combine(buyer, wallet, long_ago):
    noon = datetime(2026, 3, 15, 12, tzinfo=UTC)
    long_ago("purchase", 100, noon)
    long_ago("spend", -1, noon)
    long_ago("promotion", 50, noon + timedelta(days=1))
    long_ago("spend", -2, noon + timedelta(days=1))

    def shown(query: str) -> list[tuple[str, int]]:
        found = lines(buyer.get(f"/dashboard?{query}"))
        in_file = rows(buyer.get(f"/dashboard/history.csv?{query}"))
        assert [(row["kind"], int(row["credits"])) for row in in_file] == found[::-1]
        return found

    day = "from=2026-03-16&to=2026-03-16"
    assert len(shown("")) == 4
    assert shown(day) == [("spend", -2), ("promotion", 50)]
    assert shown(f"kind=spend&{day}") == [("spend", -2)]
    assert shown(f"kind=spend&kind=promotion&{day}") == [("spend", -2), ("promotion", 50)]
    assert shown("kind=purchase&to=2026-03-15") == [("purchase", 100)]
    assert shown("kind=purchase&from=2026-03-16") == []


def test_a_filter_that_nothing_passes_has_a_way_back(buyer, wallet):
    grant(wallet, 100)
    page = buyer.get("/dashboard?kind=refund")
    assert NOTHING_MATCHES in text(page)
    assert '<a class="btn" href="/dashboard#history">Show the whole history</a>' in (
        page.content.decode()
    )
    assert "Download CSV" not in text(page)
    assert "No credits yet" not in text(page)


@pytest.mark.parametrize(
    "query",
    [
        "before=x", "before=-1", "before=1.5", "before=", "before=%00", "before=٣",
        "before=99999999999999999999999", "after=x", "after=9e9", "before=1&before=x",
        "kind=", "kind=bogus", "kind=%00", "kind=SPEND", "kind[]=spend",
        "from=", "from=x", "from=2026-02-30", "from=20260101", "from=2026-W01-1", "to=0000-00-00",
        "to=٢٠٢٦-01-01", "to=2026-01-01T00:00", "from=1%27--", "to=%00", "from=0001-01-01",
        "to=9999-12-31", "from=0001-01-01&to=9999-12-31", "page=7", "%FF=%FE",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_left_out(buyer, wallet, query):
    grant(wallet, 100)
    page = buyer.get(f"/dashboard?{query}")
    assert page.status_code == 200
    assert lines(page) == [("purchase", 100)]
    assert len(rows(buyer.get(f"/dashboard/history.csv?{query}"))) == 1


def test_a_date_that_can_not_be_read_is_told(buyer, wallet):
    grant(wallet, 100)
    told = "A date was left out"
    assert told in text(buyer.get("/dashboard?from=1.2.2026"))
    assert told not in text(buyer.get("/dashboard?from=&to=2099-01-01"))


@pytest.mark.parametrize("cursor", ["before=1", "before=0", "after=0", "after=999999999999999999"])
@pytest.mark.parametrize("kind", ["", "kind=purchase&"])
def test_a_cursor_that_leads_nowhere_leads_to_the_newest(buyer, wallet, cursor, kind):
    grant(wallet, 100)
    response = buyer.get(f"/dashboard?{kind}{cursor}")
    assert (response.status_code, response["Location"]) == (
        302, f"/dashboard?{kind.rstrip('&')}#history",
    )  # fmt: skip
    assert lines(buyer.get(response["Location"])) == [("purchase", 100)]


def test_paging_keeps_the_filter_and_is_steady_while_entries_arrive(buyer, wallet):
    grant(wallet, 5000)
    for amount in range(1, 61):
        spend(wallet, amount)
    spends = [("spend", -amount) for amount in range(60, 0, -1)]
    first = buyer.get("/dashboard?kind=spend&from=2020-01-01")
    assert (lines(first), first.context["newer"]) == (spends[:25], None)
    assert first.context["older"].startswith("kind=spend&from=2020-01-01&before=")
    spend(wallet, 99)
    second = buyer.get(f"/dashboard?{first.context['older']}")
    assert lines(second) == spends[25:50]
    third = buyer.get(f"/dashboard?{second.context['older']}")
    assert (lines(third), third.context["older"]) == (spends[50:], None)
    assert lines(buyer.get(f"/dashboard?{third.context['newer']}")) == spends[25:50]
    back = buyer.get(f"/dashboard?{second.context['newer']}")
    assert lines(back) == spends[:25]
    newest = buyer.get(f"/dashboard?{back.context['newer']}", follow=True)
    assert lines(newest) == [("spend", -99), *spends[:24]]
    assert newest.request["QUERY_STRING"] == "kind=spend&from=2020-01-01"


def test_only_what_was_bought_has_a_price(buyer, wallet, other_user):
    grant(wallet, 500, paid=475)
    other = ledger.wallet_of(other_user)
    grant(other, 100, paid=100)
    transfer = ledger.send(other, 50, key="g")
    ledger.receive(wallet, transfer, key="g")
    page = buyer.get("/dashboard")
    assert [row["line"].paid for row in page.context["lines"]] == [None, 475]


def test_a_refund_leads_to_the_receipt_of_what_was_bought(buyer, wallet):
    bought = ledger.grant(wallet, 500, key="p", kind="purchase", paid=475)
    renewed = ledger.grant(wallet, 500, key="i", kind="renewal", paid=475)
    ledger.grant(wallet, 50, key="b", kind="promotion")
    for key in ("p", "i", "b"):
        ledger.revoke(wallet, 10, of=key, key=f"r{key}", kind="refund")
    page = buyer.get("/dashboard")
    assert [row["receipt"] for row in page.context["lines"]] == [
        f"/dashboard/receipts/{entry.pk}" if entry else ""
        for entry in (None, renewed, bought, None, renewed, bought)
    ]
    assert text(page).count("Receipt Refund") == 2
    assert text(page).count("Invoice Monthly renewal") == 1


def test_entries_are_counted_where_that_takes_no_count(buyer, wallet):
    grant(wallet, 100)
    assert "1 entry. Times" in text(buyer.get("/dashboard"))
    for _ in range(24):
        spend(wallet, 1)
    assert "25 entries. Times" in text(buyer.get("/dashboard"))
    spend(wallet, 1)
    first = buyer.get("/dashboard")
    assert "entries. Times" not in text(first)
    assert "entry. Times" not in text(buyer.get(f"/dashboard?{first.context['older']}"))


# --- The file ---------------------------------------------------------------------------------


def test_the_file(buyer, wallet):
    bought = grant(wallet, 1234, paid=1172, note="Thanks, “Ada”")
    spend(wallet, 34, note='A "picture",\nlarge')
    response = buyer.get("/dashboard/history.csv")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="credits-history.csv"'
    first, second = rows(response)
    assert first == {
        "time": bought.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kind": "purchase",
        "note": "Thanks, “Ada”",
        "credits": "1234",
        "balance": "1234",
        "paid_cents": "1172",
        "owed": "0",
    }
    assert (second["note"], second["credits"], second["paid_cents"]) == (
        'A "picture",\nlarge', "-34", "",
    )  # fmt: skip
    named = buyer.get("/dashboard/history.csv?from=2026-01-01&to=2026-01-31")
    assert (
        'filename="credits-history-from-2026-01-01-to-2026-01-31.csv"'
        in (named["Content-Disposition"])
    )


def test_head_reads_nothing(buyer, wallet):
    grant(wallet, 100)
    with CaptureQueriesContext(connection) as queries:
        response = buyer.head("/dashboard/history.csv")
        assert b"".join(response.streaming_content) == b""
    assert response.status_code == 200
    assert not any("credits_entry" in query["sql"] for query in queries)


@pytest.mark.parametrize(
    "note",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\tx", "\rx", "\nx", " =1",
        "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)", "\u3000\uff1d1", "\ufeff=1", "\u200b=1",
        "\xa0@x",
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(buyer, wallet, note):
    grant(wallet, 100, note=note)
    (row,) = rows(buyer.get("/dashboard/history.csv"))
    assert row["note"] == f"'{note}"
    assert int(row["credits"]) == 100


@pytest.mark.parametrize("note", ["", " ", "1-1", "a=b", "Größe", "'quoted'", "\u200b"])
def test_other_cells_are_as_they_were_written(note):
    assert history.inert(note) == note


ROWS = 1_000_000 if os.environ.get("LEDGER_FUZZ") == "long" else 200_000


# The tables are emptied after such a test: so many dead rows would slow down all that follow.
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_very_many_rows_stream_in_constant_memory(buyer, wallet, long_ago):
    long_ago("purchase", 10_000_000, timezone.now() - timedelta(days=20))
    long_ago("spend", -1, timezone.now() - timedelta(days=19), ROWS - 1)
    asked = 0

    def count(execute, *query):
        nonlocal asked
        asked += 1
        return execute(*query)

    with connection.execute_wrapper(count):
        start = time.perf_counter()
        response = buyer.get("/dashboard/history.csv")
        chunks = iter(response.streaming_content)
        found = next(chunks).count(b"\n") + next(chunks).count(b"\n")
        assert time.perf_counter() - start < 2  # seconds to the first rows
        before = most_memory()
        found += sum(chunk.count(b"\n") for chunk in chunks)
        assert most_memory() - before < 8 * 1024 * 1024
    assert found == ROWS + 1
    # Session, user, wallet; then one for each two thousand rows, and one that finds no more.
    assert asked == 3 + ROWS // 2000 + 1


def most_memory() -> int:
    """The most bytes that this process has ever taken."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# --- Queries ----------------------------------------------------------------------------------


def queries_of(client, path: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


PATHS = ["/dashboard", "/dashboard?kind=spend&kind=refund&from=2020-01-01&to=2099-01-01"]


@pytest.mark.parametrize("path", PATHS)
def test_the_dashboard_takes_eight_queries_however_much_there_is(buyer, user, wallet, path):
    def fill(times: int) -> None:
        for n in range(times):
            at = timezone.now() + timedelta(days=n + 1)
            grant(wallet, 50, "promotion", category="promotional", expires_at=at)
            grant(wallet, 100, paid=100)
            spend(wallet, 10)
            order(user, created_at=timezone.now())

    fill(3)
    assert queries_of(buyer, path) == 8
    fill(40)
    assert queries_of(buyer, path) == 8


def test_so_does_a_page_in_the_middle_of_a_long_history(buyer, wallet, long_ago):
    long_ago("purchase", 1_000_000, timezone.now() - timedelta(days=20))
    long_ago("spend", -1, timezone.now() - timedelta(days=19), 20_000)
    older = buyer.get("/dashboard").context["older"]
    assert queries_of(buyer, f"/dashboard?{older}") == 8


# --- Purchases and plans ----------------------------------------------------------------------


def order(user, **values: object) -> Purchase:
    return Purchase.objects.create(
        **{
            "user": user,
            "mode": Mode.PAYMENT,
            "credits": 1234,
            "unit_price_e4": 95,
            "total": 1172,
            "currency": "usd",
            "stripe_session_url": "https://checkout.stripe.com/c/pay/1",
            "created_at": timezone.now(),
        }
        | values
    )


def plan(user, status: str = "active", **values: object) -> Subscription:
    return Subscription.objects.create(
        **{
            "user": user,
            "stripe_id": f"sub_{uuid.uuid4()}",
            "status": status,
            "credits": 2000,
            "total": 1800,
            "currency": "usd",
            "fetched_at": timezone.now(),
        }
        | values
    )


def test_a_purchase_that_is_not_confirmed_asks_for_no_payment(buyer, user):
    order(user)
    page = buyer.get("/dashboard")
    words = text(page)
    assert "Not confirmed yet" in words
    assert "If you have paid, nothing more is needed" in words
    assert "A payment page can be paid once only" in words
    assert "Waiting for payment" not in words
    assert "Continue to payment" not in words
    assert '<a class="btn small quiet" href="https://checkout.stripe.com/c/pay/1">' in (
        page.content.decode()
    )


def test_a_day_later_its_page_is_closed(buyer, user):
    order(user, created_at=timezone.now() - timedelta(hours=24, seconds=1))
    page = buyer.get("/dashboard")
    assert "Not confirmed yet" in text(page)
    assert "checkout.stripe.com/c/pay" not in page.content.decode()
    assert "paid once" not in text(page)


@pytest.mark.parametrize(("status", "age"), [("paid", 0), ("expired", 0), ("failed", 14)])
def test_a_purchase_that_is_settled_is_not_open(buyer, user, status, age):
    order(user, status=status, created_at=timezone.now() - timedelta(days=age))
    assert "Open purchases" not in text(buyer.get("/dashboard"))


def test_a_bank_payment_under_way_is_shown_as_long_as_it_takes(buyer, user):
    purchase = order(user, status="settling", created_at=timezone.now() - timedelta(days=30))
    success = f"/credits/success?purchase={purchase.pk}"
    for path, words in (
        ("/dashboard", "Bank payment under way"),
        (success, "Your bank payment is under way"),
    ):
        page = buyer.get(path)
        assert words in text(page)
        assert "Not confirmed yet" not in text(page)
        assert "checkout.stripe.com" not in page.content.decode()
        assert "data-poll" not in page.content.decode()


def test_a_bank_payment_that_failed_is_told_with_a_way_on(buyer, user):
    order(user, status="failed", created_at=timezone.now() - timedelta(days=13))
    page = buyer.get("/dashboard")
    assert "Payment failed: the bank" in text(page)
    assert "Nothing was charged." in text(page)
    assert "If you have paid" not in text(page)
    again = '<a class="btn small quiet" href="/credits?credits=1234&amp;mode=payment">Buy again</a>'
    assert again in page.content.decode()


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
@pytest.mark.parametrize("path", ["/dashboard", "/credits", "/dashboard/plan"])
def test_a_renewal_that_failed_is_on_every_page(buyer, user, path, status):
    banner = "Your last monthly payment failed."
    mine = plan(user)
    assert banner not in text(buyer.get(path))
    Subscription.objects.filter(pk=mine.pk).update(status=status)
    page = buyer.get(path)
    assert text(page).count(banner) == 1
    assert "No credits are lost" in text(page)
    assert 'href="/api/billing/portal-link">Check the card</a>' in page.content.decode()


CHANGE, RESUME, CANCEL = "Change or cancel the plan", "Resume the plan", "Cancel the plan"


@pytest.mark.parametrize(
    ("status", "ends", "offered", "told"),
    [
        ("active", False, CHANGE, None),
        ("active", True, RESUME, "nothing more is charged"),
        ("past_due", False, CANCEL, "once the payment that is due has been made."),
        ("past_due", True, RESUME, "The payment that failed is still due."),
        ("unpaid", False, CANCEL, "once the payment that is due has been made."),
        ("paused", False, CANCEL, "Paused: nothing is charged and no credits come."),
        ("canceled", False, None, "It has ended; your credits stay."),
        ("incomplete", False, None, None),
    ],
)
def test_a_plan_offers_what_is_possible(buyer, user, status, ends, offered, told):
    end = datetime(2099, 5, 6, tzinfo=UTC)
    plan(user, status, cancel_at_period_end=ends, current_period_end=end)
    page = text(buyer.get("/dashboard"))
    assert [words for words in (CHANGE, RESUME, CANCEL) if words in page] == (
        [offered] if offered else []
    )
    assert told is None or told in page
    # A date that nothing happens on is none.
    assert ("6 May 2099" in page) == (status in {"active", "past_due", "unpaid"})
    if offered:
        own = text(buyer.get("/dashboard/plan"))
        assert ("Change the amount" in own) == (offered == CHANGE)
        assert (RESUME in own) == (offered == RESUME)
        assert told is None or told in own


def test_nobody_else_s_purchase_or_plan_is_shown(buyer, other_user):
    order(other_user)
    plan(other_user)
    page = text(buyer.get("/dashboard"))
    assert "Open purchases" not in page
    assert "2,000 a month" not in page


def test_a_live_plan_is_shown_before_a_later_one_that_ended(buyer, user):
    plan(user, created_at=timezone.now() - timedelta(days=9))
    plan(user, "canceled", credits=999)
    assert "2,000 a month" in text(buyer.get("/dashboard"))
    Subscription.objects.filter(status="active").update(status="canceled")
    assert "999 a month" in text(buyer.get("/dashboard"))


def test_the_page_after_the_payment_says_what_the_dashboard_will(buyer, user):
    page = text(buyer.get(f"/credits/success?purchase={order(user).pk}"))
    assert "Until then the dashboard lists this purchase as not confirmed yet." in page


@pytest.mark.parametrize("mode", ["payment", "subscription"])
def test_with_a_plan_a_second_one_can_not_be_chosen(buyer, user, mode):
    path = f"/credits?credits=500&mode={mode}"
    assert "disabled" not in buyer.get(path).content.decode()
    plan(user)
    content = buyer.get(path).content.decode()
    assert 'value="subscription" disabled aria-describedby="one-plan"' in content
    assert 'value="payment" checked' in content
    assert "There can be one at a time" in content
    assert content.count('href="/dashboard/plan"') == 1
    assert "Subscribe</span>" not in content


def test_an_order_of_before_the_plan_is_refused_with_one_way_on(buyer, user):
    plan(user)
    page = buyer.post("/credits", {"credits": "500", "mode": "subscription"})
    assert page.status_code == 409
    assert page.content.decode().count('href="/dashboard/plan"') == 1
    assert not Purchase.objects.exists()


@pytest.mark.parametrize("mode", ["payment", "subscription"])
def test_both_buttons_say_the_same(buyer, mode):
    content = buyer.get(f"/credits?mode={mode}").content.decode()
    first, second = re.findall(r'<span data-out="button">([^<]*)</span>', content)
    assert first == second == {"payment": "Continue to payment", "subscription": "Subscribe"}[mode]
