"""The page of automatic top-up: its terms, the card that pays, and what was charged."""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import closing, preferences
from accounts.models import User
from accounts.requests import SignedInRequest
from billing import pricing, topup, topup_charges
from billing.api import Refusal
from billing.models import Purchase, TopUp
from billing.pages import parse_cents, price_of
from billing.plan_pages import button
from billing.stripe_api import StripeRefused, StripeUnavailable
from billing.stripe_objects import NotOurs, stripe_id
from billing.templatetags.money import money
from billing.topup import Terms
from billing.views import closing_refusal, stripe_refusal
from credits import ledger
from credits.numbers import number, parse_credits

FIRST: Final = Terms(threshold=100, credits=500, cap=2000)
"""What the page suggests."""

MAX_CAP: Final = 100_000
"""Dollars a month."""

NAMES: Final = ("threshold", "credits", "cap")

CHARGES_SHOWN: Final = 10


@dataclass
class Typed:
    """What somebody has typed for terms, the terms if that is what they are, and what is wrong."""

    threshold: str
    credits: str
    cap: str
    errors: dict[str, str] = field(default_factory=dict)
    terms: Terms | None = None
    price: dict[str, Any] = field(default_factory=dict)


@never_cache
@login_required
@require_safe
def top_up(request: SignedInRequest) -> HttpResponse:
    """How it stands; with terms in the query, what they mean, to be agreed to."""
    asked = {name: request.GET.get(name, "") for name in NAMES}
    return _page(request, asked if any(asked.values()) else {})


@button("top_up")
def turn_on(request: SignedInRequest) -> HttpResponse:
    """Agree to terms that the page has shown."""
    preferences.answer_as_page(request)
    sent = {name: request.POST.get(name, "") for name in NAMES}
    typed = _read(sent)
    try:
        _turn_on(request, typed)
    except Refusal as refusal:
        return _page(request, sent, refusal)
    said = _("Automatic top-up is on.")
    if typed.terms is not None and ledger.balance_of(request.user) < typed.terms.threshold:
        said = _("Automatic top-up is on. Your card is charged within a minute: you run low now.")
    messages.success(request, said)
    return _back()


def _turn_on(request: SignedInRequest, typed: Typed) -> None:
    if typed.terms is None:
        problem = _("Please correct what is marked. Nothing was changed or charged.")
        raise Refusal(400, "invalid_terms", problem)
    if "agree" not in request.POST:
        problem = _("Please tick that you agree. Nothing was changed or charged.")
        raise Refusal(400, "not_agreed", problem, field="agree")
    expected = parse_cents(request.POST.get("expected_total", ""))
    price = typed.price["quote"].total
    try:
        if expected != price:
            raise topup.PriceChanged(typed.price["quote"])
        topup.turn_on(
            request.user, typed.terms, expected_total=price, text=sentence(typed.terms, price)
        )
    except topup.PriceChanged:
        problem = _("The price has changed. Nothing was changed or charged; look at the new one.")
        raise Refusal(409, "price_changed", problem) from None
    except topup.NoCard:
        problem = _("There is no card to charge. Please add one first. Nothing was changed.")
        raise Refusal(409, "no_card", problem) from None
    except closing.AccountClosing:
        raise closing_refusal() from None


def sentence(terms: Terms, total: int) -> str:
    """What somebody agrees to, word for word."""
    return ngettext(
        "I agree that %(site)s charges my saved card %(total)s for %(count)s credit whenever I have"
        " fewer than %(threshold)s credits to spend, and at most %(cap)s in a calendar month. If"
        " the price rises, nothing is charged before I agree anew. I can turn this off at any"
        " time.",
        "I agree that %(site)s charges my saved card %(total)s for %(count)s credits whenever I"
        " have fewer than %(threshold)s credits to spend, and at most %(cap)s in a calendar month."
        " If the price rises, nothing is charged before I agree anew. I can turn this off at any"
        " time.",
        terms.credits,
    ) % {
        "site": settings.SITE_NAME,
        "total": money(total),
        "count": number(terms.credits),
        "threshold": number(terms.threshold),
        "cap": money(terms.cap),
    }


@button("top_up")
def turn_off(request: SignedInRequest) -> HttpResponse:
    """At once, and without asking: it can be turned on again."""
    topup.turn_off(request.user)
    messages.success(request, _("Automatic top-up is off: your card is not charged any more."))
    return _back()


@button("top_up")
def add_card(request: SignedInRequest) -> HttpResponse:
    """To Stripe's page, on which a card is saved, the first one or another."""
    try:
        return HttpResponseRedirect(topup.card_page(request.user), status=303)
    except closing.AccountClosing:
        return _page(request, {}, closing_refusal())
    except (StripeUnavailable, StripeRefused) as error:
        return _page(request, {}, stripe_refusal(error))


@never_cache
@login_required
@require_safe
def card_added(request: SignedInRequest, session_id: str) -> HttpResponse:
    """Back from Stripe's page: the card is here at once, not only when the webhook comes."""
    if stripe_id(session_id) is None:
        raise Http404
    try:
        card = topup.fetch_card(session_id)
    except (NotOurs, StripeRefused):
        raise Http404 from None
    except StripeUnavailable:
        messages.info(request, _("Your card is saved and shows here within a minute."))
        return redirect("top_up")
    if card.user != request.user:
        raise Http404
    try:
        topup.keep_card(card)
    except closing.AccountClosing:
        return _page(request, {}, closing_refusal())
    messages.success(request, _("Your card is saved."))
    return redirect("top_up")


@button("top_up")
def remove_card(request: SignedInRequest) -> HttpResponse:
    """Turn it off and let the card go."""
    topup.remove_card(request.user)
    messages.success(request, _("Your card is removed, and automatic top-up is off."))
    return _back()


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def pay(request: SignedInRequest, purchase_id: UUID) -> HttpResponse:
    """A charge that the bank wants its owner for: GET shows it, POST leads to the payment page."""
    purchase = get_object_or_404(
        Purchase.objects.select_related("top_up", "user"),
        pk=purchase_id,
        user=request.user,
        top_up__isnull=False,
    )
    refusal = None
    if request.method == "POST":
        try:
            return HttpResponseRedirect(topup_charges.pay_page(purchase), status=303)
        except topup_charges.NotPayable:
            purchase.refresh_from_db()
        except closing.AccountClosing:
            refusal = closing_refusal()
        except (StripeUnavailable, StripeRefused) as error:
            refusal = stripe_refusal(error)
    context = {
        "page": "dashboard",
        "purchase": purchase,
        "is_payable": topup_charges.payable(purchase),
        "problem": str(refusal) if refusal else "",
    }
    return render(
        request, "billing/top_up_pay.html", context, status=refusal.status if refusal else 200
    )


def _back() -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('top_up')}#main", status=303)


# --- The page -------------------------------------------------------------------------------------


def _page(
    request: SignedInRequest, asked: dict[str, str], refusal: Refusal | None = None
) -> HttpResponse:
    row = topup.of(request.user)
    typed = _read(asked or _present(row))
    context: dict[str, Any] = {
        "page": "dashboard",
        "top_up": row,
        "typed": typed,
        "max_cap": MAX_CAP,
        "refusal": refusal.body if refusal else None,
    }
    if row is not None:
        context |= _state(request.user, row)
    if row is not None and row.payment_method_id:
        context |= typed.price
        context["tail"] = f"&{urlencode({'threshold': typed.threshold, 'cap': typed.cap})}#terms"
        if asked and typed.terms is not None:
            context |= {
                "sentence": sentence(typed.terms, typed.price["quote"].total),
                "balance_now": ledger.balance_of(request.user),
            }
    return render(
        request, "billing/top_up.html", context, status=refusal.status if refusal else 200
    )


def _present(row: TopUp | None) -> dict[str, str]:
    terms = row.consent if row is not None and row.consent is not None else FIRST
    return {
        "threshold": str(terms.threshold),
        "credits": str(terms.credits),
        "cap": str(terms.cap // 100),
    }


def _state(user: User, row: TopUp) -> dict[str, Any]:
    charges = Purchase.objects.filter(top_up=row).order_by("-created_at")
    waiting = charges.filter(status=Purchase.Status.PENDING).select_related("top_up").first()
    return {
        "used": topup.used_now(row),
        "charges": list(charges[:CHARGES_SHOWN]),
        "to_pay": waiting if waiting is not None and topup_charges.payable(waiting) else None,
    }


def _read(asked: dict[str, str]) -> Typed:
    typed = Typed(asked["threshold"], asked["credits"], asked["cap"])
    typed.price = price_of(typed.credits, pricing.load_tiers())
    quote = typed.price["quote"]
    if typed.price["error"]:
        typed.errors["credits"] = typed.price["error"]
    most = quote.credits if quote else None
    threshold = parse_credits(typed.threshold)
    if threshold is None or threshold < 1:
        typed.errors["threshold"] = _("Please enter a whole number of credits, such as 100.")
    elif most is not None and threshold > most:
        typed.errors["threshold"] = _(
            "Please enter at most %(count)s, as many as are bought: one charge has to be enough."
        ) % {"count": number(most)}
    cap = parse_credits(typed.cap)
    if cap is None or not 1 <= cap <= MAX_CAP:
        typed.errors["cap"] = _("Please enter whole dollars, such as 20.")
    elif quote is not None and cap * 100 < quote.total:
        typed.errors["cap"] = _("Please enter at least %(total)s, the price of one charge.") % {
            "total": money(quote.total)
        }
    if not typed.errors and threshold is not None and cap is not None and quote is not None:
        typed.terms = Terms(threshold, quote.credits, cap * 100)
    return typed
