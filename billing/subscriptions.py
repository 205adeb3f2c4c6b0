"""Monthly plans: our copy of the subscription at Stripe."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models.functions import Now

from billing import stripe_api
from billing.fulfilment import Quarantined, buyer_of
from billing.models import MAX_CREDITS, MIN_CREDITS, PlanChange, Subscription
from billing.pricing import CURRENCY, quote
from billing.stripe_api import Clock
from billing.stripe_objects import our_metadata, stripe_id, uuid_of, whole_number
from outgoing import messages
from outgoing.models import EventType

TOLD: Final = (
    "status", "credits", "total", "currency", "current_period_end", "cancel_at_period_end"
)  # fmt: skip
"""What a webhook about a plan says of it."""


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
    return ask_for(str(payload["id"]), Clock())


def ask_for(subscription_id: str, clock: Clock) -> Fetched:
    at = stripe_api.database_time()
    found = stripe_api.call(
        lambda: stripe_api.client().v1.subscriptions.retrieve(
            subscription_id, {"expand": ["default_payment_method"]}
        ),
        clock,
    )
    return Fetched(at, found.to_dict())


def record_subscription(fetched: Fetched) -> None:
    """Store a subscription's state, unless a later one is stored. Call it in a transaction.

    A webhook tells what is another state than before.
    """
    found = fetched.subscription
    metadata = our_metadata(found.get("metadata"))
    state = {**state_of(found), "fetched_at": fetched.at}
    known, is_new = Subscription.objects.select_for_update().get_or_create(
        stripe_id=found["id"],
        defaults={"user": buyer_of(metadata, stripe_id(found.get("customer"))), **state},
    )
    if is_new:
        tell_change(known)
    elif known.fetched_at <= fetched.at:
        Subscription.objects.filter(pk=known.pk).update(**state)
        if any(getattr(known, name) != state[name] for name in TOLD):
            tell_change(Subscription.objects.get(pk=known.pk))
    change_id, change = _change_of(found)
    if change is not None:
        # The answer to the change may have been lost.
        PlanChange.objects.filter(pk=change.pk, applied_at=None).update(applied_at=Now())
    elif change_id is not None:
        _adopt_change(change_id, known, metadata, state["total"], state["currency"])


def tell_change(subscription: Subscription) -> None:
    """Have a webhook tell how a plan is now, in the transaction in which it became so."""
    state = {name: getattr(subscription, name) for name in TOLD}
    messages.tell(
        EventType.SUBSCRIPTION_CHANGED,
        subscription.user_id,
        {"subscription": subscription.stripe_id, **state},
    )


def state_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What we keep of a subscription, as fields of our row. Raises `NotOurs`, `Quarantined`."""
    metadata = our_metadata(found.get("metadata"))
    (item,) = found["items"]["data"]
    _, change = _change_of(found)
    credits = change.credits if change else whole_number(metadata.get("credits"))
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
        **_card_of(found),
    }


def _card_of(found: Mapping[str, Any]) -> dict[str, str]:
    """The card that pays; nothing where the answer has but its id, which tells nothing new."""
    method = found.get("default_payment_method") or {}
    if not isinstance(method, Mapping):
        return {}
    card = method.get("card") or {}
    return {
        "card_brand": str(card.get("display_brand") or card.get("brand") or ""),
        "card_last4": str(card.get("last4") or ""),
    }


def _change_of(found: Mapping[str, Any]) -> tuple[uuid.UUID | None, PlanChange | None]:
    """The change that a subscription's product stands for: its id, and our row of it."""
    (item,) = found["items"]["data"]
    change_id = PlanChange.id_of(stripe_id(item["price"].get("product")))
    change = PlanChange.objects.filter(pk=change_id).first() if change_id else None
    return change_id, change


def _adopt_change(
    change_id: uuid.UUID,
    subscription: Subscription,
    metadata: Mapping[str, Any],
    total: int,
    currency: str,
) -> None:
    """Record a change that Stripe knows and we don't: after a restored backup, for example.

    Taken if it pays at least our price; without it, its renewals go to quarantine.
    """
    credits = whole_number(metadata.get("credits"))
    if (
        uuid_of(metadata.get("change_id")) != change_id
        or credits is None
        or credits < MIN_CREDITS
        or currency != CURRENCY
    ):
        return
    price = quote(credits)
    if total >= price.total:
        PlanChange.objects.get_or_create(
            id=change_id,
            defaults={
                "subscription": subscription,
                "credits": credits,
                "unit_price_e4": price.tier.unit_price,
                "total": total,
                "currency": currency,
                "applied_at": Now(),
            },
        )
