"""Pages for visitors: the landing page, what holds between us and a buyer, and help.

What they say of prices, times and addresses is what the settings and the price table say now.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from billing import pricing
from billing.models import MAX_CREDITS, MIN_CREDITS
from billing.pages import FIRST_AMOUNT, mode_of, price_of
from credits.numbers import in_digits
from website import stairs


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """What credits are, and the price of `?credits=`; who is signed in knows that already."""
    if request.user.is_authenticated:
        return redirect("dashboard")
    mode = mode_of(request.GET.get("mode"))
    tiers = pricing.load_tiers()
    text = in_digits(request.GET.get("credits", str(FIRST_AMOUNT)))
    return render(
        request,
        "website/landing.html",
        {
            **facts(),
            **price_of(text, tiers),
            "mode": mode,
            "steps": stairs.draw(tiers),
            "tail": f"&mode={mode}#price",
            "least": pricing.quote(MIN_CREDITS, tiers),
        },
    )


@require_safe
def terms(request: HttpRequest) -> HttpResponse:
    return render(request, "website/terms.html", facts())


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    return render(request, "website/privacy.html", facts())


@require_safe
def refunds(request: HttpRequest) -> HttpResponse:
    return render(request, "website/refunds.html", facts())


@require_safe
def guide(request: HttpRequest) -> HttpResponse:
    """Answers to what buyers ask."""
    tiers = pricing.load_tiers()
    edge = next((tier.min - 1 for tier in tiers[1:]), MAX_CREDITS)
    context = {
        **facts(),
        "tiers": pricing.table(tiers, None),
        # Just below the second tier, where more credits cost less.
        "example": pricing.quote(edge, tiers),
        "least": pricing.quote(MIN_CREDITS, tiers),
    }
    return render(request, "website/help.html", context)


def facts() -> dict[str, Any]:
    """What the texts say of this install."""
    return {
        "company": settings.COMPANY_NAME,
        "min_credits": MIN_CREDITS,
        "max_credits": MAX_CREDITS,
        "minimum_charge": settings.MINIMUM_CHARGE_CENTS,
        "paid_days": settings.CREDITS_EXPIRE_AFTER_DAYS["paid"],
        "promotional_days": settings.CREDITS_EXPIRE_AFTER_DAYS["promotional"],
        "low_balance": settings.LOW_BALANCE_CREDITS,
        "is_draft": settings.DEBUG,
    }
