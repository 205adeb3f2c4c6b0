"""Bank debits: the order is complete at once, and whether it is paid turns out days later."""

from dataclasses import dataclass
from typing import Any

from stripe_sandbox import events, payments, store
from stripe_sandbox.payments import Declined, digits
from stripe_sandbox.store import Object

TYPE = "us_bank_account"

ROUTING, ACCOUNT = "110000000", "000123456789"
"""The account that Stripe's own test mode has."""


@dataclass(frozen=True)
class Account:
    """A bank account as typed."""

    number: str = ACCOUNT
    routing: str = ROUTING
    name: str = ""


def check(account: Account) -> None:
    """Raises `Declined` when there can be no such account."""
    if len(digits(account.routing)) != 9:
        raise Declined("Your routing number has nine digits.")
    if not 4 <= len(digits(account.number)) <= 17:
        raise Declined("Your account number is invalid.")


def start(account: Account, **terms: Any) -> Object:
    """A payment intent that is being processed; the terms are those of `payments.build`."""
    details = {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "last4": digits(account.number)[-4:],
        "routing_number": digits(account.routing),
    }
    intent, charge = payments.build(method={"type": TYPE, TYPE: details}, **terms)
    payments.announce(intent)
    intent |= {"amount_received": 0, "status": "processing"}
    charge |= {"paid": False, "status": "pending"}
    events.emit("charge.pending", store.put(charge))
    events.emit("payment_intent.processing", store.put(intent))
    return intent


def succeed(intent: Object) -> None:
    charge = store.held(intent["latest_charge"]) | {"paid": True, "status": "succeeded"}
    intent |= {"amount_received": intent["amount"], "status": "succeeded"}
    events.emit("charge.succeeded", store.put(charge))
    events.emit("payment_intent.succeeded", store.put(intent))


def fail(intent: Object) -> None:
    payments.refuse(
        intent,
        store.held(intent["latest_charge"]),
        code="insufficient_funds",
        message="The customer's account has insufficient funds to cover this payment.",
    )
