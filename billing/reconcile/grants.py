"""What is here and not there: grants that nobody paid for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from billing import stripe_api
from billing.models import Invoice, Purchase
from billing.reconcile.run import Run
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import uuid_of
from credits.grants import sold_since


def compare_grants(run: Run) -> None:
    """Everything granted for a payment must be paid at Stripe."""
    for batch in sold_since(run.since):
        run.read["grants"] += len(batch)
        for user_id, key in batch:
            if key not in run.seen and not _is_paid(user_id, key):
                run.differ("not_paid", key.partition(":")[2], user_id=user_id)


def _is_paid(user_id: int, key: str) -> bool:
    """Ask Stripe about one sale: its session or invoice may have begun long before."""
    client = stripe_api.client().v1
    kind, _, about = key.partition(":")
    request: Callable[[], Any]
    if kind == "invoice":
        name, request = "status", partial(client.invoices.retrieve, about)
    elif kind == "purchase":
        purchase_id = uuid_of(about)
        orders = Purchase.objects.filter(user_id=user_id)
        purchase = orders.filter(pk=purchase_id).first() if purchase_id else None
        if purchase is None:
            return False
        if purchase.top_up_id is not None and purchase.stripe_session_id is None:
            return _is_charged(purchase)
        if purchase.stripe_session_id is None:
            return False
        request = partial(client.checkout.sessions.retrieve, purchase.stripe_session_id)
        name = "payment_status"
    else:
        return True  # no payment's key
    try:
        found: Any = stripe_api.call(request, Clock())
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise
        return False
    if kind == "invoice" and _is_credited(about):
        return bool(found.status in ("open", "paid", "uncollectible", "void"))
    return bool(getattr(found, name) == "paid")


def _is_charged(purchase: Purchase) -> bool:
    """Whether a saved card has paid, whose purchase has no payment page."""
    intents = stripe_api.client().v1.payment_intents
    intent_id = purchase.stripe_payment_id or ""
    try:
        found = stripe_api.call(lambda: intents.retrieve(intent_id), Clock())
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise
        return False
    return found.status == "succeeded"


def _is_credited(invoice_id: str) -> bool:
    """Whether its credits come before its money, within an organisation's credit limit."""
    return Invoice.objects.filter(stripe_id=invoice_id, is_credited=True).exists()
