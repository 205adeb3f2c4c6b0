"""The same key does the same work once, whatever happened to the first answer."""

import threading

import pytest
import stripe

from tests.stripe_sandbox.helpers import client, counts, error_of, in_state, order, until

ADA = {"email": "ada@example.com"}
EVE = {"email": "eve@example.com"}


def is_at_work(sandbox) -> bool:
    return in_state(sandbox, "SELECT count(*) FROM answer WHERE status IS NULL") == [(1,)]


def test_the_same_key_gets_the_same_answer(sandbox, api):
    first = api.v1.customers.create(ADA, {"idempotency_key": "k"})
    again = api.v1.customers.create(ADA, {"idempotency_key": "k"})
    assert again.to_dict() == first.to_dict()
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert counts(sandbox) == {"customer": 1, "event": 1}


def test_the_answer_stays_as_it_was_when_the_object_changes(api):
    first = api.v1.customers.create(ADA, {"idempotency_key": "k"})
    api.v1.customers.update(first.id, EVE)
    assert api.v1.customers.create(ADA, {"idempotency_key": "k"}).email == "ada@example.com"


def test_other_keys_are_other_work(sandbox, api):
    for key in ("a", "b"):
        api.v1.customers.create(ADA, {"idempotency_key": key})
    assert counts(sandbox)["customer"] == 2


def test_other_parameters_are_refused(sandbox, api):
    api.v1.customers.create(ADA, {"idempotency_key": "k"})
    before = counts(sandbox)
    with pytest.raises(stripe.IdempotencyError) as raised:
        api.v1.customers.create(EVE, {"idempotency_key": "k"})
    assert error_of(raised.value) == (400, "idempotency_error", None, None)
    assert raised.value.user_message == (
        "Keys for idempotent requests can only be used with the same parameters they were first "
        "used with. Try using a key other than 'k' if you meant to execute a different request."
    )
    assert counts(sandbox) == before
    assert sandbox.requests()[-1]["status"] == 400


def test_another_endpoint_is_refused(sandbox, api):
    customer = api.v1.customers.create(ADA, {"idempotency_key": "k"})
    before = counts(sandbox)
    with pytest.raises(stripe.IdempotencyError, match="for the same endpoint they were first used"):
        api.v1.customers.update(customer.id, ADA, {"idempotency_key": "k"})
    assert counts(sandbox) == before


def test_the_order_of_parameters_is_no_difference(sandbox, post):
    form = {"Content-Type": "application/x-www-form-urlencoded", "Idempotency-Key": "k"}
    _, first, _ = post("/v1/customers", "name=Ada&email=ada@example.com", **form)
    status, again, headers = post("/v1/customers", "email=ada@example.com&name=Ada", **form)
    assert (status, again["id"]) == (200, first["id"])
    assert headers["Idempotent-Replayed"] == "true"


def test_a_key_that_is_being_worked_on_is_a_conflict(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="slow", seconds=1)
    found = []
    first = threading.Thread(
        target=lambda: found.append(
            client(sandbox).v1.customers.create(ADA, {"idempotency_key": "k"}).id
        )
    )
    first.start()
    until(lambda: is_at_work(sandbox))
    with pytest.raises(stripe.APIError) as raised:
        api.v1.customers.create(ADA, {"idempotency_key": "k"})
    assert error_of(raised.value) == (409, "idempotency_error", "idempotency_key_in_use", None)
    first.join()
    assert api.v1.customers.create(ADA, {"idempotency_key": "k"}).id == found[0]
    assert counts(sandbox)["customer"] == 1


def test_many_at_once_do_the_work_once(sandbox, at_once):
    def create(index: int) -> str:
        return client(sandbox).v1.customers.create(ADA, {"idempotency_key": "k"}).id

    answers = at_once(8, create)
    ids = {answer for answer in answers if isinstance(answer, str)}
    refusals = {error_of(answer)[2] for answer in answers if not isinstance(answer, str)}
    assert len(ids) == 1
    assert refusals <= {"idempotency_key_in_use"}
    assert counts(sandbox)["customer"] == 1


def test_an_answered_5xx_is_kept(sandbox, api):
    sandbox.add_fault(path="/v1/customers", kind="error", status=500)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as raised:
            api.v1.customers.create(ADA, {"idempotency_key": "k"})
        assert raised.value.http_status == 500
    assert counts(sandbox) == {}
    assert api.v1.customers.create(ADA, {"idempotency_key": "other"}).email == "ada@example.com"


@pytest.mark.parametrize("status", [409, 429])
def test_what_never_began_is_not_kept(sandbox, api, status):
    sandbox.add_fault(path="/v1/customers", kind="error", status=status)
    with pytest.raises(stripe.StripeError) as raised:
        api.v1.customers.create(ADA, {"idempotency_key": "k"})
    assert raised.value.http_status == status
    assert counts(sandbox) == {}
    api.v1.customers.create(ADA, {"idempotency_key": "k"})
    assert counts(sandbox)["customer"] == 1


def test_a_refused_order_leaves_its_key_free(sandbox, api):
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.checkout.sessions.create(order(amount=49), {"idempotency_key": "k"})
    session = api.v1.checkout.sessions.create(order(amount=50), {"idempotency_key": "k"})
    assert session.amount_total == 50


def test_a_key_is_forgotten_after_a_day(sandbox, api):
    first = api.v1.customers.create(ADA, {"idempotency_key": "k"})
    in_state(sandbox, "UPDATE answer SET created = created - 86390")
    assert api.v1.customers.create(ADA, {"idempotency_key": "k"}).id == first.id
    in_state(sandbox, "UPDATE answer SET created = created - 20")
    assert api.v1.customers.create(ADA, {"idempotency_key": "k"}).id != first.id
    assert in_state(sandbox, "SELECT count(*) FROM answer") == [(1,)]


def test_a_key_has_up_to_255_characters(sandbox, api):
    api.v1.customers.create(ADA, {"idempotency_key": "k" * 255})
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.create(ADA, {"idempotency_key": "k" * 256})
    assert counts(sandbox)["customer"] == 1


def test_answers_are_kept_over_a_kill(own_sandbox):
    first = client(own_sandbox).v1.customers.create(ADA, {"idempotency_key": "k"})
    own_sandbox.kill()
    own_sandbox.start()
    again = client(own_sandbox).v1.customers.create(ADA, {"idempotency_key": "k"})
    assert again.to_dict() == first.to_dict()
    assert counts(own_sandbox)["customer"] == 1


def test_a_call_that_a_kill_cut_short_did_nothing_and_frees_its_key(own_sandbox):
    own_sandbox.add_fault(path="/v1/customers", kind="slow", seconds=60)
    raised = []

    def create() -> None:
        try:
            client(own_sandbox).v1.customers.create(ADA, {"idempotency_key": "k"})
        except stripe.APIConnectionError as error:
            raised.append(error)

    call = threading.Thread(target=create)
    call.start()
    until(lambda: is_at_work(own_sandbox))
    own_sandbox.kill()
    call.join()
    assert len(raised) == 1
    own_sandbox.start()
    assert counts(own_sandbox) == {}
    client(own_sandbox).v1.customers.create(ADA, {"idempotency_key": "k"})
    assert counts(own_sandbox)["customer"] == 1
