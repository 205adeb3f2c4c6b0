"""The pages on which users say whether and when they want a mail about a low balance."""

from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts import preferences
from accounts.requests import SignedInRequest
from billing import low_balance
from credits import ledger
from credits.numbers import number, parse_credits

MAX_THRESHOLD: Final = 1_000_000
"""Credits: ten of the largest purchases."""


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def alerts(request: SignedInRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, low_balance.threshold_of(request.user))
    if "low" not in request.POST:
        low_balance.set_threshold(request.user, 0)
        messages.success(request, _("Saved: no mails about a low balance."))
        return HttpResponseRedirect(reverse("alerts"), status=303)
    preferences.answer_as_page(request)
    text = request.POST.get("threshold", "")
    threshold = parse_credits(text)
    if threshold is None or not 1 <= threshold <= MAX_THRESHOLD:
        return _form(request, 0, refused=text)
    low_balance.set_threshold(request.user, threshold)
    messages.success(
        request,
        _("Saved: a mail when you have fewer than %(count)s credits.")
        % {"count": number(threshold)},
    )
    return HttpResponseRedirect(reverse("alerts"), status=303)


def _form(request: SignedInRequest, threshold: int, refused: str | None = None) -> HttpResponse:
    is_bad = refused is not None
    context = {
        "is_on": threshold > 0 or is_bad,
        "threshold": refused if is_bad else number(threshold or low_balance.SUGGESTED),
        "max_threshold": MAX_THRESHOLD,
        "is_bad": is_bad,
        "is_low": ledger.balance_of(request.user) < threshold,
    }
    return render(request, "billing/alerts.html", context, status=400 if is_bad else 200)


@csrf_exempt  # a mailbox's own button posts here; the signed link is the authentication
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def alerts_off(request: HttpRequest, token: str) -> HttpResponse:
    """GET asks, so that a mailbox that looks at links in advance changes nothing; POST does it."""
    user = low_balance.user_of(token)
    if user is None:
        raise Http404
    if request.method == "POST":
        low_balance.set_threshold(user, 0)
    return render(request, "billing/alerts_off.html", {"is_off": request.method == "POST"})
