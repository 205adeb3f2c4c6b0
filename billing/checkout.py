"""Selling: an order, and Stripe's page to pay it on."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import stripe
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.http import urlencode

from accounts import closing, rows
from accounts.models import User
from billing import promotions, stripe_api
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


class NoPlans(Exception):
    """Organisations buy one time: nobody could look after a plan of theirs."""


class OrderReplaced(Exception):
    """The user has ordered again at the same moment, and one page is all there can be: of a plan,
    or with a promotion."""


class BonusChanged(Exception):
    """The bonus isn't the one that the buyer saw."""

    def __init__(self, quote: Quote, code: str, bonus: int) -> None:
        super().__init__(f"The bonus is {bonus}.")
        self.quote, self.code, self.bonus = quote, code, bonus


@dataclass(frozen=True)
class Order:
    """What a buyer asks for: the arguments of `start_checkout`."""

    credits: int
    mode: str
    request_id: uuid.UUID | None = None
    expected_total: int | None = None
    promo_code: str = ""
    expected_bonus: int | None = None
    present: Present | None = None


def start_checkout(
    user: User,
    credits: int,
    mode: str,
    *,
    request_id: uuid.UUID | None = None,
    expected_total: int | None = None,
    promo_code: str = "",
    expected_bonus: int | None = None,
    present: Present | None = None,
) -> str:
    """Open a payment page for this many credits and answer its address.

    As a `present`, in mode payment only, they are for somebody else once they are paid.

    The order is on record before Stripe is called. The same `request_id` answers the same page;
    `expected_total` is what the buyer saw, in cents, and `expected_bonus` what the code would
    bring, in credits. Raises `RequestIdReused`, `PriceChanged`, `BonusChanged`, `CodeRefused`,
    `GiftRefused`, `AccountClosing`, `AlreadySubscribed`, `NoPlans`, `OrderReplaced`,
    `StripeUnavailable`, `StripeRefused`; nothing is charged then.
    """
    if present is not None:
        to = gifts.check_address(user, present.recipient)
        present = Present(to, gifts.check_message(present.message))
    order = Order(credits, mode, request_id, expected_total, promo_code, expected_bonus, present)
    if promo_code and not _earlier(user, order):
        _leave_the_code(user, order)
    with transaction.atomic():
        purchase = place_order(user, order)
    return payment_page(purchase)


def place_order(user: User, order: Order) -> Purchase:
    """The first half of `start_checkout`, which asks nothing of Stripe: for a transaction.

    Raises `RequestIdReused`, `PriceChanged`, `BonusChanged`, `CodeRefused`, `AccountClosing`,
    `AlreadySubscribed`, `NoPlans`, `OrderReplaced`.
    """
    closing.check_open(user)
    if order.mode == Mode.SUBSCRIPTION and user.is_organisation:
        raise NoPlans
    earlier = _earlier(user, order)
    if earlier is not None:
        return _same_order(earlier, order)
    price = quote(order.credits)
    if order.expected_total not in (None, price.total):
        raise PriceChanged(price)
    if order.mode == Mode.SUBSCRIPTION and _has_plan(user):
        raise AlreadySubscribed
    offer = promotions.offer(user, order.promo_code, order.credits) if order.promo_code else None
    bonus = offer.credits if offer else 0
    if order.expected_bonus not in (None, bonus):
        raise BonusChanged(price, order.promo_code, bonus)
    if offer is not None and offer.in_the_way:
        raise OrderReplaced
    gift = None
    if order.present is not None:
        present = order.present
        gift = gifts.order_gift(user, present.recipient, order.credits, present.message)
    purchase = Purchase.objects.create(
        user=user,
        mode=order.mode,
        credits=order.credits,
        unit_price_e4=price.tier.unit_price,
        total=price.total,
        currency=CURRENCY,
        language=translation.get_language() or "",
        request_id=order.request_id,
        gift=gift,
    )
    if offer is not None:
        promotions.reserve(offer, purchase)
    return purchase


def _earlier(user: User, order: Order) -> Purchase | None:
    if order.request_id is None:
        return None
    return Purchase.objects.filter(user=user, request_id=order.request_id).first()


def _same_order(purchase: Purchase, order: Order) -> Purchase:
    # The price was fixed with the order: who expects another one now has seen another order.
    if (purchase.credits, purchase.mode) != (order.credits, order.mode) or (
        order.expected_total not in (None, purchase.total)
    ):
        raise RequestIdReused
    gift = purchase.gift
    if order.present != (gift and Present(gift.recipient, gift.message)):
        raise RequestIdReused
    redemption = promotions.redemption_of(purchase)
    code, bonus = (redemption.code.code, redemption.credits) if redemption else ("", 0)
    if code != promotions.normalised(order.promo_code) or order.expected_bonus not in (None, bonus):
        raise RequestIdReused
    if not purchase.stripe_session_url and promotions.is_freed(purchase):
        raise OrderReplaced
    return purchase


def _leave_the_code(user: User, order: Order) -> None:
    """Close the user's open orders that have what this one asks for: whoever comes back from the
    payment page and orders again must not find the code used by nobody but themselves.

    Raises `CodeRefused`, before anything is closed.
    """
    clock = Clock()
    for earlier in promotions.offer(user, order.promo_code, order.credits).in_the_way:
        session_id = earlier.stripe_session_id
        if session_id and expire_page(session_id, clock) == "complete":
            raise promotions.CodeRefused(promotions.Reason.USED)  # and paid a moment ago
        with transaction.atomic():
            # One whose page is being opened at this moment finds its use freed; one whose page has
            # just been opened is left.
            closing.check_open(user)
            unpaid = Purchase.objects.filter(pk=earlier.pk, status=Purchase.Status.PENDING)
            expire_orders(unpaid.filter(stripe_session_id=session_id))


def expire_orders(orders: QuerySet[Purchase]) -> None:
    """Close orders that nobody will pay any more, with the uses of codes that they reserved."""
    with transaction.atomic():
        found = list(orders.select_for_update().values_list("pk", flat=True))
        Purchase.objects.filter(pk__in=found).update(status=Purchase.Status.EXPIRED)
        promotions.free(found)


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
    subscription = latest_subscription(user)
    return subscription if subscription is not None and subscription.is_live else None


def latest_subscription(user: User) -> Subscription | None:
    """The live one, else the last there was."""
    # Few, and one of them at most is live: to sort them here costs less than to say how in SQL.
    return max(
        rows.find(Subscription, "WHERE user_id = %s", [user.pk]),
        key=lambda one: (one.is_live, one.created_at),
        default=None,
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
        open_page(purchase)
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


def open_page(purchase: Purchase) -> None:
    """Have a payment page made for an order that has none yet, or isn't known to have one."""
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
            if promotions.is_freed(purchase) or _is_charge_over(purchase):
                raise OrderReplaced
            # A webhook may have been faster, or another request with the same id.
            Purchase.objects.filter(pk=purchase.pk, stripe_session_url="").update(
                stripe_session_id=session.id, stripe_session_url=session.url or ""
            )
    except (closing.AccountClosing, OrderReplaced):
        # Closing, or the next order, has looked for open pages before this one was there.
        expire_page(session.id, clock)
        raise
    purchase.refresh_from_db()
    if purchase.mode == Mode.SUBSCRIPTION:
        _leave_one_open(purchase, clock)


def _is_charge_over(purchase: Purchase) -> bool:
    """Whether it is a saved card's that another may have followed; call it in a transaction."""
    locked = Purchase.objects.select_for_update().get(pk=purchase.pk)
    return locked.top_up_id is not None and locked.status != Purchase.Status.PENDING


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
    expire_orders(Purchase.objects.filter(pk=order.pk, status=Purchase.Status.PENDING))


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


def _session_params(purchase: Purchase, customer_id: str) -> "SessionCreateParams":
    metadata = {
        "type": METADATA_TYPE,
        "credits": str(purchase.credits),
        "user_id": str(purchase.user_id),
        "purchase_id": str(purchase.pk),
    }
    shop = {"credits": str(purchase.credits), "mode": purchase.mode}
    redemption = promotions.redemption_of(purchase)
    if redemption is not None:
        shop["promo"] = metadata["promo_code"] = redemption.code.code
        metadata["bonus"] = str(redemption.credits)
    if purchase.user.is_organisation:
        shop["organisation"] = str(purchase.user_id)
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
        "cancel_url": _cancel_url(purchase, shop),
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


def _cancel_url(purchase: Purchase, shop: Mapping[str, str]) -> str:
    bulk = _bulk_of(purchase)
    path = bulk.get_absolute_url() if bulk else f"{reverse('buy')}?{urlencode(shop)}"
    return f"{settings.BASE_URL}{path}"
