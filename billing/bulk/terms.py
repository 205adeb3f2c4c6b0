"""Paying by invoice: for organisations that staff approve, within 30 days.

An invoice is made at Stripe in steps, each of which may be taken again; the worker finishes what
broke off. Credits come when it is paid, or, within the organisation's credit limit, as soon as
Stripe has it. Events only say that something has changed about an invoice: how it stands is asked
of Stripe, and credits follow to that.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import closing, preferences
from accounts.models import Organisation
from billing import giving, mails, stripe_api
from billing.bulk import delivery, orders
from billing.checkout import RequestIdReused, product_name
from billing.customers import with_customer
from billing.fulfilment import Quarantined
from billing.models import BulkPurchase, Charge, Invoice, InvoiceTerms, Purchase
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import (
    METADATA_TYPE,
    NotOurs,
    our_metadata,
    stripe_id,
    subscription_of,
    uuid_of,
)
from credits import ledger
from credits.models import Account, Entry, Kind, Lot

logger = logging.getLogger(__name__)

DAYS: Final = 30
"""Until an invoice is due."""

LEFT_OVER: Final = timedelta(minutes=1)
"""No request works on an invoice for so long: what isn't finished then has broken off."""

RANK: Final = {"": 0, "draft": 1, "open": 2, "uncollectible": 3, "paid": 4, "void": 4}
"""In which order an invoice may change its status: an older state never follows a newer one."""


class NotApproved(Exception):
    """Staff have not approved that the organisation pays by invoice."""


def terms_of(organisation: Organisation) -> InvoiceTerms | None:
    """What staff have approved; None where that is nothing."""
    return InvoiceTerms.objects.filter(organisation=organisation, is_approved=True).first()


def open_total(organisation: Organisation) -> int:
    """Cents of the organisation's invoices that may still be paid."""
    payable = Invoice.objects.filter(bulk__organisation=organisation, status__in=Invoice.PAYABLE)
    return int(payable.aggregate(sum=Sum("total", default=0))["sum"])


def pay_by_invoice(
    bulk: BulkPurchase, *, expected_total: int | None, po_number: str = ""
) -> Invoice:
    """Order it and have an invoice made; once, however often it is asked for.

    Raises what `orders.order` does, `NotApproved`, and `StripeUnavailable`, `StripeRefused`: then
    the order stands, and the worker goes on with its invoice.
    """
    with transaction.atomic():
        invoice = place(bulk, expected_total=expected_total, po_number=po_number)
    make(invoice)
    return invoice


def place(bulk: BulkPurchase, *, expected_total: int | None, po_number: str = "") -> Invoice:
    """The first half of `pay_by_invoice`, which asks nothing of Stripe: for a transaction."""
    organisation = bulk.organisation
    # In the order in which everything locks: the account, then what it has.
    closing.check_open(organisation.account)
    # Locked, so that of two orders at once the second one sees the first one's invoice.
    terms = (
        InvoiceTerms.objects.select_for_update()
        .filter(organisation=organisation, is_approved=True)
        .first()
    )
    if terms is None:
        raise NotApproved
    was_ordered = BulkPurchase.objects.filter(pk=bulk.pk).exclude(purchase=None).exists()
    purchase = orders.order(bulk, expected_total=expected_total, po_number=po_number)
    known = Invoice.objects.filter(bulk=bulk.pk).first()
    if known is not None:
        return known
    if was_ordered:
        raise RequestIdReused  # it was ordered to be paid by card
    bulk.refresh_from_db()
    total = open_total(organisation) + purchase.total
    return Invoice.objects.create(
        bulk=bulk, total=purchase.total, is_credited=total <= terms.credit_limit
    )


# --- At Stripe --------------------------------------------------------------------------------


def make(invoice: Invoice) -> None:
    """Take the steps at Stripe that are left; whatever was done before isn't done again.

    Raises `AccountClosing`, `StripeUnavailable`, `StripeRefused`.
    """
    if invoice.number:
        return
    clock = Clock()
    account = invoice.bulk.organisation.account
    if invoice.stripe_id is None:
        _draft(invoice, clock)
    client = stripe_api.client().v1
    at_stripe = invoice.stripe_id or ""
    found = stripe_api.call(lambda: client.invoices.retrieve(at_stripe), clock)
    if found.status == "draft":
        if not found.total:
            _add_line(invoice, str(stripe_id(found.customer)), clock)
        try:
            stripe_api.call(lambda: client.invoices.finalize_invoice(at_stripe), clock)
        except StripeRefused:
            # Mostly another request has just finalized it.
            found = stripe_api.call(lambda: client.invoices.retrieve(at_stripe), clock)
            if found.status == "draft":
                raise
    found = stripe_api.call(lambda: client.invoices.send_invoice(at_stripe), clock)
    _record(invoice, found.to_dict())
    logger.info("Invoice %s of account %s is sent", found.number, account.pk)


def _draft(invoice: Invoice, clock: Clock) -> None:
    organisation, purchase = invoice.bulk.organisation, invoice.purchase
    used: list[str] = []

    def create(customer_id: str) -> Any:
        if used:
            # Another customer is another parameter, which a key doesn't allow.
            stripe_api.next_attempt(purchase)
        used.append(customer_id)
        _tell_tax_id(organisation, customer_id, clock)
        params = _params(invoice.bulk, purchase, customer_id)
        return stripe_api.keyed_call(
            purchase,
            lambda options: stripe_api.client().v1.invoices.create(params, options),
            clock,
        )

    made = with_customer(organisation.account, create, clock)
    Invoice.objects.filter(pk=invoice.pk, stripe_id=None).update(stripe_id=made.id, status="draft")
    invoice.refresh_from_db()


def _tell_tax_id(organisation: Organisation, customer_id: str, clock: Clock) -> None:
    """Have the organisation's tax number on its invoices, if it has one that Stripe takes."""
    terms = terms_of(organisation)
    if terms is None or not terms.tax_id:
        return
    tax_ids = stripe_api.client().v1.customers.tax_ids
    known = stripe_api.call(lambda: tax_ids.list(customer_id), clock)
    if any((one.type, one.value) == (terms.tax_id_type, terms.tax_id) for one in known.data):
        return
    params: Any = {"type": terms.tax_id_type, "value": terms.tax_id}
    try:
        stripe_api.call(lambda: tax_ids.create(customer_id, params), clock)
    except StripeRefused as error:
        if stripe_api.is_missing_customer(error):
            raise
        # The sale matters more; staff read the log.
        logger.error("Stripe refuses the tax number of organisation %s", organisation.pk)


def _params(bulk: BulkPurchase, purchase: Purchase, customer_id: str) -> Any:
    params: dict[str, Any] = {
        "customer": customer_id,
        "collection_method": "send_invoice",
        "days_until_due": DAYS,
        "currency": purchase.currency,
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        "metadata": {
            "type": METADATA_TYPE,
            "credits": str(bulk.credits),
            "user_id": str(purchase.user_id),
            "purchase_id": str(purchase.pk),
        },
    }
    if bulk.po_number:
        with translation.override(purchase.language or None):
            name = _("Order number")
        params["custom_fields"] = [{"name": name, "value": bulk.po_number}]
    return params


def _add_line(invoice: Invoice, customer_id: str, clock: Clock) -> None:
    purchase = invoice.purchase
    params: Any = {
        "customer": customer_id,
        "invoice": invoice.stripe_id,
        "amount": invoice.total,
        "currency": purchase.currency,
        "description": product_name(purchase),
    }
    stripe_api.keyed_call(
        invoice,
        lambda options: stripe_api.client().v1.invoice_items.create(params, options),
        clock,
    )


def _record(invoice: Invoice, found: Mapping[str, Any]) -> None:
    """Keep how it stands at Stripe, unless what is known is newer."""
    status = str(found["status"])
    older = [one for one, rank in RANK.items() if rank <= RANK.get(status, 0)]
    due = found.get("due_date")
    Invoice.objects.filter(pk=invoice.pk, status__in=older).update(
        stripe_id=found["id"],
        status=status,
        number=str(found.get("number") or ""),
        url=str(found.get("hosted_invoice_url") or ""),
        due_at=datetime.fromtimestamp(due, UTC) if isinstance(due, int) else None,
    )
    invoice.refresh_from_db()


def finish() -> int:
    """Make what broke off on the way; answers how many. Raises `StripeUnavailable`."""
    left = Invoice.objects.filter(
        number="", status__in=("", "draft"), created_at__lt=Now() - LEFT_OVER
    )
    done = 0
    for invoice in left.select_related("bulk__purchase", "bulk__organisation__account"):
        try:
            make(invoice)
        except (StripeRefused, closing.AccountClosing):
            logger.exception("Invoice %s can't be made", invoice.pk)
        else:
            done += 1
    return done


# --- What Stripe reports ----------------------------------------------------------------------


def is_on_terms(invoice: Mapping[str, Any]) -> bool:
    """Whether it is one of ours that belongs to no plan."""
    if subscription_of(invoice)[0] is not None:
        return False
    try:
        our_metadata(invoice.get("metadata"))
    except NotOurs:
        return False
    return True


def fetch(invoice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Ask Stripe how it stands; None for a plan's, whose other events say all.

    Raises `NotOurs`, `StripeUnavailable`, `StripeRefused`.
    """
    subscription_id, details = subscription_of(invoice)
    if subscription_id is not None:
        our_metadata(details)
        return None
    our_metadata(invoice.get("metadata"))
    found = stripe_api.call(
        lambda: stripe_api.client().v1.invoices.retrieve(str(invoice["id"])), Clock()
    )
    return found.to_dict()


def settle(found: Mapping[str, Any] | None) -> None:
    """Have credits stand as the invoice does.

    Call it in a transaction, as often as you like, with invoices fetched in any order. Raises
    `NotOurs`, `Quarantined`.
    """
    if found is None:
        return
    metadata = our_metadata(found.get("metadata"))
    # Locked before the wallet, as everywhere.
    purchase_id = uuid_of(metadata.get("purchase_id"))
    among = Purchase.objects.select_for_update()
    purchase = among.filter(pk=purchase_id).first() if purchase_id else None
    invoice = (
        Invoice.objects.select_for_update(of=("self",))
        .filter(bulk__purchase=purchase)
        .select_related("bulk__organisation__account")
        .first()
        if purchase
        else None
    )
    if purchase is None or invoice is None:
        raise Quarantined("It is an invoice for a purchase that isn't here.", purchase)
    if invoice.stripe_id not in (None, found["id"]):
        raise Quarantined("A second invoice of the same purchase.", purchase)
    if (found.get("subtotal"), found.get("currency")) != (purchase.total, purchase.currency):
        if found.get("status") == "draft":
            return  # its line is still to come
        raise Quarantined(
            f"It sells for {found.get('subtotal')} {found.get('currency')}, the purchase for "
            f"{purchase.total} {purchase.currency}.",
            purchase,
        )
    if found["status"] in ("open", "paid") and found.get("pre_payment_credit_notes_amount"):
        # What they leave nothing of is "paid", too.
        raise Quarantined("Credit notes have lowered what was to pay for it.", purchase)
    if RANK.get(str(found["status"]), 0) < RANK.get(invoice.status, 0):
        return
    _record(invoice, found)
    match invoice.status:
        case "open":
            if invoice.is_credited:
                _grant(invoice, purchase)
        case "paid":
            _settle_paid(invoice, purchase)
        case "void" | "uncollectible":
            _settle_lost(invoice, purchase)


def _settle_paid(invoice: Invoice, purchase: Purchase) -> None:
    # By card or transfer, or staff have marked it at Stripe: companies pay in many ways.
    _grant(invoice, purchase)
    grant = _grant_of(invoice)
    # Written off and paid after all. What refunds took is theirs to give back.
    if grant is not None and not Charge.objects.filter(purchase=purchase).exists():
        revoked = Lot.objects.get(wallet=grant.wallet, entry_id=grant.pk).revoked
        if revoked:
            ledger.restore(
                grant.wallet, revoked, of=grant.key, key=f"{grant.key}:paid", note=invoice.number
            )
    if purchase.is_paid:
        return
    purchase.status = Purchase.Status.PAID
    purchase.paid_at = timezone.now()
    purchase.stripe_payment_id = invoice.stripe_id
    purchase.save(update_fields=["status", "paid_at", "stripe_payment_id"])
    mails.tell(
        purchase.user,
        "purchase",
        f"invoice:{invoice.stripe_id}",
        credits=purchase.credits,
        total=purchase.total,
        currency=purchase.currency,
        mode=purchase.mode,
    )


def _grant(invoice: Invoice, purchase: Purchase) -> None:
    ledger.grant(
        ledger.wallet_of(purchase.user),
        purchase.credits,
        key=f"invoice:{invoice.stripe_id}",
        kind=Kind.PURCHASE,
        paid=purchase.total,
    )
    delivery.begin(purchase)


def _grant_of(invoice: Invoice) -> Entry | None:
    return (
        Entry.objects.filter(
            wallet__user=invoice.bulk.organisation_id,
            key=f"invoice:{invoice.stripe_id}",
            account=Account.ISSUED,
        )
        .select_related("wallet")
        .first()
    )


def _settle_lost(invoice: Invoice, purchase: Purchase) -> None:
    """Nobody pays it (any more): what was credited before goes back, like a refund of all."""
    grant = _grant_of(invoice)
    if grant is not None:
        lot = Lot.objects.get(wallet=grant.wallet, entry_id=grant.pk)
        if lot.amount > lot.revoked:
            with preferences.read_by(purchase.user):
                note = _("Invoice %(number)s was not paid") % {"number": invoice.number}
            entry = ledger.revoke(
                grant.wallet,
                lot.amount - lot.revoked,
                of=grant.key,
                key=f"{grant.key}:{invoice.status}",
                kind=Kind.REFUND,
                note=note,
                recall_note=giving.recall_note(Kind.REFUND),
            )
            giving.tell_recalled(entry)
    if invoice.status == "void" and purchase.status == Purchase.Status.PENDING:
        purchase.status = Purchase.Status.EXPIRED
        purchase.save(update_fields=["status"])
