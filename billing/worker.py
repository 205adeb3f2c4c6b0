"""What time asks for, done by one process: `manage.py worker`.

Each job may be run at any time, any number of times, and by several workers: an advisory lock keeps
each job to one of them, for the sake of the work, and none relies on it to be right.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event
from typing import Final

from django.conf import settings
from django.db import Error, OperationalError, close_old_connections, connection
from django.utils.module_loading import import_string

from accounts import devices, organisations
from billing import abandoned, giving, low_balance, mails, topup, topup_charges
from billing.bulk import delivery, orders, terms
from credits import ledger
from outgoing import messages, sending

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Something to do every so many seconds; `run` answers how much it did."""

    name: str
    every: int
    run: Callable[[], int]


JOBS: Final = (
    Job("mails", 2, mails.send_due),
    Job("webhooks", 2, sending.send_due),
    Job("bulk purchases", 2, delivery.deliver_due),
    Job("expiry", 60, ledger.expire_due),
    Job("invoices", 60, terms.finish),
    Job("low balance", 60, low_balance.Watch()),  # after what has expired
    Job("automatic top-ups", 3, topup_charges.run_due),
    Job("removed cards", 60, topup.let_cards_go),
    Job("gifts", 60, giving.return_due),
    Job("abandoned orders", 3600, abandoned.close_abandoned),
    Job("old sign-ins", 3600, devices.forget_old),
    Job("old webhooks", 3600, messages.forget_old),
    Job("old invitations", 3600, organisations.forget_expired),
    Job("old lists", 3600, orders.forget_drafts),
)


def jobs() -> tuple[Job, ...]:
    """All of them, in their order: ours, and those of apps that this one does not import."""
    return sum((import_string(name) for name in settings.WORKER_JOBS), start=JOBS)


TICK: Final = 1
"""Seconds between two looks at what is due."""

SIGN_OF_LIFE: Final = 600
"""Seconds between two lines in the log that say what was done."""


def run_forever(stop: Event) -> None:
    """Do each job when it is due, until told to stop; then the one under way is finished."""
    every_job = jobs()
    next_at = dict.fromkeys(every_job, 0.0)
    done = dict.fromkeys(every_job, 0)
    told_at = time.monotonic()
    logger.info("The worker runs: %s.", ", ".join(job.name for job in every_job))
    while not stop.is_set():
        for job in every_job:
            if stop.is_set() or time.monotonic() < next_at[job]:
                continue
            done[job] += attempt(job) or 0
            next_at[job] = time.monotonic() + job.every
        if time.monotonic() >= told_at + SIGN_OF_LIFE:
            logger.info(
                "The worker runs. Done in the last %d minutes: %s.",
                SIGN_OF_LIFE // 60,
                ", ".join(f"{job.name} {done[job]:,}" for job in every_job),
            )
            done = dict.fromkeys(every_job, 0)
            told_at = time.monotonic()
        stop.wait(TICK)
    logger.info("The worker ends.")


def attempt(job: Job) -> int | None:
    """Do a job if no other worker is at it. Answers how much was done, None if it failed.

    A job that fails is on the log, and no reason not to do the next one: it is due again later.
    """
    # As between two requests: a connection that is broken or old is replaced.
    close_old_connections()
    try:
        with _alone(job) as is_alone:
            return job.run() if is_alone else 0
    except OperationalError as error:  # mostly a database that is away: every two seconds
        logger.error("%s failed and is due again in %d s: %s", job.name, job.every, error)
    except Exception:
        logger.exception("%s failed and is due again in %d s.", job.name, job.every)
    return None


@contextmanager
def _alone(job: Job) -> Iterator[bool]:
    """Whether nobody else is at it, and until we are done nobody else will be.

    The lock is the connection's: it is gone with the process, or with the database.
    """
    name = f"worker:{job.name}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [name])
        (is_alone,) = cursor.fetchone()
    try:
        yield is_alone
    finally:
        if is_alone:
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [name])
