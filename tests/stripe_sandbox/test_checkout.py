"""Checkout Sessions over the API."""

import time

import pytest
import stripe

from tests.stripe_sandbox.helpers import client, counts, error_of, order, set_field, until


def price(**fields):
    return {
        "currency": "usd",
        "unit_amount": 500,
        "product_data": {"name": "500 credits"},
        **fields,
    }


def item(**fields):
    return {"quantity": 1, "price_data": price(), **fields}


def test_a_session_is_open_and_has_a_page(sandbox, api):
    customer = api.v1.customers.create({"email": "ada@example.com"})
    at = int(time.time())
    session = api.v1.checkout.sessions.create(
        order(
            amount=4000,
            customer=customer.id,
            client_reference_id="order-1",
            cancel_url="https://shop.example/back",
            metadata={"credits": "5000"},
        )
    )
    assert session.id.startswith("cs_test_")
    assert session.url == f"{sandbox.base_url}/c/pay/{session.id}"
    assert (session.status, session.payment_status, session.mode) == ("open", "unpaid", "payment")
    assert (session.amount_subtotal, session.amount_total, session.currency) == (4000, 4000, "usd")
    assert (session.customer, session.client_reference_id) == (customer.id, "order-1")
    assert session.metadata.to_dict() == {"credits": "5000"}
    assert (session.payment_intent, session.subscription, session.invoice) == (None, None, None)
    assert at + 86400 <= session.expires_at <= at + 86410
    assert api.v1.checkout.sessions.retrieve(session.id).to_dict() == session.to_dict()


def test_line_items_add_up(api):
    session = api.v1.checkout.sessions.create(
        order(line_items=[item(quantity=3), item(price_data=price(unit_amount=10))])
    )
    assert session.amount_total == 1510
    lines = api.v1.checkout.sessions.line_items.list(session.id)
    assert [(line.quantity, line.amount_total, line.description) for line in lines.data] == [
        (3, 1500, "500 credits"),
        (1, 10, "500 credits"),
    ]
    page = api.v1.checkout.sessions.line_items.list(session.id, {"limit": 1})
    assert (len(page.data), page.has_more) == (1, True)


@pytest.mark.parametrize("mode", ["payment", "subscription"])
@pytest.mark.parametrize(
    ("amount", "code"), [(49, "amount_too_small"), (100_000_000, "amount_too_large")]
)
def test_totals_have_their_limits(sandbox, api, mode, amount, code):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.checkout.sessions.create(order(mode, amount))
    assert error_of(raised.value) == (400, "invalid_request_error", code, None)
    assert counts(sandbox) == {}


@pytest.mark.parametrize("amount", [50, 99_999_999])
def test_totals_at_their_limits_are_taken(api, amount):
    assert api.v1.checkout.sessions.create(order(amount=amount)).amount_total == amount


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"success_url": "/done"}, "success_url", "url_invalid"),
        ({"success_url": ""}, "success_url", "parameter_missing"),
        ({"cancel_url": "javascript:alert()"}, "cancel_url", "url_invalid"),
        ({"customer": "cus_x"}, "customer", "resource_missing"),
        ({"customer_email": "ada"}, "customer_email", "email_invalid"),
        ({"mode": "gift"}, "mode", None),
        ({"subscription_data": {"metadata": {"a": "b"}}}, "subscription_data", None),
        ({"line_items": []}, "line_items", "parameter_missing"),
        (
            {"line_items": [{"price_data": price()}]},
            "line_items[0][quantity]",
            "parameter_missing",
        ),
        ({"line_items": [item(quantity=0)]}, "line_items[0][quantity]", None),
        ({"line_items": [item(), item(quantity=-1)]}, "line_items[1][quantity]", None),
        (
            {"line_items": [item(price_data=price(unit_amount=-1))]},
            "line_items[0][price_data][unit_amount]",
            None,
        ),
        (
            {"line_items": [item(price_data=price(recurring={"interval": "month"}))]},
            "line_items[0][price_data]",
            None,
        ),
        (
            {"line_items": [item(), item(price_data=price(currency="eur"))]},
            "line_items",
            None,
        ),
        ({"expires_at": int(time.time()) + 60}, "expires_at", None),
        ({"expires_at": int(time.time()) + 90_000}, "expires_at", None),
    ],
)
def test_a_bad_order_is_refused(sandbox, api, change, param, code):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.checkout.sessions.create(order() | change)
    assert error_of(raised.value) == (400, "invalid_request_error", code, param)
    assert counts(sandbox) == {}


def test_a_known_customer_has_their_own_address(sandbox, api):
    customer = api.v1.customers.create()
    before = counts(sandbox)
    with pytest.raises(stripe.InvalidRequestError, match="customer, customer_email"):
        api.v1.checkout.sessions.create(
            order(customer=customer.id, customer_email="ada@example.com")
        )
    assert counts(sandbox) == before


def test_a_subscription_needs_a_recurring_price_and_no_payment_intent_data(sandbox, api):
    for change in (
        {"line_items": [item()]},
        {"payment_intent_data": {"metadata": {"a": "b"}}},
    ):
        with pytest.raises(stripe.InvalidRequestError):
            api.v1.checkout.sessions.create(order("subscription") | change)
    assert counts(sandbox) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"ui_mode": "embedded_page"},
        {"allow_promotion_codes": True},
        {"payment_intent_data": {"capture_method": "manual"}},
        {"line_items": [{"quantity": 1, "price": "price_x"}]},
        {"line_items": [item(price_data=price(currency="eur"))]},
    ],
)
def test_what_checkout_does_not_do_is_a_501(sandbox, api, change):
    with pytest.raises(stripe.APIError) as raised:
        api.v1.checkout.sessions.create(order() | change)
    assert error_of(raised.value)[:2] == (501, "api_error")
    assert counts(sandbox) == {}


def test_other_intervals_than_a_month_are_a_501(sandbox, api):
    for recurring in ({"interval": "year"}, {"interval": "month", "interval_count": 2}):
        line = item(price_data=price(recurring=recurring))
        with pytest.raises(stripe.APIError) as raised:
            api.v1.checkout.sessions.create(order("subscription", line_items=[line]))
        assert raised.value.http_status == 501
    assert counts(sandbox) == {}


def test_an_open_session_can_be_expired_once(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    expired = api.v1.checkout.sessions.expire(session.id)
    assert (expired.status, expired.payment_status, expired.url) == ("expired", "unpaid", None)
    (event,) = sandbox.events()
    assert event["type"] == "checkout.session.expired"
    assert event["data"]["object"] == expired.to_dict()
    with pytest.raises(stripe.InvalidRequestError, match="has a status of expired"):
        api.v1.checkout.sessions.expire(session.id)
    assert len(sandbox.events()) == 1


def test_a_paid_session_cannot_be_expired(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    sandbox.pay(session.id)
    with pytest.raises(stripe.InvalidRequestError, match="has a status of complete"):
        api.v1.checkout.sessions.expire(session.id)
    assert api.v1.checkout.sessions.retrieve(session.id).status == "complete"


def test_a_session_expires_when_its_time_is_up(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    set_field(sandbox, session.id, "expires_at", int(time.time()) - 1)
    assert api.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert [event["type"] for event in sandbox.events()] == ["checkout.session.expired"]


def test_a_session_that_nobody_looks_at_expires_too(own_sandbox):
    session = client(own_sandbox).v1.checkout.sessions.create(order())
    set_field(own_sandbox, session.id, "expires_at", int(time.time()) - 1)
    own_sandbox.kill()
    own_sandbox.start()  # which tidies up at once, and then every minute
    until(lambda: own_sandbox.events("checkout.session.expired"))


def test_a_payment_makes_an_intent_and_a_charge(sandbox, api):
    customer = api.v1.customers.create({"email": "ada@example.com"})
    metadata = {"credits": "500"}
    session = api.v1.checkout.sessions.create(
        order(customer=customer.id, payment_intent_data={"metadata": metadata})
    )
    paid = sandbox.pay(session.id)
    assert (paid["status"], paid["payment_status"], paid["url"]) == ("complete", "paid", None)
    assert paid["customer_details"]["email"] == "ada@example.com"
    intent = api.v1.payment_intents.retrieve(paid["payment_intent"], {"expand": ["latest_charge"]})
    assert (intent.status, intent.amount, intent.amount_received) == ("succeeded", 500, 500)
    assert (intent.customer, intent.metadata.to_dict()) == (customer.id, metadata)
    charge = intent.latest_charge
    assert (charge.paid, charge.amount, charge.payment_intent) == (True, 500, intent.id)
    assert charge.payment_method_details.card.last4 == "4242"
    assert [event["type"] for event in sandbox.events()[1:]] == [
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "checkout.session.completed",
    ]
    assert sandbox.events()[-1]["data"]["object"] == paid
    created = sandbox.events("payment_intent.created")[0]["data"]["object"]
    assert (created["status"], created["amount_received"], created["latest_charge"]) == (
        "requires_payment_method", 0, None,
    )  # fmt: skip


def test_a_single_payment_needs_no_customer_but_a_subscription_makes_one(sandbox, api):
    for mode, made in (("payment", 0), ("subscription", 1)):
        session = api.v1.checkout.sessions.create(order(mode, customer_email="ada@example.com"))
        paid = sandbox.pay(session.id)
        assert paid["customer_details"]["email"] == "ada@example.com"
        assert [customer["id"] for customer in sandbox.objects("customer")] == (
            [paid["customer"]] if made else []
        )


def test_paying_twice_pays_once(sandbox, api, at_once):
    session = api.v1.checkout.sessions.create(order())
    paid = at_once(4, lambda index: sandbox.pay(session.id)["payment_intent"])
    assert paid == [paid[0]] * 4
    assert counts(sandbox)["charge"] == 1
    assert len(sandbox.events("checkout.session.completed")) == 1
