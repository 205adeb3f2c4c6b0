"""Cards, payment intents and charges."""

import time

from stripe_sandbox import events, settings, store
from stripe_sandbox.errors import missing
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object

DECLINES = {
    "4000000000000002": ("card_declined", "Your card was declined."),
    "4000000000009995": ("insufficient_funds", "Your card has insufficient funds."),
    "4000000000000069": ("expired_card", "Your card has expired."),
    "4000000000000127": ("incorrect_cvc", "Your card's security code is incorrect."),
}
BRANDS = {"4": "visa", "5": "mastercard", "3": "amex", "6": "discover"}


class Declined(Exception):
    """The bank said no; the message is for the buyer."""


def card_of(number: str) -> Object:
    """The card behind a number as typed. Raises `Declined`: nothing is charged."""
    digits = "".join(digit for digit in number if digit in "0123456789")
    if not 13 <= len(digits) <= 19 or not _is_luhn(digits):
        raise Declined("Your card number is invalid.")
    if digits in DECLINES:
        raise Declined(DECLINES[digits][1])
    return {"brand": BRANDS.get(digits[0], "unknown"), "last4": digits[-4:]}


def _is_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def pay(
    *,
    amount: int,
    currency: str,
    customer: str | None,
    card: Object,
    metadata: Object,
    description: str | None = None,
) -> Object:
    """A payment intent that has succeeded, with its charge."""
    now = int(time.time())
    intent_id, charge_id = store.new_id("pi"), store.new_id("ch")
    intent: Object = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_received": amount,
        "capture_method": "automatic_async",
        "client_secret": store.new_id(f"{intent_id}_secret"),
        "created": now,
        "currency": currency,
        "customer": customer,
        "description": description,
        "latest_charge": charge_id,
        "livemode": False,
        "metadata": metadata,
        "payment_method_types": ["card"],
        "status": "succeeded",
    }
    charge: Object = {
        "id": charge_id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": 0,
        "captured": True,
        "created": now,
        "currency": currency,
        "customer": customer,
        "description": description,
        "disputed": False,
        "livemode": False,
        "metadata": metadata,
        "paid": True,
        "payment_intent": intent_id,
        "payment_method_details": {"type": "card", "card": card},
        "receipt_url": f"{settings.ORIGIN}/receipts/{charge_id}",
        "refunded": False,
        "status": "succeeded",
    }
    events.emit("payment_intent.created", intent | {"status": "requires_payment_method"})
    events.emit("payment_intent.succeeded", store.put(intent))
    events.emit("charge.succeeded", store.put(charge))
    return intent


def retrieve_intent(id: str, params: Params) -> Object:
    intent = store.get("payment_intent", id)
    if intent is None:
        raise missing("payment_intent", id, param="intent")
    return intent


def retrieve_charge(id: str, params: Params) -> Object:
    charge = store.get("charge", id)
    if charge is None:
        raise missing("charge", id, param="charge")
    return charge
