"""Everything the stand-in knows, in one SQLite file: Stripe's objects as JSON documents.

`transaction()` is one writer at a time, so that an API call and the events it makes are kept
together or not at all, also when the process is killed.
"""

import json
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stripe_sandbox import settings

Object = dict[str, Any]

CALLS_KEPT = 2000

EVENTS_KEPT = 30 * 24 * 3600
"""Seconds."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    n INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS object_type ON object (type, n);
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, created REAL NOT NULL, status INTEGER, body TEXT
);
CREATE INDEX IF NOT EXISTS answer_created ON answer (created);
CREATE TABLE IF NOT EXISTS delivery (
    event TEXT PRIMARY KEY, due REAL, attempts INTEGER NOT NULL DEFAULT 0,
    answers TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS call (
    n INTEGER PRIMARY KEY, method TEXT, path TEXT, idempotency_key TEXT, params TEXT,
    status INTEGER
);
CREATE TABLE IF NOT EXISTS fault (n INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_LOOKED_UP = [
    "charge", "customer", "invoice", "parent.subscription_details.subscription", "payment_intent",
    "payment.payment_intent",
]  # fmt: skip
"""Fields by which objects are found quickly, however many there are."""

_lock = threading.RLock()
_connection: sqlite3.Connection | None = None
_resets = 0


def _db() -> sqlite3.Connection:
    global _connection
    if _connection is None:
        _connection = sqlite3.connect(settings.STATE, check_same_thread=False, isolation_level=None)
        _connection.execute("PRAGMA journal_mode = WAL")
        _connection.execute("PRAGMA synchronous = NORMAL")
        _connection.executescript(_SCHEMA)
        for number, name in enumerate(_LOOKED_UP):
            _connection.execute(
                f"CREATE INDEX IF NOT EXISTS object_field_{number} ON object (type, {field(name)})"
            )
        # Calls that a kill cut short did nothing; their keys are free again.
        _connection.execute("DELETE FROM answer WHERE status IS NULL")
    return _connection


def field(name: str) -> str:
    """A field of an object in SQL, as the indexes have it; the name must be one of ours."""
    return f"json_extract(body, '$.{name}')"


@contextmanager
def transaction() -> Iterator[None]:
    with _lock:
        db = _db()
        if db.in_transaction:  # the caller's
            yield
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def execute(statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with _lock:
        return _db().execute(statement, values).fetchall()


def new_id(prefix: str) -> str:
    letters = string.ascii_letters + string.digits
    return f"{prefix}_{''.join(secrets.choice(letters) for _ in range(24))}"


def put(found: Object) -> Object:
    """Keep an object, new or changed."""
    execute(
        "INSERT INTO object (id, type, body) VALUES (?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        found["id"],
        found["object"],
        json.dumps(found),
    )
    return found


def get(kind: str, id: str) -> Object | None:
    rows = execute("SELECT body FROM object WHERE id = ? AND type = ?", id, kind)
    return json.loads(rows[0][0]) if rows else None


def find(id: str) -> Object | None:
    """An object of whatever kind."""
    rows = execute("SELECT body FROM object WHERE id = ?", id)
    return json.loads(rows[0][0]) if rows else None


def held(id: str) -> Object:
    """An object that another one names. Raises `KeyError` when it isn't there."""
    found = find(id)
    if found is None:
        raise KeyError(id)
    return found


def all_of(kind: str, fields: dict[str, str] | None = None, *, limit: int = -1) -> list[Object]:
    """The objects of a kind, those with these fields or all, newest first, as Stripe lists them."""
    conditions = [(f"{field(name)} = ?", [value]) for name, value in (fields or {}).items()]
    return search(kind, conditions, limit=limit)


def search(
    kind: str,
    conditions: Sequence[tuple[str, list[Any]]],
    *,
    beyond: int | None = None,
    is_backwards: bool = False,
    limit: int = -1,
) -> list[Object]:
    """The objects of a kind that fit conditions in SQL, in order from a place on, newest first;
    or, backwards, oldest first. It reads no more of them than it has to."""
    where = ["type = ?"]
    values: list[Any] = [kind]
    for condition, wanted in conditions:
        where.append(condition)
        values.extend(wanted)
    if beyond is not None:
        where.append("n > ?" if is_backwards else "n < ?")
        values.append(beyond)
    order = "ASC" if is_backwards else "DESC"
    rows = execute(
        f"SELECT body FROM object WHERE {' AND '.join(where)} ORDER BY n {order} LIMIT ?",  # noqa: S608 (our own words)
        *values,
        limit,
    )
    return [json.loads(body) for (body,) in rows]


def place(kind: str, id: str) -> int | None:
    """Where an object stands among all."""
    rows = execute("SELECT n FROM object WHERE id = ? AND type = ?", id, kind)
    return int(rows[0][0]) if rows else None


def open_sessions_until(time: float) -> list[Object]:
    """The open Checkout Sessions whose time is up then."""
    rows = execute(
        "SELECT body FROM object WHERE type = 'checkout.session'"
        " AND json_extract(body, '$.status') = 'open'"
        " AND json_extract(body, '$.expires_at') <= ?",
        time,
    )
    return [json.loads(body) for (body,) in rows]


def count(kind: str) -> int:
    ((number,),) = execute("SELECT count(*) FROM object WHERE type = ?", kind)
    return int(number)


def log_call(method: str, path: str, key: str | None, params: Any, status: int | None) -> None:
    with transaction():
        execute(
            "INSERT INTO call (method, path, idempotency_key, params, status)"
            " VALUES (?, ?, ?, ?, ?)",
            method,
            path,
            key,
            json.dumps(params),
            status,
        )
        execute("DELETE FROM call WHERE n <= (SELECT max(n) FROM call) - ?", CALLS_KEPT)


def prune() -> None:
    """Forget the events that Stripe would no longer tell either; not what waits to be delivered."""
    with transaction():
        execute(
            "DELETE FROM object WHERE type = 'event' AND json_extract(body, '$.created') < ?"
            " AND id NOT IN (SELECT event FROM delivery WHERE due IS NOT NULL)",
            time.time() - EVENTS_KEPT,
        )
        execute("DELETE FROM delivery WHERE event NOT IN (SELECT id FROM object)")


def get_setting(name: str, default: Any) -> Any:
    rows = execute("SELECT value FROM setting WHERE name = ?", name)
    return json.loads(rows[0][0]) if rows else default


def set_setting(name: str, value: Any) -> None:
    execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", name, json.dumps(value))


def resets() -> int:
    """How often all was forgotten since the start."""
    with _lock:
        return _resets


def reset() -> None:
    global _resets
    with transaction():
        _resets += 1
        for table in ("object", "answer", "delivery", "call", "fault", "setting"):
            execute(f"DELETE FROM {table}")  # noqa: S608 (names from the line above)
