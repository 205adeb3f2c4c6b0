"""Monthly plans: our copy of the subscription at Stripe."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing import stripe_api
from billing.fulfilment import Quarantined, buyer_of
from billing.models import MAX_CREDITS, Subscription
from billing.stripe_api import Clock
from billing.stripe_objects import our_metadata, stripe_id, whole_number


@dataclass(frozen=True)
class Fetched:
    """A subscription as it was at Stripe no earlier than `at`, by the database's clock."""

    at: datetime
    subscription: Mapping[str, Any]


def fetch_subscription(payload: Mapping[str, Any]) -> Fetched:
    """Ask Stripe how a subscription is now: events come late and out of order.

    Raises `NotOurs` before asking, `StripeUnavailable`, `StripeRefused`.
    """
    our_metadata(payload.get("metadata"))
    at = stripe_api.database_time()
    found = stripe_api.call(
        lambda: stripe_api.client().v1.subscriptions.retrieve(str(payload["id"])), Clock()
    )
    return Fetched(at, found.to_dict())


def record_subscription(fetched: Fetched) -> None:
    """Store a subscription's state, unless a later one is stored. Call it in a transaction."""
    found = fetched.subscription
    metadata = our_metadata(found.get("metadata"))
    state = {**state_of(found), "fetched_at": fetched.at}
    known, is_new = Subscription.objects.select_for_update().get_or_create(
        stripe_id=found["id"],
        defaults={"user": buyer_of(metadata, stripe_id(found.get("customer"))), **state},
    )
    if not is_new and known.fetched_at <= fetched.at:
        Subscription.objects.filter(pk=known.pk).update(**state)


def state_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What we keep of a subscription, as fields of our row. Raises `NotOurs`, `Quarantined`."""
    metadata = our_metadata(found.get("metadata"))
    (item,) = found["items"]["data"]
    credits = whole_number(metadata.get("credits"))
    if credits is None or credits > MAX_CREDITS:
        raise Quarantined("The subscription doesn't say how many credits it sells.")
    end = item.get("current_period_end") or found.get("current_period_end")
    return {
        "status": found["status"],
        "credits": credits,
        "total": item["price"]["unit_amount"] * item.get("quantity", 1),
        "currency": item["price"]["currency"],
        "current_period_end": datetime.fromtimestamp(end, UTC) if end else None,
        # The portal sets the date instead where it cancels at a period's end.
        "cancel_at_period_end": bool(found.get("cancel_at_period_end") or found.get("cancel_at")),
    }
