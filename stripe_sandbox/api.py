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

from stripe_sandbox import (
    cards,
    checkout,
    configurations,
    customers,
    disputes,
    endpoints,
    faults,
    intents,
    portal,
    products,
    refunds,
    shapes,
    store,
    terms,
)
from stripe_sandbox import subscriptions as subs
from stripe_sandbox.errors import ApiError, invalid, missing, unsupported
from stripe_sandbox.expand import expand
from stripe_sandbox.faults import Fault
from stripe_sandbox.lists import list_of
from stripe_sandbox.params import Params, check, decode, listed
from stripe_sandbox.store import Object

P = stripe.params

KEY_LIFETIME = 24 * 3600
"""Seconds that an answer is kept under its idempotency key."""


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    shape: Any
    run: Callable[..., Object | ApiError]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Object
    is_replayed: bool = False


def _route(method: str, path: str, shape: Any, run: Callable[..., Object | ApiError]) -> Route:
    pattern = path.replace("{id}", "(?P<id>(?!search$)[^/]+)")
    return Route(method, re.compile(f"/v1/{pattern}"), shape, run)


def _retrieve(kind: str, param: str = "id") -> Callable[[str, Params], Object]:
    def run(id: str, params: Params) -> Object:
        found = store.get(kind, id)
        if found is None:
            raise missing(kind, id, param=param)
        return found

    return run


ROUTES = [
    _route("POST", "customers", P.CustomerCreateParams, customers.create),
    _route("GET", "customers", P.CustomerListParams, list_of("customer", "email", "created")),
    _route("GET", "customers/{id}", P.CustomerRetrieveParams, _retrieve("customer")),
    _route("POST", "customers/{id}", P.CustomerUpdateParams, customers.update),
    _route("DELETE", "customers/{id}", P.CustomerDeleteParams, customers.delete),
    _route("POST", "checkout/sessions", P.checkout.SessionCreateParams, checkout.create),
    _route(
        "GET",
        "checkout/sessions",
        P.checkout.SessionListParams,
        list_of(
            "checkout.session", "customer", "payment_intent", "subscription", "status", "created"
        ),
    ),
    _route(
        "GET",
        "checkout/sessions/{id}",
        P.checkout.SessionRetrieveParams,
        lambda id, params: checkout.found(id),
    ),
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
        list_of("payment_intent", "customer", "created"),
    ),
    _route(
        "GET",
        "payment_intents/{id}",
        P.PaymentIntentRetrieveParams,
        _retrieve("payment_intent", "intent"),
    ),
    _route("POST", "payment_intents", P.PaymentIntentCreateParams, intents.create),
    _route("POST", "payment_intents/{id}/confirm", P.PaymentIntentConfirmParams, intents.confirm),
    _route("POST", "payment_intents/{id}/cancel", P.PaymentIntentCancelParams, intents.cancel),
    _route(
        "GET",
        "payment_methods/{id}",
        P.PaymentMethodRetrieveParams,
        _retrieve("payment_method", "payment_method"),
    ),
    _route("POST", "payment_methods/{id}/detach", P.PaymentMethodDetachParams, cards.detach),
    _route(
        "GET",
        "setup_intents",
        P.SetupIntentListParams,
        list_of("setup_intent", "customer", "created"),
    ),
    _route(
        "GET",
        "setup_intents/{id}",
        P.SetupIntentRetrieveParams,
        _retrieve("setup_intent", "intent"),
    ),
    _route(
        "GET",
        "charges",
        P.ChargeListParams,
        list_of("charge", "customer", "payment_intent", "created"),
    ),
    _route("GET", "charges/{id}", P.ChargeRetrieveParams, _retrieve("charge", "charge")),
    _route(
        "GET",
        "disputes",
        P.DisputeListParams,
        list_of("dispute", "charge", "payment_intent", "created"),
    ),
    _route("GET", "disputes/{id}", P.DisputeRetrieveParams, _retrieve("dispute")),
    _route("POST", "disputes/{id}/close", P.DisputeCloseParams, disputes.close),
    _route("POST", "refunds", P.RefundCreateParams, refunds.create),
    _route(
        "GET",
        "refunds",
        P.RefundListParams,
        list_of("refund", "charge", "payment_intent", "created"),
    ),
    _route("GET", "refunds/{id}", P.RefundRetrieveParams, _retrieve("refund")),
    _route("POST", "refunds/{id}", P.RefundUpdateParams, refunds.update),
    _route(
        "GET",
        "subscriptions",
        P.SubscriptionListParams,
        list_of("subscription", "customer", "status", "created"),
    ),
    _route("GET", "subscriptions/{id}", P.SubscriptionRetrieveParams, _retrieve("subscription")),
    _route("POST", "subscriptions/{id}", P.SubscriptionUpdateParams, subs.update),
    _route("DELETE", "subscriptions/{id}", P.SubscriptionCancelParams, subs.cancel),
    _route(
        "GET",
        "invoices",
        P.InvoiceListParams,
        list_of("invoice", "customer", "subscription", "status", "created"),
    ),
    _route("POST", "invoices", P.InvoiceCreateParams, terms.draft),
    _route("POST", "invoiceitems", P.InvoiceItemCreateParams, terms.add_item),
    _route("POST", "invoices/{id}/finalize", P.InvoiceFinalizeInvoiceParams, terms.finalize),
    _route("POST", "invoices/{id}/send", P.InvoiceSendInvoiceParams, terms.send),
    _route("POST", "invoices/{id}/void", P.InvoiceVoidInvoiceParams, terms.void),
    _route(
        "POST",
        "invoices/{id}/mark_uncollectible",
        P.InvoiceMarkUncollectibleParams,
        terms.mark_uncollectible,
    ),
    _route("POST", "customers/{id}/tax_ids", P.CustomerCreateTaxIdParams, terms.add_tax_id),
    _route("GET", "customers/{id}/tax_ids", P.CustomerListTaxIdsParams, terms.list_tax_ids),
    _route("GET", "invoices/{id}", P.InvoiceRetrieveParams, _retrieve("invoice", "invoice")),
    _route(
        "GET",
        "invoice_payments",
        P.InvoicePaymentListParams,
        list_of("invoice_payment", "invoice", "payment", "status", "created"),
    ),
    _route(
        "GET",
        "invoice_payments/{id}",
        P.InvoicePaymentRetrieveParams,
        _retrieve("invoice_payment", "invoice_payment"),
    ),
    _route("POST", "products", P.ProductCreateParams, products.create),
    _route("GET", "products/{id}", P.ProductRetrieveParams, _retrieve("product")),
    _route("GET", "prices/{id}", P.PriceRetrieveParams, _retrieve("price", "price")),
    _route("POST", "billing_portal/sessions", P.billing_portal.SessionCreateParams, portal.create),
    _route(
        "POST",
        "billing_portal/configurations",
        P.billing_portal.ConfigurationCreateParams,
        configurations.create,
    ),
    _route(
        "GET",
        "billing_portal/configurations",
        P.billing_portal.ConfigurationListParams,
        list_of("billing_portal.configuration", "active", "is_default"),
    ),
    _route(
        "GET",
        "billing_portal/configurations/{id}",
        P.billing_portal.ConfigurationRetrieveParams,
        configurations.retrieve,
    ),
    _route(
        "POST",
        "billing_portal/configurations/{id}",
        P.billing_portal.ConfigurationUpdateParams,
        configurations.update,
    ),
    _route("POST", "webhook_endpoints", P.WebhookEndpointCreateParams, endpoints.create),
    _route("GET", "webhook_endpoints", P.WebhookEndpointListParams, list_of("webhook_endpoint")),
    _route("GET", "webhook_endpoints/{id}", P.WebhookEndpointRetrieveParams, endpoints.retrieve),
    _route("POST", "webhook_endpoints/{id}", P.WebhookEndpointUpdateParams, endpoints.update),
    _route("DELETE", "webhook_endpoints/{id}", P.WebhookEndpointDeleteParams, endpoints.delete),
    _route(
        "GET",
        "events",
        P.EventListParams,
        list_of("event", "types", "type", "delivery_success", "created"),
    ),
    _route("GET", "events/{id}", P.EventRetrieveParams, _retrieve("event")),
]


def serve(request: HttpRequest) -> HttpResponse:
    """One API call, with the fault that was ordered for it."""
    method, path = request.method or "", request.path_info
    key = request.headers.get("Idempotency-Key") if method == "POST" else None
    fault = faults.take(method, path)
    kind = fault["kind"] if fault else None
    params: Params = {}
    answer: Answer | None = None
    try:
        if fault and kind == "hang":
            faults.wait(fault)
        if kind not in {"hang", "reset"}:
            _authenticate(request)
            params = _sent(request)
            answer = _answer(method, path, params, key, fault)
    except ApiError as error:
        answer = Answer(error.status, error.body)
    except faults.Forgotten:
        return _hang_up(request)
    store.log_call(method, path, key, listed(params), answer.status if answer else None)
    if answer is None or kind == "lose_reply":
        return _hang_up(request)
    headers = {"Request-Id": store.new_id("req"), "Stripe-Version": stripe.api_version}
    if answer.is_replayed:
        headers["Idempotent-Replayed"] = "true"
    return _json(answer.body, answer.status, headers)


def broken(request: HttpRequest) -> HttpResponse:
    """Django's answer to a bug of ours, in a shape that the SDK understands."""
    return _json(ApiError(500, "The stand-in broke; see its log.", type="api_error").body, 500, {})


def _json(body: Object, status: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(
        json.dumps(body, indent=2), status=status, content_type="application/json", headers=headers
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
    elif not value.startswith(("sk_test_", "rk_test_")):
        message = "Invalid API Key provided."
    else:
        return
    raise ApiError(401, message)


def _sent(request: HttpRequest) -> Params:
    if not request.path_info.startswith("/v1/"):
        return {}  # it will be a 501, whatever was sent
    if request.method != "POST":
        return decode(request.META["QUERY_STRING"])
    try:
        return decode(request.body.decode())
    except UnicodeDecodeError:
        raise invalid("The request's body is not UTF-8.") from None


def _answer(method: str, path: str, params: Params, key: str | None, fault: Fault | None) -> Answer:
    if key is None:
        return _work(method, path, params, None, fault)
    if len(key) > 255:
        raise invalid("Idempotency keys can have up to 255 characters.")
    request = json.dumps([method, path, params], sort_keys=True)
    with store.transaction():
        store.execute("DELETE FROM answer WHERE created < ?", time.time() - KEY_LIFETIME)
        kept = store.execute("SELECT request, status, body FROM answer WHERE key = ?", key)
        if not kept:
            store.execute(
                "INSERT INTO answer VALUES (?, ?, ?, NULL, NULL)", key, request, time.time()
            )
    if not kept:
        return _work(method, path, params, key, fault)
    ((first, status, body),) = kept
    if first != request:
        raise _reused(key, json.loads(first)[1], path)
    if status is None:
        raise ApiError(
            409,
            "There is currently another in-progress request using this Idempotent Key.",
            type="idempotency_error",
            code="idempotency_key_in_use",
        )
    return Answer(status, json.loads(body), is_replayed=True)


def _reused(key: str, first_path: str, path: str) -> ApiError:
    what = "with the same parameters they were first used with"
    if first_path != path:
        what = f"for the same endpoint they were first used for ('{path}' vs '{first_path}')"
    return ApiError(
        400,
        f"Keys for idempotent requests can only be used {what}. Try using a key other than "
        f"'{key}' if you meant to execute a different request.",
        type="idempotency_error",
    )


def _work(method: str, path: str, params: Params, key: str | None, fault: Fault | None) -> Answer:
    is_kept = False
    try:
        if fault and fault["kind"] == "error":
            raise _ordered(fault)
        if fault and fault["kind"] == "slow":
            faults.wait(fault)
        with store.transaction():
            answer = _run(method, path, params)
            # With the work or not at all: a kill between the two would have it done twice.
            is_kept = _keep(key, answer)
    except ApiError as error:
        answer = Answer(error.status, error.body)
        # Stripe keeps a 5xx of its own too; not the answer to what it never began.
        is_kept = error.status >= 500 and error.status != 501 and _keep(key, answer)
    finally:
        if not is_kept:
            store.execute("DELETE FROM answer WHERE key = ?", key)
    return answer


def _keep(key: str | None, answer: Answer) -> bool:
    body = json.dumps(answer.body)
    store.execute("UPDATE answer SET status = ?, body = ? WHERE key = ?", answer.status, body, key)
    return True


def _ordered(fault: Fault) -> ApiError:
    status = fault["status"]
    kinds = {402: "card_error", 409: "idempotency_error"}
    kind = "api_error" if status >= 500 else kinds.get(status, "invalid_request_error")
    code = fault["code"] or ("rate_limit" if status == 429 else None)
    return ApiError(status, "This fault was ordered.", type=kind, code=code)


def _run(method: str, path: str, params: Params) -> Answer:
    for route in ROUTES:
        match = route.path.fullmatch(path)
        if match and route.method == method:
            params = check(params, route.shape)
            found = route.run(*match.groups(), params)
            if isinstance(found, ApiError):
                return Answer(found.status, found.body)  # a card that refused: that stays so
            return Answer(200, expand(shapes.public(found), params.get("expand", [])))
    raise unsupported(f"{method} {path}")
