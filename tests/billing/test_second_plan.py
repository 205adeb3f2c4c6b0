"""One monthly plan at a time, whatever is open, late or tried again."""

import json
import uuid

import pytest
from django.test import Client

from billing.models import Purchase, Subscription
from credits import ledger
from tests import stripe_events

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/billing/dynamic-checkout"


@pytest.fixture
def subscribe(user):
    client = Client()
    client.force_login(user)

    def post(**fields):
        body = {"credits": 500, "mode": "subscription"} | fields
        return client.post(URL, json.dumps(body), content_type="application/json")

    return post


@pytest.fixture
def report(client, sandbox):
    """Deliver what has happened at Stripe, but for some types of events."""

    def deliver(*left_out: str) -> None:
        for event in sandbox.events():
            if not event["type"].startswith(left_out):
                stripe_events.post(client, event)

    return deliver


def assert_refused(response) -> None:
    assert (response.status_code, response.json()["code"]) == (409, "already_subscribed")


def test_an_order_that_failed_is_not_opened_beside_a_plan(subscribe, sandbox, report):
    request_id = str(uuid.uuid4())
    sandbox.add_fault(method="POST", path="/v1/checkout", kind="error", status=503, times=9)
    assert subscribe(request_id=request_id).status_code == 503
    sandbox.clear_faults()
    assert subscribe().status_code == 200
    sandbox.pay(sandbox.objects("checkout.session")[0]["id"])
    report()
    assert Subscription.objects.get().status == "active"

    assert_refused(subscribe(request_id=request_id))
    assert len(sandbox.objects("checkout.session")) == 1


def test_the_latest_page_closes_the_one_before(user, subscribe, sandbox, report):
    assert subscribe().status_code == 200
    assert subscribe(credits=600).status_code == 200
    latest, first = sandbox.objects("checkout.session")
    assert (latest["status"], first["status"]) == ("open", "expired")

    sandbox.pay(latest["id"])
    report()
    assert Subscription.objects.get().credits == 600
    assert ledger.balance_of(user) == 600
    assert sorted(Purchase.objects.values_list("credits", "status")) == [
        (500, "expired"),
        (600, "paid"),
    ]


def test_a_page_that_was_just_paid_is_a_plan(subscribe, sandbox):
    assert subscribe().status_code == 200
    sandbox.pay(sandbox.objects("checkout.session")[0]["id"])
    assert_refused(subscribe())
    assert len(sandbox.objects("checkout.session")) == 1


def test_a_plan_counts_before_stripe_has_described_it(user, subscribe, sandbox, report):
    assert subscribe().status_code == 200
    sandbox.pay(sandbox.objects("checkout.session")[0]["id"])
    report("customer.subscription")
    assert ledger.balance_of(user) == 500
    assert Subscription.objects.count() == 0
    assert_refused(subscribe())


def test_a_page_that_stripe_will_not_close_stays_the_only_one(user, subscribe, sandbox):
    assert subscribe(credits=500).status_code == 200
    page = Purchase.objects.get().stripe_session_id
    path = f"/v1/checkout/sessions/{page}/expire"
    sandbox.add_fault(path=path, kind="error", status=403, times=9)
    response = subscribe(credits=700)
    assert (response.status_code, response.json()["code"]) == (502, "stripe_error")
    assert [one["status"] for one in sandbox.objects("checkout.session")] == ["open"]
    assert Purchase.objects.get(credits=500).status == "pending"
