"""What the months bring: renewals that are paid, and those that fail until the card is mended."""

import math

from stripe_sandbox import customers, events, invoices, payments, store, subscriptions
from stripe_sandbox.errors import invalid, missing
from stripe_sandbox.payments import Card
from stripe_sandbox.store import Object

LIVE = {"active", "past_due"}
"""Subscriptions that renew."""

OUTCOMES = {"canceled", "unpaid"}
"""What can be set to become of a subscription whose last retry has failed."""


def set_card(subscription: Object, card: Card) -> Object:
    """The card that pays from now on. What is owed waits for the next try, or for its page.

    Raises `payments.Declined` for a card that can't even be saved.
    """
    payments.check_to_save(card)
    before = {"default_payment_method": subscription.get("default_payment_method")}
    subscription |= {
        "default_payment_method": payments.keep(card, subscription["customer"])["id"],
        "_card": card.shown(),
        "_card_declines": payments.declines(card),
    }
    events.emit("customer.subscription.updated", store.put(subscription), previous=before)
    return subscription


def advance(id: str) -> Object:
    """A month goes by: the subscription renews, paid or past due, or ends if it was to."""
    subscription = subscriptions.found(id)
    _check_status(subscription, LIVE)
    item = subscription["items"]["data"][0]
    if (subscription["cancel_at"] or math.inf) <= item["current_period_end"]:
        return subscriptions.end(subscription, at=subscription["cancel_at"])
    before = {name: subscription[name] for name in ("latest_invoice", "status")}
    period = item["current_period_start"], item["current_period_end"]
    before["items"] = {"data": [dict(item)]}
    item["current_period_start"] = period[1]
    item["current_period_end"] = subscriptions.next_month(
        period[1], subscription["billing_cycle_anchor"]
    )
    invoice = invoices.open_(subscription, "subscription_cycle", period)
    is_paid = _charge(subscription, invoice, tries=1)
    subscription |= {
        "latest_invoice": invoice["id"],
        "status": "active" if is_paid else "past_due",
    }
    _updated(subscription, before)
    return subscription


def _check_status(subscription: Object, statuses: set[str]) -> None:
    if subscription["status"] not in statuses:
        raise invalid(f"The subscription is {subscription['status']}.")


def _charge(subscription: Object, invoice: Object, *, tries: int) -> bool:
    return invoices.charge(
        invoice,
        subscription["_card"],
        is_declined=subscription.get("_card_declines", False),
        tries=tries,
    )


def _updated(subscription: Object, before: Object) -> None:
    store.put(subscription)
    previous = {name: value for name, value in before.items() if subscription[name] != value}
    events.emit("customer.subscription.updated", subscription, previous=previous)


def retry(id: str) -> Object:
    """Stripe tries again to be paid the latest month; when the last try fails, the subscription
    ends."""
    subscription, invoice = _owed(id)
    if _charge(subscription, invoice, tries=invoice["attempt_count"] + 1):
        _set_status(subscription, "active")
    elif invoice["next_payment_attempt"] is None:
        subscriptions.end(subscription, reason="payment_failed")
    return subscription


def give_up(id: str, outcome: str = "canceled") -> Object:
    """The rest of the tries have failed, up to the last: the subscription ends, or is unpaid."""
    if outcome not in OUTCOMES:
        raise ValueError(f"It becomes one of {', '.join(sorted(OUTCOMES))}.")
    subscription, invoice = _owed(id)
    invoices.charge(invoice, subscription["_card"], is_declined=True, tries=invoices.TRIES)
    if outcome == "canceled":
        return subscriptions.end(subscription, reason="payment_failed")
    _set_status(subscription, outcome)
    return subscription


def _owed(id: str) -> tuple[Object, Object]:
    subscription = subscriptions.found(id)
    _check_status(subscription, {"past_due"})
    return subscription, store.held(subscription["latest_invoice"])


def _set_status(subscription: Object, status: str) -> None:
    before = {"status": subscription["status"]}
    subscription["status"] = status
    _updated(subscription, before)


def pay(invoice_id: str, card: Card) -> Object:
    """Pay an open or written off invoice on its page, by a card that pays only this once.

    The latest one mends its subscription; an ended subscription stays ended. Raises
    `payments.Declined`.
    """
    invoice = store.get("invoice", invoice_id)
    if invoice is None:
        raise missing("invoice", invoice_id)
    if invoice["status"] not in {"open", "uncollectible"}:
        return invoice
    customers.alive(invoice["customer"])
    payments.check(card)
    # What isn't Stripe's own try is not counted as one.
    invoices.charge(invoice, card.shown(), is_declined=False, tries=invoice["attempt_count"])
    if invoice["parent"] is None:
        return invoice
    owner = subscriptions.found(invoice["parent"]["subscription_details"]["subscription"])
    is_latest = owner["latest_invoice"] == invoice_id
    if is_latest and owner["status"] in {"past_due", "unpaid"}:
        _set_status(owner, "active")
    return invoice
