"""Renewals that fail, and what becomes of them: tried again, mended, paid by hand, given up."""

import time

import pytest
import requests

from tests.stripe_sandbox.helpers import counts, order, subscribe

GOOD = {"number": "4242 4242 4242 4242", "expiry": "12/34", "cvc": "123"}
DAY = 24 * 3600

FAILURE = ["charge.failed", "payment_intent.payment_failed", "invoice.payment_failed"]
PAYMENT = ["payment_intent.succeeded", "charge.succeeded", "invoice.paid"]


@pytest.fixture
def owing(sandbox):
    """A subscription whose second month could not be paid."""
    id, _ = subscribe(sandbox, subscription_data={"metadata": {"credits": "500"}})
    sandbox.fail_renewals(id)
    sandbox.advance(id)
    return id


@pytest.fixture
def news(sandbox):
    """What has happened since it was last asked."""
    seen = 0

    def run() -> list[str]:
        nonlocal seen
        every = [event["type"] for event in sandbox.events()]
        found, seen = every[seen:], len(every)
        return found

    return run


def test_a_card_that_will_decline_moves_nothing_before_the_renewal(sandbox, api, news):
    id, _ = subscribe(sandbox)
    before = counts(sandbox)
    news()
    assert sandbox.fail_renewals(id)["status"] == "active"
    assert news() == ["customer.subscription.updated"]
    new = {"event": 1, "payment_method": 1}
    assert counts(sandbox) == {kind: n + new.get(kind, 0) for kind, n in before.items()}
    expand = {"expand": ["default_payment_method"]}
    method = api.v1.subscriptions.retrieve(id, expand).default_payment_method
    assert (method.type, method.card.brand, method.card.last4) == ("card", "visa", "0341")


def test_a_renewal_that_fails_leaves_an_open_invoice(sandbox, api, news):
    id, customer = subscribe(sandbox, subscription_data={"metadata": {"credits": "500"}})
    (paid,) = api.v1.invoices.list().data
    end = api.v1.subscriptions.retrieve(id)["items"].data[0].current_period_end
    sandbox.fail_renewals(id)
    news()
    sandbox.advance(id)
    assert news() == [
        "invoice.created", "invoice.finalized", "payment_intent.created", *FAILURE,
        "customer.subscription.updated",
    ]  # fmt: skip
    found = api.v1.subscriptions.retrieve(id, {"expand": ["latest_invoice.payments"]})
    assert found.status == "past_due"
    assert found["items"].data[0].current_period_start == end
    invoice = found.latest_invoice
    assert (invoice.status, invoice.billing_reason) == ("open", "subscription_cycle")
    assert (invoice.amount_due, invoice.amount_paid, invoice.amount_remaining) == (500, 0, 500)
    assert (invoice.attempt_count, invoice.attempted, invoice.auto_advance) == (1, True, True)
    assert invoice.next_payment_attempt == pytest.approx(time.time() + 3 * DAY, abs=60)
    assert invoice.status_transitions.paid_at is None
    assert invoice.parent.subscription_details.metadata.to_dict() == {"credits": "500"}
    (payment,) = invoice.payments.data
    assert (payment.status, payment.amount_paid) == ("open", None)
    intent = api.v1.payment_intents.retrieve(
        payment.payment.payment_intent, {"expand": ["latest_charge"]}
    )
    assert (intent.status, intent.last_payment_error.code) == (
        "requires_payment_method", "card_declined",
    )  # fmt: skip
    assert (intent.latest_charge.status, intent.latest_charge.paid) == ("failed", False)
    _, event = sandbox.events("customer.subscription.updated")
    assert event["data"]["object"]["status"] == "past_due"
    previous = event["data"]["previous_attributes"]
    assert (previous["status"], previous["latest_invoice"]) == ("active", paid.id)
    assert previous["items"]["data"][0]["current_period_end"] == end
    open_ones = api.v1.invoices.list({"status": "open", "customer": customer}).data
    assert [each.id for each in open_ones] == [invoice.id]


def test_a_retry_counts_and_fails_while_the_card_declines(sandbox, api, owing, news):
    news()
    for tries, days in ((2, 5), (3, 7)):
        assert sandbox.retry(owing)["status"] == "past_due"
        assert news() == FAILURE
        invoice = api.v1.invoices.list().data[0]
        assert (invoice.status, invoice.attempt_count) == ("open", tries)
        assert invoice.next_payment_attempt == pytest.approx(time.time() + days * DAY, abs=60)
    assert len(api.v1.charges.list().data) == 4
    assert len(api.v1.payment_intents.list().data) == 2


def test_a_retry_with_a_good_card_is_paid(sandbox, api, owing, news):
    news()
    sandbox.fix_card(owing)
    assert news() == ["customer.subscription.updated"]
    assert api.v1.subscriptions.retrieve(owing).status == "past_due"
    assert sandbox.retry(owing)["status"] == "active"
    assert news() == [*PAYMENT, "invoice.payment_succeeded", "customer.subscription.updated"]
    invoice = api.v1.invoices.retrieve(api.v1.invoices.list().data[0].id, {"expand": ["payments"]})
    assert (invoice.status, invoice.attempt_count, invoice.amount_paid) == ("paid", 2, 500)
    assert (invoice.amount_remaining, invoice.next_payment_attempt) == (0, None)
    (payment,) = invoice.payments.data
    assert (payment.status, payment.amount_paid) == ("paid", 500)
    intent = api.v1.payment_intents.retrieve(payment.payment.payment_intent)
    assert (intent.status, intent.amount_received, intent.last_payment_error) == (
        "succeeded", 500, None,
    )  # fmt: skip
    previous = sandbox.events()[-1]["data"]["previous_attributes"]
    assert previous == {"status": "past_due"}
    assert sandbox.refund(invoice.id)["amount"] == 500
    assert sandbox.advance(owing)["status"] == "active"


def test_the_fourth_failure_ends_it(sandbox, api, owing, news):
    for _ in range(2):
        sandbox.retry(owing)
    news()
    assert sandbox.retry(owing)["status"] == "canceled"
    assert news() == [*FAILURE, "customer.subscription.deleted"]
    found = api.v1.subscriptions.retrieve(owing)
    assert found.cancellation_details.reason == "payment_failed"
    assert found.ended_at == pytest.approx(time.time(), abs=60)
    invoice = api.v1.invoices.list().data[0]
    assert (invoice.status, invoice.attempt_count) == ("open", 4)
    assert (invoice.next_payment_attempt, invoice.auto_advance) == (None, False)
    for press in (sandbox.retry, sandbox.advance, sandbox.give_up):
        with pytest.raises(AssertionError, match="The subscription is canceled"):
            press(owing)
    assert news() == []


@pytest.mark.parametrize(
    ("outcome", "event"),
    [("canceled", "customer.subscription.deleted"), ("unpaid", "customer.subscription.updated")],
)
def test_giving_up_skips_to_the_last_failure(sandbox, api, owing, news, outcome, event):
    news()
    assert sandbox.give_up(owing, outcome)["status"] == outcome
    assert news() == [*FAILURE, event]
    assert api.v1.subscriptions.retrieve(owing).status == outcome
    assert api.v1.invoices.list().data[0].attempt_count == 4


def test_giving_up_has_two_outcomes_only(sandbox, api, owing, news):
    news()
    with pytest.raises(AssertionError, match="canceled, unpaid"):
        sandbox.give_up(owing, "active")
    assert news() == []
    assert api.v1.subscriptions.retrieve(owing).status == "past_due"


def test_nothing_is_retried_that_is_not_owed(sandbox):
    id, _ = subscribe(sandbox)
    before = counts(sandbox)
    for press in (sandbox.retry, sandbox.give_up):
        with pytest.raises(AssertionError, match="The subscription is active"):
            press(id)
    with pytest.raises(AssertionError, match="No such subscription"):
        sandbox.retry("sub_x")
    assert counts(sandbox) == before


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_the_invoice_page_takes_the_payment(sandbox, api, owing, news, status):
    if status == "unpaid":
        sandbox.give_up(owing, "unpaid")
    tries = api.v1.invoices.list().data[0].attempt_count
    news()
    (invoice,) = api.v1.invoices.list({"status": "open"}).data
    assert "Pay $5.00" in requests.get(invoice.hosted_invoice_url, timeout=20).text
    answer = requests.post(invoice.hosted_invoice_url, GOOD, timeout=20)
    assert (answer.status_code, "paid" in answer.text) == (200, True)
    assert "Pay $5.00" not in answer.text
    assert news() == [*PAYMENT, "invoice.payment_succeeded", "customer.subscription.updated"]
    assert api.v1.subscriptions.retrieve(owing).status == "active"
    found = api.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.attempt_count) == ("paid", tries)
    # It is paid once, and by a card that isn't kept.
    requests.post(invoice.hosted_invoice_url, GOOD, timeout=20)
    assert news() == []
    assert sandbox.advance(owing)["status"] == "past_due"


@pytest.mark.parametrize("number", ["4000000000000341", "4000000000000002", "4242", ""])
def test_the_invoice_page_says_why_it_was_not_paid(sandbox, api, owing, number):
    (invoice,) = api.v1.invoices.list({"status": "open"}).data
    before = counts(sandbox)
    answer = requests.post(invoice.hosted_invoice_url, GOOD | {"number": number}, timeout=20)
    assert (answer.status_code, "Nothing was charged." in answer.text) == (402, True)
    assert api.v1.invoices.retrieve(invoice.id).to_dict() == invoice.to_dict()
    assert counts(sandbox) == before
    with pytest.raises(AssertionError):
        sandbox.pay_invoice(invoice.id, number)
    assert counts(sandbox) == before


def test_the_invoice_of_an_ended_subscription_can_still_be_paid(sandbox, api, owing, news):
    api.v1.subscriptions.cancel(owing)
    (invoice,) = api.v1.invoices.list({"status": "open"}).data
    assert (invoice.auto_advance, invoice.next_payment_attempt) == (False, None)
    news()
    assert sandbox.pay_invoice(invoice.id)["status"] == "paid"
    assert news() == [*PAYMENT, "invoice.payment_succeeded"]
    assert api.v1.subscriptions.retrieve(owing).status == "canceled"


def test_the_invoice_of_a_deleted_customer_cannot_be_paid(sandbox, api, owing):
    (invoice,) = api.v1.invoices.list({"status": "open"}).data
    api.v1.customers.delete(invoice.customer)
    before = counts(sandbox)
    answer = requests.post(invoice.hosted_invoice_url, GOOD, timeout=20)
    assert (answer.status_code, "No such customer" in answer.text) == (402, True)
    assert counts(sandbox) == before


def test_a_month_that_is_owed_does_not_stop_the_next(sandbox, api, owing):
    assert sandbox.advance(owing)["status"] == "past_due"
    later, earlier = api.v1.invoices.list({"status": "open"}).data
    # An older month alone doesn't mend it; the latest does.
    sandbox.pay_invoice(earlier.id)
    assert api.v1.subscriptions.retrieve(owing).status == "past_due"
    sandbox.pay_invoice(later.id)
    assert api.v1.subscriptions.retrieve(owing).status == "active"


def test_an_owing_subscription_is_cancelled_at_the_end_of_its_month(sandbox, api, owing):
    api.v1.subscriptions.update(owing, {"cancel_at_period_end": True})
    charges = counts(sandbox)["charge"]
    assert sandbox.advance(owing)["status"] == "canceled"
    assert counts(sandbox)["charge"] == charges


def portal_of(api, subscription: str):
    customer = api.v1.subscriptions.retrieve(subscription).customer
    return api.v1.billing_portal.sessions.create({"customer": customer})


def test_the_portal_saves_a_card_that_the_next_try_charges(sandbox, api, owing, news):
    portal = portal_of(api, owing)
    page = requests.get(portal.url, timeout=20).text
    (invoice,) = api.v1.invoices.list({"status": "open"}).data
    assert "The last payment has failed." in page
    assert f'href="{invoice.hosted_invoice_url}"' in page
    assert "Card number" in requests.get(f"{portal.url}?card=new", timeout=20).text
    news()
    answer = requests.post(
        portal.url, {"wish": "card", **GOOD, "number": "5555 5555 5555 4444"}, timeout=20
    )
    assert "Paid by mastercard ending 4444" in answer.text
    assert news() == ["customer.subscription.updated"]
    assert api.v1.subscriptions.retrieve(owing).status == "past_due"
    assert sandbox.retry(owing)["status"] == "active"
    card = api.v1.charges.list().data[0].payment_method_details.card
    assert (card.brand, card.last4) == ("mastercard", "4444")


def test_the_portal_saves_a_card_that_will_decline(sandbox, api):
    id, _ = subscribe(sandbox)
    answer = requests.post(
        portal_of(api, id).url,
        {"wish": "card", **GOOD, "number": "4000 0000 0000 0341"},
        timeout=20,
    )
    assert "Paid by visa ending 0341" in answer.text
    assert sandbox.advance(id)["status"] == "past_due"


@pytest.mark.parametrize("number", ["4000000000000002", "4242", ""])
def test_the_portal_refuses_a_card_that_cannot_be_saved(sandbox, api, owing, number):
    sandbox.fix_card(owing)
    answer = requests.post(
        portal_of(api, owing).url, {"wish": "card", **GOOD, "number": number}, timeout=20
    )
    assert (answer.status_code, "Your card stays as it was." in answer.text) == (402, True)
    assert "Paid by visa ending 4242" in answer.text
    assert sandbox.retry(owing)["status"] == "active"


def test_a_card_in_the_portal_is_for_its_own_customer(sandbox, api, owing):
    other, _ = subscribe(sandbox)
    requests.post(portal_of(api, other).url, {"wish": "card", **GOOD}, timeout=20)
    assert sandbox.retry(owing)["status"] == "past_due"


def test_the_declining_card_does_not_buy(sandbox, api):
    session = api.v1.checkout.sessions.create(order("subscription"))
    before = counts(sandbox)
    with pytest.raises(AssertionError, match="Your card was declined"):
        sandbox.pay(session.id, "4000000000000341")
    assert counts(sandbox) == before
