"""Stripe's API under `/v1`: who asks, what for, whether it was asked before, and the answer."""

import base64
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import stripe.params
import stripe.params.billing_portal
import stripe.params.checkout
from django.http import HttpRequest, HttpResponse

from stripe_sandbox import checkout, customers, faults, payments, portal, store, subscriptions
from stripe_sandbox.errors import ApiError, invalid, unsupported
from stripe_sandbox.params import Params, check, decode
from stripe_sandbox.store import Object

P = stripe.params


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    shape: Any
    run: Callable[..., Object]


def _route(method: str, path: str, shape: Any, run: Callable[..., Object]) -> Route:
    pattern = path.replace("{id}", "(?P<id>[A-Za-z0-9_]{1,255})")
    return Route(method, re.compile(f"/v1/{pattern}"), shape, run)


def _list_of(kind: str, *filters: str) -> Callable[[Params], Object]:
    """A list as Stripe pages it: newest first, by cursor."""

    def run(params: Params) -> Object:
        found = [_public(item) for item in store.all_of(kind)]
        for name in filters:
            if name in params:
                found = [item for item in found if _matches(item, name, params[name])]
        ids = [item["id"] for item in found]
        if "starting_after" in params:
            if params["starting_after"] not in ids:
                raise invalid(f"No such {kind}: '{params['starting_after']}'")
            found = found[ids.index(params["starting_after"]) + 1 :]
        elif "ending_before" in params:
            if params["ending_before"] not in ids:
                raise invalid(f"No such {kind}: '{params['ending_before']}'")
            found = found[: ids.index(params["ending_before"])]
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise invalid("Invalid integer: limit must be from 1 to 100", param="limit")
        more = len(found) > limit
        if "ending_before" in params:
            found = found[-limit:]
        return {
            "object": "list",
            "data": found[:limit],
            "has_more": more,
            "url": f"/v1/{kind.replace('.', '/')}s",
        }

    return run


def _matches(item: Object, name: str, wanted: Any) -> bool:
    if name == "types":
        return item["type"] in wanted
    if name == "payment":
        return all(item["payment"].get(key) == value for key, value in wanted.items())
    if name == "created" and isinstance(wanted, dict):
        tests = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__}
        return all(tests[key](item["created"], int(value)) for key, value in wanted.items())
    if name == "status" and wanted == "all":
        return True
    return bool(item.get(name) == wanted)


def _public(item: Object) -> Object:
    return {name: value for name, value in item.items() if not name.startswith("_")}


def _retrieve(kind: str) -> Callable[[str, Params], Object]:
    def run(id: str, params: Params) -> Object:
        found = store.get(kind, id)
        if found is None:
            raise ApiError(404, f"No such {kind}: '{id}'", code="resource_missing", param="id")
        return found

    return run


ROUTES = [
    _route("POST", "customers", P.CustomerCreateParams, customers.create),
    _route("GET", "customers", P.CustomerListParams, _list_of("customer", "email", "created")),
    _route("GET", "customers/{id}", P.CustomerRetrieveParams, customers.retrieve),
    _route("POST", "customers/{id}", P.CustomerUpdateParams, customers.update),
    _route("DELETE", "customers/{id}", P.CustomerDeleteParams, customers.delete),
    _route("POST", "checkout/sessions", P.checkout.SessionCreateParams, checkout.create),
    _route(
        "GET",
        "checkout/sessions",
        P.checkout.SessionListParams,
        _list_of(
            "checkout.session", "customer", "payment_intent", "subscription", "status", "created"
        ),
    ),
    _route("GET", "checkout/sessions/{id}", P.checkout.SessionRetrieveParams, checkout.retrieve),
    _route(
        "GET",
        "checkout/sessions/{id}/line_items",
        P.checkout.SessionListLineItemsParams,
        checkout.line_items,
    ),
    _route(
        "POST", "checkout/sessions/{id}/expire", P.checkout.SessionExpireParams, checkout.expire
    ),
    _route(
        "GET",
        "payment_intents",
        P.PaymentIntentListParams,
        _list_of("payment_intent", "customer", "created"),
    ),
    _route("GET", "payment_intents/{id}", P.PaymentIntentRetrieveParams, payments.retrieve_intent),
    _route(
        "GET",
        "charges",
        P.ChargeListParams,
        _list_of("charge", "customer", "payment_intent", "created"),
    ),
    _route("GET", "charges/{id}", P.ChargeRetrieveParams, payments.retrieve_charge),
    _route(
        "GET",
        "subscriptions",
        P.SubscriptionListParams,
        _list_of("subscription", "customer", "status", "created"),
    ),
    _route("GET", "subscriptions/{id}", P.SubscriptionRetrieveParams, subscriptions.retrieve),
    _route("POST", "subscriptions/{id}", P.SubscriptionUpdateParams, subscriptions.update),
    _route("DELETE", "subscriptions/{id}", P.SubscriptionCancelParams, subscriptions.cancel),
    _route(
        "GET", "invoices", P.InvoiceListParams, _list_of("invoice", "customer", "status", "created")
    ),
    _route("GET", "invoices/{id}", P.InvoiceRetrieveParams, subscriptions.retrieve_invoice),
    _route(
        "GET",
        "invoice_payments",
        P.InvoicePaymentListParams,
        _list_of("invoice_payment", "invoice", "payment", "status"),
    ),
    _route("GET", "products/{id}", P.ProductRetrieveParams, _retrieve("product")),
    _route("GET", "prices/{id}", P.PriceRetrieveParams, _retrieve("price")),
    _route("POST", "billing_portal/sessions", P.billing_portal.SessionCreateParams, portal.create),
    _route("GET", "events", P.EventListParams, _list_of("event", "types", "type", "created")),
    _route("GET", "events/{id}", P.EventRetrieveParams, _retrieve("event")),
]


def serve(request: HttpRequest) -> HttpResponse:
    """One API call, with the fault that was ordered for it."""
    method, path = request.method or "", request.path_info
    fault = faults.take(method, path) if path.startswith("/v1/") else None
    if fault and fault["kind"] == "hang":
        time.sleep(fault["seconds"])
    if fault and fault["kind"] in {"hang", "reset"}:
        return _hang_up(request)
    try:
        _authenticate(request)
        status, body, headers = _answer(request, fault)
    except ApiError as error:
        status, body, headers = error.status, error.body, {}
    if fault and fault["kind"] == "lose_reply":
        return _hang_up(request)
    request_id = {"Request-Id": store.new_id("req"), "Stripe-Version": stripe.api_version}
    return HttpResponse(
        json.dumps(body, indent=2),
        status=status,
        content_type="application/json",
        headers=headers | request_id,
    )


def _hang_up(request: HttpRequest) -> HttpResponse:
    with contextlib.suppress(OSError):  # the caller may be faster
        request.META["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    return HttpResponse(status=500)


def _authenticate(request: HttpRequest) -> None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[0]
        except ValueError:
            value = ""
    if value.startswith(("sk_live_", "rk_live_")):
        message = "This is a local stand-in: a live key has no business here."
    elif not value.startswith("sk_test_"):
        message = "Invalid API Key provided."
    else:
        return
    raise ApiError(401, message)


def _answer(request: HttpRequest, fault: faults.Fault | None) -> tuple[int, Object, dict[str, str]]:
    method, path = request.method or "", request.path_info
    text = request.META["QUERY_STRING"] if method == "GET" else request.body.decode()
    key = request.headers.get("Idempotency-Key") if method == "POST" else None
    if key is None:
        return *_run_and_log(method, path, text, key, fault), {}
    with store.transaction():
        request_text = f"{method} {path} {text}"
        kept = store.execute("SELECT request, status, body FROM idempotency WHERE key = ?", key)
        if not kept:
            store.execute("INSERT INTO idempotency VALUES (?, ?, NULL, NULL)", key, request_text)
    if kept:
        ((first, status, body),) = kept
        _log(method, path, key, text, status)
        if first != request_text:
            raise ApiError(
                400,
                "Keys for idempotent requests can only be used with the same parameters they "
                f"were first used with. Try using a key other than '{key}' if you meant to "
                "execute a different request.",
                type="idempotency_error",
            )
        if status is None:
            raise ApiError(
                409,
                "There is currently another in-progress request using this Idempotent Key.",
                type="idempotency_error",
                code="idempotency_key_in_use",
            )
        return status, json.loads(body), {"Idempotent-Replayed": "true"}
    status, body = 0, {}
    try:
        status, body = _run_and_log(method, path, text, key, fault)
    finally:
        # Stripe keeps the answer of what began to execute, 5xx too; not what it never looked at.
        if status in {0, 400, 401, 402, 404, 409, 429, 501}:
            store.execute("DELETE FROM idempotency WHERE key = ?", key)
        else:
            store.execute(
                "UPDATE idempotency SET status = ?, body = ? WHERE key = ?",
                status,
                json.dumps(body),
                key,
            )
    return status, body, {}


def _run_and_log(
    method: str, path: str, text: str, key: str | None, fault: faults.Fault | None
) -> tuple[int, Object]:
    try:
        if fault and fault["kind"] == "error":
            raise _ordered(fault)
        with store.transaction():
            status, body = 200, _run(method, path, decode(text))
    except ApiError as error:
        status, body = error.status, error.body
    _log(method, path, key, text, status)
    return status, body


def _ordered(fault: faults.Fault) -> ApiError:
    types = {402: "card_error", 429: "invalid_request_error"}
    kind = types.get(
        fault["status"], "api_error" if fault["status"] >= 500 else "invalid_request_error"
    )
    return ApiError(fault["status"], "This fault was ordered.", type=kind, code=fault["code"])


def _run(method: str, path: str, params: Params) -> Object:
    for route in ROUTES:
        match = route.path.fullmatch(path)
        if match and route.method == method:
            return _public(route.run(*match.groups(), check(params, route.shape)))
    raise unsupported(f"{method} {path}")


def _log(method: str, path: str, key: str | None, text: str, status: int | None) -> None:
    store.execute(
        "INSERT INTO call (method, path, idempotency_key, params, status) VALUES (?, ?, ?, ?, ?)",
        method,
        path,
        key,
        json.dumps(decode(text)),
        status,
    )
