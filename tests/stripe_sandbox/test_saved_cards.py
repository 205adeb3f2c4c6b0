"""Cards that are saved by Checkout in setup mode, charged with nobody there, and let go."""

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.helpers import error_of

SETUP: dict[str, Any] = {"mode": "setup", "currency": "usd", "success_url": "https://shop.example"}


@pytest.fixture
def customer(sandbox, api) -> str:
    return api.v1.customers.create({"email": "ada@example.com"}).id


def saved(sandbox, api, customer: str, number: str = "4242424242424242") -> str:
    session = api.v1.checkout.sessions.create({**SETUP, "customer": customer})
    assert sandbox.pay(session.id, number)["status"] == "complete"
    found = api.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["setup_intent.payment_method"]}
    )
    assert (found.payment_status, found.amount_total, found.payment_intent) == (
        "no_payment_required", None, None,
    )  # fmt: skip
    method = found.setup_intent.payment_method
    assert (method.customer, method.card.last4) == (customer, number[-4:])
    return method.id


def intent(api, customer: str, method: str, **fields: Any):
    params = {"amount": 950, "currency": "usd", "customer": customer, "payment_method": method}
    return api.v1.payment_intents.create({**params, **fields})


def charged(api, customer: str, method: str):
    return intent(api, customer, method, confirm=True, off_session=True)


def test_a_saved_card_pays_with_nobody_there(sandbox, api, customer):
    method = saved(sandbox, api, customer)
    made = intent(api, customer, method, metadata={"type": "x"})
    assert (made.status, made.amount_received) == ("requires_confirmation", 0)
    paid = api.v1.payment_intents.confirm(made.id, {"off_session": True}, {"idempotency_key": "k"})
    again = api.v1.payment_intents.confirm(made.id, {"off_session": True}, {"idempotency_key": "k"})
    assert (paid.status, paid.amount_received, again.id) == ("succeeded", 950, made.id)
    charge = api.v1.charges.retrieve(paid.latest_charge)
    assert (charge.amount, charge.payment_method_details.card.last4) == (950, "4242")
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.payment_intents.confirm(made.id)
    assert error_of(raised.value)[2] == "payment_intent_unexpected_state"
    assert [event["type"] for event in sandbox.events()][-4:] == [
        "checkout.session.completed", "payment_intent.created", "payment_intent.succeeded",
        "charge.succeeded",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "decline"),
    [
        ("4000000000000341", "card_declined", "generic_decline"),
        ("4000008260003178", "card_declined", "insufficient_funds"),
        ("4000002760003184", "authentication_required", "authentication_required"),
    ],
)
def test_a_refusal_is_an_error_and_stays_on_record(sandbox, api, customer, number, code, decline):
    method = saved(sandbox, api, customer, number)
    with pytest.raises(stripe.CardError) as raised:
        charged(api, customer, method)
    error = raised.value.json_body["error"]
    assert error_of(raised.value) == (402, "card_error", code, None)
    assert (error["decline_code"], error["payment_method"]["id"]) == (decline, method)
    kept = api.v1.payment_intents.retrieve(error["payment_intent"]["id"])
    assert (kept.status, kept.last_payment_error.code) == ("requires_payment_method", code)
    assert [e["type"] for e in sandbox.events()][-2:] == [
        "charge.failed", "payment_intent.payment_failed",
    ]  # fmt: skip
    assert api.v1.payment_intents.cancel(kept.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.payment_intents.confirm(kept.id)


def test_the_next_charges_go_as_ordered(sandbox, api, customer):
    method = saved(sandbox, api, customer)
    sandbox.charges_go("decline", "process", "process")
    with pytest.raises(stripe.CardError):
        charged(api, customer, method)
    first, second = (charged(api, customer, method) for _ in range(2))
    assert first.status == "processing"
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.payment_intents.cancel(first.id)
    assert sandbox.settle_intent(first.id, is_paid=True)["status"] == "succeeded"
    assert sandbox.settle_intent(second.id, is_paid=False)["status"] == "requires_payment_method"
    assert charged(api, customer, method).status == "succeeded"


def test_a_card_that_was_let_go_cannot_be_charged(sandbox, api, customer):
    method = saved(sandbox, api, customer)
    other = api.v1.customers.create({"email": "eve@example.com"}).id
    for whose in (other, "cus_nobody"):
        with pytest.raises(stripe.InvalidRequestError):
            charged(api, whose, method)
    assert api.v1.payment_methods.detach(method).customer is None
    assert sandbox.events("payment_method.detached")[0]["data"]["previous_attributes"] == {
        "customer": customer
    }
    with pytest.raises(stripe.InvalidRequestError) as raised:
        charged(api, customer, method)
    assert error_of(raised.value)[3] == "payment_method"
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.payment_methods.detach(method)
    gone = saved(sandbox, api, other)
    api.v1.customers.delete(other)
    assert api.v1.payment_methods.retrieve(gone).customer is None
    assert sandbox.objects("payment_intent") == []


@pytest.mark.parametrize(
    "change",
    [
        {"line_items": [{"quantity": 1}]},
        {"subscription_data": {"description": "x"}},
        {"mode": "payment"},
    ],
)
def test_what_setup_mode_refuses(sandbox, api, customer, change):
    with pytest.raises(stripe.StripeError):
        api.v1.checkout.sessions.create({**SETUP, "customer": customer, **change})
    assert sandbox.objects("checkout.session") == []
