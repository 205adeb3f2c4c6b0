"""What the control page's buttons do, each by its name, and the sentence that tells it."""

import re
from collections.abc import Callable
from typing import Any

from stripe_sandbox import (
    checkout,
    delivery,
    disputes,
    faults,
    intents,
    passing,
    payments,
    refunds,
    renewals,
    store,
    subscriptions,
    terms,
)
from stripe_sandbox.payments import Card
from stripe_sandbox.tags import money

Form = dict[str, str]

CALLS = {
    "/v1/customers": "Customers",
    "/v1/checkout/sessions": "Checkout Sessions",
    "/v1/billing_portal/sessions": "Portal sessions",
    "/v1/payment_intents": "Payments with a saved card",
    "/v1/refunds": "Refunds",
    "/v1/products": "Products",
    "/v1/subscriptions": "Subscription changes",
    "/v1/invoices": "Invoices",
}

NEWS = {"active": "has renewed", "past_due": "is past due", "canceled": "has ended"}

TROUBLES: dict[str, tuple[str, dict[str, Any]]] = {
    "hang": ("Hang for 30 seconds, then hang up", {"kind": "hang", "seconds": 30}),
    "slow": ("Take 3 seconds to answer", {"kind": "slow", "seconds": 3}),
    "500": ("Answer 500", {"kind": "error", "status": 500}),
    "429": ("Answer 429, too many requests", {"kind": "error", "status": 429}),
    "lose_reply": ("Do the work and lose the reply", {"kind": "lose_reply"}),
    "reset": ("Hang up at once", {"kind": "reset"}),
}


def press(form: Form) -> str:
    """Do what a button says, and say what was done. Raises `ValueError` and `ApiError`."""
    wish = form.get("wish", "")
    with store.transaction():
        if wish in WISHES:
            return WISHES[wish](form)
        seconds = float(_whole(form, "seconds", 1, 86400)) if wish == "delayed" else 0.0
        delivery.set_mode(wish, seconds)
        return words(wish, seconds)


def words(mode: str, seconds: float) -> str:
    """How events are delivered."""
    if mode == "delayed":
        return f"Events go out {seconds:g} second{'' if seconds == 1 else 's'} late."
    return delivery.MODES[mode]


def told(fault: faults.Fault) -> str:
    """A fault in words."""
    call = CALLS.get(fault["path"], fault["path"])
    words = {
        "error": f"answer {fault['status']}",
        "hang": f"hang for {fault['seconds']:g} seconds",
        "slow": f"take {fault['seconds']:g} seconds",
        "lose_reply": "do the work and lose the reply",
        "reset": "hang up at once",
    }[fault["kind"]]
    times = "once" if fault["times"] == 1 else f"{fault['times']} times"
    return f"{call} ({fault['method']}) will {words}, {times}."


def _let_pass(form: Form) -> str:
    hours = _whole(form, "hours", 1, passing.MOST_HOURS)
    passing.pass_(hours)
    return "An hour has gone by." if hours == 1 else f"{hours} hours have gone by."


def _advance(form: Form) -> str:
    found = renewals.advance(_id(form))
    return f"A month has gone by: {found['id']} {NEWS[found['status']]}."


def _card(form: Form) -> str:
    is_good = form.get("card") == "good"
    card = Card() if is_good else Card(number=payments.SAVED_BUT_DECLINES)
    found = renewals.set_card(subscriptions.found(_id(form)), card)
    what = "can be paid" if is_good else "is declined from now on"
    return f"The card of {found['id']} {what}."


def _retry(form: Form) -> str:
    found = renewals.retry(_id(form))
    return f"Stripe has tried again: {found['id']} {NEWS[found['status']]}."


def _give_up(form: Form) -> str:
    found = renewals.give_up(_id(form), form.get("outcome", ""))
    return f"The last try has failed: {found['id']} is {found['status']}."


def _void(form: Form) -> str:
    return f"The invoice {terms.void(_id(form), {})['number']} is void."


def _write_off(form: Form) -> str:
    return f"The invoice {terms.mark_uncollectible(_id(form), {})['number']} is written off."


def _expire(form: Form) -> str:
    return f"The payment page {checkout.expire(_id(form), {})['id']} has expired."


def _succeed(form: Form) -> str:
    return f"The bank has paid {checkout.settle(_id(form), is_paid=True)['id']}."


def _fail(form: Form) -> str:
    return f"The bank doesn't pay {checkout.settle(_id(form), is_paid=False)['id']}."


def _order_outcome(form: Form) -> str:
    outcome = form.get("outcome", "")
    intents.order_outcomes([outcome] * _whole(form, "times", 1, 99))
    return f"Ordered for the next charge of a saved card: {intents.OUTCOMES[outcome]}"


def _settle_intent(form: Form) -> str:
    intent = intents.settle(_id(form), is_paid=form.get("outcome") == "paid")
    return (
        f"The payment {intent['id']} {'is paid' if intent['status'] == 'succeeded' else 'failed'}."
    )


def _refund(form: Form) -> str:
    refund = refunds.create({"charge": _id(form), **_amount(form)})
    return f"{money(refund['amount'])} of {refund['charge']} were refunded."


def _fail_refund(form: Form) -> str:
    refund = refunds.fail(_id(form))
    return f"The refund of {money(refund['amount'])} failed: {refund['charge']} is paid again."


def _dispute(form: Form) -> str:
    status = form.get("status", "")
    dispute = disputes.open_(_paid(form), status=status)
    return f"{dispute['charge']} is disputed: {dispute['id']}, {status}."


def _paid(form: Form) -> dict[str, Any]:
    charge = store.get("charge", _id(form))
    if charge is None:
        raise ValueError(f"There is no charge {_id(form)}.")
    return charge


def _settle(outcome: Callable[[str], dict[str, Any]]) -> Callable[[Form], str]:
    def run(form: Form) -> str:
        dispute = outcome(_id(form))
        return f"The dispute {dispute['id']} is {dispute['status']} now."

    return run


def _clear(form: Form) -> str:
    faults.clear()
    return "All faults are cleared."


def _order_fault(form: Form) -> str:
    path, trouble = form.get("call", ""), form.get("trouble", "")
    if path not in CALLS or trouble not in TROUBLES:
        raise ValueError("Choose a call and what is to happen to it.")
    fault = {"method": "POST", "path": path, "times": _whole(form, "times", 1, 99)}
    fault |= TROUBLES[trouble][1]
    faults.add(fault)
    return f"Ordered: {told(faults.active()[-1])}"


def _id(form: Form) -> str:
    return form.get("id", "")


def _amount(form: Form) -> dict[str, int]:
    """Dollars as a person types them, in cents; nothing stands for all of it."""
    text = form.get("amount", "").strip().removeprefix("$").replace(",", "")
    if not text:
        return {}
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{2})?", text):
        raise ValueError("Give the amount in dollars, such as 2.50, or leave it empty for all.")
    return {"amount": round(float(text) * 100)}


def _whole(form: Form, name: str, least: int, most: int) -> int:
    text = form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise ValueError(f"Give {name} as a whole number from {least} to {most}.")
    return int(text)


WISHES: dict[str, Callable[[Form], str]] = {
    "pass": _let_pass,
    "advance": _advance,
    "card": _card,
    "retry": _retry,
    "give up": _give_up,
    "void": _void,
    "write off": _write_off,
    "expire": _expire,
    "succeed": _succeed,
    "fail": _fail,
    "outcome": _order_outcome,
    "settle": _settle_intent,
    "refund": _refund,
    "fail refund": _fail_refund,
    "dispute": _dispute,
    "submit": _settle(disputes.submit),
    "escalate": _settle(disputes.escalate),
    "win": _settle(disputes.win),
    "lose": _settle(disputes.lose),
    "withdraw": _settle(disputes.withdraw),
    "fault": _order_fault,
    "clear": _clear,
}
