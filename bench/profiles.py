"""Where the time of a spend goes: in Python and in the database."""

import cProfile
import pstats
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence

import psycopg
from django.db import connection, connections

from bench.clients import WARM_UP, Operation, address

# The first that a file's path contains.
PARTS = (
    ("/site-packages/psycopg", "psycopg"),
    ("/site-packages/", "Django"),
    ("/credits/ledger.py", "the ledger"),
    ("/bench/", "the benchmark"),
)


def of_spending(
    database: str,
    prepare: Callable[[], Operation],
    times: int,
    what: str = "One client's spend from Python",
    parts: Sequence[tuple[str, str]] = PARTS,
) -> str:
    """Markdown about one client that spends so many times."""
    connections.close_all()
    connection.settings_dict["NAME"] = database
    with psycopg.connect(address(database), autocommit=True) as observer:
        observer.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        observer.execute("SELECT pg_stat_reset()")
        in_python = _python(prepare, times, what, parts)
        observer.execute(f"ALTER DATABASE {database} SET pg_stat_statements.track = 'all'")
        connections.close_all()
        observer.execute("SELECT pg_stat_statements_reset()")
        operation = prepare()
        for _ in range(times):
            operation()
        connections.close_all()
        in_database = _statements(observer, times)
        updates = _updates(observer)
    return f"{in_python}\n\n{in_database}\n\n{updates}"


def _python(
    prepare: Callable[[], Operation], times: int, what: str, parts: Sequence[tuple[str, str]]
) -> str:
    operation = prepare()
    for _ in range(WARM_UP):
        operation()
    start, busy = time.perf_counter(), time.process_time()
    for _ in range(times):
        operation()
    passed, busy = time.perf_counter() - start, time.process_time() - busy
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(times):
        operation()
    profile.disable()
    shares: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if name == "wait" and "/psycopg/" in path:
            continue  # for the database
        shares[next((part for inside, part in parts if inside in path), "Python itself")] += own
    total = sum(shares.values())
    told = ", ".join(f"{part} {own / total:.0%}" for part, own in shares.most_common())
    return (
        f"{what} takes {passed / times * 1e6:.0f} µs, of which its process"
        f" computes {busy / times * 1e6:.0f} µs and otherwise waits for the database. Of what it"
        f" computes, by cProfile: {told}."
    )


def _statements(observer: psycopg.Connection, times: int) -> str:
    rows = observer.execute(
        """
        SELECT total_exec_time * 1000 / %(times)s, wal_bytes / %(times)s, query
        FROM pg_stat_statements WHERE calls >= %(times)s / 2 ORDER BY total_exec_time DESC""",
        {"times": times},
    ).fetchall()
    lines = ["| statement, with those inside of it | µs a spend | WAL bytes |", "|---|---|---|"]
    for took, written, query in rows:
        short = re.sub(r"\s+", " ", query)[:70].replace("|", "\\|")
        lines.append(f"| `{short}` | {took:.0f} | {written:.0f} |")
    return "\n".join(lines)


def _updates(observer: psycopg.Connection) -> str:
    rows = observer.execute("""
        SELECT relname, n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables
        WHERE n_tup_upd > 0 ORDER BY relname""").fetchall()
    told = ", ".join(f"`{table}` {share:.1%}" for table, share in rows)
    return f"Updates that touched no index (HOT): {told}."
