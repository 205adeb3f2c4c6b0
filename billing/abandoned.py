"""Orders that nobody paid: closed when Stripe's word that they have expired never came."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from billing import stripe_api, topup_charges, webhooks
from billing.checkout import expire_orders
from billing.models import Purchase, StripeCustomer
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import stripe_id

PAYABLE: Final = timedelta(hours=25)
"""A Checkout Session can be paid for 24 hours, and is opened within minutes of its order."""

PAID_BY: Final = ("payment_intent", "subscription")
GIVEN_UP: Final = {"requires_payment_method", "canceled", "incomplete_expired"}
"""States of those in which a bank debit has failed for good."""


def close_abandoned(progress: Callable[[Sequence[Purchase]], Iterable[Purchase]] = iter) -> int:
    """Ask Stripe what became of orders that have waited for more than a day, and close them.

    Answers how many wait no more. One that was paid is granted after all; one whose bank debit is
    under way waits on. An order that is closed here and reported as paid later is granted as any
    other: paid is paid. Raises `StripeUnavailable`; what was closed before it stays so.
    """
    waiting = Purchase.objects.filter(
        status__in=Purchase.WAITING,
        created_at__lt=timezone.now() - PAYABLE,
        bulk__invoice=None,  # an invoice may be paid much later
    )
    closed = 0
    for purchase in progress(list(waiting.order_by("created_at"))):
        if purchase.top_up_id is not None and purchase.stripe_session_id is None:
            topup_charges.look_again(purchase)  # no page, but a saved card
        else:
            _close(purchase)
        purchase.refresh_from_db()
        closed += purchase.status not in Purchase.WAITING
    return closed


def _close(purchase: Purchase) -> None:
    session = _session_of(purchase)
    if session is None:
        # Nothing could ever be paid: Stripe has no payment page for it.
        expire_orders(Purchase.objects.filter(pk=purchase.pk, status__in=Purchase.WAITING))
    else:
        _apply(purchase, session)


def _session_of(purchase: Purchase) -> Mapping[str, Any] | None:
    """The order's Checkout Session with what pays it, or None where there is none."""
    sessions = stripe_api.client().v1.checkout.sessions
    if purchase.stripe_session_id:
        session_id = purchase.stripe_session_id
        try:
            found = stripe_api.call(
                lambda: sessions.retrieve(session_id, {"expand": list(PAID_BY)}), Clock()
            )
        except StripeRefused as error:
            if stripe_api.is_missing(error):
                return None  # made under another account's key
            raise
        return found.to_dict(for_json=True)
    # Its answer may have been lost. Stripe finds sessions by customer, not by our order.
    customer = StripeCustomer.objects.filter(user=purchase.user).exclude(stripe_id=None).first()
    if customer is None:
        return None
    since = int(purchase.created_at.timestamp()) - 60  # its clock isn't ours
    expand = [f"data.{name}" for name in PAID_BY]
    try:
        for page in stripe_api.pages(
            sessions.list, customer=customer.stripe_id, created={"gte": since}, expand=expand
        ):
            for session in page:
                if session["client_reference_id"] == str(purchase.pk):
                    return session
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise
    return None


def _apply(purchase: Purchase, session: Mapping[str, Any]) -> None:
    """Do what the session's event would have done. One that can still be paid is left alone."""
    paid_by = [session[name]["status"] for name in PAID_BY if session.get(name)]
    event_type = None
    if session["status"] == "expired":
        event_type = "checkout.session.expired"
    elif session["status"] == "complete":
        if session["payment_status"] != "unpaid":
            event_type = "checkout.session.completed"
        elif GIVEN_UP.intersection(paid_by):
            event_type = "checkout.session.async_payment_failed"
        elif purchase.status == Purchase.Status.PENDING:
            event_type = "checkout.session.completed"  # a bank debit is under way
    if event_type is not None:
        # As an event has it: ids, and no client secret.
        ids = {name: stripe_id(session.get(name)) for name in PAID_BY}
        webhooks.supply(event_type, {**session, **ids})
