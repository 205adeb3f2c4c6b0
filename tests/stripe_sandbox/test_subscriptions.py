"""Subscriptions, their months and their invoices."""

from datetime import UTC, datetime

import pytest
import requests
import stripe

from stripe_sandbox.subscriptions import next_month
from tests.stripe_sandbox.helpers import client, counts, error_of, order, set_field, subscribe


def at(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}T10:30:00").replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("anchor", "months"),
    [
        ("2026-01-15", ["2026-02-15", "2026-03-15", "2026-04-15"]),
        ("2026-01-31", ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2028-01-31", ["2028-02-29", "2028-03-31", "2028-04-30"]),
        ("2028-01-30", ["2028-02-29", "2028-03-30"]),
        ("2028-02-29", ["2028-03-29", "2028-04-29"]),
        ("2026-12-31", ["2027-01-31", "2027-02-28", "2027-03-31"]),
        ("2099-12-31", ["2100-01-31", "2100-02-28", "2100-03-31"]),
    ],
)
def test_months_keep_the_day_where_they_have_it(anchor, months):
    found, moment = [], at(anchor)
    for _ in months:
        moment = next_month(moment, at(anchor))
        found.append(moment)
    assert found == [at(month) for month in months]


def test_a_subscription_begins_with_a_paid_month(sandbox, api):
    metadata = {"credits": "500"}
    id, customer = subscribe(sandbox, subscription_data={"metadata": metadata})
    found = api.v1.subscriptions.retrieve(id, {"expand": ["latest_invoice.payments"]})
    item = found["items"].data[0]
    assert (found.status, found.customer, found.cancel_at_period_end) == ("active", customer, False)
    assert found.metadata.to_dict() == metadata
    assert (item.price.unit_amount, item.price.currency, item.quantity) == (500, "usd", 1)
    assert item.current_period_end == next_month(item.current_period_start, found.created)

    invoice = found.latest_invoice
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_create")
    assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (500, 500, 500)
    details = invoice.parent.subscription_details
    assert (details.subscription, details.metadata.to_dict()) == (id, metadata)
    line = invoice.lines.data[0]
    assert (line.amount, line.period.end) == (500, item.current_period_end)
    intent = api.v1.payment_intents.retrieve(invoice.payments.data[0].payment.payment_intent)
    assert (intent.amount, intent.customer) == (500, customer)

    assert [event["type"] for event in sandbox.events()[1:]] == [
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.created",
        "checkout.session.completed",
    ]
    created = sandbox.events("invoice.created")[0]["data"]["object"]
    assert (created["status"], created["amount_paid"], created["number"]) == ("draft", 0, None)


def test_a_month_on_is_a_renewal_with_a_paid_invoice(sandbox, api):
    id, _ = subscribe(sandbox, subscription_data={"metadata": {"credits": "500"}})
    before = api.v1.subscriptions.retrieve(id)
    start, end = (
        before["items"].data[0].current_period_start,
        before["items"].data[0].current_period_end,
    )
    so_far = len(sandbox.events())
    sandbox.advance(id)
    item = api.v1.subscriptions.retrieve(id)["items"].data[0]
    assert item.current_period_start == end
    assert item.current_period_end == next_month(end, before.billing_cycle_anchor)
    newest, oldest = api.v1.invoices.list({"subscription": id}).data
    assert newest.billing_reason == "subscription_cycle"
    assert (newest.period_start, newest.period_end) == (start, end)
    assert newest.lines.data[0].period.end == item.current_period_end
    assert newest.parent.subscription_details.metadata.to_dict() == {"credits": "500"}
    assert (oldest.number, newest.number) == ("SANDBOX-0001", "SANDBOX-0002")
    assert [event["type"] for event in sandbox.events()[so_far:]] == [
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
    ]
    previous = sandbox.events()[-1]["data"]["previous_attributes"]
    assert previous["latest_invoice"] == oldest.id
    assert previous["items"]["data"][0]["current_period_end"] == end


def test_a_subscription_of_the_31st_comes_back_to_it(sandbox, api):
    id, _ = subscribe(sandbox)
    set_field(sandbox, id, "billing_cycle_anchor", at("2026-01-31"))
    set_field(sandbox, id, "items.data[0].current_period_end", at("2026-02-28"))
    ends = [sandbox.advance(id)["items"]["data"][0]["current_period_end"] for _ in range(3)]
    assert ends == [at("2026-03-31"), at("2026-04-30"), at("2026-05-31")]


def test_cancelling_waits_for_the_end_of_the_month(sandbox, api):
    id, _ = subscribe(sandbox)
    api.v1.subscriptions.update(id, {"cancel_at_period_end": True})
    found = api.v1.subscriptions.retrieve(id)
    end = found["items"].data[0].current_period_end
    assert (found.status, found.cancel_at_period_end, found.cancel_at) == ("active", True, end)
    assert found.cancellation_details.reason == "cancellation_requested"
    (event,) = sandbox.events("customer.subscription.updated")
    assert event["data"]["previous_attributes"]["cancel_at_period_end"] is False

    charges = counts(sandbox)["charge"]
    sandbox.advance(id)
    found = api.v1.subscriptions.retrieve(id)
    assert (found.status, found.ended_at) == ("canceled", end)
    assert counts(sandbox)["charge"] == charges
    assert sandbox.events()[-1]["type"] == "customer.subscription.deleted"


def test_resuming_takes_the_cancellation_back(sandbox, api):
    id, _ = subscribe(sandbox)
    for ends in (True, False):
        api.v1.subscriptions.update(id, {"cancel_at_period_end": ends})
    found = api.v1.subscriptions.retrieve(id)
    assert (found.cancel_at_period_end, found.cancel_at, found.canceled_at) == (False, None, None)
    assert found.cancellation_details.reason is None
    assert sandbox.advance(id)["status"] == "active"


def test_a_change_to_what_it_is_already_is_no_event(sandbox, api):
    id, _ = subscribe(sandbox)
    for _ in range(2):
        api.v1.subscriptions.update(id, {"cancel_at_period_end": True, "metadata": {"a": "b"}})
    assert len(sandbox.events("customer.subscription.updated")) == 1


def test_metadata_is_merged(sandbox, api):
    id, _ = subscribe(sandbox, subscription_data={"metadata": {"a": "1", "b": "2"}})
    api.v1.subscriptions.update(id, {"metadata": {"a": "", "c": "3"}})
    assert api.v1.subscriptions.retrieve(id).metadata.to_dict() == {"b": "2", "c": "3"}


def test_cancelling_at_once_ends_it_for_good(sandbox, api):
    id, _ = subscribe(sandbox)
    ended = api.v1.subscriptions.cancel(id)
    assert (ended.status, ended.cancel_at_period_end) == ("canceled", False)
    before = counts(sandbox)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.subscriptions.cancel(id)
    assert error_of(raised.value) == (404, "invalid_request_error", "resource_missing", "id")
    with pytest.raises(stripe.InvalidRequestError, match="can only update its cancellation"):
        api.v1.subscriptions.update(id, {"cancel_at_period_end": False})
    with pytest.raises(AssertionError, match="The subscription is canceled"):
        sandbox.advance(id)
    assert counts(sandbox) == before


def test_other_changes_are_a_501(sandbox, api):
    id, _ = subscribe(sandbox)
    before = counts(sandbox)
    for ask in (
        lambda: api.v1.subscriptions.update(id, {"trial_end": "now"}),
        lambda: api.v1.subscriptions.cancel(id, {"prorate": True}),
    ):
        with pytest.raises(stripe.APIError) as raised:
            ask()
        assert raised.value.http_status == 501
    assert counts(sandbox) == before
    assert api.v1.subscriptions.retrieve(id).status == "active"


def test_subscriptions_live_on_over_a_kill(own_sandbox):
    id, _ = subscribe(own_sandbox)
    before = client(own_sandbox).v1.subscriptions.retrieve(id).to_dict()
    own_sandbox.kill()
    own_sandbox.start()
    assert client(own_sandbox).v1.subscriptions.retrieve(id).to_dict() == before
    assert own_sandbox.advance(id)["status"] == "active"


def test_an_invoice_has_a_page(sandbox, api):
    subscribe(sandbox)
    (invoice,) = api.v1.invoices.list().data
    page = requests.get(invoice.hosted_invoice_url, timeout=20).text
    for words in (invoice.number, "ada@example.com", "500 credits", "$5.00", "paid"):
        assert words in page


def test_a_charge_leads_to_its_invoice_and_its_subscription(sandbox, api):
    id, _ = subscribe(sandbox)
    sandbox.advance(id)
    other, _ = subscribe(sandbox)
    for subscription, renewals in ((id, 2), (other, 1)):
        invoices = api.v1.invoices.list({"subscription": subscription}).data
        assert len(invoices) == renewals
        for invoice in invoices:
            (payment,) = api.v1.invoice_payments.list({"invoice": invoice.id}).data
            intent = payment.payment.payment_intent
            by_intent = {"type": "payment_intent", "payment_intent": intent}
            found = api.v1.invoice_payments.list({"payment": by_intent}).data
            assert [(each.id, each.invoice) for each in found] == [(payment.id, invoice.id)]
            assert api.v1.invoice_payments.retrieve(payment.id).invoice == invoice.id
            (charge,) = api.v1.charges.list({"payment_intent": intent}).data
            assert (charge.amount, charge.customer) == (500, invoice.customer)


def test_a_single_payment_leads_to_no_invoice(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    intent = sandbox.pay(session.id)["payment_intent"]
    subscribe(sandbox)
    by_intent = {"type": "payment_intent", "payment_intent": intent}
    assert api.v1.invoice_payments.list({"payment": by_intent}).data == []
    assert len(api.v1.charges.list({"payment_intent": intent}).data) == 1
