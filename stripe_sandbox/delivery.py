"""Webhooks: signed, in no particular order, tried again for three days."""

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests
import stripe

from stripe_sandbox import events, settings, store

TIMEOUT = 10
"""Seconds the receiver has to answer."""

DELAYS = [1, 5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600]
"""Seconds from each failed try to the next: three days in all."""

POLL = 0.05

_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="delivery")


def start() -> None:
    """Deliver what is due from now on, in a thread that ends with the process."""
    threading.Thread(target=_run, daemon=True, name="deliveries").start()


def _run() -> None:
    while True:
        mode = store.get_setting("deliveries", {"mode": "normal"})
        if mode["mode"] != "paused" and target()[0]:
            late = mode.get("seconds", 0) if mode["mode"] == "delayed" else 0
            due = claim(late)
            if mode.get("shuffle"):
                random.shuffle(due)
            for event_id in due:
                _pool.submit(_attempt, event_id)
        time.sleep(POLL)


def claim(late: float) -> list[str]:
    """Take what is due. A kill before the answer leaves it due again after a minute."""
    now = time.time()
    with store.transaction():
        rows = store.execute(
            "SELECT event FROM delivery WHERE due <= ? ORDER BY due LIMIT 200", now - late
        )
        for (event_id,) in rows:
            store.execute("UPDATE delivery SET due = ? WHERE event = ?", now + 60, event_id)
    return [event_id for (event_id,) in rows]


def target() -> tuple[str, str]:
    """The receiver's address, and the secret that signs for it."""
    webhook = store.get_setting("webhook", None)
    if webhook is None:
        return settings.WEBHOOK_URL, settings.WEBHOOK_SECRET
    return webhook["url"], webhook["secret"]


def _attempt(event_id: str) -> None:
    status = post(event_id)
    with store.transaction():
        ((attempts, answers),) = store.execute(
            "SELECT attempts, answers FROM delivery WHERE event = ?", event_id
        ) or [(None, None)]
        if attempts is None:
            return  # reset meanwhile
        is_done = 200 <= status < 300 or attempts >= len(DELAYS)
        store.execute(
            "UPDATE delivery SET due = ?, attempts = ?, answers = ? WHERE event = ?",
            None if is_done else time.time() + DELAYS[attempts],
            attempts + 1,
            json.dumps([*json.loads(answers), status]),
            event_id,
        )


def post(event_id: str) -> int:
    """Post an event once; answers the receiver's status, or 0 when there was no answer."""
    event = store.get("event", event_id)
    url, secret = target()
    if event is None or not url:
        return 0
    body = events.body(event)
    signature = stripe.WebhookSignature.generate_signature_header(body, secret)
    try:
        response = requests.post(
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
