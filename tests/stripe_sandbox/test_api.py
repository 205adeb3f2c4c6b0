"""Who may ask, what isn't done, lists, expansion."""

import base64

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import KEY, client, counts, error_of, order, set_field, subscribe

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("sk_" + "live_" + "x", "This is a local stand-in: a live key has no business here."),
        ("rk_" + "live_" + "x", "This is a local stand-in: a live key has no business here."),
        ("nobody", "Invalid API Key provided."),
        ("sk_" + "test", "Invalid API Key provided."),
    ],
)
def test_only_test_keys_are_let_in(sandbox, key, words):
    with pytest.raises(stripe.AuthenticationError) as raised:
        client(sandbox, key).v1.customers.create({"email": "ada@example.com"})
    assert (raised.value.http_status, raised.value.user_message) == (401, words)
    assert counts(sandbox) == {}


def test_no_key_is_refused_and_basic_authentication_is_taken(sandbox):
    url = f"{sandbox.base_url}/v1/customers"
    assert requests.get(url, timeout=20).status_code == 401
    assert requests.get(url, auth=(KEY, ""), timeout=20).json()["data"] == []
    nonsense = base64.b64encode(b"\xff").decode()
    answer = requests.get(url, headers={"Authorization": f"Basic {nonsense}"}, timeout=20)
    assert answer.status_code == 401


def test_an_answer_tells_its_version_and_request(sandbox, api):
    found = api.v1.customers.create({"email": "ada@example.com"})
    headers = found.last_response.headers
    assert headers["stripe-version"] == stripe.api_version
    assert headers["request-id"].startswith("req_")
    assert "idempotent-replayed" not in headers


@pytest.mark.parametrize(
    "ask",
    [
        lambda v1: v1.payouts.create({"amount": 500, "currency": "usd"}),
        lambda v1: v1.payment_intents.capture("pi_x"),
        lambda v1: v1.subscriptions.create({"customer": "cus_x"}),
        lambda v1: v1.customers.search({"query": "email:'ada@example.com'"}),
        lambda v1: v1.customers.create({"email": "ada@example.com", "balance": 500}),
        lambda v1: v1.customers.list({"test_clock": "clock_x"}),
        lambda v1: v1.invoices.list({"due_date": 1000}),
        lambda v1: v1.coupons.list(),
    ],
)
def test_what_is_not_done_is_a_501(sandbox, api, ask):
    with pytest.raises(stripe.APIError) as raised:
        ask(api.v1)
    assert error_of(raised.value) == (501, "api_error", None, None)
    assert raised.value.user_message.startswith("This stand-in doesn't do ")
    assert counts(sandbox) == {}


def test_the_second_version_of_the_api_is_a_501(sandbox, post):
    status, body, _ = post("/v2/core/events", b'{"a": [1]}', **{"Content-Type": "application/json"})
    assert (status, body["error"]["message"]) == (
        501, "This stand-in doesn't do POST /v2/core/events.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "param", "words"),
    [
        (lambda v1: v1.customers.retrieve("x"), "id", "No such customer: 'x'"),
        (lambda v1: v1.customers.update("x", {"name": "A"}), "id", "No such customer: 'x'"),
        (lambda v1: v1.customers.delete("x"), "id", "No such customer: 'x'"),
        (
            lambda v1: v1.checkout.sessions.retrieve("x"),
            "session",
            "No such checkout.session: 'x'",
        ),
        (lambda v1: v1.checkout.sessions.expire("x"), "session", "No such checkout.session: 'x'"),
        (lambda v1: v1.payment_intents.retrieve("x"), "intent", "No such payment_intent: 'x'"),
        (lambda v1: v1.charges.retrieve("x"), "charge", "No such charge: 'x'"),
        (lambda v1: v1.subscriptions.retrieve("x"), "id", "No such subscription: 'x'"),
        (lambda v1: v1.subscriptions.cancel("x"), "id", "No such subscription: 'x'"),
        (lambda v1: v1.invoices.retrieve("x"), "invoice", "No such invoice: 'x'"),
        (lambda v1: v1.prices.retrieve("x"), "price", "No such price: 'x'"),
        (lambda v1: v1.products.retrieve("x"), "id", "No such product: 'x'"),
        (lambda v1: v1.events.retrieve("x"), "id", "No such event: 'x'"),
    ],
)
def test_what_is_not_there_is_a_404(sandbox, api, ask, param, words):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        ask(api.v1)
    assert error_of(raised.value) == (404, "invalid_request_error", "resource_missing", param)
    assert raised.value.user_message == words
    assert counts(sandbox) == {}


def test_an_object_is_found_under_its_own_kind_only(api):
    customer = api.v1.customers.create()
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.subscriptions.retrieve(customer.id)


@pytest.mark.parametrize("body", [b"email=\xff\xfe", b"[]=x", b"a=1&a[]=2", b"a" + b"[b]" * 99])
def test_a_hostile_body_is_a_400(sandbox, post, body):
    status, answer, _ = post("/v1/customers", body, **{"Content-Type": FORM})
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert counts(sandbox) == {}


def test_every_call_is_on_record(sandbox, api):
    api.v1.customers.create({"metadata": {"a": "b"}}, {"idempotency_key": "one"})
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.retrieve("x", {"expand": ["subscriptions"]})
    assert [{**call, "n": 0} for call in sandbox.requests()] == [
        {
            "n": 0,
            "method": "POST",
            "path": "/v1/customers",
            "idempotency_key": "one",
            "params": {"metadata": {"a": "b"}},
            "status": 200,
        },
        {
            "n": 0,
            "method": "GET",
            "path": "/v1/customers/x",
            "idempotency_key": None,
            "params": {"expand": ["subscriptions"]},
            "status": 404,
        },
    ]


def test_lists_are_newest_first_and_paged_both_ways(api):
    made = [api.v1.customers.create().id for _ in range(5)][::-1]
    first = api.v1.customers.list({"limit": 2})
    assert ([customer.id for customer in first.data], first.has_more) == (made[:2], True)
    assert first.url == "/v1/customers"
    last = api.v1.customers.list({"limit": 3, "starting_after": made[1]})
    assert ([customer.id for customer in last.data], last.has_more) == (made[2:], False)
    before = api.v1.customers.list({"limit": 2, "ending_before": made[3]})
    assert ([customer.id for customer in before.data], before.has_more) == (made[1:3], True)
    found = [customer.id for customer in api.v1.customers.list({"limit": 2}).auto_paging_iter()]
    assert found == made


def test_a_list_is_of_ten_unless_told_otherwise(api):
    for _ in range(11):
        api.v1.customers.create()
    assert len(api.v1.customers.list().data) == 10


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"starting_after": "cus_x"}, "starting_after"),
        ({"ending_before": "cus_x"}, "ending_before"),
        ({"starting_after": "a", "ending_before": "b"}, "starting_after"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_page_is_refused(api, params, param):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.customers.list(params)
    assert (raised.value.http_status, raised.value.param) == (400, param)


def test_lists_are_filtered_by_time(sandbox, api):
    ids = [api.v1.customers.create().id for _ in range(3)]
    for place, id in enumerate(ids):
        set_field(sandbox, id, "created", 1000 + place)

    def found(created) -> list[int]:
        return [ids.index(c.id) for c in api.v1.customers.list({"created": created}).data]

    assert found({"gt": 1000}) == [2, 1]
    assert found({"gte": 1000, "lt": 1002}) == [1, 0]
    assert found({"lte": 1000}) == [0]
    assert found(1001) == [1]


def test_lists_are_filtered_by_what_they_are_about(sandbox, api):
    subscription, customer = subscribe(sandbox)
    other, _ = subscribe(sandbox)
    v1 = api.v1
    assert [s.id for s in v1.subscriptions.list({"customer": customer}).data] == [subscription]
    (invoice,) = v1.invoices.list({"subscription": subscription}).data
    (payment,) = v1.invoice_payments.list({"invoice": invoice.id}).data
    intent = payment.payment.payment_intent
    (found,) = v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent}}
    ).data
    assert found.id == payment.id
    (charge,) = v1.charges.list({"payment_intent": intent}).data
    assert charge.customer == customer
    (session,) = v1.checkout.sessions.list({"subscription": other}).data
    assert session.status == "complete"
    assert v1.checkout.sessions.list({"status": "open"}).data == []
    assert [c.id for c in v1.customers.list({"email": "eve@example.com"}).data] == []


def test_ended_subscriptions_are_listed_only_when_asked_for(sandbox, api):
    ended, _ = subscribe(sandbox)
    active, _ = subscribe(sandbox)
    api.v1.subscriptions.cancel(ended)

    def found(**params) -> list[str]:
        return [s.id for s in api.v1.subscriptions.list(params).data]

    assert found() == found(status="active") == [active]
    assert found(status="canceled") == found(status="ended") == [ended]
    assert found(status="all") == [active, ended]


def test_ids_are_expanded_into_objects(sandbox, api):
    subscription, customer = subscribe(sandbox)
    found = api.v1.subscriptions.retrieve(
        subscription,
        {"expand": ["customer", "latest_invoice.payments", "items.data.price.product"]},
    )
    assert found.customer.email == "ada@example.com"
    assert found.latest_invoice.payments.data[0].status == "paid"
    assert found["items"].data[0].price.product.name == "500 credits"
    assert api.v1.subscriptions.retrieve(subscription).customer == customer


def test_ids_in_lists_are_expanded(sandbox, api):
    _, customer = subscribe(sandbox)
    (found,) = api.v1.invoices.list({"expand": ["data.customer"]}).data
    assert found.customer.id == customer


def test_a_session_has_its_line_items_only_when_asked_for(api):
    session = api.v1.checkout.sessions.create(order())
    assert "line_items" not in session
    found = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["line_items"]})
    assert [item.description for item in found.line_items.data] == ["500 credits"]


def test_what_is_null_stays_null_when_it_is_expanded(api):
    session = api.v1.checkout.sessions.create(order(expand=["payment_intent", "customer"]))
    assert (session.payment_intent, session.customer) == (None, None)


@pytest.mark.parametrize("path", ["colour", "currency", "created", "customer.colour"])
def test_what_is_no_reference_cannot_be_expanded(sandbox, api, path):
    subscription, _ = subscribe(sandbox)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.subscriptions.retrieve(subscription, {"expand": [path]})
    assert error_of(raised.value) == (400, "invalid_request_error", None, "expand")
    assert raised.value.user_message == f"This property cannot be expanded ({path})."


def test_expansion_goes_four_levels_deep(api):
    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels"):
        api.v1.customers.list({"expand": ["data.a.b.c.d"]})


def test_an_expansion_that_is_not_done_is_a_501(api):
    customer = api.v1.customers.create()
    with pytest.raises(stripe.APIError) as raised:
        api.v1.customers.retrieve(customer.id, {"expand": ["subscriptions"]})
    assert raised.value.http_status == 501
