"""Bank debits: a session that is complete before it is paid."""

import html

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import counts, order

FORM = {"routing": "110000000", "number": "000123456789", "name": "Ada"}


@pytest.fixture
def session(api):
    customer = api.v1.customers.create({"email": "ada@example.com"})
    return api.v1.checkout.sessions.create(
        order(customer=customer.id, payment_intent_data={"metadata": {"credits": "500"}})
    )


def new_events(sandbox, so_far: int) -> list[str]:
    return [event["type"] for event in sandbox.events()[so_far:]]


def test_a_debit_completes_the_session_unpaid(sandbox, api, session):
    assert session.payment_method_types == ["card", "us_bank_account"]
    so_far = len(sandbox.events())
    ordered = sandbox.pay_by_bank(session.id)
    assert (ordered["status"], ordered["payment_status"]) == ("complete", "unpaid")
    intent = api.v1.payment_intents.retrieve(
        ordered["payment_intent"], {"expand": ["latest_charge"]}
    )
    assert (intent.status, intent.amount, intent.amount_received) == ("processing", 500, 0)
    assert intent.metadata.to_dict() == {"credits": "500"}
    charge = intent.latest_charge
    assert (charge.status, charge.paid, charge.amount) == ("pending", False, 500)
    assert charge.payment_method_details.us_bank_account.last4 == "6789"
    assert new_events(sandbox, so_far) == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed",
    ]
    assert sandbox.events()[-1]["data"]["object"] == ordered


def test_a_debit_succeeds_later(sandbox, api, session):
    sandbox.pay_by_bank(session.id)
    so_far = len(sandbox.events())
    paid = sandbox.settle(session.id)
    assert (paid["status"], paid["payment_status"]) == ("complete", "paid")
    intent = api.v1.payment_intents.retrieve(paid["payment_intent"], {"expand": ["latest_charge"]})
    assert (intent.status, intent.amount_received) == ("succeeded", 500)
    assert (intent.latest_charge.status, intent.latest_charge.paid) == ("succeeded", True)
    assert new_events(sandbox, so_far) == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]
    assert sandbox.events()[-1]["data"]["object"] == paid


def test_a_debit_fails_later(sandbox, api, session):
    sandbox.pay_by_bank(session.id)
    so_far = len(sandbox.events())
    failed = sandbox.bounce(session.id)
    assert (failed["status"], failed["payment_status"]) == ("complete", "unpaid")
    intent = api.v1.payment_intents.retrieve(
        failed["payment_intent"], {"expand": ["latest_charge"]}
    )
    assert (intent.status, intent.amount_received) == ("requires_payment_method", 0)
    assert intent.last_payment_error.code == "insufficient_funds"
    charge = intent.latest_charge
    assert (charge.status, charge.paid, charge.failure_code) == (
        "failed", False, "insufficient_funds",
    )  # fmt: skip
    assert new_events(sandbox, so_far) == [
        "charge.failed",
        "payment_intent.payment_failed",
        "checkout.session.async_payment_failed",
    ]


@pytest.mark.parametrize("outcome", ["settle", "bounce"])
def test_a_debit_comes_to_an_end_once(sandbox, api, session, outcome):
    sandbox.pay_by_bank(session.id)
    getattr(sandbox, outcome)(session.id)
    before = counts(sandbox)
    for again in (sandbox.settle, sandbox.bounce):
        with pytest.raises(AssertionError, match="doesn't wait for a bank"):
            again(session.id)
    assert counts(sandbox) == before


def test_what_a_card_has_paid_waits_for_no_bank(sandbox, session):
    before = counts(sandbox)
    with pytest.raises(AssertionError, match="doesn't wait for a bank"):
        sandbox.settle(session.id)
    assert counts(sandbox) == before
    sandbox.pay(session.id)
    with pytest.raises(AssertionError, match="doesn't wait for a bank"):
        sandbox.bounce(session.id)


def test_a_debit_is_refunded_once_it_is_paid(sandbox, api, session):
    intent = sandbox.pay_by_bank(session.id)["payment_intent"]
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        api.v1.refunds.create({"payment_intent": intent})
    sandbox.settle(session.id)
    refund = api.v1.refunds.create({"payment_intent": intent, "amount": 200})
    assert refund.destination_details.type == "us_bank_transfer"
    with pytest.raises(AssertionError, match="Only what a card has paid"):
        sandbox.dispute(session.id)


def test_a_subscription_is_not_paid_from_a_bank_account(sandbox, api):
    session = api.v1.checkout.sessions.create(order("subscription"))
    assert session.payment_method_types == ["card"]
    with pytest.raises(AssertionError, match="subscriptions paid from a bank account"):
        sandbox.pay_by_bank(session.id)
    assert "bank account" not in requests.get(session.url, timeout=20).text
    assert counts(sandbox) == {"checkout.session": 1}


def submit(session, **fields) -> requests.Response:
    return requests.post(f"{session.url}?by=bank", FORM | fields, timeout=20, allow_redirects=False)


def test_the_page_takes_a_bank_account(sandbox, api, session):
    page = requests.get(session.url, timeout=20).text
    assert 'href="?by=bank"' in page
    page = requests.get(f"{session.url}?by=bank", timeout=20).text
    for words in ("Routing number", "Account number", "110000000", "000123456789"):
        assert words in page
    assert "Card number" not in page
    answer = submit(session)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("https://shop.example/done")
    found = api.v1.checkout.sessions.retrieve(session.id)
    assert (found.status, found.payment_status) == ("complete", "unpaid")
    assert "Your bank was asked to pay" in requests.get(session.url, timeout=20).text
    receipt = sandbox.objects("charge")[0]["receipt_url"]
    assert "bank account ending 6789" in requests.get(receipt, timeout=20).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"routing": "12"}, "Your routing number has nine digits."),
        ({"number": "12"}, "Your account number is invalid."),
        ({"number": "1" * 18}, "Your account number is invalid."),
    ],
)
def test_a_bad_account_is_told(sandbox, session, fields, words):
    before = counts(sandbox)
    page = submit(session, **fields)
    assert (page.status_code, words in html.unescape(page.text)) == (402, True)
    assert counts(sandbox) == before
    assert submit(session).status_code == 303


@pytest.mark.parametrize(
    ("wish", "words", "status"),
    [("succeed", "The bank has paid", "paid"), ("fail", "The bank doesn't pay", "unpaid")],
)
def test_the_controls_say_whether_the_bank_pays(sandbox, api, session, wish, words, status):
    url = f"{sandbox.base_url}/sandbox"
    sandbox.pay_by_bank(session.id)
    assert "complete, waits for the bank" in requests.get(url, timeout=20).text
    page = html.unescape(requests.post(url, {"wish": wish, "id": session.id}, timeout=20).text)
    assert f"{words} {session.id}." in page
    assert "waits for the bank" not in page
    assert api.v1.checkout.sessions.retrieve(session.id).payment_status == status
