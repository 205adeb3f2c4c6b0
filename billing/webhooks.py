"""Events from Stripe: verified, kept, then applied once.

An event is committed before anything is done about it, so that evidence outlives every failure.
Its effects and the mark that it is done are one transaction. What changes over time is fetched
from Stripe before that transaction; the payload is a hint.
"""

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeGuard

import stripe
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import closing
from accounts.models import User
from billing import topup, topup_charges
from billing.anonymity import anonymous, is_about_closed
from billing.bulk import terms
from billing.clawback import fetch_charge, settle_charge
from billing.fulfilment import (
    Quarantined,
    expire_checkout,
    fail_checkout,
    fulfil_checkout,
)
from billing.models import Event, Purchase
from billing.redaction import without_secrets
from billing.renewals import fetch_failed, fetch_paid, settle_failed, settle_paid
from billing.stripe_api import API_VERSION, StripeUnavailable
from billing.stripe_objects import NotOurs, sale_of, stripe_id, uuid_of
from billing.subscriptions import fetch_subscription, record_subscription

logger = logging.getLogger(__name__)

TOLERANCE: Final = 300
"""Seconds that a signature is good for, Stripe's own default. Its clock may run ahead of ours
without limit, so events are known by their id for ever, not for these seconds."""

SUPPLIED: Final = "reconcile_"
"""How the ids of events begin that we have made ourselves."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_TYPE: Final = re.compile(r"[!-~]{1,100}", re.ASCII)


class InvalidSignature(Exception):
    """The body was not signed with one of our secrets."""


class InvalidPayload(Exception):
    """The body is no event."""


class NotOpen(Exception):
    """The event is neither failed nor in quarantine, so there is nothing to settle."""


@dataclass(frozen=True)
class Handler:
    """What an event does: `apply`, in the transaction, with what `fetch` got before it."""

    apply: Callable[[Any], None]
    fetch: Callable[[Mapping[str, Any]], Any] = lambda payload: payload


def _fetch_session(session: Mapping[str, Any]) -> Any:
    return topup.fetch_card(session["id"]) if topup.is_card(session) else session


def _complete_session(found: Any) -> None:
    if not isinstance(found, topup.SavedCard):
        fulfil_checkout(found)
        return
    try:
        topup.keep_card(found)
    except closing.AccountClosed:
        raise NotOurs("The account is closed.") from None


_charge: Final = Handler(apply=settle_charge, fetch=fetch_charge)
_intent: Final = Handler(apply=topup_charges.settle, fetch=topup_charges.fetch_intent)
_subscription: Final = Handler(apply=record_subscription, fetch=fetch_subscription)
_on_terms: Final = Handler(apply=terms.settle, fetch=terms.fetch)


def _fetch_paid(invoice: Mapping[str, Any]) -> Callable[[], None]:
    if terms.is_on_terms(invoice):
        return partial(terms.settle, terms.fetch(invoice))
    return partial(settle_paid, fetch_paid(invoice))


def _settle_paid(settle: Callable[[], None]) -> None:
    settle()


HANDLERS: Final[dict[str, Handler]] = {
    # Paid, or completed with a bank debit still under way; or a card was saved.
    "checkout.session.completed": Handler(apply=_complete_session, fetch=_fetch_session),
    # The bank debit went through, days later.
    "checkout.session.async_payment_succeeded": Handler(apply=fulfil_checkout),
    # Or it did not.
    "checkout.session.async_payment_failed": Handler(apply=fail_checkout),
    # Nobody paid within a day.
    "checkout.session.expired": Handler(apply=expire_checkout),
    # A saved card was charged or was not, its bank wants to hear from its owner, or takes its time;
    # and all the same for payment pages, which is left to their sessions.
    "payment_intent.succeeded": _intent,
    "payment_intent.payment_failed": _intent,
    "payment_intent.requires_action": _intent,
    "payment_intent.processing": _intent,
    "payment_intent.canceled": _intent,
    # A card was removed: in the portal, by us, or with its customer.
    "payment_method.detached": Handler(apply=topup.lose_card),
    # A subscription's month was paid, the first one (which the session reports as well) or another;
    # or an invoice on terms was.
    "invoice.paid": Handler(apply=_settle_paid, fetch=_fetch_paid),
    # An invoice on terms can be paid; it is not going to be; or it has been taken back.
    "invoice.finalized": _on_terms,
    "invoice.marked_uncollectible": _on_terms,
    "invoice.voided": _on_terms,
    # A further month was not: Stripe tries the card again for some days.
    "invoice.payment_failed": Handler(apply=settle_failed, fetch=fetch_failed),
    # The plan began, changed, was cancelled or ended.
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    # Money went back, in part or whole; or a refund that was under way failed.
    "charge.refunded": _charge,
    "refund.updated": _charge,
    "refund.failed": _charge,
    # A bank asks about a payment, or is about to take it back; we have answered it.
    "charge.dispute.created": _charge,
    "charge.dispute.updated": _charge,
    # The bank took money back on its customer's word, and gave it back when we were right.
    "charge.dispute.funds_withdrawn": _charge,
    "charge.dispute.funds_reinstated": _charge,
    "charge.dispute.closed": _charge,
}


def receive(body: bytes, signature: str) -> Event:
    """Verify, keep and apply an event as Stripe posted it.

    Raises `InvalidSignature`, `InvalidPayload` (nothing is kept then), and whatever its handler
    raised (the event is kept, with the error, and Stripe will send it again).
    """
    payload = _verified(body, signature)
    event = keep(payload, body.decode())
    process(event)
    return event


def _verified(body: bytes, signature: str) -> dict[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidPayload from None
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        try:
            stripe.WebhookSignature.verify_header(text, signature, secret, TOLERANCE)
        # A signature that isn't ASCII raises TypeError, strange numbers ValueError.
        except (stripe.SignatureVerificationError, TypeError, ValueError):
            continue
        break
    else:
        raise InvalidSignature
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidPayload from None
    if (
        not isinstance(payload, dict)
        or not _matches(_IDENTIFIER, payload.get("id"))
        or not _matches(_TYPE, payload.get("type"))
    ):
        raise InvalidPayload
    return payload


def _matches(pattern: re.Pattern[str], value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def keep(payload: Mapping[str, Any], text: str) -> Event:
    """Have an event on record, once; `text` is its payload as it came."""
    found = _object(payload)
    about = found.get("id")
    is_customer = found.get("object") == "customer"
    customer = about if is_customer else stripe_id(found.get("customer"))
    customer_id = _identifier(customer)
    with transaction.atomic():
        # What names no customer couldn't be found again when one of them closes the account.
        is_kept_in_full = customer_id and not is_about_closed(found, customer_id)
        event, _ = Event.objects.get_or_create(
            stripe_id=payload["id"],
            defaults={
                "type": payload["type"],
                "payload": text if is_kept_in_full else json.dumps(anonymous(payload)),
                "object_id": _identifier(about),
                "customer_id": customer_id,
                "livemode": payload.get("livemode") is True,
            },
        )
    return event


def _identifier(value: Any) -> str:
    return value if _matches(_IDENTIFIER, value) else ""


def _object(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    # Thin events have no object; they are kept and left alone.
    data = payload.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def process(event: Event, *, replay: bool = False) -> None:
    """Apply an event that isn't done; with `replay`, one in quarantine too.

    Raises what its handler raised, after keeping it on the event.
    """
    if not _is_open(event, replay):
        return
    found = _object(json.loads(event.payload))
    handler = HANDLERS.get(event.type) if found.get("id") else None
    if handler is None:
        _finish(event, Event.Status.IGNORED)
        return
    try:
        if event.livemode != settings.STRIPE_LIVEMODE:
            raise Quarantined("It is of test mode and this install is live, or the reverse.")
        if not isinstance(found["id"], str) or stripe_id(found["id"]) is None:
            raise Quarantined("The id of what it is about is none of Stripe's.")
        fetched = handler.fetch(found)
        with transaction.atomic():
            locked = Event.objects.select_for_update().get(pk=event.pk)
            if _is_open(locked, replay):
                handler.apply(fetched)
                _finish(event, Event.Status.DONE)
            else:
                event.refresh_from_db()  # another delivery was faster
    except NotOurs as reason:
        _finish(event, Event.Status.IGNORED, str(reason))
    except Quarantined as reason:
        _finish(event, Event.Status.QUARANTINED, str(reason)[:2000])
        logger.error("Event %s is in quarantine: %s", event.stripe_id, event.error)
        if reason.purchase is not None:
            # Paid is paid; anything else would tell the buyer that nothing was charged.
            Purchase.objects.filter(pk=reason.purchase.pk).exclude(
                status=Purchase.Status.PAID
            ).update(status=Purchase.Status.REVIEW)
    except Exception as error:
        # Whatever it is, it belongs on record: the next delivery may come in days.
        logger.exception("Event %s failed", event.stripe_id)
        _finish(event, Event.Status.FAILED, f"{type(error).__name__}: {error}"[:2000])
        raise


def _is_open(event: Event, replay: bool) -> bool:
    return event.status in {Event.Status.RECEIVED, Event.Status.FAILED} or (
        replay and event.status == Event.Status.QUARANTINED
    )


def _finish(event: Event, status: Event.Status, error: str = "") -> None:
    # It may quote what Stripe sent, and PostgreSQL's text holds neither NUL nor half a surrogate.
    error = without_secrets(error)
    error = error.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    # What is done or settled stays so: a delivery that failed beside changes nothing.
    over = (Event.Status.DONE, Event.Status.SETTLED)
    Event.objects.filter(pk=event.pk).exclude(status__in=over).update(
        status=status,
        error=error,
        done_at=None if status == Event.Status.FAILED else timezone.now(),
    )
    event.refresh_from_db()


_PAID: Final = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
"""Two words for a session that is paid: what staff decided about one holds for the other."""


def supply(type: str, found: Mapping[str, Any]) -> Event | None:
    """Apply what Stripe knows of an object and its events didn't bring about; answer how.

    It becomes an event of our own, so that it is kept, refused and told like Stripe's. None where
    that is decided already: such an event is in quarantine, was settled, or wasn't ours. Raises
    `StripeUnavailable`.
    """
    known = Event.objects.filter(object_id=found["id"])
    same = known.filter(type__in=_PAID if type in _PAID else [type])
    decided = Q(status__in=(Event.Status.QUARANTINED, Event.Status.SETTLED))
    # Without a reason it was ignored for want of a handler, which there is now.
    if same.filter(decided | Q(status=Event.Status.IGNORED) & ~Q(error="")).exists():
        return None
    event = same.filter(status__in=(Event.Status.RECEIVED, Event.Status.FAILED)).first()
    if event is None:
        number = known.filter(stripe_id__startswith=SUPPLIED).count() + 1
        payload = {
            "id": f"{SUPPLIED}{found['id']}_{number}",
            "object": "event",
            "api_version": API_VERSION,
            "created": int(time.time()),
            "livemode": settings.STRIPE_LIVEMODE,
            "type": type,
            "data": {"object": found},
        }
        event = keep(payload, json.dumps(payload))
    attempt(event)
    return event


def attempt(event: Event) -> None:
    """Apply an event; if its handler fails, that is on the event's record.

    Raises `StripeUnavailable`, after keeping that there, too: others would fare no better.
    """
    try:
        process(event)
    except StripeUnavailable:
        raise
    except Exception:  # noqa: BLE001 (whatever it is, it is on the event's record)
        logger.info("Event %s is left for later", event.stripe_id)


def settle(event: Event, *, staff: User, reason: str) -> None:
    """Close an event that can't be applied: staff have dealt with the money in another way.

    It counts as no difference any more and is never applied. A purchase that was being checked
    because of it is settled with it. Raises `NotOpen`.
    """
    with transaction.atomic():
        locked = Event.objects.select_for_update().get(pk=event.pk)
        if locked.status not in (Event.Status.QUARANTINED, Event.Status.FAILED):
            raise NotOpen
        locked.status = Event.Status.SETTLED
        locked.settled_by = staff
        locked.settled_reason = reason
        locked.done_at = timezone.now()
        locked.save(update_fields=["status", "settled_by", "settled_reason", "done_at"])
        if purchase_id := _purchase_id(locked):
            _settle_purchase(purchase_id, locked)
    event.refresh_from_db()


def _settle_purchase(purchase_id: uuid.UUID, event: Event) -> None:
    # Locked, so that of two events settled at the same moment one sees the other.
    reviewed = Purchase.objects.select_for_update().filter(pk=purchase_id)
    if reviewed.filter(status=Purchase.Status.REVIEW).first() is None:
        return
    # A monthly plan's first payment is told by two events; the last one settled closes it.
    others = Event.objects.filter(status=Event.Status.QUARANTINED, customer_id=event.customer_id)
    if purchase_id not in map(_purchase_id, others):
        reviewed.update(status=Purchase.Status.SETTLED)


def _purchase_id(event: Event) -> uuid.UUID | None:
    """The purchase that an event's session or invoice names, or whose session it is."""
    purchase = Purchase.objects.filter(stripe_session_id=event.object_id).first()
    if purchase is not None:
        return purchase.pk
    found = _object(json.loads(event.payload))
    is_invoice = found.get("object") == "invoice"
    metadata = sale_of(found)[1] if is_invoice else found.get("metadata")
    return uuid_of(metadata.get("purchase_id")) if isinstance(metadata, Mapping) else None
