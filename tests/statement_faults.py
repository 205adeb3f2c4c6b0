"""A handler that fails at its first statement, its second, and so on until it gets through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from django.db import OperationalError, connection


@dataclass
class Fault:
    """One statement of an event's transaction, by its number, fails; `sql` is what it was."""

    number: int
    sql: str = ""
    seen: list[str] = field(default_factory=list)

    def is_due(self, sql: str) -> bool:
        # The transaction begins by locking the event; that it was kept before is what matters.
        if not self.seen and not ('FROM "billing_event"' in sql and "FOR UPDATE" in sql):
            return False
        if self.sql:
            return False  # the error itself is to be put on record
        self.seen.append(sql)
        if len(self.seen) <= self.number:
            return False
        self.sql = sql
        return True


@contextmanager
def failing(number: int) -> Iterator[Fault]:
    """Have the statement of that number fail, from 0 on, as PostgreSQL fails one. The last is the
    commit. Needs a test that commits (`django_db(transaction=True)`)."""
    fault = Fault(number)
    commit = connection._commit

    def run(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if fault.is_due(sql):
            return execute("SELECT 1 / 0", None, many, context)
        return execute(sql, params, many, context)

    def fail_commit() -> None:
        if fault.is_due("COMMIT"):
            raise OperationalError("The connection is gone.")
        commit()

    with connection.execute_wrapper(run), mock.patch.object(connection, "_commit", fail_commit):
        yield fault


def fail_at_each_statement(deliver: Callable[[], int], failed: Callable[[Fault], None]) -> int:
    """Deliver an event again and again, each time failing one statement later, until it gets
    through. `deliver` answers the status; `failed` looks at what a failure has left behind.

    Answers how many statements there were.
    """
    for number in range(1000):
        with failing(number) as fault:
            status = deliver()
        if not fault.sql:
            assert status == 200
            return number
        assert status == 500, fault.sql
        failed(fault)
    raise AssertionError("It has no end.")
