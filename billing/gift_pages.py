"""The pages of gifts: one's own, the one that a mail's link leads to, and buying for somebody."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import preferences
from accounts.closing import AccountClosing
from accounts.requests import SignedInRequest
from billing import giving, pricing
from billing.api import Refusal
from billing.checkout import Present
from billing.gift_forms import GiftForm, PresentForm
from billing.models import Mode
from billing.pages import FIRST_AMOUNT, parse_cents, price_of
from billing.views import buy, valid_credits
from credits import gifts, ledger
from credits.errors import CreditsOwed, LedgerError, NotGiftable
from credits.models import Gift
from credits.numbers import in_digits, number, parse_credits

LATEST: Final = 50
"""How many of the gifts sent and received are shown."""


# --- One's own -----------------------------------------------------------------------------------


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def gift_list(request: SignedInRequest) -> HttpResponse:
    """What one has sent and received. POST shows what would be sent, and then sends it."""
    if request.method != "POST":
        return _list(request, GiftForm(request.user))
    preferences.answer_as_page(request)
    form = GiftForm(request.user, request.POST)
    if request.POST.get("action") == "change":
        return _list(request, GiftForm(request.user), typed=request.POST)
    if not form.is_valid():
        return _list(request, form, status=400)
    asked = form.cleaned_data
    if request.POST.get("action") != "send":
        giftable = giving.giftable(request.user)
        if asked["credits"] > giftable:
            form.add_error("credits", _too_many(giftable))
            return _list(request, form, status=400)
        context = {
            "asked": asked,
            "return_days": settings.GIFTS_RETURN_AFTER_DAYS,
            "page": "account",
        }
        return render(request, "billing/gift_confirm.html", context)
    try:
        gift = giving.send(
            request.user,
            asked["recipient"],
            asked["credits"],
            message=asked["message"],
            request_id=asked["request_id"],
        )
    except (gifts.GiftRefused, LedgerError, AccountClosing) as refusal:
        return _list(request, form, _problem(refusal), status=409)
    words = ngettext(
        "Sent: %(count)s credit is on its way to %(to)s.",
        "Sent: %(count)s credits are on their way to %(to)s.",
        gift.credits,
    )
    messages.success(request, words % {"count": number(gift.credits), "to": gift.recipient})
    return HttpResponseRedirect(f"{reverse('gifts')}#main", status=303)


def _list(
    request: SignedInRequest,
    form: GiftForm,
    problem: str = "",
    *,
    typed: Mapping[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    if typed is not None:
        form.initial.update((name, typed.get(name, "")) for name in form.fields)
    user = request.user
    now = ledger.standing(user)
    giftable = giving.giftable(user)
    context = {
        "form": form,
        "problem": problem,
        "giftable": giftable,
        "available": now.available,
        "owed": now.owed,
        "return_days": settings.GIFTS_RETURN_AFTER_DAYS,
        "age": settings.GIFTS_AFTER_DAYS,
        "may_be_given_on": settings.GIFTS_MAY_BE_GIVEN_ON,
        "sent": gifts.sent_by(user)[:LATEST],
        "received": gifts.received_by(user)[:LATEST],
        "page": "account",
    }
    return render(request, "billing/gifts.html", context, status=status)


def _too_many(giftable: int) -> str:
    if not giftable:
        return _("You have no credits that can be given away just now. Nothing was sent.")
    words = ngettext(
        "You can give away at most %(count)s credit just now. Nothing was sent.",
        "You can give away at most %(count)s credits just now. Nothing was sent.",
        giftable,
    )
    return words % {"count": number(giftable)}


def _problem(refusal: Exception) -> str:
    """Why a gift was not sent, and what to do now."""
    match refusal:
        case NotGiftable():
            return _too_many(refusal.giftable)
        case CreditsOwed():
            words = ngettext(
                "You owe %(count)s credit: the next credits you get repay it, and then you can "
                "give some away. Nothing was sent.",
                "You owe %(count)s credits: the next credits you get repay them, and then you can "
                "give some away. Nothing was sent.",
                refusal.owed,
            )
            return words % {"count": number(refusal.owed)}
        case gifts.TooMuchToday():
            return _(
                "At most %(most)s credits can be sent within 24 hours; you can send %(left)s more "
                "now. Nothing was sent."
            ) % {"most": number(settings.GIFTS_CREDITS_PER_DAY), "left": number(refusal.left)}
        case gifts.TooManyGifts():
            return _(
                "You have sent as many gifts within 24 hours as one can. Nothing was sent; please "
                "try again tomorrow."
            )
        case gifts.NotVerified():
            return _("Please confirm your email address first. Nothing was sent.")
        case gifts.RequestIdReused():
            return _(
                "This form has sent another gift already. Nothing more was sent; please look at "
                "the list below."
            )
        case AccountClosing():
            return _("This account is being closed: nothing was sent.")
    return _("The gift could not be sent. Nothing was taken; please try again in a moment.")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: SignedInRequest, gift_id: uuid.UUID) -> HttpResponse:
    """GET asks, POST cancels."""
    gift = get_object_or_404(gifts.sent_by(request.user), pk=gift_id)
    if request.method != "POST" and gift.is_open:
        return render(request, "billing/gift_cancel.html", {"gift": gift, "page": "account"})
    if request.method == "POST":
        try:
            giving.cancel(gift)
        except gifts.GiftGone as gone:
            messages.warning(request, _gone(gone.gift))
        else:
            messages.success(request, _("Cancelled: the credits are in your balance again."))
    return HttpResponseRedirect(f"{reverse('gifts')}#main", status=303)


def _gone(gift: Gift) -> str:
    if gift.status == Gift.Status.CLAIMED:
        return _("It was claimed meanwhile, so it can't be cancelled any more.")
    return _("It is back already; nothing more was done.")


# --- The link of the mail ------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def gift(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows the gift to whom it is for, and to nobody else; POST claims it."""
    try:
        found = gifts.gift_of(token)
    except gifts.UnknownGift:
        raise Http404 from None
    user = request.user
    if not user.is_authenticated:
        return _stranger(request, found)
    if user.pk == found.sender_id:
        return redirect("gifts")
    if not gifts.is_for(found, user):
        return _stranger(request, found, status=403)
    if request.method == "POST":
        return _claim(request, found, token)
    is_there = found.is_open and not gifts.is_over(found)
    return render(request, "billing/gift.html", {"gift": found, "is_there": is_there})


def _stranger(request: HttpRequest, found: Gift, status: int = 200) -> HttpResponse:
    context = {"masked": gifts.masked(found.recipient), "next": request.path}
    return render(request, "billing/gift_stranger.html", context, status=status)


def _claim(request: HttpRequest, found: Gift, token: str) -> HttpResponse:
    assert request.user.is_authenticated  # noqa: S101 (the caller has looked)
    problem, status = "", 409
    try:
        claimed = giving.claim(request.user, token)
    except gifts.GiftGone as gone:
        return render(request, "billing/gift.html", {"gift": gone.gift}, status=409)
    except gifts.NotForThem:
        return _stranger(request, found, status=403)
    except AccountClosing:
        problem = _("This account is being closed: the gift was not claimed.")
    except LedgerError:
        problem = _("The gift could not be claimed just now. Nothing is lost; please try again.")
        status = 503
    if problem:
        context = {"gift": found, "is_there": True, "problem": problem}
        return render(request, "billing/gift.html", context, status=status)
    words = ngettext(
        "%(count)s credit is yours now.", "%(count)s credits are yours now.", claimed.credits
    )
    messages.success(request, words % {"count": number(claimed.credits)})
    return HttpResponseRedirect(reverse("dashboard"), status=303)


# --- Bought for somebody -------------------------------------------------------------------------


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def buy_gift(request: SignedInRequest) -> HttpResponse:
    """For whom and how many; POST goes to the payment page."""
    if request.method != "POST":
        text = in_digits(request.GET.get("credits", str(FIRST_AMOUNT)))
        return _shop(request, PresentForm(request.user), text)
    preferences.answer_as_page(request)
    text = in_digits(request.POST.get("credits", ""))
    form = PresentForm(request.user, request.POST)
    if request.POST.get("action") == "price":  # without JavaScript
        typed = PresentForm(request.user)
        typed.initial.update((name, request.POST.get(name, "")) for name in typed.fields)
        return _shop(request, typed, text)
    if not form.is_valid():
        return _shop(request, form, text, status=400)
    request_id = request.POST.get("request_id", "")
    try:
        url = buy(
            request.user,
            valid_credits(parse_credits(text)),
            Mode.PAYMENT,
            request_id=_uuid(request_id),
            expected_total=parse_cents(request.POST.get("expected_total", "")),
            present=Present(form.cleaned_data["recipient"], form.cleaned_data["message"]),
        )
    except Refusal as refusal:
        # The same id again where Stripe didn't answer, so that trying again can't buy twice.
        keep = request_id if refusal.status in {502, 503} else ""
        return _shop(request, form, text, str(refusal), request_id=keep, status=refusal.status)
    except gifts.GiftRefused as error:
        return _shop(request, form, text, _problem(error), status=409)
    return HttpResponseRedirect(url, status=303)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _shop(
    request: SignedInRequest,
    form: PresentForm,
    text: str,
    problem: str = "",
    *,
    request_id: str = "",
    status: int = 200,
) -> HttpResponse:
    price = price_of(text, pricing.load_tiers())
    context = {
        "form": form,
        "problem": "" if problem == price["error"] else problem,
        "request_id": request_id or str(uuid.uuid4()),
        "owed": ledger.standing(request.user).owed,
        "return_days": settings.GIFTS_RETURN_AFTER_DAYS,
        **price,
        "page": "buy",
    }
    return render(request, "billing/gift_buy.html", context, status=status)
