"""Saved cards: kept for a customer by a Checkout Session in setup mode, and let go."""

import time

from stripe_sandbox import events, payments, store
from stripe_sandbox.errors import invalid, missing
from stripe_sandbox.params import Params
from stripe_sandbox.payments import Card
from stripe_sandbox.store import Object


def set_up(card: Card, customer: str, metadata: Object) -> Object:
    """A card that its owner has agreed to be charged later; answers the setup intent.

    Raises `payments.Declined`.
    """
    payments.check_to_save(card)
    method = payments.keep(card, customer)
    setup_id = store.new_id("seti")
    setup: Object = {
        "id": setup_id,
        "object": "setup_intent",
        "client_secret": store.new_id(f"{setup_id}_secret"),
        "created": int(time.time()),
        "customer": customer,
        "livemode": False,
        "metadata": metadata,
        "payment_method": method["id"],
        "payment_method_types": ["card"],
        "status": "succeeded",
        "usage": "off_session",
    }
    events.emit("payment_method.attached", method)
    events.emit("setup_intent.created", store.put(setup))
    events.emit("setup_intent.succeeded", setup)
    return setup


def detach(id: str, params: Params) -> Object:
    method = store.get("payment_method", id)
    if method is None:
        raise missing("PaymentMethod", id, param="payment_method")
    if method["customer"] is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible.",
            param="payment_method",
        )
    before = {"customer": method["customer"]}
    events.emit("payment_method.detached", store.put(method | {"customer": None}), previous=before)
    return method | {"customer": None}


def let_go(customer: str) -> None:
    """The cards of a customer who is deleted can't be charged any more."""
    for method in store.all_of("payment_method", {"customer": customer}):
        store.put(method | {"customer": None})
