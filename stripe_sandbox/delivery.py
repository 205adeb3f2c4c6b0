"""Webhooks: signed, in no particular order, tried again for three days."""

import json
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import stripe

from stripe_sandbox import checkout, events, settings, store

logger = logging.getLogger(__name__)

TIMEOUT = 10
"""Seconds the receiver has to answer."""

DELAYS = [1, 5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600]
"""Seconds from each failed try to the next: three days in all."""

MODES = {
    "normal": "Events go out as they happen, several at once, as Stripe sends them.",
    "ordered": "Events go out one at a time, in the order in which they happened.",
    "shuffled": "Events go out shuffled, one at a time, once a second has brought no new one.",
    "delayed": "Events go out late.",
    "paused": "Events wait: nothing goes out.",
}

WORKERS = 8
POLL = 0.05
PAUSE_BEFORE_SHUFFLE = 1
TIDY = 60
"""Seconds between two rounds of tidying up."""

_pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="delivery")
_in_flight: set[str] = set()
"""Events that are being posted. A kill forgets this, so that they are due at the next start."""


def start() -> None:
    """Deliver what is due from now on, in a thread that ends with the process."""
    threading.Thread(target=_run, daemon=True, name="deliveries").start()


def mode() -> dict[str, Any]:
    found: dict[str, Any] = store.get_setting("deliveries", {"mode": "normal"})
    return found


def set_mode(name: str, seconds: float = 0) -> None:
    """Raises `ValueError`."""
    if name not in MODES:
        raise ValueError(f"The modes are {', '.join(MODES)}.")
    if not 0 <= seconds <= 86400:
        raise ValueError("Events can be late by up to a day: 86400 seconds.")
    with store.transaction():
        store.set_setting("deliveries", {"mode": name, "seconds": seconds})
        if name not in {"paused", "delayed"}:
            # What waited for its next try goes out now.
            now = time.time()
            store.execute("UPDATE delivery SET due = min(due, ?) WHERE due IS NOT NULL", now)


def waiting() -> int:
    """How many events the receiver hasn't taken yet and will be sent."""
    ((number,),) = store.execute("SELECT count(*) FROM delivery WHERE due IS NOT NULL")
    return int(number)


def told() -> dict[str, dict[str, Any]]:
    """By event: when it goes out next, how often it was tried, and what the receiver answered."""
    rows = store.execute("SELECT event, due, attempts, answers FROM delivery")
    return {
        event: {"due": due, "attempts": attempts, "answers": json.loads(answers)}
        for event, due, attempts, answers in rows
    }


def target() -> tuple[str, str]:
    """The receiver's address, and the secret that signs for it."""
    webhook = store.get_setting("webhook", None)
    if webhook is None:
        return settings.WEBHOOK_URL, settings.WEBHOOK_SECRET
    return webhook["url"], webhook["secret"]


def _run() -> None:
    tidied = 0.0
    while True:
        try:
            for event_id in _next():
                _in_flight.add(event_id)
                _pool.submit(_attempt, event_id)
            if time.monotonic() - tidied > TIDY:
                checkout.expire_due()
                store.prune()
                tidied = time.monotonic()
        except Exception:
            # Deliveries that stop for good without a word would be the worst of all.
            logger.exception("The round of deliveries failed.")
            time.sleep(1)
        time.sleep(POLL)


def _next() -> list[str]:
    """The events that go out now."""
    now, terms = time.time(), mode()
    if terms["mode"] == "paused" or not target()[0]:
        return []
    late = terms.get("seconds", 0) if terms["mode"] == "delayed" else 0
    rows = store.execute(
        "SELECT event, due FROM delivery WHERE due <= ? ORDER BY due, rowid LIMIT 1000", now - late
    )
    due = [event_id for event_id, _ in rows if event_id not in _in_flight]
    if terms["mode"] not in {"ordered", "shuffled"}:
        return due[: WORKERS - len(_in_flight)]
    if not due or _in_flight:
        return []
    if terms["mode"] == "ordered":
        return due[:1]
    is_quiet = rows[-1][1] < now - PAUSE_BEFORE_SHUFFLE
    return [random.choice(due)] if is_quiet else []  # noqa: S311 (a shuffle)


def _attempt(event_id: str) -> None:
    try:
        status = post(event_id)
        with store.transaction():
            _record(event_id, status)
    except Exception:
        logger.exception("The delivery of %s failed.", event_id)
    finally:
        _in_flight.discard(event_id)


def _record(event_id: str, status: int) -> None:
    rows = store.execute("SELECT attempts, answers FROM delivery WHERE event = ?", event_id)
    event = store.get("event", event_id)
    if not rows or event is None:
        return  # reset meanwhile
    ((attempts, answers),) = rows
    is_taken = 200 <= status < 300
    if is_taken:
        store.put(event | {"pending_webhooks": 0})
    is_done = is_taken or attempts >= len(DELAYS)
    store.execute(
        "UPDATE delivery SET due = ?, attempts = ?, answers = ? WHERE event = ?",
        None if is_done else time.time() + DELAYS[attempts],
        attempts + 1,
        json.dumps([*json.loads(answers), status]),
        event_id,
    )


def deliver_again(event_id: str) -> int:
    """Post an event now, whatever became of it; answers as `post` does.

    Like Stripe's own button, it doesn't end the tries that are still to come. Raises `ValueError`.
    """
    if store.get("event", event_id) is None:
        raise ValueError(f"There is no event {event_id}.")
    status = post(event_id)
    with store.transaction():
        rows = store.execute("SELECT answers FROM delivery WHERE event = ?", event_id)
        for (answers,) in rows:
            store.execute(
                "UPDATE delivery SET answers = ? WHERE event = ?",
                json.dumps([*json.loads(answers), status]),
                event_id,
            )
    return status


def post(event_id: str) -> int:
    """Post an event once; answers the receiver's status, or 0 when there was no answer."""
    event = store.get("event", event_id)
    url, secret = target()
    if event is None or not url:
        return 0
    body = events.body(event)
    signature = stripe.WebhookSignature.generate_signature_header(body, secret)
    with requests.Session() as session:
        session.trust_env = False  # the receiver is on this machine, not behind its proxy
        try:
            response = session.post(
                url,
                body.encode(),
                headers={
                    "Content-Type": "application/json; charset=utf-8",
                    "Stripe-Signature": signature,
                    "User-Agent": "Stripe/1.0 (local stand-in)",
                },
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException:
            return 0
    return response.status_code
