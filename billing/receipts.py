"""Stripe's receipt of a one-time payment, or invoice of a plan's month.

Stripe's addresses for them expire, so they are asked for at the click and never stored.
"""

import re
from typing import Final

from django.conf import settings

from billing import stripe_api
from billing.models import Purchase
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import uuid_of
from credits.models import Entry

_AT_STRIPE: Final = re.compile(r"https://([a-z0-9-]+\.)+stripe\.com/[!-~]*")


class NoReceipt(Exception):
    """Nothing was paid for this entry, or Stripe shows no receipt of it."""


def receipt_url(entry: Entry) -> str:
    """Where Stripe shows what was paid for an entry of the ledger.

    Raises `NoReceipt`, `StripeUnavailable`, `StripeRefused`.
    """
    subject, _, id = entry.key.partition(":")
    try:
        if subject == "purchase":
            url = _receipt(id)
        elif subject == "invoice":
            url = _invoice(id)
        else:
            url = None
    except StripeRefused as error:
        if stripe_api.is_missing(error):
            raise NoReceipt from error
        raise
    if url is None or not _is_stripes(url):
        raise NoReceipt
    return url


def _receipt(purchase_id: str) -> str | None:
    known_id = uuid_of(purchase_id)
    purchase = Purchase.objects.filter(pk=known_id).first() if known_id else None
    intent_id = purchase.stripe_payment_id if purchase else None
    if intent_id is None:
        return None
    intent = stripe_api.call(
        lambda: stripe_api.client().v1.payment_intents.retrieve(
            intent_id, {"expand": ["latest_charge"]}
        ),
        Clock(),
    ).to_dict()
    url = (intent.get("latest_charge") or {}).get("receipt_url")
    return str(url) if url else None


def _invoice(invoice_id: str) -> str | None:
    invoice = stripe_api.call(lambda: stripe_api.client().v1.invoices.retrieve(invoice_id), Clock())
    return invoice.hosted_invoice_url


def _is_stripes(url: str) -> bool:
    """Stripe's own pages, or where this site leads to for payments: nowhere else."""
    origins = settings.STRIPE_REDIRECT_ORIGINS
    return _AT_STRIPE.fullmatch(url) is not None or url.startswith(tuple(f"{o}/" for o in origins))
