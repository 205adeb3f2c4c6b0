"""The same moment, the same key, a crash at any point, a restart: once is once."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import requests
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from accounts import keys
from accounts.models import ApiKeySpending
from api.models import Answer, HeldCharge
from credits import ledger
from credits.models import Entry, Hold
from tests.api.program import Program
from tests.site import serve
from tests.usage.shop import make_meter

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def failing(number: int) -> Iterator[list[str]]:
    """The statement of that number after the key was looked at fails; the last is the commit."""
    seen: list[str] = []
    commit = connection._commit

    def run(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "accounts_admit" in sql:
            return execute(sql, params, many, context)
        seen.append(sql)
        return execute("SELECT 1 / 0" if len(seen) == number else sql,
                       None if len(seen) == number else params, many, context)  # fmt: skip

    def fail_commit() -> None:
        seen.append("COMMIT")
        if len(seen) == number:
            raise OperationalError("The connection is gone.")
        commit()

    with connection.execute_wrapper(run), mock.patch.object(connection, "_commit", fail_commit):
        yield seen


@pytest.mark.parametrize("path", ["spend", "holds", "capture", "release", "usage/events"])
def test_a_crash_leaves_nothing_or_everything(rich, make_key, unchanged, path):
    make_meter(bands=[(0, 2, 1)])
    limited = Program(make_key(rich, limit_credits=100, limit_period="day")[1])
    fields: dict[str, Any] = {
        "holds": {"amount": 5, "expires_in": 60},
        "release": {},
        "usage/events": {"meter": "tokens", "quantity": 1, "idempotency_key": "e"},
    }.get(path, {"amount": 5})
    if path in ("capture", "release"):
        hold = limited.post("holds", "h", amount=20, expires_in=60).json()["id"]
        path = f"holds/{hold}/{path}"

    def everything() -> object:
        return unchanged(), list(ApiKeySpending.objects.values("credits")), ledger.standing(rich)

    before, number = everything(), 0
    while True:
        number += 1
        with failing(number) as seen:
            answer = limited.client.post(
                f"/api/v1/{path}", fields, content_type="application/json",
                headers=limited.headers | {"Idempotency-Key": "k"},
            )  # fmt: skip
        if len(seen) < number:
            break
        assert answer.status_code in (500, 503), seen
        assert everything() == before, seen
    assert answer.status_code in (200, 201)
    assert everything() != before
    assert Answer.objects.filter(key="k").count() == 1
    assert number > 1


def test_the_round_trips_of_each_request(rich, make_key):
    """Also within transactions each is a moment in which others wait."""
    make_meter(bands=[(0, 2, 1)])
    program = Program(make_key(rich)[1])
    service = Program(make_key(None)[1])
    hold = program.post("holds", "h", amount=20, expires_in=60).json()["id"]
    assert len(queries_of(lambda: program.get("ping"))) == 1
    assert len(queries_of(lambda: program.post("spend", "1", amount=1))) == 2
    assert len(queries_of(lambda: service.post("spend", "1", amount=1, user=rich.email))) == 2
    assert len(queries_of(lambda: program.get("balance"))) == 2
    assert len(queries_of(lambda: program.get("entries", limit=100))) == 3
    assert len(queries_of(lambda: program.get("quote", credits=500))) == 2
    # With the two of the transaction, and the two of the ledger's savepoint.
    assert len(queries_of(lambda: program.post("holds", "2", amount=2, expires_in=9))) == 10
    assert len(queries_of(lambda: program.post(f"holds/{hold}/capture", "3", amount=2))) == 12


def queries_of(call) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert call().status_code in (200, 201)
    return [query["sql"] for query in queries]


def test_a_busy_wallet_is_told_when_to_come_again(program, rich, unchanged):
    locked, done = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM credits_wallet FOR UPDATE")
            locked.set()
            done.wait(timeout=30)
        connections.close_all()

    before = unchanged()
    holder = threading.Thread(target=hold_lock)
    holder.start()
    locked.wait(timeout=30)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    try:
        for path, fields in (("spend", {}), ("holds", {"expires_in": 60})):
            answer = program.post(path, "k", amount=5, **fields)
            assert (answer.status_code, answer.json()["code"]) == (503, "busy")
            assert answer["Retry-After"] == "2"
    finally:
        done.set()
        holder.join()
        connection.close()
    assert unchanged() == before
    assert program.post("spend", "k", amount=5).status_code == 201


@pytest.mark.parametrize("path", ["holds", "spend"])
def test_many_events_take_no_key_that_is_about_to_answer(program, rich, path):
    """They wait for it, and find that it has answered something else."""
    make_meter(bands=[(0, 2, 1)])
    many: list[Any] = []
    event = {"meter": "tokens", "quantity": 1, "idempotency_key": "e"}

    def report() -> None:
        many.append(program.post("usage/events", "k", events=[event]))
        connections.close_all()

    reporter = threading.Thread(target=report)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM api_claim(%s, 'k')", [f"user:{rich.pk}"])
        reporter.start()
        wait_for_a_waiter()
        fields = {"expires_in": 60} if path == "holds" else {}
        assert program.post(path, "k", amount=5, **fields).status_code == 201
    reporter.join(timeout=30)
    assert (many[0].status_code, many[0].json()["code"]) == (409, "idempotency_key_reused")
    assert not Entry.objects.filter(key__startswith="usage:").exists()


def test_a_hold_and_usage_of_who_has_no_wallet_wait_in_no_circle(user, make_key):
    """The key's sum is locked before the wallet, also where the wallet is made by it."""
    key, token = make_key(user, limit_credits=100, limit_period="day")
    held: list[Any] = []

    def hold() -> None:
        held.append(Program(token).post("holds", "k", amount=5, expires_in=60))
        connections.close_all()

    holder = threading.Thread(target=hold)
    with transaction.atomic():
        keys.charge(key, 1)
        holder.start()
        wait_for_a_waiter()
        ledger.wallet_of(user)
    holder.join(timeout=30)
    assert (held[0].status_code, held[0].json()["code"]) == (402, "insufficient_credits")


def wait_for_a_waiter() -> None:
    """Until another connection waits for a lock, or does not any more within some seconds."""
    for _ in range(300):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
        time.sleep(0.01)


# --- Over HTTP, from two processes ------------------------------------------------------------


def test_once_is_once_and_the_limit_exact_from_two_processes_and_after_a_restart(rich, make_key):
    make_meter(bands=[(0, 1, 1)])
    token = make_key(rich)[1]
    key, limited = make_key(rich, limit_credits=100, limit_period="day")

    def post(url: str, token: str, path: str, key: str, **fields: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        return requests.post(f"{url}/api/v1/{path}", json=fields, headers=headers, timeout=30)

    def fifty(call: Any) -> list[requests.Response]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(call, range(50)))

    reports = {
        "events": [{"meter": "tokens", "quantity": 1, "idempotency_key": str(n)} for n in range(5)]
    }
    with serve(WEB_CONCURRENCY="2") as url:
        same = fifty(lambda n: post(url, token, "spend", "same", amount=5))
        assert {answer.status_code for answer in same} == {201}
        assert len({answer.content for answer in same}) == 1
        hold = post(url, token, "holds", "hold", amount=50, expires_in=60)
        captures = fifty(
            lambda n: post(url, token, f"holds/{hold.json()['id']}/capture", f"c{n % 2}", amount=5)
        )
        assert Counter(answer.status_code for answer in captures) == {200: 25, 409: 25}
        counted = fifty(lambda n: post(url, token, "usage/events", "many", **reports))
        assert len({answer.content for answer in counted}) == 1
        spent = fifty(
            lambda n: (
                post(url, limited, "spend", f"s{n}", amount=7)
                if n % 2
                else post(url, limited, "holds", f"h{n}", amount=7, expires_in=60)
            )
        )
        assert Counter(answer.status_code for answer in spent) == {201: 14, 403: 36}
    assert ApiKeySpending.objects.get(key=key).credits == 98
    assert Entry.objects.filter(key=f"api:user:{rich.pk}:same").count() == 1
    assert Entry.objects.filter(key__startswith="usage:").count() == 5
    assert HeldCharge.objects.count() == Hold.objects.filter(amount=7).count()
    with serve(WEB_CONCURRENCY="1") as url:
        assert post(url, token, "spend", "same", amount=5).content == same[0].content
    assert re.fullmatch(r'\{"entry": .*\}', same[0].text)
