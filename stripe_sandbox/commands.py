"""The control API, for tests: JSON in, JSON out. Loopback only, no keys."""

import json
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from stripe_sandbox import (
    cards,
    checkout,
    delivery,
    disputes,
    faults,
    intents,
    passing,
    payments,
    refunds,
    renewals,
    shapes,
    store,
    subscriptions,
    terms,
)
from stripe_sandbox.debits import Account
from stripe_sandbox.errors import ApiError
from stripe_sandbox.payments import Card

Body = dict[str, Any]


def api(request: HttpRequest, path: str) -> HttpResponse:
    """`/sandbox/api/…`: JSON in, JSON out."""
    for method, pattern, run in COMMANDS:
        head, _, tail = pattern.partition("*")
        fits = path.startswith(head) and path.endswith(tail) and len(path) >= len(head + tail)
        if request.method != method or not (fits if "*" in pattern else path == pattern):
            continue
        argument = path[len(head) : len(path) - len(tail)] if "*" in pattern else ""
        try:
            # A body of another type could be posted by any web page that is open here.
            if method == "POST" and request.content_type != "application/json":
                raise ValueError("Send JSON.")
            body = (
                json.loads(request.body or b"{}") if method == "POST" else dict(request.GET.items())
            )
            return JsonResponse(run(argument, body), safe=False)
        except ApiError as error:
            return JsonResponse(error.body, status=error.status)
        except payments.Declined as declined:
            return JsonResponse({"error": str(declined)}, status=402)
        except (KeyError, TypeError, ValueError) as problem:
            return JsonResponse({"error": str(problem)}, status=400)
    return JsonResponse({"error": f"There is no control {request.method} {path}."}, status=404)


def _health(argument: str, body: Body) -> Body:
    return {"status": "ok"}


def _reset(argument: str, body: Body) -> Body:
    store.reset()
    # Nothing is delivered until a test says where to.
    store.set_setting("webhook", {"url": "", "secret": ""})
    return {}


def _set_webhook(argument: str, body: Body) -> Body:
    store.set_setting("webhook", {"url": body["url"], "secret": body["secret"]})
    return {}


def _set_deliveries(argument: str, body: Body) -> Body:
    delivery.set_mode(body["mode"], body.get("seconds", 0))
    return {}


def _events(argument: str, body: Body) -> list[Body]:
    deliveries = delivery.told()
    return [{**event, "delivery": deliveries.get(event["id"])} for event in store.all_of("event")]


def _deliver_event(argument: str, body: Body) -> Body:
    times = range(int(body.get("times", 1)))
    return {"statuses": [delivery.deliver_again(argument) for _ in times]}


def _let_pass(argument: str, body: Body) -> Body:
    with store.transaction():
        passing.pass_(int(body["hours"]))
    return {}


def _advance(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(renewals.advance(argument))


def _set_card(argument: str, body: Body) -> Body:
    with store.transaction():
        subscription = subscriptions.found(argument)
        return shapes.public(renewals.set_card(subscription, Card(number=str(body["card"]))))


def _retry(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(renewals.retry(argument))


def _give_up(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(renewals.give_up(argument, **body))


def _pay_invoice(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(renewals.pay(argument, Card(number=str(body["card"]))))


def _void_invoice(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(terms.void(argument, {}))


def _write_off_invoice(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(terms.mark_uncollectible(argument, {}))


def _pay(argument: str, body: Body) -> Body:
    method: Card | Account = Card(number=str(body["card"])) if "card" in body else Card()
    if "account" in body:
        method = Account(number=str(body["account"]))
    with store.transaction():
        return shapes.public(checkout.pay(argument, method))


def _succeed(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(checkout.settle(argument, is_paid=True))


def _fail(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(checkout.settle(argument, is_paid=False))


def _order_outcomes(argument: str, body: Body) -> Body:
    intents.order_outcomes(list(body["outcomes"]))
    return {}


def _settle_intent(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(intents.settle(argument, is_paid=body["is_paid"]))


def _detach(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(cards.detach(argument, {}))


def _refund(argument: str, body: Body) -> Body:
    charge = _charge(argument)
    with store.transaction():
        return shapes.public(refunds.create({"charge": charge["id"], **body}))


def _charge(id: str) -> Body:
    charge = payments.charge_of(id)
    if charge is None:
        raise ValueError(f"Nothing was paid by {id}.")
    return charge


def _fail_refund(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(refunds.fail(argument))


def _dispute(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(disputes.open_(_charge(argument), **body))


def _settle_dispute(argument: str, body: Body) -> Body:
    id, _, outcome = argument.partition("/")
    if outcome not in OUTCOMES:
        raise ValueError(f"A dispute takes one of {', '.join(OUTCOMES)}.")
    with store.transaction():
        return shapes.public(OUTCOMES[outcome](id))


def _add_fault(argument: str, body: Body) -> Body:
    faults.add(body)
    return {}


def _active_faults(argument: str, body: Body) -> list[Body]:
    return faults.active()


def _clear_faults(argument: str, body: Body) -> Body:
    faults.clear()
    return {}


def _requests(argument: str, body: Body) -> list[Body]:
    rows = store.execute(
        "SELECT n, method, path, idempotency_key, params, status FROM call WHERE n > ? ORDER BY n",
        int(body.get("since", 0)),
    )
    names = ("n", "method", "path", "idempotency_key", "params", "status")
    return [dict(zip(names, row, strict=True)) | {"params": json.loads(row[4])} for row in rows]


def _objects(argument: str, body: Body) -> list[Body]:
    return [shapes.public(found) for found in store.all_of(argument)]


OUTCOMES: dict[str, Callable[[str], Body]] = {
    "submit": disputes.submit,
    "escalate": disputes.escalate,
    "win": disputes.win,
    "lose": disputes.lose,
    "withdraw": disputes.withdraw,
}

COMMANDS: list[tuple[str, str, Callable[[str, Body], Any]]] = [
    ("GET", "health", _health),
    ("POST", "reset", _reset),
    ("POST", "webhook", _set_webhook),
    ("POST", "deliveries", _set_deliveries),
    ("GET", "events", _events),
    ("POST", "events/*/deliver", _deliver_event),
    ("POST", "time", _let_pass),
    ("POST", "subscriptions/*/advance", _advance),
    ("POST", "subscriptions/*/card", _set_card),
    ("POST", "subscriptions/*/retry", _retry),
    ("POST", "subscriptions/*/give-up", _give_up),
    ("POST", "invoices/*/pay", _pay_invoice),
    ("POST", "invoices/*/void", _void_invoice),
    ("POST", "invoices/*/write-off", _write_off_invoice),
    ("POST", "checkout/*/pay", _pay),
    ("POST", "checkout/*/succeed", _succeed),
    ("POST", "checkout/*/fail", _fail),
    ("POST", "outcomes", _order_outcomes),
    ("POST", "intents/*/settle", _settle_intent),
    ("POST", "payment-methods/*/detach", _detach),
    ("POST", "payments/*/refund", _refund),
    ("POST", "refunds/*/fail", _fail_refund),
    ("POST", "payments/*/dispute", _dispute),
    ("POST", "disputes/*", _settle_dispute),
    ("POST", "faults", _add_fault),
    ("GET", "faults", _active_faults),
    ("DELETE", "faults", _clear_faults),
    ("GET", "requests", _requests),
    ("GET", "objects/*", _objects),
]
