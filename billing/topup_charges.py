"""Automatic top-up: charging a saved card, once and within what was agreed, whatever happens.

A charge is a `Purchase` that nobody ordered. It is placed under the lock of its `TopUp`, then
Stripe makes a payment intent for it, whose id is kept before it is confirmed: a payment intent can
be paid once, so the charge can't be made twice however often it is tried, by whom, and whatever was
answered. What became of it is told by Stripe's answer and by its events; both go through `settle`.
"""

import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import stripe
from django.db import connection, transaction
from django.db.models import F

from accounts import closing
from billing import checkout, mails, stripe_api, topup
from billing.fulfilment import fulfil_intent
from billing.models import Mode, Purchase, TopUp
from billing.pricing import CURRENCY, quote
from billing.stripe_api import Clock, StripeRefused, StripeUnavailable
from billing.stripe_objects import (
    METADATA_TYPE,
    ORIGIN,
    NotOurs,
    mapping,
    our_metadata,
    stripe_id,
    uuid_of,
)
from credits import ledger

logger = logging.getLogger(__name__)

CLAIM: Final = timedelta(minutes=1)
"""How long one process has for a try; all its calls to Stripe take less than 20 seconds."""

ROUND: Final = 5
"""Seconds."""

PAYABLE: Final = timedelta(hours=24)
"""How long a buyer who has to authenticate may take."""

AUTHENTICATION: Final = "authentication_required"

NOT_TRIED: Final = {"requires_confirmation", "requires_payment_method"}
"""States of a payment intent that nothing was charged by; with an error, a try has failed."""

# In a few milliseconds for all: the wallet's row finds who may be below, and only of them is worked
# out what they can spend. A charge that waits is looked after also where it is off by now.
_DUE: Final = """
    SELECT topup.id FROM billing_topup AS topup
        LEFT JOIN billing_purchase AS purchase
            ON purchase.top_up_id = topup.id AND purchase.status IN ('pending', 'settling')
        LEFT JOIN billing_topupconsent AS consent ON consent.id = topup.consent_id
        LEFT JOIN credits_wallet AS wallet ON wallet.user_id = topup.user_id
        JOIN accounts_user AS owner ON owner.id = topup.user_id
    WHERE (topup.status = 'on' AND owner.is_active OR purchase.status = 'pending')
        AND (topup.next_try_at IS NULL OR topup.next_try_at <= clock_timestamp())
        AND CASE
            WHEN purchase.id IS NOT NULL THEN purchase.status = 'pending' AND (
                topup.asks_until IS NULL OR topup.asks_until <= clock_timestamp())
            WHEN coalesce(wallet.balance - wallet.held, 0) < consent.threshold
                THEN credits_available(topup.user_id) < consent.threshold
            ELSE false
        END
    ORDER BY topup.id"""


class NotPayable(Exception):
    """There is nothing to pay for this charge: it is paid, over, or waits for nobody."""


def run_due() -> int:
    """Charge the cards of those who have run low, and go on with what was left. Answers how many
    charges were begun or taken up again.

    Safe to call at any time, by several processes. After `ROUND` the others have their turn: who is
    left is due the next time.
    """
    end = time.monotonic() + ROUND
    with connection.cursor() as cursor:
        cursor.execute(_DUE)
        due = [row[0] for row in cursor.fetchall()]
    charged = 0
    for top_up_id in due:
        charged += _claim(top_up_id) is not None
        if time.monotonic() > end:
            break
    return charged


def _claim(top_up_id: int) -> Purchase | None:
    """Place or take up the charge of a top-up that is due, and see it through."""
    purchase = _take(top_up_id)
    if purchase is not None:
        try:
            _charge(purchase, Clock())
        except (StripeUnavailable, StripeRefused) as error:
            # Nobody knows whether it was charged: it is asked again when the claim is over.
            logger.warning("Top-up %s is left for later: %s", purchase.pk, error)
        except Exception:
            # Of one, and no reason not to charge the others.
            logger.exception("Top-up %s failed and is taken up again.", purchase.pk)
    return purchase


def _take(top_up_id: int) -> Purchase | None:
    with transaction.atomic():
        user = TopUp.objects.select_related("user").get(pk=top_up_id).user
        try:
            closing.check_open(user)
        except closing.AccountClosing:
            return None
        top_up = (
            TopUp.objects.select_for_update(of=("self",))
            .select_related("consent", "user")
            .get(pk=top_up_id)
        )
        now = stripe_api.database_time()
        if top_up.next_try_at is not None and top_up.next_try_at > now:
            return None  # another process was faster
        purchase = _open_charge(top_up)
        if purchase is None:
            purchase = _place(top_up)
        elif purchase.status != Purchase.Status.PENDING or (
            top_up.asks_until is not None and top_up.asks_until > now
        ):
            return None
        if purchase is not None:
            top_up.next_try_at = now + CLAIM
            top_up.save(update_fields=["next_try_at", "asks_until"])
        return purchase


def _open_charge(top_up: TopUp) -> Purchase | None:
    """The charge that waits or is being checked by staff: until it is over there is no other."""
    found = Purchase.objects.filter(top_up=top_up).filter(topup.TAKES_MONEY)
    return found.order_by("status").first()


def _place(top_up: TopUp) -> Purchase | None:
    """Have a charge on record, if it is agreed to now. The row is locked."""
    consent = top_up.consent
    if not _may_charge(top_up) or consent is None:
        return None
    if ledger.balance_of(top_up.user) >= consent.threshold:
        return None
    price = quote(consent.credits)
    if price.total > consent.total:
        topup.suspend(top_up, topup.Reason.PRICE)
        return None
    now = stripe_api.database_time()
    month = topup.month_of(now)
    used = topup.used_in(top_up, month)
    if used + price.total > consent.cap:
        top_up.next_try_at = topup.next_month(now)
        top_up.save(update_fields=["next_try_at"])
        mails.tell(
            top_up.user,
            "top_up_cap",
            f"month:{month:%Y-%m}",
            cap=consent.cap,
            used=used,
            total=price.total,
            credits=consent.credits,
        )
        return None
    top_up.asks_until = None
    return Purchase.objects.create(
        user=top_up.user,
        top_up=top_up,
        mode=Mode.PAYMENT,
        credits=consent.credits,
        unit_price_e4=price.tier.unit_price,
        total=price.total,
        currency=CURRENCY,
        language=top_up.user.language,
        created_at=now,
    )


def _may_charge(top_up: TopUp) -> bool:
    """Whoever is locked out could not turn it off."""
    return top_up.is_on and top_up.user.is_active


# --- At Stripe ------------------------------------------------------------------------------------


def _charge(purchase: Purchase, clock: Clock) -> None:
    """Take a charge as far as it goes now. Raises `StripeUnavailable`."""
    top_up = topup.rows_of(purchase).get()
    # What may be paid on a page is never charged beside it, whatever else was told of the top-up.
    if top_up.asks_until is not None or purchase.stripe_session_id is not None:
        _end_asking(purchase, clock)
        return
    if purchase.stripe_payment_id is None and not _is_still_agreed(purchase):
        _close(purchase)
        return
    intent = _intent_of(purchase, clock)
    if intent is not None and _is_untried(intent):
        if _is_still_agreed(purchase):
            intent = _confirm(purchase, intent, clock)
        else:
            intent = _cancel(str(intent["id"]), clock)
    if intent is not None:
        with transaction.atomic():
            settle(intent)


def _intent_of(purchase: Purchase, clock: Clock) -> Mapping[str, Any] | None:
    """The charge's payment intent as it is now, made where there is none; None if it can't be."""
    if purchase.stripe_payment_id is not None:
        try:
            return _look(purchase.stripe_payment_id, clock)
        except StripeRefused as error:
            if not stripe_api.is_missing(error):
                raise
            _close(purchase)  # made under another account's key
            return None
    top_up = topup.rows_of(purchase).get()
    params: Any = {
        "amount": purchase.total,
        "currency": purchase.currency,
        "customer": top_up.stripe_customer_id,
        "payment_method": top_up.payment_method_id,
        "allowed_payment_method_types": ["card"],
        "description": checkout.product_name(purchase),
        "metadata": _metadata(purchase),
    }
    intents = stripe_api.client().v1.payment_intents
    try:
        made = stripe_api.keyed_call(
            purchase, lambda options: intents.create(params, options), clock
        )
    except StripeRefused as error:
        _give_up(purchase, error, clock)
        return None
    # Kept before it can be paid: what we know nothing of is never confirmed.
    Purchase.objects.filter(
        pk=purchase.pk, status=Purchase.Status.PENDING, stripe_payment_id=None
    ).update(stripe_payment_id=made.id)
    purchase.refresh_from_db()
    return made.to_dict(for_json=True) if purchase.stripe_payment_id == made.id else None


def _metadata(purchase: Purchase) -> dict[str, str]:
    return {
        "type": METADATA_TYPE,
        "origin": ORIGIN,
        "credits": str(purchase.credits),
        "user_id": str(purchase.user_id),
        "purchase_id": str(purchase.pk),
    }


def _look(intent_id: str, clock: Clock) -> Mapping[str, Any]:
    intents = stripe_api.client().v1.payment_intents
    return stripe_api.call(lambda: intents.retrieve(intent_id), clock).to_dict(for_json=True)


def _is_untried(intent: Mapping[str, Any]) -> bool:
    return intent["status"] in NOT_TRIED and not intent.get("last_payment_error")


def _is_still_agreed(purchase: Purchase) -> bool:
    """Whether its owner still wants this charge; since it was placed, hours may have gone by."""
    with transaction.atomic():
        try:
            closing.check_open(purchase.user)
        except closing.AccountClosing:
            return False
        top_up = topup.locked_of(purchase)
        consent = top_up.consent
        is_this = Purchase.objects.filter(
            pk=purchase.pk,
            status=Purchase.Status.PENDING,
            stripe_payment_id=purchase.stripe_payment_id,
        ).exists()
        return (
            is_this
            and _may_charge(top_up)
            and top_up.asks_until is None
            and consent is not None
            and (purchase.credits == consent.credits and purchase.total <= consent.total)
            and topup.used_now(top_up) <= consent.cap
            and ledger.balance_of(purchase.user) < consent.threshold
        )


def _confirm(
    purchase: Purchase, intent: Mapping[str, Any], clock: Clock
) -> Mapping[str, Any] | None:
    """Charge the card: the payment intent as it is then, or None where nothing could be charged."""
    top_up = topup.rows_of(purchase).get()
    intent_id = str(intent["id"])
    params: Any = {"off_session": True, "payment_method": top_up.payment_method_id}
    intents = stripe_api.client().v1.payment_intents
    try:
        return stripe_api.keyed_call(
            purchase,
            lambda options: intents.confirm(intent_id, params, options),
            clock,
            step="confirm",
        ).to_dict(for_json=True)
    except StripeRefused as error:
        now = _look(intent_id, clock)
        if isinstance(error.__cause__, stripe.CardError) or not _is_untried(now):
            return now
        if _cancel(intent_id, clock)["status"] == "canceled":
            _give_up(purchase, error, clock)
        return None


def _cancel(intent_id: str, clock: Clock) -> Mapping[str, Any]:
    """See to it that a payment intent can't be paid, if it isn't already; answer how it stands."""
    intents = stripe_api.client().v1.payment_intents
    try:
        found = stripe_api.call(lambda: intents.cancel(intent_id), clock)
    except StripeRefused:
        return _look(intent_id, clock)
    return found.to_dict(for_json=True)


def _give_up(purchase: Purchase, error: StripeRefused, clock: Clock) -> None:
    """Stripe won't have it charged: because the card is gone, or of what we ask."""
    if not stripe_api.is_invalid(error):
        raise error
    is_gone = not _has_card(topup.rows_of(purchase).get(), clock)
    with transaction.atomic():
        locked = _locked(purchase.pk)
        if locked is None or not _close_locked(locked):
            return
        top_up = topup.locked_of(locked)
        if is_gone:
            topup.suspend(top_up, topup.Reason.NO_CARD)
        else:
            logger.error("Stripe refuses top-up %s: %s", purchase.pk, error)
            top_up.next_try_at = stripe_api.database_time() + topup.PAUSE
            top_up.save(update_fields=["next_try_at"])


def _has_card(top_up: TopUp, clock: Clock) -> bool:
    """Whether the saved card can be charged for its customer."""
    methods = stripe_api.client().v1.payment_methods
    try:
        found = stripe_api.call(lambda: methods.retrieve(top_up.payment_method_id), clock)
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise
        return False
    return stripe_id(found.to_dict(for_json=True)["customer"]) == top_up.stripe_customer_id


def _close(purchase: Purchase) -> None:
    with transaction.atomic():
        locked = _locked(purchase.pk)
        if locked is not None:
            _close_locked(locked)


def _locked(purchase_id: Any) -> Purchase | None:
    return Purchase.objects.select_for_update().filter(pk=purchase_id).first()


def _close_locked(purchase: Purchase) -> bool:
    """Close a charge that can't be paid any more; False if it was over already."""
    if purchase.status != Purchase.Status.PENDING:
        return False
    purchase.status = Purchase.Status.EXPIRED
    purchase.save(update_fields=["status"])
    topup.rows_of(purchase).update(next_try_at=None, asks_until=None)
    return True


# --- What became of it ----------------------------------------------------------------------------


def fetch_intent(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payment intent that an event is about, as it is now.

    Raises `NotOurs` for those of payment pages, whose sessions tell, and of others; and
    `StripeUnavailable`, `StripeRefused`.
    """
    if our_metadata(payload.get("metadata")).get("origin") != ORIGIN:
        raise NotOurs("It is told by its payment page.")
    if payload.get("status") in {"succeeded", "canceled"}:
        return payload  # these don't change
    return _look(str(payload["id"]), Clock())


def settle(intent: Mapping[str, Any]) -> None:
    """Do what a payment intent's state asks for: by Stripe's answer or by its event.

    Call it in a transaction, as often as you like, in any order. Raises `NotOurs`, `Quarantined`.
    """
    metadata = our_metadata(intent.get("metadata"))
    status = intent.get("status")
    if status == "succeeded":
        fulfil_intent(intent)
        return
    purchase = _locked(uuid_of(metadata.get("purchase_id")))
    if (
        purchase is None
        or purchase.status not in Purchase.WAITING
        or purchase.stripe_payment_id != stripe_id(intent)
    ):
        return  # over, or another one pays it by now
    error = mapping(intent.get("last_payment_error"))
    if status == "processing":
        purchase.status = Purchase.Status.SETTLING
        purchase.save(update_fields=["status"])
    elif status == "requires_action" or (
        status == "requires_payment_method" and error.get("code") == AUTHENTICATION
    ):
        _ask(purchase)
    elif status == "requires_payment_method" and error:
        _fail(purchase)
    elif status == "canceled" and not _is_asked(purchase):
        _close_locked(purchase)


def _fail(purchase: Purchase) -> None:
    purchase.status = Purchase.Status.FAILED
    purchase.save(update_fields=["status"])
    top_up = topup.count_failure(purchase)
    if not top_up.is_suspended:  # which is told by itself
        mails.tell(
            purchase.user,
            "top_up_failed",
            f"purchase:{purchase.pk}",
            credits=purchase.credits,
            total=purchase.total,
            card=top_up.card_label,
            is_on=top_up.is_on,
        )


def _is_asked(purchase: Purchase) -> bool:
    return topup.rows_of(purchase).filter(asks_until__isnull=False).exists()


def _ask(purchase: Purchase) -> None:
    """The bank wants to hear from the card's owner: they get a mail with the way to a page."""
    top_up = topup.locked_of(purchase)
    if top_up.asks_until is not None:
        return
    top_up.asks_until = stripe_api.database_time() + PAYABLE
    top_up.next_try_at = None
    top_up.save(update_fields=["asks_until", "next_try_at"])
    mails.tell(
        purchase.user,
        "top_up_asks",
        f"purchase:{purchase.pk}",
        credits=purchase.credits,
        total=purchase.total,
        card=top_up.card_label,
        purchase=str(purchase.pk),
    )


# --- Paid by its owner ----------------------------------------------------------------------------


def payable(purchase: Purchase) -> bool:
    """Whether the charge waits for its owner, and may still be paid on a page."""
    return (
        purchase.status == Purchase.Status.PENDING
        and purchase.top_up is not None
        and purchase.top_up.asks_until is not None
        and purchase.top_up.asks_until > stripe_api.database_time()
    )


def pay_page(purchase: Purchase) -> str:
    """Open a payment page for a charge that waits for its owner; answers its address.

    What the saved card was asked for is cancelled before, so that it can't be paid as well. Raises
    `NotPayable`, `AccountClosing`, `StripeUnavailable`, `StripeRefused`.
    """
    if not payable(purchase):
        raise NotPayable
    clock = Clock()
    if purchase.stripe_payment_id is not None and purchase.stripe_session_id is None:
        _let_go(purchase, clock)
    purchase.refresh_from_db()
    if purchase.status != Purchase.Status.PENDING:
        raise NotPayable
    if not purchase.stripe_session_url:
        try:
            checkout.open_page(purchase)
        except checkout.OrderReplaced:
            raise NotPayable from None
    return purchase.stripe_session_url


def _let_go(purchase: Purchase, clock: Clock) -> None:
    """Part the purchase from the payment intent, once that can't be paid any more."""
    intent_id = purchase.stripe_payment_id or ""
    intent = _cancel(intent_id, clock)
    if intent["status"] != "canceled":
        with transaction.atomic():
            settle(intent)
        raise NotPayable
    # Another try of ours, as the page is another call than the one that made the payment intent.
    Purchase.objects.filter(
        pk=purchase.pk, status=Purchase.Status.PENDING, stripe_payment_id=intent_id
    ).update(stripe_payment_id=None, attempt=F("attempt") + 1)


def _end_asking(purchase: Purchase, clock: Clock) -> None:
    """Its owner's time is over: see to it that it can't be paid any more, and close it."""
    if purchase.stripe_session_id is not None:
        if checkout.expire_page(purchase.stripe_session_id, clock) == "complete":
            return  # its event tells, or `billing.abandoned`
    elif purchase.stripe_payment_id is not None:
        intent = _cancel(purchase.stripe_payment_id, clock)
        if intent["status"] != "canceled":
            with transaction.atomic():
                settle(intent)
            return
    with transaction.atomic():
        locked = _locked(purchase.pk)
        if locked is None or locked.stripe_session_id != purchase.stripe_session_id:
            return  # a page was opened meanwhile: it is closed the next time
        if locked.status == Purchase.Status.PENDING:
            locked.status = Purchase.Status.EXPIRED
            locked.save(update_fields=["status"])
            topup.count_failure(locked)


def withdraw(purchase: Purchase, clock: Clock) -> bool:
    """See to it that a charge can't be paid, for an account that is being closed.

    False where it is paid or about to be. Raises `StripeUnavailable`.
    """
    if purchase.stripe_payment_id is not None:
        try:
            intent = _cancel(purchase.stripe_payment_id, clock)
        except StripeRefused as error:
            if not stripe_api.is_missing(error):
                raise
        else:
            if intent["status"] != "canceled":
                with transaction.atomic():
                    settle(intent)  # it may have been paid just now
                purchase.refresh_from_db()
                return purchase.status not in Purchase.WAITING
    _close(purchase)
    return True


def look_again(purchase: Purchase) -> None:
    """Ask Stripe what became of a charge whose end nobody has told. Raises `StripeUnavailable`."""
    if purchase.stripe_payment_id is None:
        return  # nothing was charged yet: `run_due` has it
    try:
        intent = _look(purchase.stripe_payment_id, Clock())
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise
        Purchase.objects.filter(pk=purchase.pk, status__in=Purchase.WAITING).update(
            status=Purchase.Status.EXPIRED
        )
        return
    with transaction.atomic():
        settle(intent)
