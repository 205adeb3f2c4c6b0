"""How fast the ledger is, as ratios of figures from one run on one PostgreSQL.

`script/bench` measures all and writes `bench/RESULTS.md`. `--short` only sees that everything runs
and that no ratio is far off. `--pgledger FILE` compares with pgledger, another ledger in PL/pgSQL,
whose SQL (with the function uuid_to_ulid before it) is not part of this project.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import django
import psycopg

django.setup()

from accounts import rows  # noqa: E402
from accounts.models import User  # noqa: E402
from bench import profiles, with_models  # noqa: E402
from bench.books import Shape, make  # noqa: E402
from bench.clients import (  # noqa: E402
    CLIENTS,
    Operation,
    Rates,
    address,
    in_turn,
    pgbench,
    processes,
    ratio,
)
from credits import ledger  # noqa: E402
from credits.audit import audit  # noqa: E402
from credits.errors import InsufficientCredits  # noqa: E402
from credits.models import Entry, Wallet  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/RESULTS.md"
HISTORY_PAGE = 26  # the dashboard's 25, and one to know whether there are more


@dataclass(frozen=True)
class Scale:
    """How long and how large it is."""

    rounds: int
    seconds: float
    spread: Shape
    small: Shape
    large: Shape
    lots: int
    margin: float  # how far from its target a ratio may be before that fails the run


FULL = Scale(
    rounds=7,
    seconds=3,
    spread=Shape(10_000),
    # One wallet in 50 is busy; 10 entries each on average.
    small=Shape(1_000, 1, 4, 50, 254),
    large=Shape(1_000_000, 1, 4, 50, 254),
    lots=1_000,
    margin=float("inf"),  # it tells what was met and what was not
)
SHORT = Scale(
    rounds=1,
    seconds=0.3,
    spread=Shape(200),
    small=Shape(100, 1, 4, 50, 54),
    large=Shape(500, 1, 4, 50, 54),
    lots=50,
    margin=5,
)


@dataclass(frozen=True)
class Finding:
    """A ratio and its target: at least so much, or at most."""

    what: str
    value: float
    target: float
    is_floor: bool = True
    unit: str = "×"

    @property
    def is_met(self) -> bool:
        return self.value >= self.target if self.is_floor else self.value <= self.target

    def is_near(self, margin: float) -> bool:
        """Near enough for a run whose figures mean little."""
        if self.is_floor:
            return self.value * margin >= self.target
        return self.value <= self.target * margin

    def row(self) -> tuple[str, ...]:
        bound = "at least" if self.is_floor else "at most"
        return (
            self.what,
            f"{self.value:.2f} {self.unit}",
            f"{bound} {self.target:g} {self.unit}",
            "yes" if self.is_met else "**no**",
        )


def main() -> int:
    parser = argparse.ArgumentParser("script/bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds, and no file")
    parser.add_argument("--pgledger", type=Path, metavar="FILE", help="pgledger's SQL")
    options = parser.parse_args()
    scale = SHORT if options.short else FULL
    subprocess.run([sys.executable, "manage.py", "migrate", "--noinput", "-v0"], check=True)
    started = time.monotonic()

    rates, findings = _spending(scale, options.pgledger)
    _check_hot_wallet(scale)
    for section in (_lots, _growth):
        more_rates, more_findings = section(scale)
        rates |= more_rates
        findings += more_findings
    profile = profiles.of_spending("spread", _spend(scale.spread), 100 if options.short else 5_000)

    report = "\n\n".join(
        [
            _table(("", "target", "met"), [finding.row() for finding in findings]),
            _table(("a second", ""), [(name, _spread(rates[name])) for name in rates]),
            profile,
            f"Took {(time.monotonic() - started) / 60:.1f} minutes.",
        ]
    )
    print(report)
    if not options.short:
        RESULTS.write_text(f"{_machine()}\n\n{report}\n")
    far = [finding.what for finding in findings if not finding.is_near(scale.margin)]
    if far:
        print(f"Far from the target: {', '.join(far)}")
    return 1 if far else 0


# --- What is done -----------------------------------------------------------------------------


def _spend_sql(wallet: str) -> str:
    """What `ledger.spend` sends, for pgbench."""
    columns = rows.columns(Entry)
    return (
        f"\\set wallet {wallet}\n"
        f"SELECT {columns} FROM credits_take("
        ":wallet, 'spend', 'spent', 1, gen_random_uuid()::text, '', NULL, 0);\n"
    )


def _commit_sql() -> str:
    """The smallest change there is."""
    with psycopg.connect(address("spread"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS tick (n bigint)")
        connection.execute("INSERT INTO tick SELECT 0 WHERE NOT EXISTS (SELECT FROM tick)")
    return "UPDATE tick SET n = n + 1;\n"


def _anyone(shape: Shape) -> str:
    return f"random(1, {shape.wallets})"


def _spend(shape: Shape) -> Callable[[], Operation]:
    return partial(_prepare_spend, shape.wallets)


def _prepare_spend(wallets: int) -> Operation:
    return lambda: ledger.spend(Wallet(pk=random.randint(1, wallets)), 1, key=str(uuid4()))


def _prepare_spend_with_models(wallets: int) -> Operation:
    return lambda: with_models.spend(random.randint(1, wallets), 1, key=str(uuid4()))


def _prepare_balance(wallets: int) -> Operation:
    return lambda: ledger.balance_of(User(pk=random.randint(1, wallets)))


def _prepare_history(users: range) -> Operation:
    def read() -> None:
        entries = Entry.objects.filter(wallet__user=random.choice(users)).order_by("-id")
        assert len(entries[:HISTORY_PAGE]) == HISTORY_PAGE

    return read


# --- What is compared -------------------------------------------------------------------------


def _spending(scale: Scale, pgledger: Path | None) -> tuple[Rates, list[Finding]]:
    """Python, pgbench and others; many wallets and one."""
    make("spread", scale.spread)
    script = _spend_sql(_anyone(scale.spread))
    seconds = scale.seconds
    ours, same, plain, hot, simple, commits = (
        "`ledger.spend` from Python",
        "the same SQL in pgbench",
        "spending with Django's models",
        "one hot wallet, in pgbench",
        "the same SQL in pgbench, not prepared",
        "commits of one row, one after the other",
    )
    other = "pgledger's `create_transfer` in pgbench"
    sides: dict[str, Callable[[], float]] = {
        same: lambda: pgbench(script, "spread", seconds),
        ours: lambda: processes(_spend(scale.spread), "spread", seconds),
        simple: lambda: pgbench(script, "spread", seconds, protocol="simple"),
        plain: lambda: processes(
            partial(_prepare_spend_with_models, scale.spread.wallets), "spread", seconds
        ),
        hot: lambda: pgbench(_spend_sql("1"), "spread", seconds),
        # What the disk allows one wallet: a row's lock is held until its commit is on the disk.
        commits: lambda: pgbench(_commit_sql(), "spread", seconds, clients=1),
    }
    if pgledger:
        transfer = _make_pgledger(pgledger, scale.spread.wallets)
        sides[other] = lambda: pgbench(transfer, "pgledger", seconds)
    rates = in_turn(scale.rounds, sides)
    findings = [
        Finding("`spend` from Python / the same SQL in pgbench", ratio(rates, ours, same), 0.4),
        Finding("`spend` from Python / with Django's models", ratio(rates, ours, plain), 6),
        Finding("one hot wallet / 10,000 wallets", ratio(rates, hot, same), 0.3),
    ]
    if pgledger:
        findings.append(
            Finding("our SQL / pgledger's, all paying one account", ratio(rates, same, other), 3)
        )
    return rates, findings


def _make_pgledger(sql: Path, accounts: int) -> str:
    """A database with pgledger and as many accounts, and a script that pays one of them from all.

    The accounts may go below zero, so that none has to be filled first.
    """
    with psycopg.connect(address("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE pgledger")
    with psycopg.connect(address("pgledger"), autocommit=True) as connection:
        connection.execute(sql.read_text())
        create = "SELECT id FROM pgledger_create_account(%s, 'CREDITS')"
        house = connection.execute(create, ["house"]).fetchone()
        connection.execute("CREATE TABLE payer (n bigint PRIMARY KEY, id text)")
        connection.execute(
            """
            INSERT INTO payer SELECT n, account.id FROM generate_series(1, %s) AS n,
                LATERAL pgledger_create_account('user ' || n, 'CREDITS') AS account""",
            [accounts],
        )
        connection.execute("VACUUM ANALYZE")
    assert house
    return (
        f"\\set n random(1, {accounts})\n"
        "SELECT transfer.* FROM payer,"
        f" LATERAL pgledger_create_transfer(payer.id, '{house[0]}', 1) AS transfer WHERE n = :n;\n"
    )


def _check_hot_wallet(scale: Scale) -> None:
    """All clients on one wallet that runs dry: it ends at 0, and nobody sees another error."""
    make("hot", Shape(1))
    credits = 50
    with psycopg.connect(address("hot"), autocommit=True) as connection:
        connection.execute(
            "SELECT credits_take(1, 'spend', 'spent', 1000000 - %s, 'most', '', NULL)", [credits]
        )
    processes(_prepare_spend_until_dry, "hot", scale.seconds)
    with psycopg.connect(address("hot")) as connection:
        left = connection.execute("SELECT balance FROM credits_wallet").fetchone()
        booked = connection.execute("SELECT count(*) FROM credits_entry").fetchone()
    assert (left, booked) == ((0,), (credits + 2,)), (left, booked)


def _prepare_spend_until_dry() -> Operation:
    wallet = Wallet(pk=1)

    def spend() -> None:
        with suppress(InsufficientCredits):
            ledger.spend(wallet, 1, key=str(uuid4()))

    return spend


def _lots(scale: Scale) -> tuple[Rates, list[Finding]]:
    """Wallets with one open lot, and with many."""
    wallets = 100
    make("lots", Shape(wallets), Shape(wallets, purchases=scale.lots))
    one, many = "wallets with one lot, in pgbench", f"wallets with {scale.lots:,} open lots"
    first = _spend_sql(f"random(1, {wallets})")
    second = _spend_sql(f"random({wallets + 1}, {2 * wallets})")
    rates = in_turn(
        scale.rounds,
        {
            one: lambda: pgbench(first, "lots", scale.seconds),
            many: lambda: pgbench(second, "lots", scale.seconds),
        },
    )
    what = f"time of a spend with {scale.lots:,} open lots / with one"
    return rates, [Finding(what, ratio(rates, one, many), 2, is_floor=False)]


def _growth(scale: Scale) -> tuple[Rates, list[Finding]]:
    """The same with few and with many entries behind it."""
    shapes = {"small": scale.small, "large": scale.large}
    started = time.monotonic()
    for name, shape in shapes.items():
        make(name, shape)
    print(f"Filled in {time.monotonic() - started:.0f} s", flush=True)
    clean, seconds = _audited("large")
    entries = {name: _count(name) for name in shapes}
    assert clean, "the audit found something"

    rates: Rates = {}
    findings = []
    operations: dict[str, dict[str, Callable[[], Operation]]] = {
        "spend": {name: _spend(shape) for name, shape in shapes.items()},
        "balance": {
            name: partial(_prepare_balance, shape.wallets) for name, shape in shapes.items()
        },
        "first page of the history": {
            name: partial(_prepare_history, shape.busy_wallets) for name, shape in shapes.items()
        },
    }
    for what, prepare in operations.items():
        few, many = (f"{what}, {entries[name]:,} entries" for name in shapes)
        found = in_turn(
            scale.rounds,
            {
                few: lambda: processes(prepare["small"], "small", scale.seconds),
                many: lambda: processes(prepare["large"], "large", scale.seconds),
            },
        )
        rates |= found
        findings.append(
            Finding(
                f"time of {what}, {entries['large']:,} entries / {entries['small']:,}",
                ratio(found, few, many),
                1.5,
                is_floor=False,
            )
        )
    what = f"`audit()` over {entries['large']:,} entries"
    findings.append(Finding(what, seconds / 60, 5, is_floor=False, unit="min"))
    clean, _ = _audited("spread")
    assert clean, "the audit found something after all that spending"
    return rates, findings


def _audited(database: str) -> tuple[bool, float]:
    django.db.connections.close_all()
    django.db.connection.settings_dict["NAME"] = database
    started = time.monotonic()
    found = audit()
    print(*found, sep="\n", end="", flush=True)
    django.db.connections.close_all()
    return not found, time.monotonic() - started


def _count(database: str) -> int:
    with psycopg.connect(address(database)) as connection:
        found = connection.execute("SELECT count(*) FROM credits_entry").fetchone()
    assert found
    return int(found[0])


# --- What is told -----------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if len(head) < len(rows[0]):
        head = ("", *head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(rates: list[float]) -> str:
    low, *_, high = sorted([*rates, *rates])
    middle = sorted(rates)[len(rates) // 2]
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"


def _machine() -> str:
    with psycopg.connect(address("postgres")) as connection:
        version = connection.execute("SHOW server_version").fetchone()
    assert version
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        "# How fast the ledger is\n\n"
        f"Measured by `script/bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores,"
        f" {memory:.0f} GB of memory, PostgreSQL {version[0]}, Python"
        f" {sys.version.split()[0]}, {CLIENTS} clients; clients and server share the machine."
        " What is committed is on the disk before it is answered (`script/bench.py` has the"
        " settings). The sides of a ratio take turns; a ratio is the middle one of all rounds."
    )


if __name__ == "__main__":
    sys.exit(main())
