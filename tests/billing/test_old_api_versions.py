"""Events of endpoints that were made before API version 2025-03-31, by hand in their shapes.

An endpoint keeps the version it was made with. What such events say differs; what we ask Stripe for
comes in today's shape, because our calls name their version.
"""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from billing import stripe_api, subscriptions
from billing.models import Event, Purchase, Subscription
from billing.stripe_objects import subscription_of
from billing.webhooks import HANDLERS
from credits import ledger
from credits.models import Entry
from tests.stripe_events import event, post

pytestmark = pytest.mark.django_db
OLD = "2024-06-20"


@pytest.fixture
def buy(user, sandbox):
    """Pay for 500 credits at the stand-in, which delivers nothing; answers the session."""
    client = Client()
    client.force_login(user)

    def pay(mode: str) -> dict[str, Any]:
        body = json.dumps({"credits": 500, "mode": mode})
        client.post("/api/billing/dynamic-checkout", body, content_type="application/json")
        return sandbox.pay(Purchase.objects.get(mode=mode).stripe_session_id)

    return pay


def old(type: str, object: dict[str, Any]) -> dict[str, Any]:
    return event(type, aged(object), api_version=OLD, request={"id": None}, pending_webhooks=1)


def aged(found: dict[str, Any]) -> dict[str, Any]:
    """An object of today as it was in 2024."""
    found = copy.deepcopy(found)
    kind = found["object"]
    if kind == "invoice":
        details = found.pop("parent")["subscription_details"]
        found |= {
            "charge": "ch_of_the_invoice",
            "paid": found["status"] == "paid",
            "payment_intent": "pi_of_the_invoice",
            "subscription": details["subscription"],
            "subscription_details": {"metadata": details["metadata"]},
            "lines": found["lines"] | {"data": [aged(line) for line in found["lines"]["data"]]},
        }
    elif kind == "line_item":
        price = found.pop("pricing")["price_details"]
        item = found.pop("parent")["subscription_item_details"]
        found |= {
            "plan": {"id": price["price"], "product": price["product"], "object": "plan"},
            "price": {"id": price["price"], "product": price["product"], "object": "price"},
            "proration": False,
            "subscription": item["subscription"],
            "subscription_item": item["subscription_item"],
            "type": "subscription",
        }
    elif kind == "subscription":
        (item,) = found["items"]["data"]
        found |= {name: item.pop(name) for name in ("current_period_start", "current_period_end")}
    elif kind == "charge":
        found |= {"invoice": None, "refunds": {"object": "list", "data": [], "has_more": False}}
    return found


def objects_of(sandbox, name: str) -> list[dict[str, Any]]:
    """What an event of this type could be about, oldest first."""
    kinds = {
        "checkout.": "checkout.session",
        "invoice.": "invoice",
        "customer.subscription.": "subscription",
        "charge.dispute.": "dispute",
        "charge.": "charge",
        "refund.": "refund",
        "payment_intent.": "payment_intent",
        "payment_method.": "payment_method",
    }
    return sandbox.objects(next(kinds[start] for start in kinds if name.startswith(start)))[::-1]


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_every_handler_takes_the_old_shape(client, user, sandbox, buy, name):
    once, monthly = buy("payment"), buy("subscription")
    for session in (once, monthly):
        assert post(client, old("checkout.session.completed", session)).json() == {"status": "done"}
    assert ledger.balance_of(user) == 1000
    for session in (once, monthly):
        sandbox.refund(session["id"], 95)
        sandbox.dispute(session["id"], 95)

    objects = objects_of(sandbox, name)
    assert objects
    # A payment page's intents are told by its session, and its cards are not kept.
    status = "ignored" if name.startswith("payment_") else "done"
    for found in objects:
        response = post(client, old(name, found))
        assert (response.status_code, response.json()) == (200, {"status": status})
    # 95 of 475 cents are a fifth, refunded and withdrawn.
    is_about_charge = name.startswith(("charge.", "refund."))
    assert ledger.balance_of(user) == (600 if is_about_charge else 1000)
    assert not Event.objects.exclude(status__in=["done", status]).exists()


def test_a_plan_is_stored_the_same(client, sandbox, buy):
    session = buy("subscription")
    (today,) = sandbox.objects("subscription")
    payload = old("customer.subscription.updated", today)
    assert "current_period_end" in payload["data"]["object"]
    assert "current_period_end" not in payload["data"]["object"]["items"]["data"][0]
    post(client, payload)
    end = datetime.fromtimestamp(today["items"]["data"][0]["current_period_end"], UTC)
    stored = Subscription.objects.get()
    assert (stored.stripe_id, stored.credits, stored.current_period_end) == (
        session["subscription"], 500, end,
    )  # fmt: skip

    # And were Stripe to answer in the old shape as well.
    subscriptions.record_subscription(
        subscriptions.Fetched(stripe_api.database_time(), aged(today) | {"status": "past_due"})
    )
    stored.refresh_from_db()
    assert (stored.status, stored.current_period_end) == ("past_due", end)


def test_first_month_and_renewals_grant_once_in_both_shapes(client, user, sandbox, buy):
    session = buy("subscription")
    sandbox.advance(session["subscription"])
    invoices = sandbox.objects("invoice")
    for invoice in invoices:
        for payload in (old("invoice.paid", invoice), event("invoice.paid", invoice)):
            assert post(client, payload).json() == {"status": "done"}
    post(client, old("checkout.session.completed", session))
    assert ledger.balance_of(user) == 1000
    assert sorted(Entry.objects.values_list("kind", "key")) == sorted(
        [("renewal", f"invoice:{invoices[0]['id']}"), ("purchase", f"invoice:{invoices[1]['id']}")]
    )


def older(invoice: dict[str, Any]) -> dict[str, Any]:
    """Before 2022-11-15 the plan's metadata came with the lines only."""
    invoice = aged(invoice)
    metadata = invoice.pop("subscription_details")["metadata"]
    for line in invoice["lines"]["data"]:
        line["metadata"] = metadata
    return invoice


def test_an_invoice_that_tells_the_metadata_with_its_lines(client, user, sandbox, buy):
    buy("subscription")
    (invoice,) = sandbox.objects("invoice")
    assert post(client, event("invoice.paid", older(invoice))).json() == {"status": "done"}
    assert ledger.balance_of(user) == 500


@pytest.mark.parametrize(
    ("invoice", "found"),
    [
        ({"subscription": "sub_1", "subscription_details": {"metadata": {"a": 1}}}, {"a": 1}),
        ({"subscription": {"id": "sub_1"}, "subscription_details": {"metadata": {}}}, {}),
        ({"subscription": "sub_1"}, None),
        ({"subscription": "sub_1", "subscription_details": None, "lines": None}, None),
        (
            {
                "subscription": "sub_1",
                "lines": {
                    "data": [
                        {"subscription": "sub_of_another", "metadata": {"a": 0}},
                        {"subscription": None, "metadata": {"a": 0}},
                        {"subscription": "sub_1", "metadata": {"a": 1}},
                    ]
                },
            },
            {"a": 1},
        ),
    ],
)
def test_whose_invoice_it_is(invoice, found):
    assert subscription_of(invoice) == ("sub_1", found)


def test_what_is_nobodys_invoice():
    for invoice in (
        {}, {"parent": None}, {"parent": []}, {"parent": {"subscription_details": "x"}},
        {"subscription": None}, {"subscription": ["sub_1"]}, {"subscription": "../x", "lines": 1},
    ):  # fmt: skip
        assert subscription_of(invoice) == (None, None)
