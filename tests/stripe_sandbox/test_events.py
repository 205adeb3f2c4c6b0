"""Events over the API."""

import pytest
import stripe

from tests.stripe_sandbox.helpers import client, in_state, order, subscribe


def test_an_event_is_a_snapshot(sandbox, api):
    customer = api.v1.customers.create({"name": "Ada"})
    api.v1.customers.update(customer.id, {"name": "Grace"})
    updated, created = api.v1.events.list().data
    assert (created.type, updated.type) == ("customer.created", "customer.updated")
    assert (created.data.object.name, updated.data.object.name) == ("Ada", "Grace")
    assert (created.api_version, created.livemode) == (stripe.api_version, False)
    assert api.v1.events.retrieve(created.id).to_dict() == created.to_dict()


def test_events_are_filtered_by_type(sandbox, api):
    subscribe(sandbox)

    def found(**params) -> set[str]:
        return {event.type for event in api.v1.events.list({"limit": 100, **params}).data}

    assert found(type="invoice.paid") == {"invoice.paid"}
    assert found(type="payment_intent.*") == {"payment_intent.created", "payment_intent.succeeded"}
    assert found(types=["charge.succeeded", "invoice.paid"]) == {"charge.succeeded", "invoice.paid"}
    assert found(type="refund.created") == set()
    with pytest.raises(stripe.InvalidRequestError, match="type, types"):
        found(type="invoice.paid", types=["invoice.paid"])


def test_no_event_tells_what_the_api_does_not(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    sandbox.pay(session.id)
    subscribe(sandbox)
    for event in sandbox.events():
        assert [name for name in event["data"]["object"] if name.startswith("_")] == []


def test_events_are_kept_for_thirty_days_and_until_they_are_delivered(own_sandbox):
    v1 = client(own_sandbox).v1
    for _ in range(3):
        v1.customers.create()
    fresh, waiting, delivered = own_sandbox.events()
    in_state(
        own_sandbox,
        "UPDATE object SET body = json_set(body, '$.created', 1000) WHERE id IN (?, ?)",
        waiting["id"],
        delivered["id"],
    )
    in_state(own_sandbox, "UPDATE delivery SET due = NULL WHERE event = ?", delivered["id"])
    own_sandbox.kill()
    own_sandbox.start()  # which tidies up
    v1.customers.create()
    kept = [event["id"] for event in own_sandbox.events()]
    assert delivered["id"] not in kept
    assert kept[:2] == [fresh["id"], waiting["id"]]
    assert len(own_sandbox.objects("customer")) == 4
