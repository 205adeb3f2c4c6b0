"""What is kept of an event without the person: ids, amounts, states and times.

Text is kept only under names that never hold anything about a person, and only if it looks like an
id or a code. So what Stripe may send tomorrow is left out, too.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from accounts.models import User
from billing.models import Event, Purchase, StripeCustomer, Subscription
from billing.redaction import DEPTH
from billing.stripe_objects import METADATA_TYPE, subscription_of, whole_number

_CODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,255}", re.ASCII)

_HARMLESS: Final = {
    # What it is, and what it belongs to.
    "id", "object", "type", "account", "api_version", "application", "balance_transaction",
    "charge", "client_reference_id", "configuration", "customer", "idempotency_key", "invoice",
    "last_charge", "latest_charge", "latest_invoice", "payment", "payment_intent",
    "payment_method", "plan", "price", "product", "refund", "schedule", "source_refund",
    "subscription", "subscription_item",
    # How it stands, and why.
    "billing_reason", "billing_scheme", "cancellation_reason", "capture_method", "code",
    "collection_method", "currency", "decline_code", "failure_code", "failure_reason", "interval",
    "mode", "network_status", "outcome_type", "payment_status", "pending_reason", "proration",
    "reason", "result", "risk_level", "status", "submit_type", "ui_mode", "usage_type",
}  # fmt: skip
_ABOUT_PEOPLE: Final = {
    "address", "billing_details", "collected_information", "customer_address", "customer_details",
    "customer_shipping", "destination_details", "evidence", "payment_method_details",
    "payment_method_options", "shipping", "shipping_details",
}  # fmt: skip
"""Left out whole: a card's expiry or a postal code may come as a number."""


def anonymous(payload: Any, depth: int = DEPTH) -> Any:
    """An event, or a part of one, without anything about a person; again, it changes nothing."""
    if not depth:
        return None
    if isinstance(payload, Mapping):
        is_ours = payload.get("type") == METADATA_TYPE
        return {name: _part(name, value, is_ours, depth - 1) for name, value in payload.items()}
    if isinstance(payload, list):
        return [anonymous(item, depth - 1) for item in payload]
    return None if isinstance(payload, str) else payload


def _part(name: str, value: Any, is_ours: bool, depth: int) -> Any:
    if isinstance(value, str):
        is_kept = (is_ours or name in _HARMLESS) and _CODE.fullmatch(value)
        return value if is_kept else None
    return None if name in _ABOUT_PEOPLE and not is_ours else anonymous(value, depth)


def is_about_closed(found: Mapping[str, Any], customer_id: str) -> bool:
    """Whether an event's object is about somebody who has closed the account here.

    Call it in the transaction that keeps the event: whoever closes meanwhile waits, and finds it.
    """
    # Its user is read once the lock is held: joined, it would be the one of before the wait.
    customer = (
        StripeCustomer.objects.select_for_update(no_key=True).filter(stripe_id=customer_id).first()
    )
    if customer is not None:
        return customer.user.closed_at is not None
    _, of_subscription = subscription_of(found)
    for metadata in (found.get("metadata"), of_subscription):
        if isinstance(metadata, Mapping) and metadata.get("type") == METADATA_TYPE:
            user_id = whole_number(metadata.get("user_id"))
            if user_id and User.objects.filter(pk=user_id, closed_at__isnull=False).exists():
                return True
    return False


def customer_ids(user: User) -> set[str]:
    """The ids of all customers that the user ever was at Stripe, as far as events tell.

    One that was deleted there, and made anew, is known by what it bought.
    """
    bought = Purchase.objects.filter(user=user).values_list(
        "stripe_session_id", "stripe_payment_id"
    )
    plans = Subscription.objects.filter(user=user).values_list("stripe_id", flat=True)
    objects = {id for pair in bought for id in pair if id} | set(plans)
    found: set[str | None] = set(
        Event.objects.filter(object_id__in=objects).values_list("customer_id", flat=True)
    )
    found |= set(StripeCustomer.objects.filter(user=user).values_list("stripe_id", flat=True))
    return {id for id in found if id}
