"""`POST /api/billing/dynamic-checkout`: what it refuses, in which order, and what it makes."""

import json
import uuid

import pytest
from django.test import Client

from billing.models import PriceTier, Purchase, StripeCustomer, Subscription

pytestmark = pytest.mark.django_db
URL = "/api/billing/dynamic-checkout"


@pytest.fixture
def buyer(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, body: object, **headers: str):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(URL, text, content_type="application/json", headers=headers)


def assert_refused(response, status: int, code: str, field: str | None = None) -> None:
    assert (response.status_code, response["Content-Type"]) == (status, "application/json")
    answer = response.json()
    assert answer["code"] == code
    assert answer.get("field") == field
    assert answer["error"]
    assert Purchase.objects.count() == 0
    assert StripeCustomer.objects.count() == 0


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("signed_in", [True, False])
def test_the_method_is_checked_first(buyer, method, signed_in):
    client = buyer if signed_in else Client(enforce_csrf_checks=True)
    response = getattr(client, method)(URL)
    assert (response.status_code, response["Allow"]) == (405, "POST")
    if method != "head":
        assert response.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("enforce_csrf_checks", [True, False])
def test_visitors_are_unauthorized_before_anything_else(enforce_csrf_checks):
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    response = client.post(URL, "x" * 70_000, content_type="text/plain")
    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized", "code": "unauthorized"}


def test_csrf_comes_next(user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert_refused(post(client, "x" * 70_000), 403, "csrf_failed")
    assert_refused(post(client, {"credits": 500}, **{"X-CSRFToken": "x" * 32}), 403, "csrf_failed")


def test_a_script_can_read_the_token_and_send_it(user, sandbox):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    client.get("/credits")
    cookie = client.cookies["csrftoken"]
    assert not cookie["httponly"]
    assert post(client, {"credits": 500}, **{"X-CSRFToken": cookie.value}).status_code == 200


def test_then_size_type_and_json(buyer):
    assert_refused(
        buyer.post(URL, "x" * (64 * 1024 + 1), content_type="text/plain"),
        413,
        "payload_too_large",
    )
    exact = b'{"credits": 9}' + b" " * (64 * 1024 - 14)
    assert_refused(post(buyer, exact), 400, "credits_out_of_range", "credits")
    assert_refused(buyer.post(URL, {"credits": "500"}), 415, "unsupported_media_type")
    assert_refused(
        buyer.post(URL, "credits=500", content_type="application/x-www-form-urlencoded"),
        415,
        "unsupported_media_type",
    )


@pytest.mark.parametrize(
    "body",
    [
        " ", "{", "[]", "null", "500", '"x"', '{"credits": NaN}', '{"credits": Infinity}',
        '{"credits": 500, "credits": 500}', '{"credits": 500} x', b"\xff", "[" * 60_000,
        '{"credits": 0500}', "{'credits': 500}",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(buyer, body):
    assert_refused(post(buyer, body), 400, "invalid_json")


@pytest.mark.parametrize("name", ["price", "user_id", "total", "Credits", "", "x" * 500])
def test_unknown_fields_are_refused(buyer, name):
    assert_refused(post(buyer, {"credits": 500, name: 1}), 400, "unknown_field", name[:100])


@pytest.mark.parametrize(
    "credits",
    ['"2500"', "2500.0", "true", "1e3", "null", "[500]", "{}", '"\u0665\u0660"', "500.5", "-0.0"],
)
def test_what_is_no_whole_number_is_refused(buyer, credits):
    response = post(buyer, f'{{"credits": {credits}}}')
    assert_refused(response, 400, "invalid_credits", "credits")


def test_missing_credits_are_refused(buyer):
    assert_refused(post(buyer, {}), 400, "invalid_credits", "credits")


@pytest.mark.parametrize("credits", ["9", "100001", "0", "-500", "9" * 5000, "-" + "9" * 5000])
def test_amounts_out_of_range_are_refused(buyer, credits):
    response = post(buyer, f'{{"credits": {credits}}}')
    assert_refused(response, 400, "credits_out_of_range", "credits")


@pytest.mark.parametrize("mode", ["setup", "", None, 1, [], "Payment"])
def test_unknown_modes_are_refused(buyer, mode):
    assert_refused(post(buyer, {"credits": 500, "mode": mode}), 400, "invalid_mode", "mode")


@pytest.mark.parametrize("value", ["x", 1, [], True, "", "12345"])
def test_a_bad_request_id_is_refused(buyer, value):
    body = {"credits": 500, "request_id": value}
    assert_refused(post(buyer, body), 400, "invalid_request_id", "request_id")


@pytest.mark.parametrize("value", ["475", 475.0, -1, True, []])
def test_a_bad_expected_total_is_refused(buyer, value):
    body = {"credits": 500, "expected_total": value}
    assert_refused(post(buyer, body), 400, "invalid_expected_total", "expected_total")


def test_an_order_becomes_a_session_with_our_price(buyer, user, sandbox):
    response = post(buyer, {"credits": 1234})

    purchase = Purchase.objects.get()
    session = sandbox.objects("checkout.session")[0]
    assert response.json() == {"url": session["url"]}
    assert (purchase.user, purchase.credits, purchase.total, purchase.mode, purchase.status) == (
        user, 1234, 1172, "payment", "pending",
    )  # fmt: skip
    assert (purchase.stripe_session_id, purchase.stripe_session_url) == (
        session["id"], session["url"],
    )  # fmt: skip
    metadata = {
        "type": "dynamic_credits",
        "credits": "1234",
        "user_id": str(user.pk),
        "purchase_id": str(purchase.pk),
    }
    assert session["metadata"] == metadata
    assert session["client_reference_id"] == str(purchase.pk)
    assert session["amount_subtotal"] == 1172
    assert session["mode"] == "payment"
    (call,) = [call for call in sandbox.requests() if call["path"] == "/v1/checkout/sessions"]
    assert call["idempotency_key"] == f"{purchase.pk}:1"
    assert call["params"]["payment_intent_data"] == {"metadata": metadata}
    assert len(call["params"]["line_items"]) == 1
    assert StripeCustomer.objects.get().stripe_id == session["customer"]


def test_a_monthly_order(buyer, sandbox):
    assert post(buyer, {"credits": 2000, "mode": "subscription"}).status_code == 200
    session = sandbox.objects("checkout.session")[0]
    assert (session["mode"], session["amount_subtotal"]) == ("subscription", 1800)
    (call,) = [call for call in sandbox.requests() if call["path"] == "/v1/checkout/sessions"]
    assert call["params"]["subscription_data"]["metadata"]["credits"] == "2000"


@pytest.mark.parametrize("credits", [10, 49, 50, 499, 500, 1999, 2000, 4999, 5000, 100_000])
def test_every_amount_we_accept_can_be_paid(buyer, sandbox, credits):
    assert post(buyer, {"credits": credits}).status_code == 200
    assert sandbox.objects("checkout.session")[0]["amount_subtotal"] == (
        Purchase.objects.get().total
    )


def test_one_customer_for_all_orders(buyer, sandbox):
    for _ in range(3):
        post(buyer, {"credits": 500})
    assert len(sandbox.objects("customer")) == 1
    assert len(sandbox.objects("checkout.session")) == 3


def test_the_same_request_id_is_the_same_purchase(buyer, sandbox):
    body = {"credits": 500, "request_id": str(uuid.uuid4())}
    urls = {post(buyer, body).json()["url"] for _ in range(3)}
    assert len(urls) == 1
    assert Purchase.objects.count() == 1
    assert len(sandbox.objects("checkout.session")) == 1

    for other in ({"credits": 501}, {"mode": "subscription"}):
        response = post(buyer, body | other)
        assert (response.status_code, response.json()["code"]) == (409, "request_id_reused")
    assert Purchase.objects.count() == 1


def test_another_users_request_id_is_ones_own(buyer, other_user, sandbox):
    body = {"credits": 500, "request_id": str(uuid.uuid4())}
    first = post(buyer, body).json()["url"]
    other = Client()
    other.force_login(other_user)
    assert post(other, body).json()["url"] != first
    assert Purchase.objects.count() == 2


def test_a_price_that_was_not_seen_is_not_charged(buyer, sandbox):
    response = post(buyer, {"credits": 500, "expected_total": 474})
    assert (response.status_code, response.json()["code"]) == (409, "price_changed")
    assert response.json()["quote"]["total"] == 475
    assert Purchase.objects.count() == 0
    assert sandbox.requests() == []
    assert post(buyer, {"credits": 500, "expected_total": 475}).status_code == 200


def test_a_price_rise_does_not_reach_an_order_that_was_placed(buyer, sandbox):
    body = {"credits": 500, "request_id": str(uuid.uuid4()), "expected_total": 475}
    url = post(buyer, body).json()["url"]
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=96)
    assert post(buyer, body).json()["url"] == url
    assert Purchase.objects.get().total == 475

    # Who has seen the new price by now is not sent to pay the old one.
    response = post(buyer, body | {"expected_total": 480})
    assert (response.status_code, response.json()["code"]) == (409, "request_id_reused")
    assert Purchase.objects.get().total == 475


@pytest.mark.parametrize(
    ("status", "refused"), [("active", True), ("past_due", True), ("canceled", False)]
)
def test_a_second_subscription_is_refused(buyer, user, sandbox, status, refused):
    Subscription.objects.create(
        user=user, stripe_id="sub_1", status=status, credits=500, total=475, currency="usd",
        fetched_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    response = post(buyer, {"credits": 500, "mode": "subscription"})
    if refused:
        assert (response.status_code, response.json()["code"]) == (409, "already_subscribed")
        assert response.json()["url"].endswith("/dashboard/plan")
        assert sandbox.requests() == []
    else:
        assert response.status_code == 200
    assert post(buyer, {"credits": 500}).status_code == 200


def test_an_order_asks_the_database_little(buyer, sandbox, django_assert_max_num_queries):
    post(buyer, {"credits": 500})
    with django_assert_max_num_queries(20):
        post(buyer, {"credits": 500, "request_id": str(uuid.uuid4()), "expected_total": 475})


def test_no_trailing_slash(buyer):
    response = buyer.post(f"{URL}/", "{}", content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_after_an_outage_the_form_charges_what_it_shows(buyer, sandbox):
    form = {
        "credits": "500",
        "mode": "payment",
        "request_id": str(uuid.uuid4()),
        "expected_total": "475",
    }
    sandbox.add_fault(method="POST", path="/v1/", kind="error", status=503, times=9)
    assert buyer.post("/credits", form).status_code == 503
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=92)
    page = buyer.post("/credits", form)
    assert (page.status_code, page.context["quote"].total) == (503, 460)
    sandbox.clear_faults()

    page = buyer.post("/credits", form | {"expected_total": "460"})
    assert page.status_code == 409
    assert sandbox.objects("checkout.session") == []
    shown = page.context["form"]
    assert shown["expected_total"] == 460
    again = form | {"expected_total": "460", "request_id": shown["request_id"]}
    assert buyer.post("/credits", again).status_code == 303
    assert [one["amount_total"] for one in sandbox.objects("checkout.session")] == [460]


def test_an_address_that_stripe_refuses_can_be_changed(buyer, user, sandbox):
    sandbox.add_fault(
        method="POST", path="/v1/customers", kind="error", status=400, code="email_invalid"
    )
    assert post(buyer, {"credits": 500}).json()["code"] == "stripe_error"
    user.email = "better@example.com"
    user.save()
    assert post(buyer, {"credits": 500}).status_code == 200
    assert [one["email"] for one in sandbox.objects("customer")] == ["better@example.com"]
