"""One plan's life, told in every order: the ledger and the plan end the same.

The life is lived once, over the stand-in. Then its events are delivered in each of the 720 orders
of its six steps (of each beginning of three in one, unless `PAYMENTS_SOAK` is long), each time
to a database in which none of them has arrived; and in some of them to one that has lost the plan
and its change as well. What Stripe answers when it is asked is the end
of the life, whichever order its events come in, so the subscription is asked for once; everything
else is as always, signatures and all.
"""

import functools
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction

from billing import checkout, plans, renewals, stripe_api, subscriptions, webhooks
from billing.models import Event, Mail, PlanChange, Purchase, Subscription
from billing.subscriptions import Fetched
from credits import ledger
from credits.audit import audit
from credits.models import Entry, Lot
from tests.stripe_events import sign

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

LONG = os.environ.get("PAYMENTS_SOAK") == "long"


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def deliver(event: dict) -> str:
    body = json.dumps(event).encode()
    return webhooks.receive(body, sign(body)).status


class Life:
    """What happened at Stripe, step by step, and what this side had on record of its own doing."""

    def __init__(self, user, sandbox) -> None:
        self.sandbox = sandbox
        self.told: set[str] = set()
        checkout.start_checkout(user, 500, "subscription")
        purchase = Purchase.objects.get()
        with rolled_back():
            sandbox.pay(purchase.stripe_session_id)
            (subscription,) = sandbox.objects("subscription")
            id = subscription["id"]
            # The same payment is told by two events.
            self.first = self.news("invoice.paid", "checkout.session.completed")
            for event in self.first:
                assert deliver(event) == "done"
            sandbox.advance(id)
            self.renewed = self.news("invoice.paid")
            deliver(sandbox.events("customer.subscription.created")[0])
            plans.change_plan(user, 2000, expected_total=1800)
            self.rows = [*Subscription.objects.all(), *PlanChange.objects.all()]
            self.changed = self.news("customer.subscription.updated")[-1:]
            sandbox.fail_renewals(id)
            sandbox.advance(id)
            self.failed = self.news("invoice.payment_failed")
            sandbox.fix_card(id)
            sandbox.retry(id)
            self.recovered = self.news("invoice.paid")
            plans.cancel_plan(user)
            self.cancelled = self.news("customer.subscription.updated")[-1:]
        self.steps = [
            self.first, self.renewed, self.changed, self.failed, self.recovered, self.cancelled,
        ]  # fmt: skip
        assert [len(step) for step in self.steps] == [2, 1, 1, 1, 1, 1]

    def news(self, *types: str) -> list[dict]:
        """The events of some types since the last time."""
        found = [event for event in self.sandbox.events() if event["id"] not in self.told]
        self.told |= {event["id"] for event in found}
        for event in found:
            event.pop("delivery")
        return [event for event in found if event["type"] in types]


def state(user) -> dict:
    """What must not depend on the order."""
    entries = Entry.objects.in_bulk()
    lots = [
        (entries[lot.entry_id].key, entries[lot.entry_id].kind, lot.amount, lot.paid)
        for lot in Lot.objects.all()
    ]
    return {
        "grants": sorted(lots),
        "entries": len(entries),
        "balance": ledger.balance_of(user),
        "subscription": Subscription.objects.values_list(
            "user", "stripe_id", "status", "credits", "total", "currency", "current_period_end",
            "cancel_at_period_end",
        ).get(),
        "purchase": Purchase.objects.values_list(
            "status", "stripe_session_id", "stripe_payment_id", "credits", "total"
        ).get(),
        "changes": list(PlanChange.objects.values_list("pk", "credits", "total")),
        "agreed": PlanChange.objects.filter(applied_at__isnull=False).count(),
        "mails": sorted(Mail.objects.values_list("kind", "key")),
        "events": set(Event.objects.values_list("status", flat=True)),
    }  # fmt: skip


@pytest.mark.parametrize("kept", [True, False], ids=["as it was", "after a restored backup"])
def test_every_order_of_a_plan_s_events_ends_the_same(user, sandbox, monkeypatch, kept):
    life = Life(user, sandbox)
    if kept:
        for row in life.rows:
            row.save(force_insert=True)
    (subscription,) = sandbox.objects("subscription")

    @functools.cache
    def found(id: str) -> dict:
        return stripe_api.client().v1.subscriptions.retrieve(id).to_dict()

    def ask_for(id: str, clock) -> Fetched:
        return Fetched(stripe_api.database_time(), found(id))

    for module in (subscriptions, renewals):
        monkeypatch.setattr(module, "ask_for", ask_for)

    first, second, third = (one["id"] for one in reversed(sandbox.objects("invoice")))
    expected = [
        (f"invoice:{first}", "purchase", 500, 475),
        (f"invoice:{second}", "renewal", 500, 475),
        (f"invoice:{third}", "renewal", 2000, 1800),
    ]
    ends: list[dict] = []

    def tell(*told: int) -> None:
        """What has been told stays while the rest is told in each order that is left."""
        rest = sorted(set(range(6)) - set(told))
        if not rest:
            end = state(user)
            assert end["grants"] == sorted(expected), told
            assert not ends or end == ends[0], told
            if len(ends) % 60 == 0:
                assert audit() == [], told
            ends.append(end)
        # As many as there is time for: the last steps in one order, another one in each run.
        is_each = (LONG and kept) or len(rest) > 3
        for step in rest if is_each else random.sample(rest, min(1, len(rest))):
            with rolled_back():
                first = told[0] if told else step
                # The two of the first payment come either way round.
                for event in life.steps[step] if first % 2 else reversed(life.steps[step]):
                    assert deliver(event) == "done", (*told, step, event["type"])
                tell(*told, step)

    tell()
    assert len(ends) == (720 if LONG and kept else 120)
    assert ends[0]["balance"] == 3000
    assert ends[0]["purchase"][0] == "paid"
    _, id, status, credits, total, _, end, is_ending = ends[0]["subscription"]
    assert (id, status, credits, total) == (subscription["id"], "active", 2000, 1800)
    assert is_ending is True
    assert int(end.timestamp()) == subscription["items"]["data"][0]["current_period_end"]
    assert [terms[1:] for terms in ends[0]["changes"]] == [(2000, 1800)]
    assert ends[0]["agreed"] == 1
    # The failure was over by the time it was asked about.
    assert ends[0]["mails"] == sorted((kind, key) for key, kind, _, _ in expected)
    assert ends[0]["events"] == {"done"}
