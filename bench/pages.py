"""What the pages of somebody who is signed in cost the server, beside the sign-in page.

`script/bench --pages` asks for them with ten entries in the history and with a million, and writes
`bench/PAGES.md`. It asks twice: over HTTP, as a browser does, the web server with one process and
one connection that is kept open; and in this process, through all that the site does between the
web server and the database. Each time the pages take turns. Nothing else should run meanwhile.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from bench.clients import address
from bench.load import in_turns
from bench.server import served

if TYPE_CHECKING:
    from accounts.models import User

RESULTS = Path(__file__).parent / "PAGES.md"
ROUNDS = 300
WARM_UP = 20  # templates are read once, and a new connection has no plans yet
FEW, MANY = 10, 1_000_000
SIGN_IN = "/accounts/login/"
SIGN_IN_NAME = "the sign-in page"
LIGHTEST = "/terms"
LIGHTEST_NAME = "a page of words for who is signed in"
PAGES = ("/credits", "/dashboard")
MOST_TIME = 2  # of the sign-in page's
MOST_QUERIES = 8


@dataclass(frozen=True)
class Visit:
    """A page and who asks for it."""

    client: Client
    path: str

    def __call__(self) -> HttpResponse:
        response: HttpResponse = self.client.get(self.path)
        assert response.status_code == 200, response.status_code
        return response

    def as_request(self, url: str) -> bytes:
        """What a browser with the client's cookies sends."""
        cookies = "; ".join(f"{name}={one.value}" for name, one in self.client.cookies.items())
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
            f"Accept-Language: en\r\nCookie: {cookies}\r\n\r\n"
        ).encode()


@dataclass(frozen=True)
class Cost:
    """The middle one of a page's times, in seconds, and its queries.

    `served` is over HTTP; `time` is in this process, which itself computed for `computed` of it.
    """

    served: float
    time: float
    computed: float
    queries: int


def measure(
    url: str, visits: Mapping[str, Visit], rounds: int, warm_up: int = WARM_UP
) -> dict[str, Cost]:
    """The cost of each, with the web server that is at `url`."""
    queries = {name: _queries(visit) for name, visit in visits.items()}
    requests = [visit.as_request(url) for visit in visits.values()]
    served = in_turns(url, requests, warm_up + rounds)
    here = _in_process(list(visits.values()), warm_up + rounds)
    return {
        name: Cost(
            median(served[number][warm_up:]),
            median(passed for passed, _ in here[number][warm_up:]),
            median(computed for _, computed in here[number][warm_up:]),
            queries[name],
        )
        for number, name in enumerate(visits)
    }


def _queries(visit: Visit) -> int:
    asked = 0

    def count(execute, *query):  # type: ignore[no-untyped-def]
        nonlocal asked
        asked += 1
        return execute(*query)

    visit()
    with connection.execute_wrapper(count):
        visit()
    return asked


def _in_process(visits: list[Visit], rounds: int) -> list[list[tuple[float, float]]]:
    """Seconds that passed, and that this thread computed, for each answer."""
    found: list[list[tuple[float, float]]] = [[] for _ in visits]
    for _ in range(rounds):
        for number, visit in enumerate(visits):
            passed, computed = time.perf_counter(), time.thread_time()
            visit()
            found[number].append((time.perf_counter() - passed, time.thread_time() - computed))
    return found


def visits_of(client: Client, name: str) -> dict[str, Visit]:
    return {f"`{path}`, {name}": Visit(client, path) for path in PAGES}


def main() -> int:
    from accounts.models import User
    from credits import ledger

    for command in ("migrate", "collectstatic"):
        subprocess.run([sys.executable, "manage.py", command, "--noinput", "-v0"], check=True)
    at = {"host": settings.ALLOWED_HOSTS[0], "accept-language": "en"}
    visits = {SIGN_IN_NAME: Visit(Client(headers=at), SIGN_IN)}
    for entries in (FEW, MANY):
        user = User.objects.create_user(f"{entries}@example.com")
        write_history(ledger.wallet_of(user).pk, entries)
        fill_the_rest(user)
        client = Client(headers=at)
        client.force_login(user)
        visits |= visits_of(client, f"{entries:,} entries")
    # What a session, its user and the balance in the header cost before a page has said anything.
    visits[LIGHTEST_NAME] = Visit(client, LIGHTEST)
    database = address(connection.settings_dict["NAME"])
    with served(database, WEB_CONCURRENCY="1", THREADS="1") as (url, _):
        found = report(measure(url, visits, ROUNDS))
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
    own = costs[SIGN_IN_NAME]
    rows = [
        f"| {name} | {cost.served * 1000:.1f} ms | {cost.served / own.served:.2f} ×"
        f" | {cost.time * 1000:.1f} ms | {cost.time / own.time:.2f} × | {cost.queries} |"
        for name, cost in costs.items()
    ]
    pages = [cost for name, cost in costs.items() if name not in {SIGN_IN_NAME, LIGHTEST_NAME}]
    is_met = all(
        cost.served <= MOST_TIME * own.served and cost.queries <= MOST_QUERIES for cost in pages
    )
    return "\n".join(
        [
            "# What the pages cost the server",
            "",
            f"Measured by `script/bench --pages` on {datetime.now(UTC):%Y-%m-%d}. Over HTTP: what a"
            " browser on the same machine waits for, from gunicorn with one process and one thread,"
            " on a connection that is kept open. In one process: the same without a web server,"
            " through Django's test client, on a connection to the database that it needn't look"
            f" after. The middle one of {ROUNDS} requests each, which took turns.",
            "",
            "| page | over HTTP | of the sign-in page's | in one process | of the sign-in page's"
            " | queries |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"Target: at most {MOST_TIME} × the sign-in page's time over HTTP, and {MOST_QUERIES}"
            f" queries. {'Met.' if is_met else '**Not met.**'}",
            "",
        ]
    )


if __name__ == "__main__":
    django.setup()
    sys.exit(main())
