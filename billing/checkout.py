"""Selling: an order, and Stripe's page to pay it on."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import stripe
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone, translation

from accounts import closing
from accounts.models import User
from billing import stripe_api
from billing.customers import with_customer
from billing.models import BulkPurchase, Mode, Purchase, Subscription
from billing.pricing import CURRENCY, Quote, quote
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import METADATA_TYPE
from credits import gifts
from credits.numbers import credits_in_words

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams


@dataclass(frozen=True)
class Present:
    """For whom an order is, by email address, and what to tell them."""

    recipient: str
    message: str


class RequestIdReused(Exception):
    """The request id belongs to an order with other contents."""


class PriceChanged(Exception):
    """The price isn't the one that the buyer saw."""

    def __init__(self, quote: Quote) -> None:
        super().__init__(f"The price is {quote.total}.")
        self.quote = quote


class AlreadySubscribed(Exception):
    """The user has a live subscription, or has paid for one."""


class OrderReplaced(Exception):
    """The user has ordered another plan at the same moment, and one page is all there can be."""


def start_checkout(
    user: User,
    credits: int,
    mode: str,
    *,
    request_id: uuid.UUID | None = None,
    expected_total: int | None = None,
    present: Present | None = None,
) -> str:
    """Open a payment page for this many credits and answer its address.

    As a `present`, in mode payment only, they are for somebody else once they are paid.

    The order is on record before Stripe is called. The same `request_id` answers the same page;
    `expected_total` is what the buyer saw, in cents. Raises `RequestIdReused`, `PriceChanged`,
    `AccountClosing`, `AlreadySubscribed`, `OrderReplaced`, `StripeUnavailable`, `StripeRefused`,
    `GiftRefused`; nothing is charged then.
    """
    if present is not None:
        to = gifts.check_address(user, present.recipient)
        present = Present(to, gifts.check_message(present.message))
    with transaction.atomic():
        purchase = place_order(
            user,
            credits,
            mode,
            request_id=request_id,
            expected_total=expected_total,
            present=present,
        )
    return payment_page(purchase)


def place_order(
    user: User,
    credits: int,
    mode: str,
    *,
    request_id: uuid.UUID | None = None,
    expected_total: int | None = None,
    present: Present | None = None,
) -> Purchase:
    """The first half of `start_checkout`, which asks nothing of Stripe: for a transaction.

    Raises `RequestIdReused`, `PriceChanged`, `AccountClosing`, `AlreadySubscribed`.
    """
    closing.check_open(user)
    if request_id is not None:
        earlier = Purchase.objects.filter(user=user, request_id=request_id).first()
        if earlier is not None:
            return _same_order(earlier, credits, mode, expected_total, present)
    price = quote(credits)
    if expected_total is not None and expected_total != price.total:
        raise PriceChanged(price)
    if mode == Mode.SUBSCRIPTION and _has_plan(user):
        raise AlreadySubscribed
    order = {
        "user": user,
        "mode": mode,
        "credits": credits,
        "unit_price_e4": price.tier.unit_price,
        "total": price.total,
        "currency": CURRENCY,
        "language": translation.get_language() or "",
    }
    if present is not None:
        order["gift"] = gifts.order_gift(user, present.recipient, credits, present.message)
    if request_id is None:
        return Purchase.objects.create(**order)
    purchase, _ = Purchase.objects.get_or_create(user=user, request_id=request_id, defaults=order)
    return _same_order(purchase, credits, mode, expected_total, present)


def _same_order(
    purchase: Purchase,
    credits: int,
    mode: str,
    expected_total: int | None,
    present: Present | None,
) -> Purchase:
    # The price was fixed with the order: who expects another one now has seen another order.
    if (purchase.credits, purchase.mode) != (credits, mode) or (
        expected_total not in (None, purchase.total)
    ):
        raise RequestIdReused
    gift = purchase.gift
    if present != (gift and Present(gift.recipient, gift.message)):
        raise RequestIdReused
    return purchase


def _has_plan(user: User) -> bool:
    if live_subscription(user) is not None:
        return True
    # Paid for, and the event that describes the plan is still on its way (Stripe tries for 3 days);
    # or a bank debit for one is under way.
    known = Subscription.objects.filter(user=user).values("stripe_id")
    is_new = Q(
        status=Purchase.Status.PAID,
        stripe_payment_id__isnull=False,
        paid_at__gt=timezone.now() - timedelta(days=3),
    ) & ~Q(stripe_payment_id__in=known)
    return (
        Purchase.objects.filter(user=user, mode=Mode.SUBSCRIPTION)
        .filter(is_new | Q(status=Purchase.Status.SETTLING))
        .exists()
    )


def live_subscription(user: User) -> Subscription | None:
    return (
        Subscription.objects.filter(user=user, status__in=Subscription.LIVE)
        .order_by("-created_at")
        .first()
    )


def payment_page(purchase: Purchase) -> str:
    """The other half: the address of the order's payment page, opened where there is none yet.

    Raises `AccountClosing`, `AlreadySubscribed`, `OrderReplaced`, `StripeUnavailable`,
    `StripeRefused`.
    """
    # An order of before may be opened now, and another plan have begun meanwhile.
    if purchase.mode == Mode.SUBSCRIPTION and not purchase.is_paid and _has_plan(purchase.user):
        raise AlreadySubscribed
    if purchase.is_paid:
        return _success_url(purchase)  # sent again from a page that was gone back to
    if not purchase.stripe_session_url:
        _open_session(purchase)
    return purchase.stripe_session_url


def _bulk_of(purchase: Purchase) -> BulkPurchase | None:
    """What an organisation buys for many by it, if it does; its page is where buyers come back."""
    if not purchase.user.is_organisation:
        return None
    return BulkPurchase.objects.filter(purchase=purchase).first()


def _success_url(purchase: Purchase) -> str:
    bulk = _bulk_of(purchase)
    path = bulk.get_absolute_url() if bulk else f"{reverse('success')}?purchase={purchase.pk}"
    return f"{settings.BASE_URL}{path}"


def _open_session(purchase: Purchase) -> None:
    clock = Clock()
    if purchase.mode == Mode.SUBSCRIPTION:
        # Each open page can be paid, and two plans are one too many: the latest order counts.
        for order in _open_orders(purchase):
            _close(order, clock)
    used: list[str] = []

    def open_session(customer_id: str) -> stripe.checkout.Session:
        if used:
            # Another customer is another parameter, which a key doesn't allow.
            stripe_api.next_attempt(purchase)
        used.append(customer_id)
        params = _session_params(purchase, customer_id)
        return stripe_api.keyed_call(
            purchase,
            lambda options: stripe_api.client().v1.checkout.sessions.create(params, options),
            clock,
        )

    session = with_customer(purchase.user, open_session, clock)
    try:
        with transaction.atomic():
            closing.check_open(purchase.user)
            # A webhook may have been faster, or another request with the same id.
            Purchase.objects.filter(pk=purchase.pk, stripe_session_url="").update(
                stripe_session_id=session.id, stripe_session_url=session.url or ""
            )
    except closing.AccountClosing:
        # Closing has looked for open pages before this one was there.
        expire_page(session.id, clock)
        raise
    purchase.refresh_from_db()
    if purchase.mode == Mode.SUBSCRIPTION:
        _leave_one_open(purchase, clock)


def _open_orders(purchase: Purchase) -> QuerySet[Purchase]:
    """The user's other orders of a plan that have a page which may be paid."""
    return Purchase.objects.filter(
        user=purchase.user,
        mode=Mode.SUBSCRIPTION,
        status=Purchase.Status.PENDING,
        stripe_session_id__isnull=False,
    ).exclude(pk=purchase.pk)


def _leave_one_open(purchase: Purchase, clock: Clock) -> None:
    """Close all pages but the latest order's, where several were opened at the same moment.

    Each order looks after its own page is on record, so that of any two at least one sees the
    other. Raises `OrderReplaced` when it is not the latest.
    """
    for order in _open_orders(purchase):
        is_later = (order.created_at, order.pk) > (purchase.created_at, purchase.pk)
        _close(purchase if is_later else order, clock)
        if is_later:
            raise OrderReplaced


def _close(order: Purchase, clock: Clock) -> None:
    """Close an order's page. Raises `AlreadySubscribed` if it has just been paid, `StripeRefused`
    if it is still open."""
    if expire_page(order.stripe_session_id or "", clock) == "complete":
        raise AlreadySubscribed
    Purchase.objects.filter(pk=order.pk, status=Purchase.Status.PENDING).update(
        status=Purchase.Status.EXPIRED
    )


def expire_page(session_id: str, clock: Clock) -> str:
    """Expire a payment page, so that it can't be paid, and answer how it stands: "expired", or
    "complete" where it has just been paid. Raises `StripeRefused` if it is still open."""
    sessions = stripe_api.client().v1.checkout.sessions
    try:
        status = stripe_api.call(lambda: sessions.expire(session_id), clock).status
    except StripeRefused:
        # Mostly it isn't open: either it has run out, or it has just been paid.
        status = stripe_api.call(lambda: sessions.retrieve(session_id), clock).status
        if status == "open":
            raise
    return str(status)


def product_name(purchase: Purchase) -> str:
    """What is sold, as the payment page and the receipt call it."""
    # Not in the language of this try: the same key must not send something else.
    with translation.override(purchase.language or settings.LANGUAGE_CODE):
        return credits_in_words(purchase.credits)


def _cancel_url(purchase: Purchase) -> str:
    bulk = _bulk_of(purchase)
    if bulk is not None:
        return f"{settings.BASE_URL}{bulk.get_absolute_url()}"
    url = f"{settings.BASE_URL}/credits?credits={purchase.credits}&mode={purchase.mode}"
    if purchase.user.is_organisation:
        url += f"&organisation={purchase.user_id}"
    return url


def _session_params(purchase: Purchase, customer_id: str) -> "SessionCreateParams":
    metadata = {
        "type": METADATA_TYPE,
        "credits": str(purchase.credits),
        "user_id": str(purchase.user_id),
        "purchase_id": str(purchase.pk),
    }
    price_data: Any = {
        "currency": purchase.currency,
        "unit_amount": purchase.total,
        "product_data": {"name": product_name(purchase)},
    }
    params: SessionCreateParams = {
        "mode": "payment",
        "customer": customer_id,
        "client_reference_id": str(purchase.pk),
        "line_items": [{"quantity": 1, "price_data": price_data}],
        "metadata": metadata,
        "success_url": _success_url(purchase),
        "cancel_url": _cancel_url(purchase),
    }
    if purchase.language:
        params["locale"] = cast(Any, purchase.language)
    # Stripe copies a session's metadata neither to the payment nor to the subscription.
    if purchase.mode == Mode.SUBSCRIPTION:
        price_data["recurring"] = {"interval": "month"}
        params["mode"] = "subscription"
        params["subscription_data"] = {"metadata": metadata}
    else:
        params["payment_intent_data"] = {"metadata": metadata}
    return params
