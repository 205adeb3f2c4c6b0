"""The pages that show money and credits together."""

import functools
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db import connection
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from accounts import organisations, preferences, rows
from accounts.models import Organisation, User
from accounts.requests import SignedInRequest
from billing import chart, history, pricing, receipts
from billing.api import Refusal
from billing.checkout import latest_subscription, live_subscription
from billing.members import paying
from billing.models import MAX_CREDITS, MIN_CREDITS, Mode, Purchase
from billing.promo_refusals import guessing
from billing.promotions import Offer
from billing.stripe_api import StripeRefused, StripeUnavailable
from billing.views import bonus_offer, is_prefetch, valid_credits
from billing.views import buy as buy_or_refuse
from credits import ledger, statement
from credits.models import Entry, Wallet
from credits.numbers import in_digits, number, parse_credits

PICKS: Final = [100, 500, 2000, 5000, 20000]
FIRST_AMOUNT: Final = 500
CODE_SHOWN: Final = 60
"""Characters of a promo code; with hyphens and spaces it may be longer than it is kept."""

CHART_DAYS: Final = 30
FAILURES_SHOWN: Final = timedelta(days=14)
"""From the order on; a bank debit fails within days of it."""


def page_context(request: HttpRequest) -> dict[str, Any]:
    """What every page shows."""
    theme = request.COOKIES.get("theme", "")
    # There is no user where a request failed before the middleware that finds it.
    user = getattr(request, "user", None)
    context: dict[str, Any] = {
        "site_name": settings.SITE_NAME,
        "theme": theme if theme in {"light", "dark"} else "",
        "support_email": settings.SUPPORT_EMAIL,
        "canonical": f"{settings.BASE_URL}{request.path}",
        "languages": settings.LANGUAGES,
        # Where the language switch leads back to; a form's own address may not be one to open.
        "here": request.get_full_path()
        if request.method in {"GET", "HEAD"}
        else request.headers.get("Referer", "/"),
        "payments_are_sandbox": settings.PAYMENTS_ARE_SANDBOX,
    }
    if isinstance(user, User):
        # Not asked for by pages that don't show it, or know it already.
        context["balance"] = functools.cache(functools.partial(ledger.balance_of, user))
    return context


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def buy(request: HttpRequest) -> HttpResponse:
    """The shop: GET shows the price of `?credits=`, POST goes to the payment page.

    With `organisation`, for one that the buyer may buy for; else there is no such page.
    """
    if request.method != "POST":
        text = in_digits(request.GET.get("credits", str(FIRST_AMOUNT)))
        form = {
            "credits": text,
            "mode": mode_of(request.GET.get("mode")),
            "promo_code": _typed_code(request.GET.get("promo", "")),
            "organisation": request.GET.get("organisation", ""),
        }
        if form["organisation"] and not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return _shop(request, form)
    preferences.answer_as_page(request)
    form = {
        "credits": in_digits(request.POST.get("credits", "")),
        "mode": mode_of(request.POST.get("mode")),
        "request_id": request.POST.get("request_id", ""),
        "promo_code": _typed_code(request.POST.get("promo_code", "")),
        "organisation": request.POST.get("organisation", ""),
    }
    here = _shop_address(form)
    if request.POST.get("action") == "price":  # without JavaScript
        return HttpResponseRedirect(here, status=303)
    if not request.user.is_authenticated:
        return redirect_to_login(here)
    organisation = _organisation(request.user, form["organisation"])
    if organisation is not None:
        form["promo_code"] = ""
    try:
        signed_in = cast(SignedInRequest, request)
        with guessing(signed_in, form["promo_code"]):
            url = buy_or_refuse(
                organisation.account if organisation else request.user,
                valid_credits(parse_credits(form["credits"])),
                form["mode"],
                request_id=_uuid(form["request_id"]),
                expected_total=parse_cents(request.POST.get("expected_total", "")),
                promo_code=form["promo_code"],
                expected_bonus=parse_cents(request.POST.get("expected_bonus", "")),
            )
    except Refusal as refusal:
        return _shop(request, form, refusal)
    return HttpResponseRedirect(url, status=303)


def _typed_code(text: str) -> str:
    """A promo code as it was typed; what is longer than any is no good, whatever its rest is."""
    return text.strip()[:CODE_SHOWN]


def _shop_address(form: Mapping[str, Any]) -> str:
    """The shop with this order in it."""
    order = {"credits": form["credits"], "mode": form["mode"]}
    if form["promo_code"]:
        order["promo"] = form["promo_code"]
    if form["organisation"]:
        order["organisation"] = form["organisation"]
    return f"{reverse('buy')}?{urlencode(order)}"


def _organisation(user: User, organisation_id: str) -> Organisation | None:
    """Whom it is bought for, where that is not oneself. Raises `Http404`."""
    if not organisation_id:
        return None
    if not (organisation_id.isascii() and organisation_id.isdigit() and len(organisation_id) < 16):
        raise Http404
    return paying(user, int(organisation_id)).organisation


def mode_of(text: str | None) -> str:
    return text if text in Mode.values else Mode.PAYMENT


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def parse_cents(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _shop(
    request: HttpRequest, form: dict[str, Any], refusal: Refusal | None = None
) -> HttpResponse:
    problem = None
    errors: dict[str, str] = {}
    # The same id again where Stripe didn't answer, so that trying again can't buy twice.
    keep_id = refusal is not None and refusal.status in {502, 503}
    if refusal is not None:
        if refusal.body.get("field") in {"credits", "promo_code"}:
            errors[str(refusal.body["field"])] = str(refusal)
        else:
            problem = {
                "title": _problem_title(refusal),
                "detail": str(refusal),
                "code": refusal.body["code"],
            }
    price = price_of(form["credits"], pricing.load_tiers())
    quote = price["quote"]
    if price["error"]:
        errors.setdefault("credits", price["error"])
    subscription = live_subscription(request.user) if request.user.is_authenticated else None
    organisation = None
    if isinstance(request.user, User):
        organisation = _organisation(request.user, form["organisation"])
    if organisation is not None:
        # It has no plan, and codes are for people: who may found many could use one as often.
        subscription, form["promo_code"] = None, ""
    if subscription is not None or organisation is not None:
        form["mode"] = Mode.PAYMENT  # one plan is all there can be
    offer = None
    if form["promo_code"] and quote and "promo_code" not in errors:
        offer, error = _offer(request, form["promo_code"], quote.credits)
        errors.update(error)
    context = {
        "form": {
            **form,
            "credits": price["amount"],
            "request_id": form["request_id"] if keep_id else str(uuid.uuid4()),
            "expected_total": quote.total if quote else None,
            "errors": errors,
        },
        "problem": problem,
        **price,
        "offer": offer,
        "credits_in_all": quote.credits + offer.credits if quote and offer else None,
        "page": "buy",
        "next": _shop_address(form),
        "tail": _shop_address({**form, "credits": ""}).partition("?credits=")[2],
        "subscription": subscription,
        "organisation": organisation,
    }
    return render(
        request, "billing/credits.html", context, status=refusal.status if refusal else 200
    )


def _offer(
    request: HttpRequest, promo_code: str, credits: int
) -> tuple[Offer | None, dict[str, str]]:
    """What a code brings, or why it brings nothing; visitors learn it once they have signed in."""
    if not request.user.is_authenticated:
        return None, {}
    try:
        return bonus_offer(cast(SignedInRequest, request), promo_code, credits), {}
    except Refusal as refusal:
        return None, {"promo_code": str(refusal)}


def price_of(text: str, tiers: Sequence[pricing.Tier]) -> dict[str, Any]:
    """What a page shows of an amount that somebody typed: its price, or why it has none."""
    credits = parse_credits(text)
    quote: pricing.Quote | None = None
    error = ""
    try:
        quote = pricing.quote(valid_credits(credits), tiers)
    except Refusal as invalid:
        error = str(invalid)
    return {
        "amount": number(quote.credits) if quote else text,
        "error": error,
        "quote": quote,
        "discount": quote.total - quote.list_total if quote else 0,
        "tiers": pricing.table(tiers, quote.tier if quote else None),
        "plan": pricing.plan(tiers),
        "min_credits": MIN_CREDITS,
        "max_credits": MAX_CREDITS,
        "picks": PICKS,
    }


def _problem_title(refusal: Refusal) -> str:
    return {
        "price_changed": _("The price has changed"),
        "already_subscribed": _("You have a monthly plan already"),
        "order_replaced": _("Another order is open"),
        "request_id_reused": _("Please check your order"),
        "promotion_changed": _("The bonus has changed"),
        "account_closing": _("Your account is being closed"),
    }.get(str(refusal.body["code"]), _("We couldn't open the payment page"))


@never_cache
@require_safe
def success(request: HttpRequest) -> HttpResponse:
    """Where Stripe sends the buyer back to. It grants nothing: it waits for the webhook to.

    Who comes from another product's place may not be signed in here: they are told that this takes
    nothing from them, and come back once they are.
    """
    if not request.user.is_authenticated:
        messages.info(
            request,
            _(
                "Sign in to see your purchase. What you have paid for arrives by itself, whether "
                "or not you sign in, and a mail tells you."
            ),
        )
        return redirect_to_login(request.get_full_path())
    purchase_id = _uuid(request.GET.get("purchase", ""))
    purchase = get_object_or_404(
        Purchase.objects.select_related("user", "redemption__code"), pk=purchase_id
    )
    buyer = purchase.user
    if not organisations.buys_for(request.user, buyer):
        raise Http404
    context = {
        "purchase": purchase,
        **_place_of(buyer),
        # Old news comes with no poll: what isn't here after a day is not a matter of seconds.
        "is_fresh": purchase.payable_until > timezone.now(),
    }
    if purchase.is_paid and purchase.mode == Mode.PAYMENT:
        bought = Entry.objects.filter(wallet__user=buyer, key=f"purchase:{purchase.pk}")
        entry_id = bought.values_list("id", flat=True).first()
        if entry_id is not None and buyer.is_organisation:
            context["receipt"] = reverse("organisation_receipt", args=[buyer.pk, entry_id])
        elif entry_id is not None:
            context["receipt"] = reverse("receipt", args=[entry_id])
    return render(request, "billing/success.html", context)


def _place_of(buyer: User) -> dict[str, Any]:
    """Where what was bought is seen: the dashboard, or an organisation's page."""
    if not buyer.is_organisation:
        return {"home": reverse("dashboard")}
    return {
        "organisation": buyer.organisation,
        "organisation_balance": ledger.balance_of(buyer),
        "home": reverse("organisation", args=[buyer.pk]),
    }


@never_cache
@login_required
@require_safe
def dashboard(request: SignedInRequest) -> HttpResponse:
    """Balance, plan and history. However long the history is, it takes four queries."""
    zone = timezone.get_current_timezone()
    question = history.asked(request.GET, zone)
    found = statement.overview(
        request.user,
        question.chosen,
        before=question.before,
        after=question.after,
        days=CHART_DAYS,
        zone=zone,
    )
    page = found.page if found else statement.Page([])
    if page.is_stray:
        return redirect(f"{reverse('dashboard')}?{history.query_of(question.chosen)}#history")
    return render(
        request,
        "billing/dashboard.html",
        {
            "page": "dashboard",
            **_holdings(found),
            **history.page_of(question, page),
            "subscription": latest_subscription(request.user),
            "pending": _open_purchases(request.user),
        },
    )


def _holdings(found: statement.Overview | None) -> dict[str, Any]:
    if found is None:
        return {"balance": 0}
    now = found.standing
    # As it is now: time may have done to it what is not booked yet.
    days = [*found.days[:-1], found.days[-1]._replace(balance=now.balance)]
    drawn = chart.draw(days) if any(day.balance for day in days) else None
    return {
        "balance": now.available,
        "held": now.held,
        "owed": now.owed,
        "chart": drawn,
        "dates": history.below(drawn) if drawn else [],
        "days": days,
        "figures": list(history.figures(days))[::-1],
        "days_left": statement.days_left(days, now.available),
        "used": sum(day.used for day in days),
        "bought": sum(day.bought for day in days),
        "paid": sum(day.paid for day in days),
        "returned": sum(day.returned for day in days),
        "expiries": found.expiries,
        "expiring_later": found.expiring_later,
    }


def _open_purchases(user: User) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN.format(columns=rows.columns(Purchase, "purchase")),
            [user.pk, timezone.now() - FAILURES_SHOWN],
        )
        found = cursor.fetchall()
    purchases = []
    any_unconfirmed = False
    for *values, bonus in found:
        purchase = rows.made_of(Purchase, tuple(values))
        any_unconfirmed = any_unconfirmed or purchase.status == Purchase.Status.PENDING
        purchases.append({"purchase": purchase, "bonus": bonus, "url": purchase.open_page})
    return {
        "purchases": purchases,
        "any_unconfirmed": any_unconfirmed,
        "any_payable": any(row["url"] for row in purchases),
    }


_OPEN: Final = """
SELECT {columns}, redemption.credits
FROM billing_purchase AS purchase
    LEFT JOIN billing_redemption AS redemption ON redemption.purchase_id = purchase.id
WHERE purchase.user_id = %s AND (
    purchase.status IN ('review', 'settling')
    OR purchase.status = 'pending' AND purchase.stripe_session_url > ''
    OR purchase.status = 'failed' AND purchase.created_at > %s)
ORDER BY purchase.created_at DESC LIMIT 5"""


@never_cache
@login_required
@require_safe
def history_csv(request: SignedInRequest) -> HttpResponse | StreamingHttpResponse:
    """The history that the dashboard's filter shows, all pages of it, as it is read."""
    chosen = history.asked(request.GET, timezone.get_current_timezone()).chosen
    wallet = Wallet.objects.filter(user=request.user).first()
    # To HEAD nothing is sent, and nothing needs to be read.
    lines = history.csv_of(wallet, chosen) if request.method == "GET" else ()
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{history.filename(chosen)}"'
    return response


@never_cache
@login_required
@require_GET
def receipt(request: SignedInRequest, entry_id: int) -> HttpResponse:
    """To Stripe's receipt or invoice of what was paid, which has a new address each time."""
    return to_receipt(request, request.user, entry_id)


def to_receipt(request: HttpRequest, owner: User, entry_id: int) -> HttpResponse:
    wallet = get_object_or_404(Wallet, user=owner)
    entry = get_object_or_404(Entry, wallet=wallet, id=entry_id)
    if is_prefetch(request):
        return HttpResponse(status=503)  # on a click only
    try:
        return HttpResponseRedirect(receipts.receipt_url(entry), status=303)
    except receipts.NoReceipt:
        status = 404
    except StripeUnavailable:
        status = 503
    except StripeRefused:
        status = 502
    context = {
        "is_down": status != 404,
        "organisation": owner.organisation if owner.is_organisation else None,
    }
    return render(request, "billing/no_receipt.html", context, status=status)
