"""The controls: a page for people and an API for tests. Loopback only, no keys."""

import json
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from stripe_sandbox import checkout, delivery, faults, payments, shapes, store, subscriptions
from stripe_sandbox.errors import ApiError
from stripe_sandbox.payments import Card

Body = dict[str, Any]

CALLS = {
    "/v1/customers": "Customers",
    "/v1/checkout/sessions": "Checkout Sessions",
    "/v1/billing_portal/sessions": "Portal sessions",
}

TROUBLES: dict[str, tuple[str, Body]] = {
    "hang": ("Hang for 30 seconds, then hang up", {"kind": "hang", "seconds": 30}),
    "slow": ("Take 3 seconds to answer", {"kind": "slow", "seconds": 3}),
    "500": ("Answer 500", {"kind": "error", "status": 500}),
    "429": ("Answer 429, too many requests", {"kind": "error", "status": 429}),
    "lose_reply": ("Do the work and lose the reply", {"kind": "lose_reply"}),
    "reset": ("Hang up at once", {"kind": "reset"}),
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
        "mode_words": _words(mode["mode"], mode.get("seconds", 0)),
        "waiting": delivery.waiting(),
        "cards": [(f"{_grouped(number)}", words) for number, words in payments.DECLINES.items()],
        "calls_to_fail": CALLS,
        "troubles": {name: words for name, (words, _) in TROUBLES.items()},
        "faults": [_told(fault) for fault in faults.active()],
        "events": _recent_events(),
        "subscriptions": store.all_of("subscription", limit=20),
        "sessions": store.all_of("checkout.session", limit=20),
        "calls": [{"method": m, "path": p, "status": s} for m, p, s in calls],
    }
    return render(request, "sandbox/control.html", context)


def _words(mode: str, seconds: float) -> str:
    if mode == "delayed":
        return f"Events go out {seconds:g} second{'' if seconds == 1 else 's'} late."
    return delivery.MODES[mode]


def _grouped(number: str) -> str:
    return " ".join(number[place : place + 4] for place in range(0, len(number), 4))


def _told(fault: faults.Fault) -> str:
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


def _recent_events() -> list[Body]:
    deliveries = _deliveries()
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
    """Do what a button says, and say what was done. Raises `ValueError` and `ApiError`."""
    wish, id = form.get("wish", ""), form.get("id", "")
    if wish == "advance":
        with store.transaction():
            found = subscriptions.advance(id)
        what = "has renewed" if found["status"] == "active" else "has ended"
        return f"A month has gone by: {id} {what}."
    if wish == "expire":
        with store.transaction():
            checkout.expire(id, {})
        return f"The payment page {id} has expired."
    if wish == "deliver":
        status = _deliver_event(id, {})["statuses"][0]
        return f"{id} was delivered again: {status or 'no answer'}."
    if wish == "clear":
        faults.clear()
        return "All faults are cleared."
    if wish == "fault":
        return _order_fault(form)
    seconds = float(_whole(form, "seconds", 1, 86400)) if wish == "delayed" else 0.0
    delivery.set_mode(wish, seconds)
    return _words(wish, seconds)


def _order_fault(form: dict[str, str]) -> str:
    path, trouble = form.get("call", ""), form.get("trouble", "")
    if path not in CALLS or trouble not in TROUBLES:
        raise ValueError("Choose a call and what is to happen to it.")
    fault = {"method": "POST", "path": path, "times": _whole(form, "times", 1, 99)}
    fault |= TROUBLES[trouble][1]
    faults.add(fault)
    return f"Ordered: {_told(faults.active()[-1])}"


def _whole(form: dict[str, str], name: str, least: int, most: int) -> int:
    text = form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise ValueError(f"Give {name} as a whole number from {least} to {most}.")
    return int(text)


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
    times = range(int(body.get("times", 1)))
    return {"statuses": [delivery.deliver_again(argument) for _ in times]}


def _advance(argument: str, body: Body) -> Body:
    with store.transaction():
        return shapes.public(subscriptions.advance(argument))


def _pay(argument: str, body: Body) -> Body:
    card = Card(number=str(body["card"])) if "card" in body else Card()
    with store.transaction():
        return shapes.public(checkout.pay(argument, card))


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
    ("GET", "faults", _active_faults),
    ("DELETE", "faults", _clear_faults),
    ("GET", "requests", _requests),
    ("GET", "objects/*", _objects),
]
