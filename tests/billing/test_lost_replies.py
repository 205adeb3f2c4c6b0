"""Stripe does the work and its answer is lost, at each call that the product makes, in turn."""

import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.models import User
from billing import plans, stripe_api
from billing.checkout import start_checkout
from billing.closing import close_account
from billing.customers import portal_url
from billing.models import Charge, PlanChange, Purchase, Refund, Subscription
from billing.receipts import receipt_url
from billing.stripe_api import StripeUnavailable
from credits.audit import audit
from credits.models import Entry
from tests.second_step import StaffClient
from tests.shop import Shop
from tests.stripe_events import post

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

EVERY = 1 if os.environ.get("PAYMENTS_SOAK") == "long" else 5
"""Which of the calls lose their answer twice; once, it is each that does something."""

TRIED_AGAIN = 3
"""How often people press a button that says to try again."""


def patiently(step: Callable[[], Any]) -> Any:
    for left in reversed(range(TRIED_AGAIN)):
        try:
            return step()
        except StripeUnavailable:
            assert left
    return None


class Story:
    """All that a buyer and staff do that asks something of Stripe."""

    def __init__(self, shop: Shop, staff: User) -> None:
        self.shop = shop
        self.desk = StaffClient()
        self.desk.force_login(staff)
        self.told: set[str] = set()

    def live(self) -> None:
        user = self.shop.user
        bought = self.buy(500, "payment")
        self.buy(1000, "subscription")
        patiently(lambda: plans.change_plan(user, 2000, expected_total=1800))
        self.tell()
        patiently(lambda: plans.cancel_plan(user))
        patiently(lambda: plans.resume_plan(user))
        self.tell()
        patiently(lambda: portal_url(user))
        for entry in Entry.objects.all():
            patiently(lambda entry=entry: receipt_url(entry))
        self.refund(Entry.objects.get(key=f"purchase:{bought.pk}"))
        self.tell()
        self.order(700, "payment")  # left open: closing has to close it
        patiently(lambda: close_account(user))
        self.tell()

    def buy(self, credits: int, mode: str) -> Purchase:
        purchase = self.order(credits, mode)
        self.shop.sandbox.pay(str(purchase.stripe_session_id))
        self.tell()
        return purchase

    def order(self, credits: int, mode: str) -> Purchase:
        key = uuid.uuid4()
        patiently(lambda: start_checkout(self.shop.user, credits, mode, request_id=key))
        return Purchase.objects.get(request_id=key)

    def refund(self, entry: Entry) -> None:
        url = f"/admin/billing/refund/of/{entry.pk}/"
        form = {"id": str(uuid.uuid4()), "part": "all", "reason": "Bought by mistake"}
        for _ in range(TRIED_AGAIN):
            if "seen" not in form:
                shown = self.desk.post(url, form | {"preview": "1"}).context.get("preview")
                form |= {"seen": shown.seen, "confirm": "1"} if shown else {}
            if "seen" in form and self.desk.post(url, form).status_code == 302:
                return
        raise AssertionError("It could not be refunded.")

    def tell(self) -> None:
        """Deliver what is new, again and again until it is taken, as Stripe does."""
        for payload in self.shop.sandbox.events():
            if payload["id"] in self.told:
                continue
            payload.pop("delivery")
            answers = (post(self.shop.client, payload).status_code for _ in range(TRIED_AGAIN))
            assert any(answer == 200 for answer in answers), payload["type"]
            self.told.add(payload["id"])

    def comes_to(self) -> dict[str, Any]:
        """What there is at Stripe and here in the end, without ids."""
        sandbox = self.shop.sandbox
        updates = sandbox.events("customer.subscription.updated")
        return {
            "customers": len(sandbox.events("customer.created")),
            "orders": sorted(
                (one["mode"], one["status"], one["amount_total"])
                for one in sandbox.objects("checkout.session")
            ),
            "plans": [one["status"] for one in sandbox.objects("subscription")],
            "changes": [sorted(one["data"]["previous_attributes"]) for one in updates],
            "refunds": [one["amount"] for one in sandbox.objects("refund")],
            "charges": sorted(one["amount"] for one in sandbox.objects("charge")),
            "booked": sorted(Entry.objects.values_list("kind", "amount")),
            "purchases": sorted(Purchase.objects.values_list("credits", "status")),
            "subscription": list(Subscription.objects.values_list("credits", "total", "status")),
            "agreed": list(PlanChange.objects.values_list("credits", "total")),
            "refunded": list(Refund.objects.values_list("amount", "status")),
            "known charges": list(Charge.objects.values_list("amount", "refunded")),
            "closed": User.objects.filter(closed_at__isnull=False).count(),
            "audit": audit(),
        }


# Once: our own second try gets the answer. Twice: whoever asked is told to try again.
@pytest.mark.parametrize("times", [1, 2])
def test_no_call_is_done_twice(user, staff, sandbox, client, monkeypatch, times):
    monkeypatch.setattr(stripe_api, "PAUSE", 0)

    def live() -> dict[str, Any]:
        with transaction.atomic():
            story = Story(Shop(user, sandbox, client), staff)
            story.live()
            end = story.comes_to()
            transaction.set_rollback(True)
        user.refresh_from_db()
        return end

    expected = live()
    assert expected["customers"] == 1
    assert expected["refunds"] == [475]
    assert expected["closed"] == 1
    assert expected["audit"] == []
    calls = [(one["method"], one["path"]) for one in sandbox.requests()]
    assert {method for method, _ in calls} == {"DELETE", "GET", "POST"}
    for number, call in enumerate(calls):
        if times == 1 and call[0] == "GET":
            continue  # nothing is done by it, and the other case loses it as well
        if times == 2 and number % EVERY:
            continue
        sandbox.reset()
        sandbox.clear_faults()
        sandbox.add_fault(method="*", path="/v1/", kind="lose_reply", after=number, times=times)
        assert live() == expected, call
        assert sandbox.faults() == [], "the fault wasn't met"
