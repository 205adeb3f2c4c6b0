"""Cards, payment intents and charges."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stripe_sandbox import events, settings, store
from stripe_sandbox.store import Object

DECLINES = {
    "4000000000000002": "Your card was declined.",
    "4000000000009995": "Your card has insufficient funds.",
    "4000000000000069": "Your card has expired.",
    "4000000000000127": "Your card's security code is incorrect.",
}
SAVED_BUT_DECLINES = "4000000000000341"
"""A card that can be saved for later, and is declined whenever it is charged."""

SAVED = {
    SAVED_BUT_DECLINES: "decline",
    "4000008260003178": "insufficient_funds",
    "4000002760003184": "authenticate",
}
"""Cards that can be saved, and how it goes when they are charged with nobody there."""

BRANDS = {"4": "visa", "5": "mastercard", "3": "amex", "6": "discover"}


class Declined(Exception):
    """The card can't pay; the message is for the buyer."""


@dataclass(frozen=True)
class Card:
    """A card as typed."""

    number: str = "4242424242424242"
    expiry: str = "12/34"
    cvc: str = "123"
    name: str = ""

    def shown(self) -> Object:
        """What a charge tells of it."""
        number, expiry = digits(self.number), digits(self.expiry)
        return {
            "brand": BRANDS.get(number[0], "unknown"),
            "exp_month": int(expiry[:2]),
            "exp_year": 2000 + int(expiry[2:]),
            "last4": number[-4:],
        }


def check(card: Card) -> None:
    """Raises `Declined` when nothing can be charged."""
    check_to_save(card)
    if declines(card):
        raise Declined("Your card was declined.")


def declines(card: Card) -> bool:
    """Whether a card that was saved won't pay when it is charged."""
    return digits(card.number) == SAVED_BUT_DECLINES


def check_to_save(card: Card) -> None:
    """Raises `Declined` when a card can't be saved for later."""
    number, expiry, cvc = digits(card.number), digits(card.expiry), card.cvc.strip()
    if not 13 <= len(number) <= 19 or not _is_luhn(number):
        raise Declined("Your card number is invalid.")
    if len(expiry) != 4 or not 1 <= int(expiry[:2]) <= 12:
        raise Declined("Your card's expiration date is incomplete: month and year, such as 12/34.")
    if f"20{expiry[2:]}{expiry[:2]}" < f"{datetime.now(UTC):%Y%m}":
        raise Declined("Your card's expiration date is in the past.")
    if not (cvc.isascii() and cvc.isdigit() and len(cvc) in {3, 4}):
        raise Declined("Your card's security code is incomplete.")
    if number in DECLINES:
        raise Declined(DECLINES[number])


def charge_of(id: str) -> Object | None:
    """The charge that paid: by its own id, its intent's, its invoice's or its session's."""
    found: Object = store.find(id) or {}
    kind = found.get("object")
    if kind == "charge":
        return found
    if kind == "payment_intent":
        return store.get("charge", found["latest_charge"] or "")
    if kind == "checkout.session":
        return charge_of(found["payment_intent"] or found.get("invoice") or "")
    for payment in store.all_of("invoice_payment", {"invoice": id}):
        return charge_of(payment["payment"]["payment_intent"])
    return None


def digits(text: str) -> str:
    return "".join(digit for digit in text if digit in "0123456789")


def _is_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def method_of(card: Object) -> Object:
    """How a charge tells that a card pays."""
    return {"type": "card", "card": card}


def keep(card: Card, customer: str) -> Object:
    """A card that is kept for later payments."""
    return store.put(
        {
            "id": store.new_id("pm"),
            "object": "payment_method",
            "billing_details": {"address": None, "email": None, "name": None, "phone": None},
            "card": card.shown() | {"display_brand": card.shown()["brand"], "funding": "credit"},
            "created": int(time.time()),
            "customer": customer,
            "livemode": False,
            "metadata": {},
            "type": "card",
            "_outcome": SAVED.get(digits(card.number), "succeed"),
        }
    )


def words(charge: Object) -> str:
    """What a charge is paid with, for people to read."""
    method = charge["payment_method_details"]
    if method["type"] == "card":
        return f"{method['card']['brand']} ending {method['card']['last4']}"
    return f"bank account ending {method[method['type']]['last4']}"


def build(
    *,
    amount: int,
    currency: str,
    customer: str | None,
    method: Object,
    metadata: Object,
    description: str | None = None,
    email: str | None = None,
) -> tuple[Object, Object]:
    """A payment intent that has succeeded, and its charge; neither is kept yet."""
    intent_id = store.new_id("pi")
    intent: Object = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": amount,
        "capture_method": "automatic_async",
        "client_secret": store.new_id(f"{intent_id}_secret"),
        "confirmation_method": "automatic",
        "created": int(time.time()),
        "currency": currency,
        "customer": customer,
        "description": description,
        "latest_charge": store.new_id("ch"),
        "livemode": False,
        "metadata": metadata,
        "payment_method_types": [method["type"]],
        "status": "succeeded",
    }
    return intent, charge_for(intent, method, email)


def charge_for(intent: Object, method: Object, email: str | None) -> Object:
    """What an intent's latest try to be paid comes to if all goes well; not kept yet."""
    return {
        "id": intent["latest_charge"],
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"],
        "amount_refunded": 0,
        "billing_details": {"email": email},
        "captured": True,
        "created": int(time.time()),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "livemode": False,
        "metadata": intent["metadata"],
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method_details": method,
        "receipt_url": f"{settings.ORIGIN}/receipts/{intent['latest_charge']}",
        "refunded": False,
        "status": "succeeded",
    }


def announce(intent: Object) -> None:
    """The event that an intent begins with, before anything was tried."""
    unpaid = {"amount_received": 0, "latest_charge": None, "status": "requires_payment_method"}
    events.emit("payment_intent.created", intent | unpaid)


def pay(*, card: Object, is_declined: bool = False, **terms: Any) -> Object:
    """A payment intent that a card pays or declines; the terms are those of `build`."""
    intent, charge = build(method=method_of(card), **terms)
    announce(intent)
    _conclude(intent, charge, is_declined=is_declined)
    return intent


def pay_again(intent: Object, *, card: Object, is_declined: bool) -> None:
    """Another charge for an intent whose last one has failed."""
    last = store.held(intent["latest_charge"])
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": store.new_id("ch"),
        "status": "succeeded",
    }
    charge = charge_for(intent, method_of(card), last["billing_details"]["email"])
    _conclude(intent, charge, is_declined=is_declined)


def _conclude(intent: Object, charge: Object, *, is_declined: bool) -> None:
    if is_declined:
        refuse(intent, charge, code="card_declined", message="Your card was declined.")
        return
    events.emit("payment_intent.succeeded", store.put(intent))
    events.emit("charge.succeeded", store.put(charge))


def refuse(
    intent: Object, charge: Object, *, code: str, message: str, decline_code: str | None = None
) -> None:
    """An attempt that fails: nothing is paid, and the intent waits for another way to pay."""
    charge |= {
        "amount_captured": 0,
        "captured": False,
        "failure_code": code,
        "failure_message": message,
        "paid": False,
        "receipt_url": None,
        "status": "failed",
    }
    method = charge["payment_method_details"]["type"]
    intent |= {
        "amount_received": 0,
        "last_payment_error": {
            "charge": charge["id"],
            "code": code,
            **({"decline_code": decline_code} if decline_code else {}),
            "message": message,
            "payment_method_type": method,
            "type": "card_error" if method == "card" else "invalid_request_error",
        },
        "latest_charge": charge["id"],
        "status": "requires_payment_method",
    }
    events.emit("charge.failed", store.put(charge))
    events.emit("payment_intent.payment_failed", store.put(intent))
