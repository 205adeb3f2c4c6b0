"""What a spend costs over HTTP, beside a request of the same server that does nothing but sign in.

`script/bench --api` runs the web server with two processes, as `script/server` does, and sends it
`GET /api/v1/ping` and `POST /api/v1/spend` in turns, each from 16 connections that are kept open,
with one service key, for one of a thousand users each time; then it writes `bench/API.md`.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit
from uuid import uuid4

import django
import psycopg

django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, connections  # noqa: E402

from accounts import keys  # noqa: E402
from accounts.models import ApiKey, User  # noqa: E402
from bench import profiles  # noqa: E402
from bench.books import Shape, make  # noqa: E402
from bench.clients import address  # noqa: E402
from bench.load import Load, repeat  # noqa: E402
from bench.server import ROOT, served  # noqa: E402

RESULTS = ROOT / "bench/API.md"
CONNECTIONS = 16
WORKERS = 2
USERS = 1_000
ROUNDS = 9
SECONDS = 4.0
TARGET = 0.5
DATABASE = "api"
PROFILED = 3_000
UNLIMITED = 100_000_000  # requests a minute
PARTS = (
    ("/site-packages/psycopg", "psycopg"),
    ("/site-packages/ninja/", "django-ninja"),
    ("/site-packages/pydantic", "pydantic"),
    ("/site-packages/", "Django"),
    ("/bench/", "the benchmark"),
    (f"{ROOT}/", "ours"),
)

PING, SPEND = "GET /api/v1/ping", "POST /api/v1/spend"
WEB, POSTGRESQL, CLIENT = "web server", "PostgreSQL", "the clients"


@dataclass
class Side:
    """One of the two: what to send, and what came of each round."""

    requests: Iterator[bytes]
    status: int
    loads: list[Load] = field(default_factory=list)
    computed: Counter[str] = field(default_factory=Counter)
    """Seconds of processors, by whose processes they were."""

    @property
    def answers(self) -> int:
        return sum(len(load.times) for load in self.loads)

    @property
    def rates(self) -> list[float]:
        return [load.rate for load in self.loads]

    def percentile(self, part: float) -> float:
        return median(load.percentile(part) for load in self.loads)


def measure(
    url: str,
    token: str,
    users: list[int],
    rounds: int,
    seconds: float,
    computed: Callable[[], Counter[str]] = Counter,
) -> dict[str, Side]:
    """Both sides, which take turns: what else the machine does meets them alike.

    `computed` answers how many seconds the processes that take part have computed so far.
    """
    sides = {
        PING: Side(_pings(url, token), 200),
        SPEND: Side(_spends(url, token, users), 201),
    }
    # Each thread of the server opens its connection to the database once.
    for side in sides.values():
        repeat(url, side.requests, connections=CONNECTIONS, seconds=seconds / 4, status=side.status)
    for _ in range(rounds):
        for side in sides.values():
            before = computed()
            load = repeat(
                url, side.requests, connections=CONNECTIONS, seconds=seconds, status=side.status
            )
            side.computed += computed() - before
            side.computed[CLIENT] += load.own
            side.loads.append(load)
    return sides


def _pings(url: str, token: str) -> Iterator[bytes]:
    request = _head("GET /api/v1/ping", url, token) + b"\r\n"
    while True:
        yield request


def _spends(url: str, token: str, users: list[int]) -> Iterator[bytes]:
    head = _head("POST /api/v1/spend", url, token)
    while True:
        body = b'{"amount": 1, "user": %d, "note": "A page"}' % random.choice(users)
        key = b"Idempotency-Key: %s\r\n" % str(uuid4()).encode()
        kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        yield b"".join([head, key, kind, b"\r\n", body])


def _head(request: str, url: str, token: str) -> bytes:
    host = urlsplit(url).netloc
    return f"{request} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n".encode()


def report(sides: dict[str, Side], about: str, profile: str) -> str:
    """As Markdown."""
    ping, spend = sides[PING], sides[SPEND]
    share = median(b / a for a, b in zip(ping.rates, spend.rates, strict=True))
    rows = [
        f"| `{name}` | {median(side.rates):,.0f} ({min(side.rates):,.0f} to {max(side.rates):,.0f})"
        f" | {side.percentile(0.5) * 1000:.1f} ms | {side.percentile(0.99) * 1000:.1f} ms |"
        for name, side in sides.items()
    ]
    whose = [name for name in (WEB, POSTGRESQL, CLIENT) if ping.computed[name]]
    costs = [
        f"| {name} | "
        + " | ".join(
            f"{side.computed[name] / side.answers * 1e6:,.0f} µs" for side in sides.values()
        )
        + " |"
        for name in whose
    ]
    return "\n".join(
        [
            "# How fast the API is",
            "",
            about,
            "",
            "| | a second | half within | 99% within |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Spends / pings: **{share:.2f}**, the middle one of {len(ping.loads)} rounds. Target:"
            f" at least {TARGET:g}. {'Met.' if share >= TARGET else '**Not met.**'}",
            "",
            "## Where the time goes",
            "",
            "| processors' time for each answer | ping | spend |",
            "| --- | --- | --- |",
            *costs,
            "",
            _difference(ping, spend),
            "",
            profile,
            "",
        ]
    )


def _difference(ping: Side, spend: Side) -> str:
    """Who works for what a spend does and a ping does not."""
    more = {
        name: spend.computed[name] / spend.answers - ping.computed[name] / ping.answers
        for name in (POSTGRESQL, WEB)
    }
    told = ", ".join(f"{name} {seconds * 1e6:,.0f} µs" for name, seconds in more.items())
    took = sum(load.passed for load in spend.loads) * (os.cpu_count() or 1)
    return (
        f"A spend takes more than a ping: {told}. During spends these processes used"
        f" {spend.computed.total() / took:.0%} of the processors."
    )


# --- The whole of it ---------------------------------------------------------------------------


def main() -> int:
    for command in ("migrate", "collectstatic"):
        subprocess.run([sys.executable, "manage.py", command, "--noinput", "-v0"], check=True)
    make(DATABASE, Shape(USERS))
    connections.close_all()
    connection.settings_dict["NAME"] = DATABASE
    users = list(range(1, USERS + 1))
    _, token = keys.make(
        made_by=User.objects.get(pk=1),
        owner=None,
        name="Benchmark",
        scopes=list(ApiKey.Scope.values),
        requests_per_minute=UNLIMITED,
    )
    connections.close_all()
    with served(address(DATABASE), WEB_CONCURRENCY=str(WORKERS)) as (url, server):
        parents = {server: WEB, _postmaster(): POSTGRESQL}
        sides = measure(url, token, users, ROUNDS, SECONDS, lambda: _computed(parents))
    profile = profiles.of_spending(
        DATABASE,
        partial(_in_process, token, users),
        PROFILED,
        "A spend in one process, without the web server,",
        PARTS,
    )
    found = report(sides, _machine(), profile)
    print(found)
    RESULTS.write_text(found)
    return 0


def _machine() -> str:
    with psycopg.connect(address("postgres")) as observer:
        version = observer.execute("SHOW server_version").fetchone()
    assert version
    return (
        f"Measured by `script/bench --api` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores,"
        f" PostgreSQL {version[0]}, Python {sys.version.split()[0]}; gunicorn with {WORKERS}"
        f" processes, {CONNECTIONS} connections that are kept open; clients, web server and"
        " database share the machine. Each spend is on the disk before it is answered."
    )


def _computed(parents: Mapping[int, str]) -> Counter[str]:
    """Seconds that these processes and their children have computed so far, under these names."""
    found: Counter[str] = Counter()
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        whose = parents.get(int(fields[1])) or parents.get(int(place.parent.name))
        if whose is not None:
            found[whose] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _postmaster() -> int:
    """The process whose children work for connections."""
    with psycopg.connect(address("postgres")) as observer:
        backend = observer.info.backend_pid
        return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])


def _in_process(token: str, users: list[int]) -> Callable[[], None]:
    """A spend as the web server hands it to Django."""
    site = get_wsgi_application()

    def spend() -> None:
        body = json.dumps({"amount": 1, "user": random.choice(users), "note": "A page"}).encode()
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/api/v1/spend",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_AUTHORIZATION": f"Bearer {token}",
            "HTTP_IDEMPOTENCY_KEY": str(uuid4()),
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": sys.stderr,
        }
        answered = []
        response = site(environ, lambda status, headers: answered.append(status))
        b"".join(response)
        response.close()
        assert answered == ["201 Created"], answered

    return spend


if __name__ == "__main__":
    sys.exit(main())
