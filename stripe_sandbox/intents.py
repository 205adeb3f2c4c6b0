"""Payment intents made over the API: charged to a card that was saved, with nobody there to ask."""

import time

from stripe_sandbox import customers, events, payments, shapes, store
from stripe_sandbox.errors import ApiError, invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

MINIMUM, MAXIMUM = 50, 99_999_999
"""What can be charged, in minor units."""

OUTCOMES = {
    "succeed": "It is paid.",
    "decline": "The card is declined.",
    "insufficient_funds": "The card has insufficient funds.",
    "authenticate": "The bank wants its customer to authenticate.",
    "process": "It is being processed until you say how it ends.",
}
"""How a charge can go, as ordered or as the card brings it about."""

_REFUSALS = {
    "decline": ("card_declined", "generic_decline", "Your card was declined."),
    "insufficient_funds": (
        "card_declined",
        "insufficient_funds",
        "Your card has insufficient funds.",
    ),
    "authenticate": (
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}

SUPPORTED = {
    "allowed_payment_method_types", "amount", "confirm", "currency", "customer", "description",
    "expand", "metadata", "off_session", "payment_method",
}  # fmt: skip

CONFIRMABLE = {"requires_confirmation", "requires_payment_method"}


def create(params: Params) -> Object | ApiError:
    unknown = set(params) - SUPPORTED
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} in a payment intent")
    if params["currency"].lower() != "usd":
        raise unsupported(f"the currency {params['currency']}")
    if params.get("allowed_payment_method_types", ["card"]) != ["card"]:
        raise unsupported("payment intents that are not paid by card")
    if "off_session" in params and not params.get("confirm"):
        raise invalid("You must set `confirm` to true to use `off_session`.", param="off_session")
    if params["amount"] < MINIMUM:
        raise invalid("Amount must be at least $0.50 usd", param="amount", code="amount_too_small")
    if params["amount"] > MAXIMUM:
        raise invalid(
            "Amount must be no more than $999,999.99", param="amount", code="amount_too_large"
        )
    customer = customers.alive(params["customer"])["id"] if "customer" in params else None
    method = _method(params["payment_method"], customer) if "payment_method" in params else None
    intent, _ = payments.build(
        amount=params["amount"],
        currency="usd",
        customer=customer,
        method=payments.method_of({}),
        metadata=merged({}, params.get("metadata", "")),
        description=params.get("description"),
    )
    intent |= {
        "amount_received": 0,
        "latest_charge": None,
        "payment_method": method["id"] if method else None,
        "status": "requires_confirmation" if method else "requires_payment_method",
    }
    events.emit("payment_intent.created", store.put(intent))
    return _confirm(intent, params) if params.get("confirm") else intent


def _method(id: str, customer: str | None) -> Object:
    found = store.get("payment_method", id)
    if found is None:
        raise missing("PaymentMethod", id, param="payment_method", status=400)
    if found["customer"] is None or found["customer"] != customer:
        raise invalid(
            "The customer does not have a payment method with the ID "
            f"{id}. The payment method must be attached to the customer.",
            param="payment_method",
            code="resource_missing" if found["customer"] else "payment_method_unexpected_state",
        )
    return found


def confirm(id: str, params: Params) -> Object | ApiError:
    unknown = set(params) - {"expand", "off_session", "payment_method"}
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} in a confirmation")
    intent = _found(id)
    if intent["status"] not in CONFIRMABLE:
        raise _unexpected(intent, "confirm")
    return _confirm(intent, params)


def _confirm(intent: Object, params: Params) -> Object | ApiError:
    """Charge the card. A refusal is answered as an error, and what was tried stays on record."""
    method_id = params.get("payment_method") or intent["payment_method"]
    if method_id is None:
        raise invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    if intent["customer"]:
        customers.alive(intent["customer"])
    method = _method(method_id, intent["customer"])
    outcome = _next_outcome() or method.get("_outcome", "succeed")
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": store.new_id("ch"),
        "payment_method": method["id"],
        "status": "succeeded",
    }
    charge = payments.charge_for(intent, payments.method_of(_shown(method)), None)
    if outcome in _REFUSALS:
        return _refused(intent, charge, method, outcome)
    if outcome == "process":
        intent |= {"amount_received": 0, "status": "processing"}
        charge |= {"paid": False, "status": "pending"}
        events.emit("charge.pending", store.put(charge))
        events.emit("payment_intent.processing", store.put(intent))
    else:
        events.emit("payment_intent.succeeded", store.put(intent))
        events.emit("charge.succeeded", store.put(charge))
    return intent


def _refused(intent: Object, charge: Object, method: Object, outcome: str) -> ApiError:
    code, decline_code, message = _REFUSALS[outcome]
    payments.refuse(intent, charge, code=code, message=message, decline_code=decline_code)
    return ApiError(
        402,
        message,
        type="card_error",
        code=code,
        about={
            "charge": charge["id"],
            "decline_code": decline_code,
            "payment_intent": shapes.public(intent),
            "payment_method": shapes.public(method),
        },
    )


def _shown(method: Object) -> Object:
    return {name: method["card"][name] for name in ("brand", "exp_month", "exp_year", "last4")}


def cancel(id: str, params: Params) -> Object:
    intent = _found(id)
    if intent["status"] not in CONFIRMABLE:
        raise _unexpected(intent, "cancel")
    intent |= {
        "canceled_at": int(time.time()),
        "cancellation_reason": params.get("cancellation_reason"),
        "status": "canceled",
    }
    events.emit("payment_intent.canceled", store.put(intent))
    return intent


def settle(id: str, *, is_paid: bool) -> Object:
    """What a charge that is being processed comes to in the end."""
    intent = _found(id)
    if intent["status"] != "processing":
        raise _unexpected(intent, "settle")
    charge = store.held(intent["latest_charge"])
    if is_paid:
        intent |= {"amount_received": intent["amount"], "status": "succeeded"}
        events.emit("payment_intent.succeeded", store.put(intent))
        events.emit("charge.succeeded", store.put(charge | {"paid": True, "status": "succeeded"}))
    else:
        code, decline_code, message = _REFUSALS["decline"]
        payments.refuse(intent, charge, code=code, message=message, decline_code=decline_code)
    return intent


def _found(id: str) -> Object:
    intent = store.get("payment_intent", id)
    if intent is None:
        raise missing("payment_intent", id, param="intent")
    return intent


def _unexpected(intent: Object, verb: str) -> ApiError:
    return ApiError(
        400,
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        about={"payment_intent": shapes.public(intent)},
    )


# --- How the next ones go -------------------------------------------------------------------------


def order_outcomes(outcomes: list[str]) -> None:
    """How the next charges go, in turn, whatever their cards say. Raises `ValueError`."""
    if not set(outcomes) <= set(OUTCOMES):
        raise ValueError(f"A charge goes one of these ways: {', '.join(OUTCOMES)}.")
    store.set_setting("outcomes", outcomes)


def ordered_outcomes() -> list[str]:
    found: list[str] = store.get_setting("outcomes", [])
    return found


def _next_outcome() -> str | None:
    ordered = ordered_outcomes()
    if not ordered:
        return None
    store.set_setting("outcomes", ordered[1:])
    return ordered[0]
