"""Faults on order."""

import time

import pytest
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, order

ADA = {"email": "ada@example.com"}
KEYED = {"idempotency_key": "k"}


def test_hanging_does_nothing_and_hangs_up(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="hang", seconds=0.3)
    at = time.monotonic()
    with pytest.raises(stripe.APIConnectionError):
        api.v1.customers.create(ADA)
    assert 0.3 <= time.monotonic() - at < 5
    assert counts(sandbox) == {}
    assert [call["status"] for call in sandbox.requests()] == [None]
    api.v1.customers.create(ADA)


def test_a_hanging_call_does_not_stop_others(sandbox, api, at_once):
    sandbox.add_fault(path="/v1/customers", kind="hang", seconds=2, times=8)

    def call(index: int) -> float:
        at = time.monotonic()
        if index:
            with pytest.raises(stripe.APIConnectionError):
                api.v1.customers.create(ADA)
        else:
            api.v1.checkout.sessions.create(order())
        return time.monotonic() - at

    took = at_once(9, call)
    assert took[0] < 2 <= min(took[1:])


def test_slowness_does_the_work_and_answers(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="slow", seconds=0.3)
    at = time.monotonic()
    assert api.v1.customers.create(ADA).email == "ada@example.com"
    assert time.monotonic() - at >= 0.3
    assert counts(sandbox)["customer"] == 1


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_what_was_under_way_at_a_reset_leaves_nothing_behind(sandbox, api, at_once, kind):
    sandbox.add_fault(path="/v1/customers", kind=kind, seconds=0.6)

    def call(index: int) -> None:
        if index:
            time.sleep(0.2)
            sandbox.reset()
        else:
            with pytest.raises(stripe.APIConnectionError):
                api.v1.customers.create(ADA)

    at_once(2, call)
    assert sandbox.requests() == []
    assert counts(sandbox) == {}


@pytest.mark.parametrize(
    ("status", "raised", "kind", "code"),
    [
        (400, stripe.InvalidRequestError, "invalid_request_error", None),
        (401, stripe.AuthenticationError, "invalid_request_error", None),
        (402, stripe.CardError, "card_error", None),
        (403, stripe.PermissionError, "invalid_request_error", None),
        (409, stripe.APIError, "idempotency_error", None),
        (429, stripe.RateLimitError, "invalid_request_error", "rate_limit"),
        (500, stripe.APIError, "api_error", None),
        (503, stripe.APIError, "api_error", None),
    ],
)
def test_errors_are_answered_and_nothing_is_done(sandbox, api, status, raised, kind, code):
    sandbox.add_fault(path="/v1/customers", kind="error", status=status)
    with pytest.raises(raised) as caught:
        api.v1.customers.create(ADA)
    assert error_of(caught.value) == (status, kind, code, None)
    assert counts(sandbox) == {}
    assert sandbox.requests()[0]["status"] == status


def test_an_error_may_have_a_code(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="error", status=402, code="card_declined")
    with pytest.raises(stripe.CardError) as raised:
        api.v1.customers.create(ADA)
    assert raised.value.code == "card_declined"


def test_a_lost_reply_is_work_done(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="lose_reply")
    with pytest.raises(stripe.APIConnectionError):
        api.v1.customers.create(ADA, KEYED)
    (made,) = sandbox.objects("customer")
    assert api.v1.customers.create(ADA, KEYED).id == made["id"]
    assert counts(sandbox) == {"customer": 1, "event": 1}


def test_a_reset_is_no_work_done(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="reset")
    with pytest.raises(stripe.APIConnectionError):
        api.v1.customers.create(ADA, KEYED)
    assert counts(sandbox) == {}
    api.v1.customers.create(ADA, KEYED)
    assert counts(sandbox)["customer"] == 1


def test_a_fault_is_for_its_method_and_path_and_what_is_below(sandbox, api):
    customer = api.v1.customers.create(ADA)
    sandbox.add_fault(path="/v1/customers/", kind="error", times=2)
    api.v1.customers.create(ADA)
    api.v1.customers.retrieve(customer.id)
    api.v1.checkout.sessions.create(order())
    with pytest.raises(stripe.APIError):
        api.v1.customers.update(customer.id, {"name": "Ada"})
    assert [fault["times"] for fault in sandbox.faults()] == [1]

    sandbox.add_fault(method="GET", path="/v1/customers", kind="error")
    with pytest.raises(stripe.APIError):
        api.v1.customers.list()


def test_a_fault_happens_as_often_as_ordered(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="error", times=2)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            api.v1.customers.create(ADA)
    api.v1.customers.create(ADA)
    assert sandbox.faults() == []


def test_faults_happen_in_the_order_of_their_ordering(sandbox, api):
    for status in (500, 429):
        sandbox.add_fault(path="/v1/customers", kind="error", status=status)
    for raised in (stripe.APIError, stripe.RateLimitError):
        with pytest.raises(raised):
            api.v1.customers.create(ADA)


def test_cleared_faults_do_not_happen(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="error", times=9)
    sandbox.clear_faults()
    assert api.v1.customers.create(ADA).email == "ada@example.com"


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"kind": "error"},
        {"path": "/v1/customers"},
        {"kind": "explode", "path": "/v1/customers"},
        {"kind": "error", "path": 7},
        {"kind": "error", "path": "/v1/customers", "times": 0},
        {"kind": "error", "path": "/v1/customers", "times": "2"},
        {"kind": "error", "path": "/v1/customers", "status": 200},
        {"kind": "hang", "path": "/v1/customers", "seconds": -1},
        {"kind": "error", "path": "/v1/customers", "colour": "red"},
    ],
)
def test_a_bad_fault_is_refused(sandbox, api, fault):
    with pytest.raises(AssertionError, match=r"\"error\": \"A fault"):
        sandbox.add_fault(**fault)
    assert sandbox.faults() == []
    api.v1.customers.create(ADA)


def test_faults_survive_a_kill(own_sandbox):
    own_sandbox.add_fault(path="/v1/customers", kind="error", times=3)
    before = own_sandbox.faults()
    own_sandbox.kill()
    own_sandbox.start()
    assert own_sandbox.faults() == before


def test_a_fault_lets_some_calls_through_first(sandbox, api):
    sandbox.add_fault(method="*", path="/v1/", kind="reset", after=2)
    customer = api.v1.customers.create(ADA)
    api.v1.customers.retrieve(customer.id)
    with pytest.raises(stripe.APIConnectionError):
        api.v1.customers.retrieve(customer.id)
    api.v1.customers.retrieve(customer.id)
    assert sandbox.faults() == []
