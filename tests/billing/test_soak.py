"""Deliveries as an endpoint gets them after an outage: many times, in no order, all at once."""

import json
import os
import queue
import random
import threading
from collections import Counter

import pytest
import requests

from accounts.models import User
from billing.models import Event, Purchase
from credits import ledger
from credits.models import Entry
from tests.billing.test_fulfilment import COMPLETED, order
from tests.site import serve
from tests.stripe_events import event, invoice_of, session_of, sign

LONG = os.environ.get("PAYMENTS_SOAK") == "long"
PURCHASES = 1000 if LONG else 60
TIMES = 10
CONNECTIONS = 32
USERS = PURCHASES // 10


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_each_event_ten_times_shuffled_over_32_connections():
    users = [User.objects.create_user(f"{number}@example.com") for number in range(USERS)]
    bodies = []
    for number in range(PURCHASES):
        # A plan's first month is told by two events.
        mode = "subscription" if number % 2 else "payment"
        purchase = order(users[number % USERS], mode)
        bodies.append(event(COMPLETED, session_of(purchase)))
        if mode == "subscription":
            bodies.append(event("invoice.paid", invoice_of(purchase)))
    deliveries = [json.dumps(body).encode() for body in bodies] * TIMES
    random.shuffle(deliveries)

    with serve(WEB_CONCURRENCY="2") as url:
        answers = deliver(f"{url}/api/billing/webhook", deliveries)

    assert answers == {(200, "done"): len(deliveries)}
    assert Entry.objects.count() == PURCHASES
    assert set(Entry.objects.values_list("amount", flat=True)) == {1234}
    assert [ledger.balance_of(user) for user in users] == [PURCHASES // USERS * 1234] * USERS
    assert Purchase.objects.filter(status="paid").count() == PURCHASES
    assert Event.objects.filter(status="done", error="").count() == len(bodies)


def deliver(url: str, deliveries: list[bytes]) -> Counter:
    """Post all of them over so many connections; how often each answer came."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in deliveries:
        waiting.put(body)
    answers: Counter = Counter()
    counting = threading.Lock()

    def connection() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while True:
                try:
                    body = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    response = session.post(
                        url,
                        body,
                        headers={
                            "Stripe-Signature": sign(body),
                            "Content-Type": "application/json",
                        },
                        timeout=60,
                    )
                    answer = (response.status_code, response.json().get("status"))
                except requests.RequestException as error:
                    answer = (0, type(error).__name__)
                with counting:
                    answers[answer] += 1

    threads = [threading.Thread(target=connection) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
