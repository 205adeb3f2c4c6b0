"""The JSON endpoints under `/api/billing/`."""

import logging
import uuid
from typing import Any, Final, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import organisations
from accounts.closing import AccountClosing
from accounts.models import User
from accounts.requests import SignedInRequest
from billing import checkout, customers, pricing, promotions, webhooks
from billing.api import Refusal, endpoint, json_body, raw_body
from billing.models import MAX_CREDITS, MIN_CREDITS, Mode, Purchase
from billing.promo_refusals import code_refusal, guessing
from billing.promotions import CodeRefused
from billing.stripe_api import StripeRefused, StripeUnavailable
from credits import ledger
from credits.numbers import number

logger = logging.getLogger(__name__)

WEBHOOK_LIMIT: Final = 1024 * 1024
"""The largest event taken, in bytes."""

EMPTY: Final = {None, "", "0"}
"""What Content-Length says of a request without a body."""


@endpoint("POST")
def dynamic_checkout(request: SignedInRequest) -> HttpResponse:
    data = json_body(
        request,
        "credits",
        "mode",
        "request_id",
        "expected_total",
        "promo_code",
        "expected_bonus",
    )
    credits = valid_credits(data.get("credits"))
    mode = data.get("mode", Mode.PAYMENT)
    if mode not in Mode.values:
        raise Refusal(400, "invalid_mode", _("The mode is payment or subscription."), field="mode")
    promo_code = _promo_code(data.get("promo_code"))
    with guessing(request, promo_code):
        url = buy(
            request.user,
            credits,
            mode,
            request_id=_request_id(data.get("request_id")),
            expected_total=_expected_total(data.get("expected_total")),
            promo_code=promo_code,
            expected_bonus=_expected_bonus(data.get("expected_bonus")),
        )
    return JsonResponse({"url": url})


def valid_credits(value: Any) -> int:
    """A whole number in range, or a `Refusal` that says what to enter."""
    # Not isinstance: True is an int to Python.
    if type(value) is not int:
        raise Refusal(
            400,
            "invalid_credits",
            _("Credits must be a whole number, such as 500."),
            field="credits",
        )
    if value < MIN_CREDITS:
        problem = ngettext(
            "The smallest purchase is %(min)s credit.",
            "The smallest purchase is %(min)s credits.",
            MIN_CREDITS,
        ) % {"min": number(MIN_CREDITS)}
    elif value > MAX_CREDITS:
        problem = ngettext(
            "The largest purchase is %(max)s credit.",
            "The largest purchase is %(max)s credits.",
            MAX_CREDITS,
        ) % {"max": number(MAX_CREDITS)}
    else:
        return value
    raise Refusal(400, "credits_out_of_range", problem, field="credits")


def _request_id(value: Any) -> uuid.UUID | None:
    if value is None:
        return None
    try:
        return uuid.UUID(value) if isinstance(value, str) else uuid.UUID("")
    except ValueError:
        raise Refusal(
            400, "invalid_request_id", _("The request id must be a UUID."), field="request_id"
        ) from None


def _expected_total(value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value
    raise Refusal(
        400,
        "invalid_expected_total",
        _("The expected total must be a whole number of cents."),
        field="expected_total",
    )


def _promo_code(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise Refusal(400, "invalid_promo_code", _("The promo code must be text."), field="promo_code")


def _expected_bonus(value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value
    raise Refusal(
        400,
        "invalid_expected_bonus",
        _("The expected bonus must be a whole number of credits."),
        field="expected_bonus",
    )


def buy(
    user: User,
    credits: int,
    mode: str,
    *,
    request_id: uuid.UUID | None,
    expected_total: int | None,
    promo_code: str = "",
    expected_bonus: int | None = None,
    present: checkout.Present | None = None,
) -> str:
    """The payment page's address, or a `Refusal` that says nothing was charged.

    With a code call it inside `guessing`.
    """
    try:
        return checkout.start_checkout(
            user,
            credits,
            mode,
            request_id=request_id,
            expected_total=expected_total,
            promo_code=promo_code,
            expected_bonus=expected_bonus,
            present=present,
        )
    except checkout.RequestIdReused:
        raise Refusal(
            409,
            "request_id_reused",
            _("This request was already made with another order. Nothing was charged."),
            field="request_id",
        ) from None
    except checkout.PriceChanged as error:
        raise Refusal(
            409,
            "price_changed",
            _("The price has changed. Nothing was charged; please look at the new one."),
            field="expected_total",
            quote=error.quote.as_dict(),
        ) from None
    except CodeRefused as error:
        raise code_refusal(error) from None
    except checkout.BonusChanged as error:
        raise Refusal(
            409,
            "promotion_changed",
            _(
                "What the code brings is not what this page showed. Nothing was charged; please "
                "look at the order again."
            ),
            field="expected_bonus",
            quote={**error.quote.as_dict(), **bonus_fields(error.quote, error.code, error.bonus)},
        ) from None
    except checkout.AlreadySubscribed:
        raise Refusal(
            409,
            "already_subscribed",
            _("You have a monthly plan already. Nothing was charged; you can change its amount."),
            field="mode",
            url=f"{settings.BASE_URL}{reverse('plan')}",
        ) from None
    except checkout.NoPlans:
        problem = _("For an organisation one buys one time.")
        raise Refusal(400, "invalid_mode", problem, field="mode") from None
    except checkout.OrderReplaced:
        raise Refusal(
            409,
            "order_replaced",
            _(
                "You have ordered again at the same moment, and the other order's payment page is "
                "the one that is open. Nothing was charged."
            ),
        ) from None
    except AccountClosing:
        raise closing_refusal() from None
    except (StripeUnavailable, StripeRefused) as error:
        raise stripe_refusal(error) from error


def closing_refusal() -> Refusal:
    return Refusal(
        409,
        "account_closing",
        _("Your account is being closed, so nothing new can begin. Nothing was charged."),
    )


def stripe_refusal(error: StripeUnavailable | StripeRefused) -> Refusal:
    if isinstance(error, StripeUnavailable):
        return Refusal(
            503,
            "stripe_unavailable",
            _(
                "Our payment provider doesn't answer just now. Nothing was charged; "
                "please try again in a minute."
            ),
        )
    return Refusal(
        502,
        "stripe_error",
        _(
            "Our payment provider refused the request. Nothing was charged; "
            "please try again, or write to us if it stays like this."
        ),
    )


@endpoint("GET", "HEAD", public=True)
def quote(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("credits", "")
    if not (text.isascii() and text.isdigit()) or text.startswith("0"):
        text = ""
    # Seven digits are out of range as well as any more.
    credits = valid_credits(int(text[:7]) if text else None)
    price = pricing.quote(credits)
    promo_code = request.GET.get("promo_code", "")
    if not promo_code:
        return JsonResponse(price.as_dict())
    if not request.user.is_authenticated:
        raise Refusal(401, "unauthorized", "Unauthorized")
    offer = bonus_offer(cast(SignedInRequest, request), promo_code, credits)
    return JsonResponse({**price.as_dict(), **bonus_fields(price, offer.code.code, offer.credits)})


def bonus_offer(request: SignedInRequest, promo_code: str, credits: int) -> promotions.Offer:
    """What a code brings with an order, or a `Refusal`."""
    with guessing(request, promo_code):
        try:
            return promotions.offer(request.user, promo_code, credits)
        except CodeRefused as error:
            raise code_refusal(error) from None


def bonus_fields(price: pricing.Quote, promo_code: str, bonus: int) -> dict[str, Any]:
    """What a quote tells in addition where a code comes with it."""
    return {
        "promo_code": promo_code,
        "bonus_credits": bonus,
        "total_credits": price.credits + bonus,
    }


@endpoint("GET", "HEAD")
def purchase(request: SignedInRequest, purchase_id: uuid.UUID) -> HttpResponse:
    """How a purchase stands; what the success page asks until the credits are there."""
    found = Purchase.objects.filter(pk=purchase_id).select_related("user", "redemption").first()
    if found is None or not organisations.buys_for(request.user, found.user):
        raise Refusal(404, "not_found", _("There is no such purchase."))
    return JsonResponse(
        {
            "status": found.status,
            "credits": found.credits,
            "bonus_credits": found.bonus,
            "balance": ledger.balance_of(found.user),
        }
    )


@endpoint("GET", "POST", page=True)
def portal_link(request: SignedInRequest) -> HttpResponse:
    """Open Stripe's customer portal: GET goes there, POST answers its address."""
    is_form = request.content_type == "application/x-www-form-urlencoded"
    if (
        request.method == "POST"
        and not is_form
        and request.headers.get("Content-Length") not in EMPTY
    ):
        json_body(request)
    if request.method == "GET":
        if is_prefetch(request):
            raise Refusal(503, "prefetch_refused", _("The portal is opened on a click only."))
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            # Another site's link must not open a session by itself.
            return render(request, "billing/portal_confirm.html")
    try:
        url = customers.portal_url(request.user)
    except (StripeUnavailable, StripeRefused, AccountClosing) as error:
        refusal = closing_refusal() if isinstance(error, AccountClosing) else stripe_refusal(error)
        if request.method == "GET" or is_form:
            return render(request, "503.html", {"detail": str(refusal)}, status=refusal.status)
        raise refusal from error
    if request.method == "GET" or is_form:
        return HttpResponseRedirect(url, status=303)
    return JsonResponse({"url": url})


def is_prefetch(request: HttpRequest) -> bool:
    """A browser asks in advance, without a click."""
    return "prefetch" in request.headers.get("Sec-Purpose", request.headers.get("Purpose", ""))


@endpoint("POST", public=True)
def webhook(request: HttpRequest) -> HttpResponse:
    body = raw_body(request, WEBHOOK_LIMIT)
    try:
        event = webhooks.receive(body, request.headers.get("Stripe-Signature", ""))
    except webhooks.InvalidSignature:
        raise Refusal(
            400, "invalid_signature", _("The signature is not by one of our secrets.")
        ) from None
    except webhooks.InvalidPayload:
        raise Refusal(400, "invalid_payload", _("The body is no event.")) from None
    except Exception:
        # Whatever it is, Stripe shall try again. What a handler raised is on the event's record.
        logger.exception("A delivery failed")
        raise Refusal(
            500, "event_failed", _("The event could not be processed. Please send it again.")
        ) from None
    return JsonResponse({"status": event.status})


# Stripe has no session of ours to forge; its signature is the authentication.
webhook.csrf_exempt = True  # type: ignore[attr-defined]
