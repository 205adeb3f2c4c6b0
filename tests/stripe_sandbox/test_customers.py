import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, order, subscribe


def test_a_customer_is_made_and_told(sandbox, api):
    made = api.v1.customers.create(
        {"email": "ada@example.com", "name": "Ada", "metadata": {"user_id": "7"}}
    )
    assert made.id.startswith("cus_")
    assert (made.email, made.name, made.phone) == ("ada@example.com", "Ada", None)
    assert (made.metadata.to_dict(), made.livemode) == ({"user_id": "7"}, False)
    assert api.v1.customers.retrieve(made.id).to_dict() == made.to_dict()
    (event,) = sandbox.events()
    assert (event["type"], event["data"]) == ("customer.created", {"object": made.to_dict()})


def test_an_update_changes_what_it_names(sandbox, api):
    made = api.v1.customers.create(
        {"email": "ada@example.com", "name": "Ada", "metadata": {"a": "1", "b": "2"}}
    )
    api.v1.customers.update(made.id, {"name": "", "metadata": {"a": "", "c": "3"}})
    found = api.v1.customers.retrieve(made.id)
    assert (found.email, found.name) == ("ada@example.com", None)
    assert found.metadata.to_dict() == {"b": "2", "c": "3"}
    (event,) = sandbox.events("customer.updated")
    assert event["data"]["previous_attributes"] == {
        "name": "Ada",
        "metadata": {"a": "1", "b": "2"},
    }


def test_an_update_that_changes_nothing_is_no_event(sandbox, api):
    made = api.v1.customers.create({"email": "ada@example.com"})
    api.v1.customers.update(made.id, {"email": "ada@example.com"})
    assert sandbox.events("customer.updated") == []


@pytest.mark.parametrize("email", ["ada", "ada@", "a b@example.com", "a@b@c"])
def test_a_bad_email_address_is_refused(sandbox, api, email):
    made = api.v1.customers.create({"email": "ada@example.com"})
    before = counts(sandbox)
    for ask in (
        lambda: api.v1.customers.create({"email": email}),
        lambda: api.v1.customers.update(made.id, {"email": email}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            ask()
        assert error_of(raised.value) == (400, "invalid_request_error", "email_invalid", "email")
    assert counts(sandbox) == before
    assert api.v1.customers.retrieve(made.id).email == "ada@example.com"


def test_a_deleted_customer_is_gone_for_everything_but_retrieval(sandbox, api):
    made = api.v1.customers.create()
    answer = api.v1.customers.delete(made.id)
    assert answer.to_dict() == {"id": made.id, "object": "customer", "deleted": True}
    assert api.v1.customers.retrieve(made.id).to_dict() == answer.to_dict()
    assert api.v1.customers.list().data == []
    before = counts(sandbox)
    for ask, status, param in (
        (lambda: api.v1.customers.update(made.id, {"name": "A"}), 404, "id"),
        (lambda: api.v1.customers.delete(made.id), 404, "id"),
        (lambda: api.v1.checkout.sessions.create(order(customer=made.id)), 400, "customer"),
        (lambda: api.v1.billing_portal.sessions.create({"customer": made.id}), 400, "customer"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            ask()
        refusal = (status, "invalid_request_error", "resource_missing", param)
        assert error_of(raised.value) == refusal
        assert raised.value.user_message == f"No such customer: '{made.id}'"
    assert counts(sandbox) == before


def test_deleting_a_customer_ends_their_subscriptions_only(sandbox, api):
    subscription, customer = subscribe(sandbox)
    other, _ = subscribe(sandbox)
    api.v1.customers.delete(customer)
    ended = api.v1.subscriptions.retrieve(subscription)
    assert (ended.status, ended.ended_at) == ("canceled", ended.canceled_at)
    assert api.v1.subscriptions.retrieve(other).status == "active"
    assert [event["type"] for event in sandbox.events()[-2:]] == [
        "customer.subscription.deleted",
        "customer.deleted",
    ]


def test_what_a_deleted_customer_had_open_leads_nowhere(sandbox, api):
    customer = api.v1.customers.create()
    sessions = [
        api.v1.checkout.sessions.create(order(mode, customer=customer.id))
        for mode in ("payment", "subscription")
    ]
    portal = api.v1.billing_portal.sessions.create({"customer": customer.id})
    api.v1.customers.delete(customer.id)
    before = counts(sandbox)
    typed = {"number": "4242424242424242", "expiry": "12/34", "cvc": "123", "email": "a@b.example"}
    for session in sessions:
        with pytest.raises(AssertionError, match="No such customer"):
            sandbox.pay(session.id)
        page = requests.post(session.url, typed, timeout=20)
        assert (page.status_code, "Nothing was charged." in page.text) == (402, True)
        assert api.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert requests.get(portal.url, timeout=20).status_code == 410
    assert counts(sandbox) == before


def test_a_lost_reply_to_a_deletion_shows_when_it_is_asked_again(sandbox, api):
    _, customer = subscribe(sandbox)
    sandbox.add_fault(method="DELETE", path="/v1/customers", kind="lose_reply")
    with pytest.raises(stripe.APIConnectionError):
        api.v1.customers.delete(customer)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.customers.delete(customer)
    assert error_of(raised.value) == (404, "invalid_request_error", "resource_missing", "id")
    assert api.v1.customers.retrieve(customer).deleted is True
    assert len(sandbox.events("customer.deleted")) == 1
