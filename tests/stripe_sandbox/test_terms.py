"""Invoices on terms: drafted, finalized, paid on their page, voided or written off."""

import time
from typing import Any

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import client, counts, error_of

DAY = 24 * 3600
CARD = {"number": "4242 4242 4242 4242", "expiry": "12/34", "cvc": "123"}


@pytest.fixture
def customer(api) -> str:
    return api.v1.customers.create({"email": "office@example.com"}).id


def terms(customer: str, **fields: Any) -> Any:
    return {
        "customer": customer,
        "collection_method": "send_invoice",
        "days_until_due": 30,
        "currency": "usd",
        **fields,
    }


def open_invoice(sandbox, customer: str, **fields: Any) -> Any:
    made = client(sandbox).v1
    invoice = made.invoices.create(terms(customer, **fields))
    made.invoice_items.create(
        {"customer": customer, "invoice": invoice.id, "amount": 4500, "currency": "usd",
         "description": "5,000 credits"}
    )  # fmt: skip
    return made.invoices.finalize_invoice(invoice.id)


def new_events(sandbox, before: int) -> list[str]:
    return [event["type"] for event in sandbox.events()[before:]]


def test_an_invoice_is_drafted_filled_finalized_and_sent(sandbox, api, customer):
    api.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "DE123456789"})
    so_far = len(sandbox.events())
    invoice = open_invoice(
        sandbox,
        customer,
        custom_fields=[{"name": "PO number", "value": "PO-7"}],
        metadata={"a": "b"},
    )
    assert (invoice.status, invoice.total, invoice.amount_remaining) == ("open", 4500, 4500)
    assert invoice.collection_method == "send_invoice"
    assert abs(invoice.due_date - time.time() - 30 * DAY) < 60
    assert [(f.name, f.value) for f in invoice.custom_fields] == [("PO number", "PO-7")]
    assert [(t.type, t.value) for t in invoice.customer_tax_ids] == [("eu_vat", "DE123456789")]
    assert invoice.metadata.to_dict() == {"a": "b"}
    assert [line.amount for line in invoice.lines.data] == [4500]
    api.v1.invoices.send_invoice(invoice.id)
    assert new_events(sandbox, so_far) == [
        "invoice.created", "invoiceitem.created", "invoice.finalized", "invoice.sent",
    ]  # fmt: skip
    assert [found.value for found in api.v1.customers.tax_ids.list(customer).data] == [
        "DE123456789"
    ]


def test_it_is_paid_once_on_its_page(sandbox, api, customer):
    invoice = open_invoice(sandbox, customer, metadata={"a": "b"})
    assert "5,000 credits" in requests.get(invoice.hosted_invoice_url, timeout=20).text
    so_far = len(sandbox.events())
    for _ in range(2):
        requests.post(invoice.hosted_invoice_url, CARD, timeout=20).raise_for_status()
    assert [type for type in new_events(sandbox, so_far) if "invoice" in type] == [
        "invoice.paid", "invoice.payment_succeeded",
    ]  # fmt: skip
    paid = api.v1.invoices.retrieve(invoice.id)
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 4500, 0)
    assert sandbox.refund(invoice.id, 500)["amount"] == 500


def test_a_voided_one_cannot_be_paid_and_a_written_off_one_can(sandbox, api, customer):
    void, lost = open_invoice(sandbox, customer), open_invoice(sandbox, customer)
    so_far = len(sandbox.events())
    api.v1.invoices.mark_uncollectible(lost.id)
    api.v1.invoices.void_invoice(void.id)
    assert new_events(sandbox, so_far) == ["invoice.marked_uncollectible", "invoice.voided"]
    assert sandbox.pay_invoice(void.id)["status"] == "void"
    assert api.v1.charges.list().data == []
    assert sandbox.pay_invoice(lost.id)["status"] == "paid"
    for invoice_id in (void.id, lost.id):
        with pytest.raises(stripe.InvalidRequestError, match="The invoice is"):
            api.v1.invoices.void_invoice(invoice_id)


def test_one_that_is_not_paid_in_time_is_overdue_once(sandbox, customer):
    open_invoice(sandbox, customer)
    sandbox.let_pass(29 * 24)
    assert sandbox.events("invoice.overdue") == []
    sandbox.let_pass(48)
    sandbox.let_pass(24)
    assert len(sandbox.events("invoice.overdue")) == 1


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"customer": "cus_x"}, 400, "customer"),
        ({"days_until_due": -1}, 400, "days_until_due"),
        ({"custom_fields": [{"name": "PO number", "value": "x" * 141}]}, 400,
         "custom_fields[0][value]"),
        ({"custom_fields": [{"name": "n", "value": "v"}] * 5}, 400, "custom_fields"),
        ({"collection_method": "charge_automatically"}, 501, None),
        ({"due_date": 2_000_000_000}, 501, None),
    ],
)  # fmt: skip
def test_a_bad_draft_is_refused(sandbox, api, customer, fields, status, param):
    before = counts(sandbox)
    with pytest.raises(stripe.StripeError) as raised:
        api.v1.invoices.create(terms(customer) | fields)
    found = error_of(raised.value)
    assert (found[0], found[3]) == (status, param)
    assert counts(sandbox) == before


def test_days_are_needed_and_a_finalized_one_takes_no_more_lines(sandbox, api, customer):
    ask = terms(customer)
    del ask["days_until_due"]
    with pytest.raises(stripe.InvalidRequestError, match="you must provide either"):
        api.v1.invoices.create(ask)
    invoice = open_invoice(sandbox, customer)
    before = counts(sandbox)
    with pytest.raises(stripe.InvalidRequestError, match="The invoice is open: it must be draft"):
        api.v1.invoice_items.create({"customer": customer, "invoice": invoice.id, "amount": 1})
    with pytest.raises(stripe.InvalidRequestError, match="Invalid value for eu_vat"):
        api.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "x"})
    assert counts(sandbox) == before


def test_the_control_page_writes_it_off_and_voids_it(sandbox, customer):
    invoice = open_invoice(sandbox, customer)
    page = f"{sandbox.base_url}/sandbox"
    for wish, words in (("write off", "is written off."), ("void", "is void.")):
        done = requests.post(page, {"wish": wish, "id": invoice.id}, timeout=20)
        assert f"The invoice {invoice.number} {words}" in done.text
