"""Closing an account: ended at Stripe first, then erased here.

Each step at Stripe may be done twice, so whatever fails on the way, the same request made again
finishes it. Until the erasure, which is one transaction, the account is as it was.
"""

import functools
import json
from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from accounts import closing, organisations
from accounts.models import User
from accounts.organisations import LastOwner, NotAllowed
from billing import giving, stripe_api, topup, topup_charges
from billing.anonymity import anonymous, customer_ids
from billing.bulk.orders import forget_recipient
from billing.checkout import expire_orders, expire_page
from billing.mails import tell
from billing.models import (
    BalanceAlert,
    BulkPurchase,
    Event,
    Invoice,
    Mail,
    Purchase,
    StripeCustomer,
    Subscription,
)
from billing.stripe_api import Clock, StripeRefused
from billing.subscriptions import tell_change
from credits import ledger
from outgoing import messages


class CreditsOwed(Exception):
    """The organisation owes credits."""


class CreditsHeld(Exception):
    """Credits of the organisation are held for work that is not done yet."""


class BeingHandedOut(Exception):
    """What the organisation has bought for many is not with all of them yet."""


class PaymentUnderWay(Exception):
    """A payment of the user's is not confirmed yet: its credits would come to a closed account."""


def close_account(user: User) -> None:
    """End the user's business at Stripe and erase who they were; the ledger stays.

    Nothing is erased where it raises `StaffAccount`, `LastOwner` (of an organisation),
    `PaymentUnderWay`, `StripeUnavailable`, `StripeRefused`, `ClosingInterrupted`; `AccountClosed`
    where it has been closed before.
    """
    mark = closing.begin(user)
    try:
        if organisations.owned_alone(user).exists():
            raise LastOwner
        _end_at_stripe(user, Clock())
        _erase(user, mark)
    except Exception:
        closing.give_up(user, mark)
        raise


def close_organisation(organisation_id: int, *, by: User) -> None:
    """Close an organisation's account, by an owner; its members are none from then on.

    Raises `UnknownOrganisation`, `NotAllowed`, `CreditsOwed`, `CreditsHeld`, `BeingHandedOut`, and
    what `close_account` does.
    """
    membership = organisations.membership_of(by, organisation_id)
    if not membership.is_owner:
        raise NotAllowed
    _check_settled(membership.organisation.account)
    close_account(membership.organisation.account)


def _check_settled(account: User) -> None:
    """Raise `CreditsOwed`, `CreditsHeld`, `BeingHandedOut`."""
    standing = ledger.standing(account)
    if standing.owed:
        raise CreditsOwed
    if standing.held:
        raise CreditsHeld
    delivering = BulkPurchase.objects.filter(status=BulkPurchase.Status.DELIVERING)
    if delivering.filter(organisation=account.pk).exists():
        raise BeingHandedOut


# --- At Stripe ----------------------------------------------------------------------------------


def _end_at_stripe(user: User, clock: Clock) -> None:
    client = stripe_api.client().v1
    customers = _customers(user, clock)
    for customer_id in customers:
        _close_pages(customer_id, clock)
    _check_payments(user, clock)
    for plan in Subscription.objects.filter(user=user, status__in=Subscription.LIVE):
        _done_or_gone(functools.partial(client.subscriptions.cancel, plan.stripe_id), clock)
    for customer_id in customers:
        # Takes the cards along, and a plan that we have not heard of yet.
        _done_or_gone(functools.partial(client.customers.delete, customer_id), clock)


def _customers(user: User, clock: Clock) -> list[str]:
    """The user's customer at Stripe, and those whose making was never answered."""
    row = StripeCustomer.objects.filter(user=user).first()
    if row is None:
        return []
    found = [row.stripe_id] if row.stripe_id else []
    for email in sorted({row.email, user.email} - {""}):
        ask = functools.partial(
            stripe_api.client().v1.customers.list, {"email": email, "limit": 100}
        )
        for customer in stripe_api.call(ask, clock).data:
            metadata = customer.metadata.to_dict() if customer.metadata else {}
            if metadata.get("user_id") == str(user.pk) and customer.id not in found:
                found.append(customer.id)
    return found


def _close_pages(customer_id: str, clock: Clock) -> None:
    """Expire the payment pages that are open, also those whose making was never answered."""
    sessions = stripe_api.client().v1.checkout.sessions
    ask = functools.partial(
        sessions.list, {"customer": customer_id, "status": "open", "limit": 100}
    )
    while open_pages := stripe_api.call(ask, clock).data:
        for page in open_pages:
            expire_page(page.id, clock)


def _check_payments(user: User, clock: Clock) -> None:
    """Raise `PaymentUnderWay` where one was made and is not granted yet; bank debits take days."""
    if Invoice.objects.filter(bulk__organisation=user.pk, status__in=Invoice.PAYABLE).exists():
        raise PaymentUnderWay
    sessions = stripe_api.client().v1.checkout.sessions
    waiting = Purchase.objects.filter(user=user, status__in=Purchase.WAITING)
    for purchase in waiting.exclude(stripe_session_id=None):
        look = functools.partial(sessions.retrieve, purchase.stripe_session_id or "")
        if stripe_api.call(look, clock).status == "complete":
            # Unless its webhook was faster than this loop.
            if waiting.filter(pk=purchase.pk).exists():
                raise PaymentUnderWay
        else:
            expire_orders(waiting.filter(pk=purchase.pk, status=Purchase.Status.PENDING))
    for purchase in waiting.filter(top_up__isnull=False, stripe_session_id=None):
        if not topup_charges.withdraw(purchase, clock):
            raise PaymentUnderWay


def _done_or_gone(request: Callable[[], object], clock: Clock) -> None:
    try:
        stripe_api.call(request, clock)
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise


# --- Here -----------------------------------------------------------------------------------------


@transaction.atomic
def _erase(user: User, mark: datetime) -> None:
    """Erase who the user was, unless another request was faster. Raises `ClosingInterrupted`."""
    # In the order in which webhooks lock: event, purchase; and events wait to be kept.
    StripeCustomer.objects.select_for_update(no_key=True).filter(user=user).first()
    _strip_events(user)
    expire_orders(Purchase.objects.filter(user=user, status=Purchase.Status.PENDING))
    Purchase.objects.filter(user=user).exclude(stripe_session_url="").update(stripe_session_url="")
    for plan in Subscription.objects.filter(user=user, status__in=Subscription.LIVE):
        plan.status, plan.cancel_at_period_end = "canceled", False
        plan.save(update_fields=["status", "cancel_at_period_end"])
        tell_change(plan)
    Subscription.objects.filter(user=user).update(card_brand="", card_last4="")
    locked = closing.lock(user)
    if locked.closed_at is not None:
        return
    forget_recipient(user)
    messages.forget_answers(user)
    mails = Mail.objects.filter(user=user)
    mails.filter(sent_at=None).delete()
    mails.update(context={}, error="")
    giving.cancel_all(locked)
    giving.forget(locked)
    if locked.is_organisation:
        _check_settled(locked)  # its members may have gone on until now
        tell(locked, "organisation_closed", "account", name=locked.organisation.name)
        organisations.dissolve(locked)
    else:
        # The last one: the address is in the row until it is sent, or can't be.
        tell(locked, "account_closed", "account", email=locked.email, language=locked.language)
        organisations.leave_all(locked)
    closing.erase(locked, mark)
    # Its id stays, to know by what still comes from Stripe about it.
    StripeCustomer.objects.filter(user=user).update(email="", name="")
    topup.forget(user)
    BalanceAlert.objects.update_or_create(user=user, defaults={"threshold": 0, "is_low": False})


def _strip_events(user: User) -> None:
    events = Event.objects.filter(customer_id__in=customer_ids(user)).order_by("id")
    # Not their payloads, of which there may be many: one at a time.
    for pk in list(events.values_list("pk", flat=True)):
        event = Event.objects.select_for_update(no_key=True).get(pk=pk)
        event.payload = json.dumps(anonymous(json.loads(event.payload)))
        event.save(update_fields=["payload"])
