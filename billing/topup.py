"""Automatic top-up: what its owner has agreed to, the card that pays, and why it stops.

Charging is `billing.topup_charges`. A user's row is locked (`_locked`) by whoever changes it, after
the user and after a purchase, so that the monthly cap and the one charge at a time hold whoever
asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.urls import reverse
from django.utils import translation

from accounts import closing
from accounts.models import User
from billing import mails, stripe_api
from billing.customers import with_customer
from billing.models import Purchase, TopUp, TopUpConsent
from billing.pricing import CURRENCY, Quote, quote
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import METADATA_TYPE, NotOurs, mapping, our_metadata, stripe_id

Reason = TopUp.Reason
Status = TopUp.Status

PURPOSE: Final = "top_up_card"
"""In the metadata of a Checkout Session: it saves a card, and sells nothing."""

MOST_DECLINES: Final = 3
"""In a row: then it is suspended until the card changes, or its owner turns it on again."""

PAUSE: Final = timedelta(hours=1)
"""After a charge that failed, until the next."""

TAKES_MONEY: Final = Q(status__in=[*Purchase.WAITING, Purchase.Status.REVIEW])
"""Charges that may be paid yet, whichever month it will be."""

TAKEN: Final = Q(status__in=[Purchase.Status.PAID, Purchase.Status.SETTLED])
"""Charges that were paid; what was refunded of them still counts."""


class NoCard(Exception):
    """There is no card to charge."""


class PriceChanged(Exception):
    """The price isn't the one that stood in what was agreed to."""

    def __init__(self, price: Quote) -> None:
        super().__init__(f"The price is {price.total}.")
        self.quote = price


@dataclass(frozen=True)
class Terms:
    """What a user wants: so many credits whenever fewer than `threshold` can be spent.

    `cap` is the most that may be charged in a calendar month (UTC), in cents.
    """

    threshold: int
    credits: int
    cap: int


@dataclass(frozen=True)
class SavedCard:
    """A card that its owner has saved at Stripe, and since when it was being saved."""

    user: User
    payment_method_id: str
    customer_id: str
    brand: str
    last4: str
    since: datetime


# --- By its owner ---------------------------------------------------------------------------------


def of(user: User) -> TopUp | None:
    return TopUp.objects.select_related("consent").filter(user=user).first()


def turn_on(user: User, terms: Terms, *, expected_total: int, text: str) -> TopUp:
    """Have the saved card charged by these terms from now on.

    `text` is what the user has agreed to, as they read it, and `expected_total` the price in it.
    Raises `NoCard`, `PriceChanged`, `AccountClosing`; nothing is changed then.
    """
    price = quote(terms.credits)
    if price.total != expected_total:
        raise PriceChanged(price)
    with transaction.atomic():
        closing.check_open(user)
        top_up = _locked(user)
        if top_up is None or not top_up.payment_method_id:
            raise NoCard
        top_up.consent = TopUpConsent.objects.create(
            top_up=top_up,
            threshold=terms.threshold,
            credits=terms.credits,
            total=price.total,
            cap=terms.cap,
            text=text,
        )
        if top_up.is_suspended:
            top_up.declines = 0
        if not top_up.declines:
            top_up.next_try_at = None
        elif top_up.next_try_at is not None:
            # Not until the next month, where only the cap of before was in the way.
            soon = stripe_api.database_time() + PAUSE
            top_up.next_try_at = min(top_up.next_try_at, soon)
        top_up.status, top_up.reason = Status.ON, ""
        top_up.save()
    return top_up


def turn_off(user: User) -> None:
    """Have nothing charged any more. A charge that is at Stripe already may still go through."""
    with transaction.atomic():
        top_up = _locked(user)
        if top_up is not None:
            _stop(top_up)


def _stop(top_up: TopUp) -> None:
    top_up.status, top_up.reason = Status.OFF, ""
    top_up.save()


def remove_card(user: User) -> None:
    """Turn it off and forget the card; the worker has Stripe forget it (`let_cards_go`)."""
    with transaction.atomic():
        top_up = _locked(user)
        if top_up is not None:
            _forget_card(top_up)
            _stop(top_up)


def _forget_card(top_up: TopUp) -> None:
    if top_up.payment_method_id:
        top_up.to_detach.append(top_up.payment_method_id)
    top_up.payment_method_id = top_up.stripe_customer_id = ""
    top_up.card_brand = top_up.card_last4 = ""


def forget(user: User) -> None:
    """What remains once the account is closed: what was charged, and that it was agreed to."""
    top_up = _locked(user)
    if top_up is not None:
        _forget_card(top_up)
        top_up.to_detach = []  # they went with the customer
        top_up.next_try_at = top_up.asks_until = None
        _stop(top_up)


# --- The card -------------------------------------------------------------------------------------


def card_page(user: User) -> str:
    """Open a page of Stripe's on which the user saves a card; answers its address.

    Raises `AccountClosing`, `StripeUnavailable`, `StripeRefused`.
    """
    clock = Clock()
    page = f"{settings.BASE_URL}{reverse('top_up')}"

    def open_page(customer_id: str) -> str:
        params: Any = {
            "mode": "setup",
            "currency": CURRENCY,
            "customer": customer_id,
            "allowed_payment_method_types": ["card"],
            "locale": translation.get_language(),
            "metadata": {
                "type": METADATA_TYPE,
                "purpose": PURPOSE,
                "user_id": str(user.pk),
            },
            "success_url": f"{page}/card/{{CHECKOUT_SESSION_ID}}",
            "cancel_url": page,
        }
        # Without a key: a second page saves no second card unless somebody fills it in.
        session = stripe_api.call(
            lambda: stripe_api.client().v1.checkout.sessions.create(params), clock
        )
        return session.url or ""

    return with_customer(user, open_page, clock)


def is_card(session: Mapping[str, Any]) -> bool:
    """Whether a Checkout Session saves a card for us."""
    try:
        return our_metadata(session.get("metadata")).get("purpose") == PURPOSE
    except NotOurs:
        return False


def fetch_card(session_id: str) -> SavedCard:
    """The card that a Checkout Session has saved.

    Raises `NotOurs` where it has saved none for us, `StripeUnavailable`, `StripeRefused`.
    """
    params: Any = {"expand": ["setup_intent.payment_method"]}
    sessions = stripe_api.client().v1.checkout.sessions
    found = stripe_api.call(lambda: sessions.retrieve(session_id, params), Clock()).to_dict(
        for_json=True
    )
    setup = mapping(found.get("setup_intent"))
    method = mapping(setup.get("payment_method"))
    customer_id = stripe_id(method.get("customer"))
    if not is_card(found) or setup.get("status") != "succeeded" or customer_id is None:
        raise NotOurs("It has saved no card for automatic top-up.")
    user = User.objects.filter(
        pk=found["metadata"].get("user_id"), stripe_customer__stripe_id=customer_id
    ).first()
    if user is None:
        raise NotOurs("The card is of a customer that we don't have.")
    card = mapping(method.get("card"))
    return SavedCard(
        user=user,
        payment_method_id=method["id"],
        customer_id=customer_id,
        brand=str(card.get("brand") or "")[:30],
        last4=str(card.get("last4") or "")[:4],
        since=datetime.fromtimestamp(found["created"], UTC),
    )


@transaction.atomic
def keep_card(card: SavedCard) -> None:
    """Charge this card from now on. Call it as often as you like, in any order.

    What a card had suspended goes on with the new one. Raises `AccountClosing`.
    """
    closing.check_open(card.user)
    top_up, _ = TopUp.objects.select_for_update(of=("self",)).get_or_create(user=card.user)
    if top_up.card_from is not None and card.since <= top_up.card_from:
        return  # told before, or of a card that another one has replaced since
    _forget_card(top_up)
    top_up.payment_method_id, top_up.stripe_customer_id = card.payment_method_id, card.customer_id
    top_up.card_brand, top_up.card_last4 = card.brand, card.last4
    top_up.card_from = card.since
    top_up.declines, top_up.next_try_at = 0, None
    if top_up.reason in {Reason.DECLINED, Reason.NO_CARD}:
        top_up.status, top_up.reason = Status.ON, ""
    top_up.save()


def lose_card(method: Mapping[str, Any]) -> None:
    """A card that Stripe has let go pays no more. Call it in a transaction. Raises `NotOurs`."""
    top_up = (
        TopUp.objects.select_for_update(of=("self",)).filter(payment_method_id=method["id"]).first()
    )
    if top_up is None:
        raise NotOurs("No automatic top-up is paid by this card.")
    suspend(top_up, Reason.NO_CARD)
    _forget_card(top_up)
    top_up.to_detach.remove(method["id"])
    top_up.save()


def let_cards_go() -> int:
    """Have Stripe forget the cards that were replaced or removed. Answers how many.

    Raises `StripeUnavailable`, `StripeRefused`; the others' turn comes next time.
    """
    client = stripe_api.client().v1
    gone = 0
    for top_up in TopUp.objects.exclude(to_detach=[]):
        for method_id in list(top_up.to_detach):
            try:
                stripe_api.call(partial(client.payment_methods.detach, method_id), Clock())
            except StripeRefused as error:
                if not stripe_api.is_invalid(error):
                    raise
                # It belongs to nobody any more.
            with transaction.atomic():
                locked = TopUp.objects.select_for_update().get(pk=top_up.pk)
                locked.to_detach = [one for one in locked.to_detach if one != method_id]
                locked.save(update_fields=["to_detach"])
            gone += 1
    return gone


# --- When it stops --------------------------------------------------------------------------------


def suspend(top_up: TopUp, reason: Reason) -> None:
    """Charge nothing until its owner has seen to it, and tell them. The row is locked."""
    if not top_up.is_on:
        return
    top_up.status, top_up.reason = Status.SUSPENDED, reason
    top_up.save()
    mails.tell(
        top_up.user,
        "top_up_suspended",
        f"at:{stripe_api.database_time().isoformat()}",
        reason=str(reason),
    )


def turn_off_by_staff(top_up: TopUp) -> bool:
    """Suspend it for its owner to see; False where it isn't on."""
    with transaction.atomic():
        locked = TopUp.objects.select_for_update().get(pk=top_up.pk)
        was_on = locked.is_on
        suspend(locked, Reason.STAFF)
    return was_on


def suspend_after_return(user: User) -> None:
    """Money of the user's went back: no machine takes it again. Call it in a transaction."""
    top_up = _locked(user)
    if top_up is not None:
        suspend(top_up, Reason.MONEY_BACK)


def count_failure(purchase: Purchase) -> TopUp:
    """A charge came to nothing: the next one waits, and after three in a row for its owner.

    Call it in the transaction that closes the purchase. Answers the row, as it is then.
    """
    top_up = locked_of(purchase)
    top_up.declines += 1
    top_up.next_try_at = stripe_api.database_time() + PAUSE
    top_up.asks_until = None
    top_up.save()
    if top_up.declines >= MOST_DECLINES:
        suspend(top_up, Reason.DECLINED)
    return top_up


def count_success(purchase: Purchase) -> None:
    """A charge was paid. Call it in the transaction that marks it so, once."""
    rows_of(purchase).update(declines=0, next_try_at=None, asks_until=None)


def rows_of(purchase: Purchase) -> QuerySet[TopUp]:
    """The row that a charge belongs to; none for other purchases."""
    return TopUp.objects.filter(pk=purchase.top_up_id or 0)


def locked_of(purchase: Purchase) -> TopUp:
    """The row that a charge belongs to, locked until the transaction's end."""
    rows = TopUp.objects.select_for_update(of=("self",)).select_related("consent", "user")
    return rows.get(pk=purchase.top_up_id or 0)


def _locked(user: User) -> TopUp | None:
    return TopUp.objects.select_for_update(of=("self",)).filter(user=user).first()


# --- The month ------------------------------------------------------------------------------------


def month_of(moment: datetime) -> datetime:
    """When the calendar month began, in UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    return month_of(month_of(moment) + timedelta(days=31))


def used_in(top_up: TopUp, month: datetime) -> int:
    """What was charged since the month began or may still be, in cents.

    A charge of the last minute of a month that is paid in the next counts in both.
    """
    counted = TAKES_MONEY | TAKEN & (Q(created_at__gte=month) | Q(paid_at__gte=month))
    found = Purchase.objects.filter(counted, top_up=top_up)
    return int(found.aggregate(sum=Sum("total", default=0))["sum"])


def used_now(top_up: TopUp) -> int:
    """What counts towards this month's cap, in cents."""
    return used_in(top_up, month_of(stripe_api.database_time()))
