"""What the pages of somebody who is signed in cost the server, beside the sign-in page.

`script/bench --pages` asks for them in turns, with ten entries in the history and with a million,
and writes `bench/PAGES.md`. A request passes through all that the site does between the web server
and the database; both share the machine with nothing else.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import User

RESULTS = Path(__file__).parent / "PAGES.md"
ROUNDS = 200
WARM_UP = 5  # templates are read once, and a new connection has no plans yet
FEW, MANY = 10, 1_000_000
SIGN_IN = "/accounts/login/"
SIGN_IN_NAME = "the sign-in page"
LIGHTEST = "/dashboard/account"
LIGHTEST_NAME = "the lightest page for who is signed in"
PAGES = ("/credits", "/dashboard")
MOST_TIME = 2  # of the sign-in page's
MOST_QUERIES = 8

Visit = Callable[[], HttpResponse]


@dataclass(frozen=True)
class Cost:
    """The middle one of a page's times, in seconds, and its queries."""

    time: float
    queries: int


def measure(visits: dict[str, Visit], rounds: int) -> dict[str, Cost]:
    """The cost of each, asked for in turns so that what else happens is shared by all."""
    times: dict[str, list[float]] = {name: [] for name in visits}
    queries = {name: _queries(visit) for name, visit in visits.items()}
    for turn in range(WARM_UP + rounds):
        for name, visit in visits.items():
            started = time.perf_counter()
            visit()
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - started)
    return {name: Cost(median(times[name]), queries[name]) for name in visits}


def _queries(visit: Visit) -> int:
    asked = 0

    def count(execute, *query):  # type: ignore[no-untyped-def]
        nonlocal asked
        asked += 1
        return execute(*query)

    visit()
    with connection.execute_wrapper(count):
        response = visit()
    assert response.status_code == 200, response.status_code
    return asked


def visits_of(client: Client, name: str) -> dict[str, Visit]:
    return {f"`{path}`, {name}": lambda path=path: client.get(path) for path in PAGES}  # type: ignore[misc]


def main() -> int:
    from accounts.models import User
    from credits import ledger

    for command in ("migrate", "collectstatic"):
        subprocess.run([sys.executable, "manage.py", command, "--noinput", "-v0"], check=True)
    at = {"host": settings.ALLOWED_HOSTS[0]}
    visitor = Client(headers=at)
    visits: dict[str, Visit] = {SIGN_IN_NAME: lambda: visitor.get(SIGN_IN)}
    for entries in (FEW, MANY):
        user = User.objects.create_user(f"{entries}@example.com")
        write_history(ledger.wallet_of(user).pk, entries)
        fill_the_rest(user)
        client = Client(headers=at)
        client.force_login(user)
        visits |= visits_of(client, f"{entries:,} entries")
    # What a session, its user and the balance in the header cost before a page has said anything.
    visits[LIGHTEST_NAME] = lambda: client.get(LIGHTEST)
    found = report(measure(visits, ROUNDS))
    print(found)
    RESULTS.write_text(found)
    return 0


def write_history(wallet: int, entries: int) -> None:
    """Write one purchase, and spends that come evenly over the 40 days up to now."""
    values = {"wallet": wallet, "entries": entries}
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for statement in _HISTORY:
            cursor.execute(statement, values)


_HISTORY = (
    """
    INSERT INTO credits_entry
        (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
    SELECT %(wallet)s, CASE n WHEN 1 THEN 'purchase' ELSE 'spend' END,
           CASE n WHEN 1 THEN 'issued' ELSE 'spent' END,
           CASE n WHEN 1 THEN 10 * %(entries)s ELSE -1 END, 0, 10 * %(entries)s + 1 - n, n, 'note',
           now() - interval '40 days' + interval '40 days' * (n - 1) / %(entries)s
    FROM generate_series(1, %(entries)s) AS n ORDER BY n""",
    """
    INSERT INTO credits_lot
        (wallet_id, entry_id, amount, remaining, held, revoked, category, priority, paid)
    SELECT wallet_id, id, amount, amount + 1 - %(entries)s, 0, 0, 'paid', 50, amount
    FROM credits_entry WHERE wallet_id = %(wallet)s AND kind = 'purchase'""",
    """
    INSERT INTO credits_draw (wallet_id, entry_id, lot_id, amount, paid)
    SELECT spend.wallet_id, spend.id, lot.id, 1, 1
    FROM credits_entry AS spend JOIN credits_lot AS lot ON lot.wallet_id = spend.wallet_id
    WHERE spend.wallet_id = %(wallet)s AND spend.kind = 'spend'""",
    """
    UPDATE credits_wallet SET balance = 9 * %(entries)s + 1 WHERE id = %(wallet)s""",
    "ANALYZE credits_entry, credits_lot",
)


def fill_the_rest(user: "User") -> None:
    """A plan and an order that is open: all parts of the page have something to show."""
    from billing.models import Purchase, Subscription

    now = timezone.now()
    price = {"user": user, "credits": 500, "total": 475, "currency": "usd"}
    Subscription.objects.create(
        stripe_id=f"sub_{user.pk}",
        status="active",
        fetched_at=now,
        current_period_end=now,
        **price,
    )
    Purchase.objects.create(
        mode="payment", unit_price_e4=95, stripe_session_url="https://stripe.example", **price
    )


def report(costs: dict[str, Cost]) -> str:
    own = costs[SIGN_IN_NAME].time
    rows = [
        f"| {name} | {cost.time * 1000:.1f} ms | {cost.time / own:.2f} × | {cost.queries} |"
        for name, cost in costs.items()
    ]
    pages = [cost for name, cost in costs.items() if name not in {SIGN_IN_NAME, LIGHTEST_NAME}]
    is_met = all(cost.time <= MOST_TIME * own and cost.queries <= MOST_QUERIES for cost in pages)
    return "\n".join(
        [
            "# What the pages cost the server",
            "",
            f"Measured by `script/bench --pages` on {datetime.now(UTC):%Y-%m-%d}, in one process;"
            f" the middle one of {ROUNDS} requests each, which took turns.",
            "",
            "| page | time | of the sign-in page's | queries |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Target: at most {MOST_TIME} × the sign-in page's time, and {MOST_QUERIES} queries."
            f" {'Met.' if is_met else '**Not met.**'}",
            "",
        ]
    )


if __name__ == "__main__":
    django.setup()
    sys.exit(main())
