"""The passing of time: all that has happened becomes older, and what has become due is done."""

import json
import time
from typing import Any

from stripe_sandbox import checkout, renewals, store, terms
from stripe_sandbox.store import Object

MOST_HOURS = 24 * 366

TIMES = {
    "available_on", "billing_cycle_anchor", "cancel_at", "canceled_at", "created",
    "current_period_end", "current_period_start", "due_by", "due_date", "end", "ended_at",
    "expires_at", "finalized_at", "marked_uncollectible_at", "next_payment_attempt", "paid_at",
    "period_end", "period_start", "start", "start_date", "updated", "voided_at",
}  # fmt: skip
"""What is a time wherever it stands in an object; metadata has strings only."""


def pass_(hours: int) -> None:
    """Let hours go by: payment pages and portal links expire, idempotency keys are forgotten,
    subscriptions renew or end, failed payments are tried again, webhooks likewise, invoices on
    terms become overdue.

    The clock of the other side stands still, so it is the past that moves. Raises `ValueError`.
    """
    if not 1 <= hours <= MOST_HOURS:
        raise ValueError(f"Let from 1 to {MOST_HOURS} hours go by.")
    while hours:
        # Day by day: a try that fails is what the next one follows.
        step = min(hours, 24)
        hours -= step
        _make_older(step * 3600)
        checkout.expire_due()
        terms.mark_overdue(time.time())
        for subscription in reversed(store.all_of("subscription")):
            _catch_up(subscription, time.time())


def _make_older(seconds: int) -> None:
    for id, body in store.execute("SELECT id, body FROM object"):
        older = json.dumps(_older(json.loads(body), seconds))
        store.execute("UPDATE object SET body = ? WHERE id = ?", older, id)
    store.execute("UPDATE answer SET created = created - ?", seconds)
    store.execute("UPDATE delivery SET due = due - ?", seconds)


def _older(value: Any, seconds: int) -> Any:
    if isinstance(value, list):
        return [_older(item, seconds) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _aged(name, item, seconds) for name, item in value.items()}


def _aged(name: str, value: Any, seconds: int) -> Any:
    is_time = name in TIMES and isinstance(value, int)
    return value - seconds if is_time else _older(value, seconds)


def _catch_up(subscription: Object, now: float) -> None:
    """Do what has become due, one after the other."""
    while True:
        if subscription["status"] not in renewals.LIVE:
            return
        next_try = store.held(subscription["latest_invoice"])["next_payment_attempt"]
        period_end = subscription["items"]["data"][0]["current_period_end"]
        if next_try and next_try <= now:
            subscription = renewals.retry(subscription["id"])
        elif min(period_end, subscription["cancel_at"] or period_end) <= now:
            subscription = renewals.advance(subscription["id"])
        else:
            return
