"""The customer portal: its sessions, and its page by form posts."""

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, set_field, subscribe


@pytest.fixture
def plan(sandbox, api):
    """A subscription and its customer's portal."""
    subscription, customer = subscribe(sandbox)
    session = api.v1.billing_portal.sessions.create(
        {"customer": customer, "return_url": "https://shop.example/dashboard"}
    )
    return subscription, session


def press(session, wish: str, subscription: str, **headers: str) -> requests.Response:
    return requests.post(
        session.url,
        {"wish": wish, "subscription": subscription},
        headers=headers,
        timeout=20,
        allow_redirects=False,
    )


def test_a_session_has_a_page_of_its_own(sandbox, api):
    customer = api.v1.customers.create()
    made = [api.v1.billing_portal.sessions.create({"customer": customer.id}) for _ in range(2)]
    assert len({session.url for session in made}) == 2
    assert made[0].url == f"{sandbox.base_url}/p/session/{made[0].id}"
    assert (made[0].customer, made[0].return_url) == (customer.id, None)


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"customer": "cus_x"}, 400, "resource_missing", "customer"),
        ({"return_url": "/dashboard"}, 400, "url_invalid", "return_url"),
        ({"flow_data": {"type": "payment_method_update"}}, 501, None, None),
    ],
)
def test_a_bad_session_is_refused(sandbox, api, change, status, code, param):
    customer = api.v1.customers.create()
    with pytest.raises(stripe.StripeError) as raised:
        api.v1.billing_portal.sessions.create({"customer": customer.id} | change)
    assert (raised.value.http_status, raised.value.code, error_of(raised.value)[3]) == (
        status, code, param,
    )  # fmt: skip
    assert "billing_portal.session" not in counts(sandbox)


def test_a_session_without_a_customer_is_refused(sandbox, api):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.billing_portal.sessions.create({})
    refusal = (400, "invalid_request_error", "parameter_missing", "customer")
    assert error_of(raised.value) == refusal
    assert counts(sandbox) == {}


def test_the_page_shows_plans_and_invoices_and_leads_back(sandbox, plan):
    _, session = plan
    page = requests.get(session.url, timeout=20).text
    for words in (
        "Sandbox: no real money moves.", "ada@example.com", "$5.00", "Renews on", "Cancel plan",
        "visa ending 4242", "SANDBOX-0001", 'href="https://shop.example/dashboard"',
    ):  # fmt: skip
        assert words in page


def test_cancelling_asks_first(sandbox, api, plan):
    subscription, session = plan
    page = requests.get(f"{session.url}?cancel={subscription}", timeout=20).text
    assert "Cancel this plan? It stays until" in page
    assert "Yes, cancel" in page
    assert api.v1.subscriptions.retrieve(subscription).cancel_at_period_end is False


def test_cancelling_and_resuming(sandbox, api, plan):
    subscription, session = plan
    answer = press(session, "cancel", subscription)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/p/session/{session.id}")
    assert api.v1.subscriptions.retrieve(subscription).cancel_at_period_end is True
    assert "Cancelled. It ends on" in requests.get(session.url, timeout=20).text

    assert press(session, "resume", subscription).status_code == 303
    assert api.v1.subscriptions.retrieve(subscription).cancel_at_period_end is False
    assert "Renews on" in requests.get(session.url, timeout=20).text
    assert len(sandbox.events("customer.subscription.updated")) == 2


def test_pressing_twice_changes_once(sandbox, plan):
    subscription, session = plan
    for _ in range(2):
        assert press(session, "cancel", subscription).status_code == 303
    assert len(sandbox.events("customer.subscription.updated")) == 1


def test_an_ended_plan_stays_ended(sandbox, api, plan):
    subscription, session = plan
    press(session, "cancel", subscription)
    sandbox.advance(subscription)
    press(session, "resume", subscription)
    assert api.v1.subscriptions.retrieve(subscription).status == "canceled"
    assert "Ended." in requests.get(session.url, timeout=20).text


def test_nobody_reaches_the_plans_of_others(sandbox, api, plan):
    _, session = plan
    other, _ = subscribe(sandbox)
    for wish in ("cancel", "resume", "nonsense"):
        assert press(session, wish, other).status_code == 303
    found = api.v1.subscriptions.retrieve(other)
    assert found.cancel_at_period_end is False
    assert sandbox.events("customer.subscription.updated") == []
    assert requests.get(session.url, timeout=20).text.count("Cancel plan") == 1


def test_another_site_cannot_cancel(sandbox, api, plan):
    subscription, session = plan
    answer = press(session, "cancel", subscription, Origin="https://elsewhere.example")
    assert answer.status_code == 403
    assert api.v1.subscriptions.retrieve(subscription).cancel_at_period_end is False


def test_a_link_is_good_for_an_hour(sandbox, api, plan):
    subscription, session = plan
    set_field(sandbox, session.id, "created", session.created - 3590)
    assert requests.get(session.url, timeout=20).status_code == 200
    set_field(sandbox, session.id, "created", session.created - 3600)
    page = requests.get(session.url, timeout=20)
    assert (page.status_code, "This portal link has expired" in page.text) == (410, True)
    assert press(session, "cancel", subscription).status_code == 410
    assert api.v1.subscriptions.retrieve(subscription).cancel_at_period_end is False


def test_a_customer_without_a_plan_is_told_so(api):
    customer = api.v1.customers.create()
    session = api.v1.billing_portal.sessions.create({"customer": customer.id})
    page = requests.get(session.url, timeout=20).text
    assert "There is no plan." in page
    assert "There are no invoices." in page
