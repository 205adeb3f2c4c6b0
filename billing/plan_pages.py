"""The page of the monthly plan: what it brings, what comes next, and its change."""

import functools
from collections.abc import Callable
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import preferences
from accounts.models import User
from accounts.requests import SignedInRequest
from billing import plans, pricing
from billing.api import Refusal, View
from billing.checkout import PriceChanged, latest_subscription
from billing.models import PlanChange, Subscription
from billing.pages import parse_cents, price_of
from billing.stripe_api import StripeRefused, StripeUnavailable
from billing.templatetags.money import money
from billing.views import stripe_refusal, valid_credits
from credits.numbers import in_digits, number, parse_credits


def button(page: str) -> Callable[[View], View]:
    """A POST by a button of a page; who isn't signed in comes back to the page, not to it."""

    def decorate(view: View) -> View:
        @never_cache
        @require_POST
        @functools.wraps(view)
        def wrapped(request: HttpRequest) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(reverse(page))
            return view(request)

        return wrapped

    return decorate


_button: Final = button("plan")


@never_cache
@login_required
@require_safe
def plan(request: SignedInRequest) -> HttpResponse:
    """The plan, and the price of `?credits=` a month."""
    return _page(request, request.GET.get("credits"))


@_button
def change(request: SignedInRequest) -> HttpResponse:
    """Change the amount from the next renewal on."""
    preferences.answer_as_page(request)
    text = in_digits(request.POST.get("credits", ""))
    if request.POST.get("action") == "price":  # without JavaScript
        return HttpResponseRedirect(
            f"{reverse('plan')}?{urlencode({'credits': text})}#change", status=303
        )
    try:
        agreed = _change(request.user, text, parse_cents(request.POST.get("expected_total", "")))
    except Refusal as refusal:
        return _page(request, text, refusal)
    messages.success(request, _sentence(agreed))
    # A browser keeps the form's own fragment otherwise, which scrolls past the sentence.
    return HttpResponseRedirect(f"{reverse('plan')}#main", status=303)


def _change(user: User, text: str, expected_total: int | None) -> PlanChange:
    credits = valid_credits(parse_credits(text))
    try:
        return plans.change_plan(user, credits, expected_total=expected_total)
    except PriceChanged:
        problem = _("The price has changed. Nothing was changed or charged; look at the new one.")
        raise Refusal(409, "price_changed", problem) from None
    except plans.PlanEnds:
        problem = _("Your plan ends. Resume it first, then change its amount. Nothing was changed.")
        raise Refusal(409, "plan_ends", problem) from None
    except plans.PlanUnpaid:
        problem = _(
            "A payment of your plan is due. Please check your card first; once it is paid, the "
            "amount can be changed. Nothing was changed."
        )
        raise Refusal(409, "plan_unpaid", problem) from None
    except plans.SameAmount:
        problem = _("Your plan brings %(count)s credits a month already. Choose another amount.")
        raise Refusal(
            409, "same_amount", problem % {"count": number(credits)}, field="credits"
        ) from None
    except plans.NoPlan:
        raise _no_plan() from None
    except StripeUnavailable as error:
        problem = _(
            "Our payment provider doesn't answer just now. Nothing was charged. Please try again "
            "in a minute: the change is made once, however often you ask."
        )
        raise Refusal(503, "stripe_unavailable", problem) from error
    except StripeRefused as error:
        raise stripe_refusal(error) from error


def _sentence(agreed: PlanChange) -> str:
    values = {
        "count": number(agreed.credits),
        "total": money(agreed.total),
        "day": formats.date_format(timezone.localtime(agreed.starts_at), "DATE_FORMAT")
        if agreed.starts_at
        else "",
    }
    if not agreed.starts_at:
        return _("Changed: %(count)s credits for %(total)s a month.") % values
    return (
        _("Changed: from %(day)s on, %(count)s credits for %(total)s a month. Nothing is due now.")
        % values
    )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: HttpRequest) -> HttpResponse:
    """GET says what cancelling means and asks, POST does it."""
    ask_or_do: View = _cancel if request.method == "POST" else _ask_to_cancel
    return ask_or_do(request)


@login_required
def _ask_to_cancel(request: SignedInRequest) -> HttpResponse:
    subscription = latest_subscription(request.user)
    if subscription is None or not subscription.is_live or subscription.cancel_at_period_end:
        return redirect("plan")
    return render(
        request,
        "billing/plan_cancel.html",
        {"page": "dashboard", "subscription": subscription},
    )


@_button
def _cancel(request: SignedInRequest) -> HttpResponse:
    try:
        _or_refuse(plans.cancel_plan, request.user)
    except Refusal as refusal:
        return _page(request, None, refusal)
    subscription = latest_subscription(request.user)
    if subscription is not None and subscription.is_overdue:
        said = _("Cancelled: it is not renewed again. The payment that failed is still due.")
    else:
        said = _("Cancelled: nothing more is charged, and your credits stay.")
    messages.success(request, said)
    return _to_plan()


@_button
def resume(request: SignedInRequest) -> HttpResponse:
    """Let a cancelled plan go on."""
    try:
        _or_refuse(plans.resume_plan, request.user)
    except Refusal as refusal:
        return _page(request, None, refusal)
    messages.success(request, _("Resumed: your plan goes on as before."))
    return _to_plan()


def _or_refuse(verb: Callable[[User], object], user: User) -> None:
    try:
        verb(user)
    except plans.NoPlan:
        raise _no_plan() from None
    except (StripeUnavailable, StripeRefused) as error:
        raise stripe_refusal(error) from error


def _no_plan() -> Refusal:
    return Refusal(409, "no_plan", _("You have no monthly plan now, so nothing was changed."))


def _to_plan() -> HttpResponse:
    return HttpResponseRedirect(reverse("plan"), status=303)


def _page(
    request: SignedInRequest, text: str | None, refusal: Refusal | None = None
) -> HttpResponse:
    subscription = latest_subscription(request.user)
    context: dict[str, Any] = {"page": "dashboard", "subscription": subscription}
    if refusal is not None and "field" not in refusal.body:
        context["problem"] = str(refusal)
    if subscription is not None and subscription.is_live:
        context |= _terms(subscription)
        if subscription.is_changeable:
            context |= _form(subscription, text, refusal)
    return render(request, "billing/plan.html", context, status=refusal.status if refusal else 200)


def _terms(subscription: Subscription) -> dict[str, Any]:
    """What the plan brings now, and what from the next renewal on if that is something else."""
    now = plans.present_terms(subscription)
    is_same = (now.credits, now.total) == (subscription.credits, subscription.total)
    return {"now": now, "to_come": None if is_same else subscription}


def _form(subscription: Subscription, text: str | None, refusal: Refusal | None) -> dict[str, Any]:
    text = str(subscription.credits) if text is None else text
    price = price_of(text, pricing.load_tiers())
    if not price["error"] and refusal is not None and "field" in refusal.body:
        price["error"] = str(refusal)
    return price
