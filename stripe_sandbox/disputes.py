"""Disputes: opened by a buyer's bank, won, lost or withdrawn. Inquiries move no money."""

import time

from stripe_sandbox import events, store
from stripe_sandbox.errors import invalid, missing
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object

FEE = 1500
"""Cents that Stripe takes for a dispute, won or lost."""

TO_ANSWER = 7 * 24 * 3600
"""Seconds."""

REASONS = {
    "duplicate", "fraudulent", "general", "product_not_received", "product_unacceptable",
    "subscription_canceled", "unrecognized",
}  # fmt: skip

OPEN = {"needs_response", "under_review"}
INQUIRIES = {"warning_needs_response", "warning_under_review"}


def open_(
    charge: Object,
    *,
    status: str = "needs_response",
    amount: int | None = None,
    reason: str = "fraudulent",
) -> Object:
    """A buyer's bank takes a payment back, or (`warning_needs_response`) only asks about it."""
    _check(charge, status, amount, reason)
    now = int(time.time())
    is_inquiry = status in INQUIRIES
    card = charge["payment_method_details"]["card"]
    dispute: Object = {
        "id": store.new_id("du"),
        "object": "dispute",
        "amount": amount or charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + TO_ANSWER,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": is_inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "type": "card",
            "card": {
                "brand": card["brand"],
                "case_type": "inquiry" if is_inquiry else "chargeback",
                "network": card["brand"],
            },
        },
        "reason": reason,
        "status": status,
    }
    store.put(charge | {"disputed": True})
    events.emit("charge.dispute.created", store.put(dispute))
    if not is_inquiry:
        _withdraw_funds(dispute)
    return dispute


def _check(charge: Object, status: str, amount: int | None, reason: str) -> None:
    if status not in {"needs_response", "warning_needs_response"}:
        raise invalid("A dispute begins as needs_response or warning_needs_response.")
    if reason not in REASONS:
        raise invalid(f"The reasons are {', '.join(sorted(REASONS))}.")
    if charge["payment_method_details"]["type"] != "card" or charge["status"] != "succeeded":
        raise invalid("Only what a card has paid can be disputed here.")
    if amount is not None and not 1 <= amount <= charge["amount"]:
        raise invalid("No more than the charge's amount can be disputed.")
    if any(found["status"] in OPEN | INQUIRIES | {"lost"} for found in disputes_of(charge)):
        raise invalid(f"Charge {charge['id']} is disputed already.")


def disputes_of(charge: Object) -> list[Object]:
    return store.all_of("dispute", {"charge": charge["id"]})


def is_charged_back(charge: Object) -> bool:
    """Whether a bank holds the money, so that it can't be refunded as well."""
    return any(found["status"] in OPEN | {"lost"} for found in disputes_of(charge))


def _withdraw_funds(dispute: Object) -> None:
    _move(dispute, -dispute["amount"], fee=FEE)
    events.emit("charge.dispute.funds_withdrawn", store.put(dispute))


def _move(dispute: Object, amount: int, *, fee: int) -> None:
    now = int(time.time())
    is_back = amount > 0
    what = "reversal" if is_back else "withdrawal"
    fees = {
        "amount": fee,
        "currency": dispute["currency"],
        "description": "Dispute fee",
        "type": "stripe_fee",
    }
    moved = {
        "id": store.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": dispute["currency"],
        "description": f"Chargeback {what} for {dispute['charge']}",
        "fee": fee,
        "fee_details": [fees] if fee else [],
        "net": amount - fee,
        "reporting_category": "dispute_reversal" if is_back else "dispute",
        "source": dispute["id"],
        "status": "available",
        "type": "adjustment",
    }
    # A list anew: what an event has told must not change under it.
    dispute["balance_transactions"] = [*dispute["balance_transactions"], moved]


def submit(id: str) -> Object:
    """The shop sends its evidence; the bank looks into it."""
    dispute = _found(id)
    if dispute["status"] not in {"needs_response", "warning_needs_response"}:
        raise invalid(f"The dispute is {dispute['status']}.")
    before = {name: dispute[name] for name in ("evidence_details", "status")}
    dispute["status"] = dispute["status"].replace("needs_response", "under_review")
    dispute["evidence_details"] = dispute["evidence_details"] | {
        "has_evidence": True,
        "submission_count": 1,
        "submission_method": "manual",
    }
    events.emit("charge.dispute.updated", store.put(dispute), previous=before)
    return dispute


def escalate(id: str) -> Object:
    """The bank isn't content with an inquiry and takes the money."""
    dispute = _found(id)
    if dispute["status"] not in INQUIRIES:
        raise invalid(f"The dispute is {dispute['status']}: only an inquiry can be escalated.")
    before = {name: dispute[name] for name in ("is_charge_refundable", "status")}
    dispute |= {"is_charge_refundable": False, "status": "needs_response"}
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    events.emit("charge.dispute.updated", store.put(dispute), previous=before)
    _withdraw_funds(dispute)
    return dispute


def win(id: str) -> Object:
    """The bank decides for the shop, which it does only on evidence."""
    dispute = _found(id)
    if dispute["status"] in {"needs_response", "warning_needs_response"}:
        dispute = submit(id)
    return _end_well(dispute)


def withdraw(id: str) -> Object:
    """The buyer takes the dispute back."""
    return _end_well(_found(id))


def _end_well(dispute: Object) -> Object:
    if dispute["status"] in INQUIRIES:
        return _close(dispute, "warning_closed")
    _close(dispute, "won")
    _move(dispute, dispute["amount"], fee=0)
    events.emit("charge.dispute.funds_reinstated", store.put(dispute))
    return dispute


def lose(id: str) -> Object:
    """The bank decides for the buyer, or nobody answered it in time."""
    dispute = _found(id)
    if dispute["status"] in INQUIRIES:
        raise invalid("An inquiry has no loser: the bank escalates it, or it is closed.")
    return _close(dispute, "lost")


def close(id: str, params: Params) -> Object:
    """Over the API, the shop gives in."""
    return lose(id)


def _close(dispute: Object, status: str) -> Object:
    if dispute["status"] not in OPEN | INQUIRIES:
        raise invalid(f"The dispute is {dispute['status']}.")
    before = {"status": dispute["status"]}
    dispute |= {"status": status, "is_charge_refundable": status != "lost"}
    events.emit("charge.dispute.closed", store.put(dispute), previous=before)
    return dispute


def _found(id: str) -> Object:
    dispute = store.get("dispute", id)
    if dispute is None:
        raise missing("dispute", id)
    return dispute
