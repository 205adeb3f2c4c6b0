"""Refunds: in part or whole, and those that the buyer's bank sends back."""

import secrets
import time

from stripe_sandbox import disputes, events, lists, payments, store
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

SUPPORTED = {"amount", "charge", "expand", "metadata", "payment_intent", "reason"}


def create(params: Params) -> Object:
    unknown = set(params) - SUPPORTED
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} in a refund")
    charge = _charge(params)
    _check(charge, params.get("amount"))
    amount = params.get("amount", charge["amount"] - charge["amount_refunded"])
    refund = store.put(
        {
            "id": store.new_id("re"),
            "object": "refund",
            "amount": amount,
            "charge": charge["id"],
            "created": int(time.time()),
            "currency": charge["currency"],
            "destination_details": _destination(charge),
            "metadata": merged({}, params.get("metadata", "")),
            "payment_intent": charge["payment_intent"],
            "reason": params.get("reason"),
            "status": "succeeded",
        }
    )
    events.emit("refund.created", refund)
    _give_back(charge, amount)
    if refund["destination_details"]["type"] == "card":
        _add_reference(refund)
    return refund


def _charge(params: Params) -> Object:
    given = [name for name in ("charge", "payment_intent") if name in params]
    if not given:
        raise invalid(
            "One of the following params should be provided for this request: "
            "payment_intent or charge."
        )
    if len(given) > 1:
        raise invalid("You may only specify one of these parameters: charge, payment_intent.")
    (kind,) = given
    found = store.get(kind, params[kind])
    if found is None:
        raise missing(kind, params[kind], param=kind, status=400)
    charge = payments.charge_of(found["id"])
    if charge is None or charge["status"] != "succeeded":
        raise invalid(
            f"This PaymentIntent ({found['id']}) does not have a successful charge to refund."
            if kind == "payment_intent"
            else f"Charge {found['id']} has not succeeded: it can't be refunded."
        )
    return charge


def _check(charge: Object, amount: int | None) -> None:
    left = charge["amount"] - charge["amount_refunded"]
    if not left:
        raise invalid(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if disputes.is_charged_back(charge):
        raise invalid(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    if amount is None:
        return
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", param="amount")
    if amount > left:
        what = "unrefunded amount on charge" if charge["amount_refunded"] else "charge amount"
        raise invalid(
            f"Refund amount (${amount / 100:,.2f}) is greater than {what} (${left / 100:,.2f})",
            param="amount",
        )


def _destination(charge: Object) -> Object:
    if charge["payment_method_details"]["type"] == "card":
        return {"type": "card", "card": {"reference_status": "pending", "type": "refund"}}
    return {"type": "us_bank_transfer", "us_bank_transfer": {"reference_status": "pending"}}


def _give_back(charge: Object, amount: int) -> None:
    before = {name: charge[name] for name in ("amount_refunded", "refunded")}
    _set_refunded(charge, charge["amount_refunded"] + amount)
    changed = {name: value for name, value in before.items() if charge[name] != value}
    events.emit("charge.refunded", charge, previous=changed)


def _set_refunded(charge: Object, amount: int) -> None:
    # `refunded` is said of a charge only once all of it is.
    charge |= {"amount_refunded": amount, "refunded": amount == charge["amount"]}
    store.put(charge)


def _add_reference(refund: Object) -> None:
    """The number by which the buyer's bank finds the refund; Stripe learns it a little later."""
    before = refund["destination_details"]
    known = {
        "reference": f"{secrets.randbelow(10**23):023}",
        "reference_status": "available",
        "reference_type": "acquirer_reference_number",
        "type": "refund",
    }
    refund["destination_details"] = {"type": "card", "card": known}
    _updated(refund, {"destination_details": before})


def _updated(refund: Object, previous: Object) -> None:
    store.put(refund)
    for type in ("refund.updated", "charge.refund.updated"):  # two words for the same
        events.emit(type, refund, previous=previous)


def update(id: str, params: Params) -> Object:
    """New metadata: all that Stripe lets one change."""
    refund = _found(id)
    before = refund["metadata"]
    refund["metadata"] = merged(before, params.get("metadata", {}))
    if refund["metadata"] != before:
        _updated(refund, {"metadata": before})
    return refund


def fail(id: str) -> Object:
    """The buyer's bank sends the money back, as it may for a month: the charge is paid again."""
    refund = _found(id)
    if refund["status"] != "succeeded":
        raise invalid(f"The refund is {refund['status']}.")
    charge = store.held(refund["charge"])
    _set_refunded(charge, charge["amount_refunded"] - refund["amount"])
    before = {name: refund.get(name) for name in ("failure_reason", "status")}
    refund |= {"failure_reason": "expired_or_canceled_card", "status": "failed"}
    events.emit("refund.failed", store.put(refund))
    _updated(refund, before)
    return refund


def _found(id: str) -> Object:
    refund = store.get("refund", id)
    if refund is None:
        raise missing("refund", id)
    return refund


def refunds_of(charge_id: str) -> Object:
    """A charge's refunds, as an answer has them when asked to."""
    found = store.all_of("refund", {"charge": charge_id})
    return lists.page(found, {}, kind="refund", url=f"/v1/charges/{charge_id}/refunds")
