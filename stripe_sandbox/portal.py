"""The customer portal: its sessions, and what one can do in it."""

import time

from stripe_sandbox import customers, payments, renewals, settings, store, subscriptions
from stripe_sandbox.errors import invalid, unsupported
from stripe_sandbox.params import Params
from stripe_sandbox.payments import Card
from stripe_sandbox.store import Object

LIFETIME = 3600
"""Seconds that a portal session's link can be used."""


def create(params: Params) -> Object:
    unknown = set(params) - {"customer", "return_url", "expand", "locale"}
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} in the portal")
    if "customer" not in params:
        raise invalid(
            "Missing required param: customer.", param="customer", code="parameter_missing"
        )
    customer = customers.alive(params["customer"])
    if not params.get("return_url", "https://").startswith(("http://", "https://")):
        raise invalid("Not a valid URL", param="return_url", code="url_invalid")
    session_id = store.new_id("bps")
    return store.put(
        {
            "id": session_id,
            "object": "billing_portal.session",
            "configuration": "bpc_sandbox",
            "created": int(time.time()),
            "customer": customer["id"],
            "livemode": False,
            "locale": params.get("locale"),
            "return_url": params.get("return_url"),
            "url": f"{settings.ORIGIN}/p/session/{session_id}",
        }
    )


def is_open(session: Object) -> bool:
    """Whether the link is young enough, and its customer still there."""
    is_gone = store.held(session["customer"]).get("deleted", False)
    return not is_gone and bool(session["created"] + LIFETIME > time.time())


def subscriptions_of(session: Object) -> list[Object]:
    return store.all_of("subscription", {"customer": session["customer"]})


def invoices_of(session: Object) -> list[Object]:
    return store.all_of("invoice", {"customer": session["customer"]})


def set_ending(session: Object, subscription_id: str, *, ends: bool) -> None:
    """Cancel one of the customer's subscriptions at its period's end, or resume it."""
    if any(
        subscription["id"] == subscription_id and subscription["status"] != "canceled"
        for subscription in subscriptions_of(session)
    ):
        change = {"cancel_at_period_end": True} if ends else {"cancel_at": ""}
        subscriptions.update(subscription_id, change)


def set_card(session: Object, card: Card) -> None:
    """The card that pays all that the customer subscribes to. What is owed waits for the next try.

    Raises `payments.Declined`.
    """
    payments.check_to_save(card)
    for subscription in subscriptions_of(session):
        if subscription["status"] != "canceled":
            renewals.set_card(subscription, card)
