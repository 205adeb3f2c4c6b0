"""Events as Stripe posts them, signed, made by hand where the stand-in wouldn't make them."""

import itertools
import json
import time
from typing import Any

import stripe
from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from billing.models import Purchase

_numbers = itertools.count(1)


def sign(body: bytes, *, secret: str | None = None, at: int | None = None) -> str:
    return stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret or settings.STRIPE_WEBHOOK_SECRETS[0], at or int(time.time())
    )


def event(type: str, object: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{next(_numbers):012}",
        "object": "event",
        "api_version": stripe.api_version,
        "created": int(time.time()),
        "livemode": False,
        "type": type,
        "data": {"object": object},
        **fields,
    }


def post(
    client: Client, payload: dict[str, Any] | bytes, signature: str | None = None
) -> HttpResponse:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"Stripe-Signature": sign(body) if signature is None else signature}
    return client.post(
        "/api/billing/webhook", body, content_type="application/json", headers=headers
    )


def session_of(purchase: Purchase, **fields: Any) -> dict[str, Any]:
    """The Checkout Session of a purchase, paid."""
    subscription = purchase.mode == "subscription"
    return {
        "id": purchase.stripe_session_id or f"cs_test_{purchase.pk.hex}",
        "object": "checkout.session",
        "mode": purchase.mode,
        "payment_status": "paid",
        "status": "complete",
        "amount_subtotal": purchase.total,
        "amount_total": purchase.total,
        "currency": "usd",
        "customer": f"cus_of_{purchase.user_id}",
        "client_reference_id": str(purchase.pk),
        "payment_intent": None if subscription else f"pi_{purchase.pk.hex}",
        "subscription": f"sub_{purchase.pk.hex}" if subscription else None,
        "invoice": f"in_{purchase.pk.hex}" if subscription else None,
        "metadata": metadata_of(purchase),
        **fields,
    }


def invoice_of(
    purchase: Purchase, *, id: str | None = None, reason: str = "subscription_create", **fields: Any
) -> dict[str, Any]:
    """A paid invoice of a purchase's subscription."""
    return {
        "id": id or f"in_{purchase.pk.hex}",
        "object": "invoice",
        "billing_reason": reason,
        "status": "paid",
        "subtotal": purchase.total,
        "total": purchase.total,
        "amount_paid": purchase.total,
        "currency": "usd",
        "customer": f"cus_of_{purchase.user_id}",
        "parent": {
            "type": "subscription_details",
            "subscription_details": {
                "subscription": f"sub_{purchase.pk.hex}",
                "metadata": metadata_of(purchase),
            },
        },
        **fields,
    }


def metadata_of(purchase: Purchase) -> dict[str, str]:
    return {
        "type": "dynamic_credits",
        "credits": str(purchase.credits),
        "user_id": str(purchase.user_id),
        "purchase_id": str(purchase.pk),
    }
