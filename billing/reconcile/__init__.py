"""Comparing what Stripe knows with what is here, and doing what was missed.

What Stripe lists is compared page by page, each with a few queries. What is missing here becomes an
event of our own and goes through the handlers like Stripe's (`webhooks.supply`), so that running
this twice, or beside deliveries, is as safe as a second delivery. Where all is right, nothing is
written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from billing.models import Reconciliation
from billing.reconcile.events import compare_events, list_open
from billing.reconcile.grants import compare_grants
from billing.reconcile.plans import close_orders, compare_plans
from billing.reconcile.returns import compare_disputes, compare_refunds
from billing.reconcile.run import Run, Watch
from billing.reconcile.sales import compare_invoices, compare_payments, compare_sessions

LOCK: Final = 0x5245434F4E  # any number that nobody else locks
DIFFERENCES_KEPT: Final = 1000


class AlreadyRunning(Exception):
    """Another process is reconciling now."""


COMPARISONS: Final[dict[str, Callable[[Run], None]]] = {
    "events": compare_events,
    "sessions": compare_sessions,
    "payments": compare_payments,
    "invoices": compare_invoices,
    "refunds": compare_refunds,
    "disputes": compare_disputes,
    "plans": compare_plans,
    "orders": close_orders,
    "grants": compare_grants,
}


def reconcile(since: datetime, watch: Watch = lambda step, part: None) -> Reconciliation:
    """Compare all that happened at Stripe since then, mend what was missed, and keep the result.

    Raises `AlreadyRunning`, `StripeUnavailable`, `StripeRefused`; what was mended before stays so,
    and the result stays unfinished.
    """
    with _alone():
        result = Reconciliation.objects.create(since=since)
        run = Run(since, timezone.now(), watch)
        for step, compare in COMPARISONS.items():
            watch(step, 0)
            compare(run)
        list_open(run)
        result.counts = {
            "read": {step: run.read[step] for step in COMPARISONS},
            "mended": {step: run.mended[step] for step in COMPARISONS},
            "differences": len(run.differences),
            "paid_at_stripe": run.paid_at_stripe,
            "paid_here": run.paid_here,
            "settled": run.settled,
        }
        result.differences = [asdict(one) for one in run.differences[:DIFFERENCES_KEPT]]
        result.finished_at = timezone.now()
        result.save()
        return result


@contextmanager
def _alone() -> Iterator[None]:
    # Of the session, not of a transaction: Stripe is asked meanwhile.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        (is_ours,) = cursor.fetchone()
    if not is_ours:
        raise AlreadyRunning
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
