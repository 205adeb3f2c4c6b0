"""The controls: a page for people and an API for tests. Loopback only, no keys."""

import json
import time
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render

from stripe_sandbox import checkout, delivery, faults, payments, store, subscriptions
from stripe_sandbox.errors import ApiError

Body = dict[str, Any]

MODES = {"normal", "paused", "delayed"}


def page(request: HttpRequest) -> HttpResponse:
    """What is going on, with the buttons that a person needs."""
    if request.method == "POST":
        _press(request)
        return HttpResponseRedirect("/sandbox", status=303)
    deliveries = _deliveries()
    recent = [
        {**deliveries.get(event["id"], {}), "id": event["id"], "type": event["type"],
         "created": event["created"]}
        for event in store.all_of("event")[:40]
    ]  # fmt: skip
    calls = store.execute("SELECT method, path, status FROM call ORDER BY n DESC LIMIT 25")
    context = {
        "target": delivery.target()[0],
        "mode": store.get_setting("deliveries", {"mode": "normal"}),
        "events": recent,
        "subscriptions": [
            subscriptions.public(found) for found in store.all_of("subscription")[:20]
        ],
        "sessions": store.all_of("checkout.session")[:20],
        "faults": faults.active(),
        "calls": [{"method": m, "path": p, "status": s} for m, p, s in calls],
    }
    return render(request, "sandbox/control.html", context)


def _press(request: HttpRequest) -> None:
    wish, id = request.POST.get("wish"), request.POST.get("id", "")
    if wish == "deliver" and store.get("event", id):
        _deliver(id)
    elif wish == "advance" and store.get("subscription", id):
        with store.transaction():
            subscriptions.advance(id)
    elif wish in MODES:
        store.set_setting("deliveries", {"mode": wish})
    elif wish == "clear":
        faults.clear()


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
    if body["mode"] not in MODES:
        raise ValueError(f"The modes are {', '.join(sorted(MODES))}.")
    store.set_setting("deliveries", body)
    if body["mode"] == "normal":
        # What waited for its next try goes out now.
        store.execute("UPDATE delivery SET due = ? WHERE due IS NOT NULL", time.time() - 86400)
    return {}


def _events(argument: str, body: Body) -> list[Body]:
    deliveries = _deliveries()
    return [{**event, "delivery": deliveries.get(event["id"])} for event in store.all_of("event")]


def _deliveries() -> dict[str, Body]:
    rows = store.execute("SELECT event, due, attempts, answers FROM delivery")
    return {
        event: {"due": due, "attempts": attempts, "answers": json.loads(answers)}
        for event, due, attempts, answers in rows
    }


def _deliver_event(argument: str, body: Body) -> Body:
    if store.get("event", argument) is None:
        raise ValueError(f"There is no event {argument}.")
    return {"statuses": [_deliver(argument) for _ in range(int(body.get("times", 1)))]}


def _deliver(event_id: str) -> int:
    status = delivery.post(event_id)
    with store.transaction():
        ((answers,),) = store.execute("SELECT answers FROM delivery WHERE event = ?", event_id)
        store.execute(
            "UPDATE delivery SET answers = ? WHERE event = ?",
            json.dumps([*json.loads(answers), status]),
            event_id,
        )
    return status


def _advance(argument: str, body: Body) -> Body:
    with store.transaction():
        return subscriptions.advance(argument)


def _pay(argument: str, body: Body) -> Body:
    with store.transaction():
        return checkout.public(checkout.pay(argument, str(body.get("card", "4242424242424242"))))


def _add_fault(argument: str, body: Body) -> Body:
    faults.add(body)
    return {}


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
    return [
        {name: value for name, value in found.items() if not name.startswith("_")}
        for found in store.all_of(argument)
    ]


COMMANDS: list[tuple[str, str, Callable[[str, Body], Any]]] = [
    ("GET", "health", _health),
    ("POST", "reset", _reset),
    ("POST", "webhook", _set_webhook),
    ("POST", "deliveries", _set_deliveries),
    ("GET", "events", _events),
    ("POST", "events/*/deliver", _deliver_event),
    ("POST", "subscriptions/*/advance", _advance),
    ("POST", "checkout/*/pay", _pay),
    ("POST", "faults", _add_fault),
    ("DELETE", "faults", _clear_faults),
    ("GET", "requests", _requests),
    ("GET", "objects/*", _objects),
]
