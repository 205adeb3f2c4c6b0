"""The control page: what is going on, and a button for all that a person may want to happen."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from stripe_sandbox import (
    buttons,
    debits,
    delivery,
    disputes,
    faults,
    intents,
    payments,
    renewals,
    store,
)
from stripe_sandbox.errors import ApiError

Body = dict[str, Any]

CARDS = payments.DECLINES | {
    number: f"It can be saved. When it is charged later: {intents.OUTCOMES[outcome].lower()}"
    for number, outcome in payments.SAVED.items()
}


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """What is going on, with the buttons that a person needs."""
    if request.method == "POST":
        try:
            told = _press(request.POST.dict())
        except (ApiError, ValueError) as problem:
            told = f"Nothing was changed. {problem}"
        store.set_setting("flash", told)
        return HttpResponseRedirect("/sandbox", status=303)
    flash = store.get_setting("flash", "")
    store.set_setting("flash", "")
    mode = delivery.mode()
    calls = store.execute("SELECT method, path, status FROM call ORDER BY n DESC LIMIT 25")
    context = {
        "flash": flash,
        "target": delivery.target()[0],
        "mode": mode["mode"],
        "mode_words": buttons.words(mode["mode"], mode.get("seconds", 0)),
        "waiting": delivery.waiting(),
        "cards": [(_grouped(number), words) for number, words in CARDS.items()],
        "routing": debits.ROUTING,
        "account": debits.ACCOUNT,
        "calls_to_fail": buttons.CALLS,
        "troubles": {name: words for name, (words, _) in buttons.TROUBLES.items()},
        "faults": [buttons.told(fault) for fault in faults.active()],
        "events": _recent_events(),
        "charges": _charges(),
        "outcomes": intents.OUTCOMES,
        "ordered": [intents.OUTCOMES[outcome] for outcome in intents.ordered_outcomes()],
        "closed": {"won", "lost", "warning_closed"},
        "inquiries": disputes.INQUIRIES,
        "subscriptions": _subscriptions(),
        "invoices": store.all_of("invoice", {"collection_method": "send_invoice"}, limit=20),
        "sessions": _sessions(),
        "calls": [{"method": m, "path": p, "status": s} for m, p, s in calls],
    }
    return render(request, "sandbox/control.html", context)


def _subscriptions() -> list[Body]:
    return [
        subscription
        | {
            "words": _words(subscription),
            "may_advance": subscription["status"] in renewals.LIVE,
            "card_declines": subscription.get("_card_declines", False),
            "invoice": _unpaid_page(subscription),
        }
        for subscription in store.all_of("subscription", limit=20)
    ]


def _words(subscription: Body) -> str:
    words: str = subscription["status"].replace("_", " ")
    if subscription["status"] == "canceled":
        return words
    words += ", ending" if subscription["cancel_at"] else ""
    return words + (", its card declines" if subscription.get("_card_declines") else "")


def _unpaid_page(subscription: Body) -> str | None:
    invoice = store.held(subscription["latest_invoice"])
    page: str = invoice["hosted_invoice_url"]
    return page if invoice["status"] == "open" else None


def _sessions() -> list[Body]:
    sessions = store.all_of("checkout.session", limit=20)
    return [session | {"is_waiting": _is_waiting(session)} for session in sessions]


def _is_waiting(session: Body) -> bool:
    intent = store.get("payment_intent", session["payment_intent"] or "")
    return intent is not None and intent["status"] == "processing"


def _charges() -> list[Body]:
    return [
        charge
        | {
            "is_processed": _is_processed(charge),
            "left": charge["amount"] - charge["amount_refunded"],
            "disputes": disputes.disputes_of(charge),
            "refunds": store.all_of("refund", {"charge": charge["id"]}),
        }
        for charge in store.all_of("charge", limit=20)
    ]


def _is_processed(charge: Body) -> bool:
    """Whether it is a saved card's that waits; a bank debit waits at its payment page."""
    is_card: bool = charge["payment_method_details"]["type"] == "card"
    return is_card and charge["status"] == "pending"


def _grouped(number: str) -> str:
    return " ".join(number[place : place + 4] for place in range(0, len(number), 4))


def _recent_events() -> list[Body]:
    deliveries = delivery.told()
    recent = []
    for event in store.all_of("event", limit=40):
        found = deliveries.get(event["id"], {"due": None, "answers": []})
        recent.append(
            {
                "id": event["id"],
                "type": event["type"],
                "created": event["created"],
                "answers": [status or "no answer" for status in found["answers"]],
                "is_waiting": found["due"] is not None,
            }
        )
    return recent


def _press(form: dict[str, str]) -> str:
    if form.get("wish") != "deliver":
        return buttons.press(form)
    # Not in a transaction: the receiver calls back before it answers.
    status = delivery.deliver_again(form.get("id", ""))
    return f"{form['id']} was delivered again: {status or 'no answer'}."
