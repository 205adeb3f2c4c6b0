"""What a subscriber does about a monthly plan: change its amount, cancel it, resume it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from accounts.models import User
from billing import stripe_api
from billing.checkout import PriceChanged, live_subscription
from billing.models import PlanChange, Purchase, Subscription
from billing.pricing import CURRENCY, Quote, quote
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import METADATA_TYPE
from billing.subscriptions import Fetched, ask_for, record_subscription
from credits.numbers import credits_in_words

if TYPE_CHECKING:
    from stripe.params import SubscriptionUpdateParams

INTERVAL: Final = "month"


class NoPlan(Exception):
    """The user has no live subscription."""


class PlanEnds(Exception):
    """The plan was cancelled: it has to be resumed before its amount can change."""


class PlanUnpaid(Exception):
    """A renewal is due, or the plan is paused: what was sold comes first."""


class SameAmount(Exception):
    """The plan brings this many credits for this price already."""


def change_plan(user: User, credits: int, *, expected_total: int | None) -> PlanChange:
    """Have the user's plan bring another amount from the next renewal on, at today's price.

    `expected_total` is what the user saw, in cents. Nothing is charged now, and the same wish
    again is the same change. Raises `NoPlan`, `PlanEnds`, `PlanUnpaid`, `SameAmount`,
    `PriceChanged`, `StripeUnavailable`, `StripeRefused`.
    """
    price = quote(credits)
    if expected_total != price.total:
        raise PriceChanged(price)
    clock = Clock()
    found = _ask_and_record(_live(user), clock)
    change = _choose(user, price)
    if change.applied_at is None:
        _create_product(change, clock)
        starts_at = _agree(change, found, clock)
        fetched = ask_for(change.subscription.stripe_id, clock)
        # Together, so that nobody sees a change that is agreed and a plan that isn't changed.
        with transaction.atomic():
            record_subscription(fetched)
            PlanChange.objects.filter(pk=change.pk).update(
                applied_at=Coalesce("applied_at", Now()), starts_at=starts_at
            )
        change.refresh_from_db()
    return change


def _live(user: User) -> Subscription:
    subscription = live_subscription(user)
    if subscription is None:
        raise NoPlan
    return subscription


def _ask_and_record(subscription: Subscription, clock: Clock) -> Fetched:
    fetched = ask_for(subscription.stripe_id, clock)
    _record(fetched)
    return fetched


def _record(fetched: Fetched) -> None:
    with transaction.atomic():
        record_subscription(fetched)


@transaction.atomic
def _choose(user: User, price: Quote) -> PlanChange:
    """The change on record before Stripe is asked for it; or the last one, if this is it again."""
    subscription = Subscription.objects.select_for_update().get(pk=_live(user).pk)
    if subscription.cancel_at_period_end:
        raise PlanEnds
    if not subscription.is_changeable:
        raise PlanUnpaid
    wanted = (price.credits, price.total)
    is_agreed = wanted == (subscription.credits, subscription.total)
    last = subscription.changes.order_by("-created_at").first()
    if last is not None and wanted == (last.credits, last.total):
        is_to_come = is_agreed and last.starts_at == subscription.current_period_end
        if last.applied_at is None or is_to_come:
            return last
    # While it isn't known what became of the last change, neither is what is agreed.
    if is_agreed and (last is None or last.applied_at is not None):
        raise SameAmount
    return PlanChange.objects.create(
        subscription=subscription,
        credits=price.credits,
        unit_price_e4=price.tier.unit_price,
        total=price.total,
        currency=CURRENCY,
        starts_at=subscription.current_period_end,
    )


def _create_product(change: PlanChange, clock: Clock) -> None:
    products = stripe_api.client().v1.products
    metadata = {
        "type": METADATA_TYPE,
        "credits": str(change.credits),
        "user_id": str(change.subscription.user_id),
        "change_id": str(change.pk),
    }
    name = credits_in_words(change.credits)
    try:
        # Its id is its idempotency: there can't be a second one.
        stripe_api.call(
            lambda: products.create(
                {"id": change.stripe_product_id, "name": name, "metadata": metadata}
            ),
            clock,
        )
    except StripeRefused as error:
        if not stripe_api.exists_already(error):
            raise


def _agree(change: PlanChange, found: Fetched, clock: Clock) -> datetime:
    """Have Stripe agree to a change; answers the time of the renewal that it came before.

    Stripe answers a repeat as it answered first: the renewal is that of then, also where it is
    another one than we knew of, and how the plan stands now has to be asked.
    """
    (item,) = found.subscription["items"]["data"]
    params: SubscriptionUpdateParams = {
        "items": [
            {
                "id": item["id"],
                "price_data": {
                    "currency": change.currency,
                    "product": change.stripe_product_id,
                    "unit_amount": change.total,
                    "recurring": {"interval": INTERVAL},
                },
            }
        ],
        "proration_behavior": "none",
        "metadata": {"credits": str(change.credits), "change_id": str(change.pk)},
    }
    subscriptions = stripe_api.client().v1.subscriptions
    answer = stripe_api.keyed_call(
        change,
        lambda options: subscriptions.update(change.subscription.stripe_id, params, options),
        clock,
    ).to_dict()
    (item,) = answer["items"]["data"]
    return datetime.fromtimestamp(item["current_period_end"], UTC)


def cancel_plan(user: User) -> Subscription:
    """Let the plan end with the month that is paid for. Credits stay.

    Raises `NoPlan`, `StripeUnavailable`, `StripeRefused`.
    """
    subscription = _live(user)
    clock = Clock()
    # What we know may be old: it may have been resumed in the portal.
    found = _ask_and_record(subscription, clock).subscription
    if not (found.get("cancel_at_period_end") or found.get("cancel_at")):
        _update(subscription, {"cancel_at_period_end": True}, clock)
    return subscription


def resume_plan(user: User) -> Subscription:
    """Let a cancelled plan go on. Raises `NoPlan`, `StripeUnavailable`, `StripeRefused`."""
    subscription = _live(user)
    clock = Clock()
    found = _ask_and_record(subscription, clock).subscription
    if found.get("cancel_at_period_end"):
        _update(subscription, {"cancel_at_period_end": False}, clock)
    elif found.get("cancel_at"):  # as the portal cancels
        _update(subscription, {"cancel_at": ""}, clock)
    return subscription


def _update(subscription: Subscription, params: "SubscriptionUpdateParams", clock: Clock) -> None:
    at = stripe_api.database_time()
    subscriptions = stripe_api.client().v1.subscriptions
    try:
        answer = stripe_api.call(
            lambda: subscriptions.update(subscription.stripe_id, params), clock
        )
    except StripeRefused:
        _ask_and_record(subscription, clock)  # it may have ended there
        raise
    _record(Fetched(at, answer.to_dict()))
    subscription.refresh_from_db()


def present_terms(subscription: Subscription) -> Subscription | PlanChange | Purchase:
    """What the month that is paid for was sold at: the plan's terms, unless they begin later."""
    end = subscription.current_period_end
    changes = list(subscription.changes.exclude(applied_at=None).order_by("-applied_at"))
    if end is None or not any(change.starts_at == end for change in changes):
        return subscription
    for change in changes:
        if change.starts_at is None or change.starts_at < end:
            return change
    purchase = Purchase.objects.filter(stripe_payment_id=subscription.stripe_id).first()
    return purchase or subscription
