"""The months of a plan: paid, or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing import mails, stripe_api
from billing.fulfilment import buyer_of, fulfil_invoice
from billing.models import PlanChange, Purchase
from billing.stripe_api import Clock
from billing.stripe_objects import (
    NotOurs,
    our_metadata,
    product_sold,
    stripe_id,
    subscription_of,
    uuid_of,
    whole_number,
)
from billing.subscriptions import Fetched, ask_for, record_subscription


@dataclass(frozen=True)
class Month:
    """An invoice of a plan of ours, with its subscription as Stripe has it if that was asked."""

    invoice: Mapping[str, Any]
    subscription_id: str
    metadata: Mapping[str, Any]
    subscription: Fetched | None


def fetch_paid(invoice: Mapping[str, Any]) -> Month:
    """Ask Stripe about the plan, only where an invoice sells an amount that isn't known here.

    It isn't after a restored backup. Raises `NotOurs`, `StripeUnavailable`, `StripeRefused`.
    """
    subscription_id, metadata = _plan_of(invoice)
    change_id = PlanChange.id_of(product_sold(invoice))
    is_known = change_id is None or PlanChange.objects.filter(pk=change_id).exists()
    asked = None if is_known else ask_for(subscription_id, Clock())
    return Month(invoice, subscription_id, metadata, asked)


def settle_paid(month: Month) -> None:
    """Grant what the invoice sold. Raises `NotOurs`, `Quarantined`."""
    if month.subscription is not None:
        record_subscription(month.subscription)
    fulfil_invoice(month.invoice, month.subscription_id, month.metadata)


def fetch_failed(invoice: Mapping[str, Any]) -> Month:
    """Ask Stripe how the invoice and its plan stand now: it may have been paid meanwhile.

    Raises `NotOurs` before asking, `StripeUnavailable`, `StripeRefused`.
    """
    subscription_id, metadata = _plan_of(invoice)
    clock = Clock()
    found = stripe_api.call(
        lambda: stripe_api.client().v1.invoices.retrieve(str(invoice["id"])), clock
    )
    return Month(found.to_dict(), subscription_id, metadata, ask_for(subscription_id, clock))


def settle_failed(month: Month) -> None:
    """Record that the plan is overdue, and tell its owner of each try that failed, once."""
    if month.subscription is not None:
        record_subscription(month.subscription)
    invoice = month.invoice
    # The first payment fails before the buyer's eyes, on the payment page.
    is_renewal = invoice.get("billing_reason") == "subscription_cycle"
    if is_renewal and invoice.get("status") == "open":
        mails.tell(
            buyer_of(month.metadata, stripe_id(invoice.get("customer"))),
            "payment_failed",
            f"invoice:{invoice['id']}:{invoice.get('attempt_count')}",
            credits=_credits_of(month),
            total=invoice.get("amount_due"),
        )


def _credits_of(month: Month) -> int | None:
    """What the month would have brought."""
    sold: PlanChange | Purchase | None = None
    if change_id := PlanChange.id_of(product_sold(month.invoice)):
        sold = PlanChange.objects.filter(pk=change_id).first()
    elif purchase_id := uuid_of(month.metadata.get("purchase_id")):
        sold = Purchase.objects.filter(pk=purchase_id).first()
    return sold.credits if sold else whole_number(month.metadata.get("credits"))


def _plan_of(invoice: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    subscription_id, metadata = subscription_of(invoice)
    if subscription_id is None:
        raise NotOurs("The invoice belongs to no subscription.")
    return subscription_id, our_metadata(metadata)
