"""Bulk purchases that are paid by invoice: approved, within a limit, paid, void or written off."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Organisation
from billing import webhooks
from billing.abandoned import close_abandoned
from billing.bulk import delivery, orders, terms
from billing.bulk.lines import Line
from billing.checkout import RequestIdReused
from billing.closing import PaymentUnderWay, close_account
from billing.models import BulkPurchase, Event, Invoice, InvoiceTerms, Mail, Purchase
from billing.reconcile import reconcile
from billing.stripe_api import StripeUnavailable
from credits import ledger
from credits.models import Entry, Gift
from tests.organisations import found, somebody
from tests.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(sandbox) -> Organisation:
    return found(somebody("owner"))


@pytest.fixture
def shop(acme, sandbox, client) -> Shop:
    """Of Acme's account, which nobody signs in to."""
    return Shop(acme.account, sandbox, client)


def approve(acme: Organisation, credit_limit: int = 0, **fields) -> InvoiceTerms:
    return InvoiceTerms.objects.create(
        organisation=acme, is_approved=True, credit_limit=credit_limit, **fields
    )


def draft(acme: Organisation, credits: int = 500) -> BulkPurchase:
    return orders.draft(acme, [Line(1, credits, "ann@example.com")], by=None)


def bill(acme: Organisation, credits: int = 500, **fields) -> Invoice:
    invoice = terms.pay_by_invoice(draft(acme, credits), expected_total=None, **fields)
    invoice.refresh_from_db()
    return invoice


def test_an_invoice_tells_what_is_sold_to_whom_and_until_when(acme, shop):
    approve(acme, tax_id_type="eu_vat", tax_id="DE123456789")
    invoice = bill(acme, po_number="PO-7")
    (at_stripe,) = shop.sandbox.objects("invoice")
    assert (invoice.stripe_id, invoice.number) == (at_stripe["id"], at_stripe["number"])
    assert (at_stripe["status"], at_stripe["total"]) == ("open", 475)
    assert at_stripe["custom_fields"] == [{"name": "Order number", "value": "PO-7"}]
    assert [one["value"] for one in at_stripe["customer_tax_ids"]] == ["DE123456789"]
    assert [line["description"] for line in at_stripe["lines"]["data"]] == ["500 credits"]
    assert len(shop.sandbox.events("invoice.sent")) == 1
    due = invoice.due_at - timezone.now()
    assert timedelta(days=29, hours=23) < due < timedelta(days=30)
    shop.tell()
    # Nothing is credited before it is paid.
    assert shop.stands == (0, 0)
    assert BulkPurchase.objects.get().status == "ordered"


def test_paid_it_is_granted_once_and_handed_out(acme, shop):
    approve(acme)
    invoice = bill(acme)
    shop.sandbox.pay_invoice(invoice.stripe_id)
    shop.told = 0
    shop.tell()
    shop.told = 0
    shop.tell()
    assert shop.stands == (500, 0)
    purchase = Purchase.objects.get()
    assert (purchase.status, purchase.stripe_payment_id) == ("paid", invoice.stripe_id)
    assert Entry.objects.get().key == f"invoice:{invoice.stripe_id}"
    assert BulkPurchase.objects.get().status == "delivering"
    shop.sandbox.refund(invoice.stripe_id)
    shop.tell()
    assert shop.stands == (0, 0)
    result = reconcile(timezone.now() - timedelta(days=1))
    assert result.differences == []


def test_who_is_not_approved_gets_none(acme, shop):
    InvoiceTerms.objects.create(organisation=acme, credit_limit=100_000)
    other = found(somebody("other"), "Other Ltd")
    approve(other)
    with pytest.raises(terms.NotApproved):
        bill(acme)
    assert Purchase.objects.count() == 0
    assert shop.sandbox.requests() == []


def test_within_the_limit_it_is_credited_before_it_is_paid(acme, shop):
    approve(acme, credit_limit=950)
    for number in range(3):
        bill(acme)
        shop.tell()
        assert shop.stands == (min(number + 1, 2) * 500, 0)
    first = Invoice.objects.order_by("created_at").first()
    shop.sandbox.pay_invoice(first.stripe_id)
    shop.tell()
    assert shop.stands == (1000, 0)  # it was credited before
    bill(acme)
    shop.tell()
    # The third is still open, so that a fourth is beyond what is left.
    assert shop.stands == (1000, 0)
    assert [one.is_credited for one in Invoice.objects.order_by("created_at")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert reconcile(timezone.now() - timedelta(days=1)).differences == []


@pytest.mark.django_db(transaction=True)
def test_of_orders_at_once_no_more_are_credited_than_the_limit_allows(acme, sandbox, at_once):
    approve(acme, credit_limit=475 * 3)
    drafts = [draft(acme) for _ in range(8)]

    def order(index: int) -> bool:
        return terms.pay_by_invoice(drafts[index], expected_total=475).is_credited

    credited = at_once(8, order)
    assert sorted(credited) == [False] * 5 + [True] * 3
    assert len(sandbox.objects("invoice")) == 8
    assert len(sandbox.objects("customer")) == 1


def test_voided_after_crediting_all_of_it_goes_back(acme, shop):
    approve(acme, credit_limit=475)
    invoice = bill(acme)
    shop.tell()
    ledger.spend(ledger.wallet_of(acme.account), 200, key="s")
    shop.sandbox.void_invoice(invoice.stripe_id)
    shop.tell()
    shop.told = 0
    shop.tell()  # in any number
    assert shop.stands == (0, 200)
    assert Purchase.objects.get().status == "expired"
    assert terms.open_total(acme) == 0


def test_voided_after_handing_out_whoever_loses_by_it_is_told(acme, shop):
    approve(acme, credit_limit=475)
    bob = somebody("bob")
    lines = [Line(1, 300, "ann@example.com"), Line(2, 200, bob.email)]
    invoice = terms.pay_by_invoice(orders.draft(acme, lines, by=None), expected_total=475)
    shop.tell()
    assert delivery.deliver_due() == 2
    invoice.refresh_from_db()
    shop.sandbox.void_invoice(invoice.stripe_id)
    shop.tell()
    shop.told = 0
    shop.tell()
    assert (shop.stands, ledger.balance_of(bob)) == ((0, 0), 0)
    gift = Gift.objects.get()
    assert (gift.status, gift.recalled) == ("recalled", 300)
    told = Mail.objects.filter(kind__in=["gift_withdrawn", "gift_recalled"]).order_by("kind")
    assert [(one.kind, one.context["credits"]) for one in told] == [
        ("gift_recalled", 200), ("gift_withdrawn", 300),
    ]  # fmt: skip
    assert Entry.objects.get(wallet__user=bob, amount=-200).note


def test_what_credit_notes_have_settled_grants_nothing(acme, shop):
    """Stripe calls an invoice paid as well where a credit note left nothing of it to pay."""
    approve(acme)
    bill(acme)
    (real,) = shop.sandbox.objects("invoice")
    noted = real | {"status": "paid", "pre_payment_credit_notes_amount": 475}
    with pytest.raises(webhooks.Quarantined):
        terms.settle(noted)
    assert shop.stands == (0, 0)
    assert Purchase.objects.get().status == "pending"
    assert BulkPurchase.objects.get().status == "ordered"


def test_written_off_and_paid_after_all(acme, shop):
    approve(acme, credit_limit=475)
    invoice = bill(acme)
    shop.tell()
    shop.sandbox.write_off_invoice(invoice.stripe_id)
    shop.tell()
    assert shop.stands == (0, 0)
    assert terms.open_total(acme) == 475  # it is still owed
    shop.sandbox.pay_invoice(invoice.stripe_id)
    shop.tell()
    shop.told = 0
    shop.tell()
    assert shop.stands == (500, 0)
    assert Purchase.objects.get().status == "paid"
    # A refund after that takes them once more, and a late event of before changes nothing.
    shop.sandbox.refund(invoice.stripe_id)
    shop.tell()
    shop.told = 0
    shop.tell()
    assert shop.stands == (0, 0)


@pytest.mark.parametrize("steps", range(1, 7))
def test_whatever_answer_is_lost_one_invoice_is_made_and_the_worker_finishes_it(acme, shop, steps):
    approve(acme, tax_id_type="eu_vat", tax_id="DE123456789")
    bulk = draft(acme)
    paths = [
        "/v1/customers", "/v1/invoices", "/v1/invoiceitems", "/v1/invoices/", "/v1/invoices/",
        "/v1/customers/",
    ]  # fmt: skip
    shop.sandbox.add_fault(method="POST", path=paths[steps - 1], kind="lose_reply", times=2)
    try:
        terms.pay_by_invoice(bulk, expected_total=475)
    except StripeUnavailable:
        Invoice.objects.update(created_at=timezone.now() - terms.LEFT_OVER)
        assert terms.finish() == 1
    assert terms.finish() == 0
    (at_stripe,) = shop.sandbox.objects("invoice")
    assert (at_stripe["status"], at_stripe["total"]) == ("open", 475)
    assert len(shop.sandbox.objects("customer")) == 1
    assert Invoice.objects.get().number == at_stripe["number"]


def test_one_list_is_paid_in_one_way(acme, shop):
    approve(acme)
    by_card, by_invoice = draft(acme), draft(acme)
    orders.pay_by_card(by_card, expected_total=475)
    with pytest.raises(RequestIdReused):
        terms.pay_by_invoice(by_card, expected_total=475)
    first = terms.pay_by_invoice(by_invoice, expected_total=475)
    assert terms.pay_by_invoice(by_invoice, expected_total=475).pk == first.pk
    with pytest.raises(RequestIdReused):
        orders.pay_by_card(by_invoice, expected_total=475)
    assert (
        len(shop.sandbox.objects("invoice")) == len(shop.sandbox.objects("checkout.session")) == 1
    )


def test_an_open_invoice_is_not_abandoned_and_keeps_the_account_open(acme, shop):
    approve(acme)
    bill(acme)
    Purchase.objects.update(created_at=timezone.now() - timedelta(days=20))
    assert close_abandoned() == 0
    assert Purchase.objects.get().status == "pending"
    with pytest.raises(PaymentUnderWay):
        close_account(acme.account)
    acme.account.refresh_from_db()
    assert acme.account.closed_at is None


def test_somebody_else_s_invoice_grants_nothing(acme, shop):
    approve(acme, credit_limit=10_000)
    invoice = bill(acme)
    (real,) = shop.sandbox.objects("invoice")
    forged = real | {"metadata": real["metadata"] | {"purchase_id": str(uuid.uuid4())}}
    with pytest.raises(webhooks.Quarantined):
        terms.settle(forged | {"status": "paid"})
    with pytest.raises(webhooks.Quarantined):
        terms.settle(real | {"status": "paid", "subtotal": 1})
    with pytest.raises(webhooks.Quarantined):
        terms.settle(real | {"status": "paid", "id": "in_other"})
    with pytest.raises(webhooks.NotOurs):
        terms.settle(real | {"status": "paid", "metadata": {}})
    assert shop.stands == (0, 0)
    assert Event.objects.count() == 0
    assert invoice.status == "open"
