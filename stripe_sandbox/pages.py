"""What people see: the payment page, the portal, invoices and receipts."""

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from stripe_sandbox import checkout, customers, debits, payments, portal, renewals, settings, store
from stripe_sandbox.debits import Account
from stripe_sandbox.errors import ApiError
from stripe_sandbox.payments import Card

_CSS: Final = (Path(__file__).parent / "static" / "app.css").read_bytes()


class SafetyMiddleware:
    """No script runs on these pages, and forms of other sites are not taken."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.get_host()  # a name that was pointed here from outside is refused
        is_form = request.method == "POST" and not request.path_info.startswith("/v1/")
        if is_form and not _is_same_origin(request):
            return HttpResponse("This form was sent from another site.", status=403)
        response = self.get_response(request)
        response["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src data:; form-action 'self' http: https:;"
            " base-uri 'none'; frame-ancestors 'none'"
        )
        response["X-Content-Type-Options"] = "nosniff"
        response["Referrer-Policy"] = "same-origin"
        response.setdefault("Cache-Control", "no-store")
        return response


def _is_same_origin(request: HttpRequest) -> bool:
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in {"none", "same-origin"}:
        return False
    return origin is None or urlsplit(origin).netloc == request.get_host()


DONE: Final = {
    "paid": "You have paid already",
    "unpaid": "Your bank was asked to pay",
    "no_payment_required": "Your card is saved",
}
"""What a page says that is over, by how its session was paid."""


@require_safe
def css(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        _CSS, content_type="text/css; charset=utf-8", headers={"Cache-Control": "max-age=60"}
    )


@require_http_methods(["GET", "HEAD", "POST"])
def pay(request: HttpRequest, id: str) -> HttpResponse:
    """The payment page of a Checkout Session."""
    try:
        with store.transaction():
            session = checkout.found(id)
    except ApiError:
        return _message(request, "There is no such payment page", status=404)
    if session["status"] == "expired":
        return _message(
            request, "This payment page has expired", back=session["cancel_url"], status=410
        )
    error = ""
    by_bank = request.GET.get("by") == "bank" and debits.TYPE in session["payment_method_types"]
    if request.method == "POST" and session["status"] == "open":
        method = _typed(request.POST, by_bank=by_bank)
        try:
            with store.transaction():
                customers.check_email(request.POST.get("email"), "email")
                session = checkout.pay(id, method, request.POST.get("email"))
        except (payments.Declined, ApiError) as problem:
            error = str(problem)
    if session["status"] == "complete":
        if request.method == "POST":
            return HttpResponseRedirect(checkout.return_url(session), status=303)
        title = DONE[session["payment_status"]]
        return _message(request, title, back=checkout.return_url(session), status=200)
    context = {
        "merchant": settings.MERCHANT,
        "session": session,
        "items": [
            {
                "name": item["price_data"]["product_data"]["name"],
                "amount": checkout.amount_of(item),
            }
            for item in session["_line_items"]
        ],
        "email": checkout.email_of(session),
        "error": error,
        "typed": request.POST,
        "by_bank": by_bank,
        "may_use_bank": debits.TYPE in session["payment_method_types"],
        "routing": debits.ROUTING,
        "account": debits.ACCOUNT,
        "is_setup": session["mode"] == "setup",
        "is_monthly": session["mode"] == "subscription",
        "total": session["amount_total"],
    }
    return render(request, "sandbox/pay.html", context, status=402 if error else 200)


def _typed(form: QueryDict, *, by_bank: bool) -> Card | Account:
    if by_bank:
        return Account(**{name: form.get(name, "") for name in ("number", "routing", "name")})
    return _card(form)


def _card(form: QueryDict) -> Card:
    return Card(**{name: form.get(name, "") for name in ("number", "expiry", "cvc", "name")})


@require_http_methods(["GET", "HEAD", "POST"])
def portal_page(request: HttpRequest, id: str) -> HttpResponse:
    """The customer portal: plans, how they are paid, and invoices."""
    session = store.get("billing_portal.session", id)
    if session is None:
        return _message(request, "There is no such portal page", status=404)
    if not portal.is_open(session):
        return _message(
            request, "This portal link has expired", back=session["return_url"], status=410
        )
    error = ""
    if request.method == "POST":
        wish, subscription_id = request.POST.get("wish"), request.POST.get("subscription", "")
        try:
            with store.transaction():
                if wish in {"cancel", "resume"}:
                    portal.set_ending(session, subscription_id, ends=wish == "cancel")
                elif wish == "card":
                    portal.set_card(session, _card(request.POST))
        except payments.Declined as problem:
            error = str(problem)
        else:
            return HttpResponseRedirect(request.path_info, status=303)
    features = portal.features_of(session)
    subscriptions = [
        {
            "id": found["id"],
            "status": found["status"],
            "ends": found["cancel_at"] is not None,
            "amount": found["items"]["data"][0]["price"]["unit_amount"]
            * found["items"]["data"][0]["quantity"],
            "until": found["cancel_at"] or found["items"]["data"][0]["current_period_end"],
            "card": found["_card"],
            "invoice": store.held(found["latest_invoice"])["hosted_invoice_url"],
        }
        for found in portal.subscriptions_of(session)
    ]
    context = {
        "merchant": settings.MERCHANT,
        "session": session,
        "customer": store.get("customer", session["customer"]),
        "subscriptions": subscriptions,
        "asked": request.GET.get("cancel"),
        "asks_for_card": "card" in request.GET or error,
        "error": error,
        "typed": request.POST,
        "features": features,
        "invoices": portal.invoices_of(session),
    }
    return render(request, "sandbox/portal.html", context, status=402 if error else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def invoice(request: HttpRequest, id: str) -> HttpResponse:
    """An invoice to read, and to pay while it is open."""
    found = store.get("invoice", id)
    if found is None:
        return _message(request, "There is no such invoice", status=404)
    error = ""
    if request.method == "POST":
        try:
            with store.transaction():
                renewals.pay(id, _card(request.POST))
        except (payments.Declined, ApiError) as problem:
            error = str(problem)
        else:
            return HttpResponseRedirect(request.path_info, status=303)
    context = {
        "merchant": settings.MERCHANT,
        "invoice": found,
        "lines": found["lines"]["data"],
        "customer": store.get("customer", found["customer"]),
        "error": error,
        "typed": request.POST,
    }
    return render(request, "sandbox/invoice.html", context, status=402 if error else 200)


@require_safe
def receipt(request: HttpRequest, id: str) -> HttpResponse:
    found = store.get("charge", id)
    if found is None:
        return _message(request, "There is no such receipt", status=404)
    context = {"merchant": settings.MERCHANT, "charge": found, "paid_by": payments.words(found)}
    return render(request, "sandbox/receipt.html", context)


def _message(
    request: HttpRequest, title: str, *, back: str | None = None, status: int
) -> HttpResponse:
    context = {"merchant": settings.MERCHANT, "title": title, "back": back}
    return render(request, "sandbox/message.html", context, status=status)
