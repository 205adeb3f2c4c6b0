"""The page on which a voucher becomes credits."""

import uuid
from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.closing import AccountClosing
from accounts.requests import SignedInRequest
from billing import promotions
from billing.api import Refusal
from billing.models import Redemption
from billing.promo_refusals import guessing, voucher_refusal
from credits.numbers import number

LONGEST: Final = 60
"""Characters that are shown of what was typed."""


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def redeem(request: SignedInRequest) -> HttpResponse:
    """GET asks for a code, or shows the one of a link; only POST redeems it."""
    if request.method != "POST":
        return _page(request, request.GET.get("code", ""))
    code = request.POST.get("code", "").strip()
    if not code:
        return _page(request, "", Refusal(400, "", _("Enter the code of your voucher.")))
    try:
        redemption = _redeem(request, code)
    except Refusal as refusal:
        return _page(request, code, refusal)
    messages.success(
        request,
        ngettext("%(count)s credit was added.", "%(count)s credits were added.", redemption.credits)
        % {"count": number(redemption.credits)},
    )
    return HttpResponseRedirect(reverse("dashboard"), status=303)


def _redeem(request: SignedInRequest, code: str) -> Redemption:
    with guessing(request, code):
        try:
            return promotions.redeem(request.user, code, request_id=_request_id(request))
        except promotions.CodeRefused as error:
            raise voucher_refusal(error) from None
        except promotions.RedemptionReused:
            problem = _("This page was sent with another code before. Nothing was added this time.")
            raise Refusal(409, "request_id_reused", problem) from None
        except AccountClosing:
            problem = _("Your account is being closed, so nothing new can begin.")
            raise Refusal(409, "account_closing", problem) from None


def _request_id(request: SignedInRequest) -> uuid.UUID | None:
    try:
        return uuid.UUID(request.POST.get("request_id", ""))
    except ValueError:
        return None


def _page(request: SignedInRequest, code: str, refusal: Refusal | None = None) -> HttpResponse:
    code = code.strip()[:LONGEST]
    is_promo_code = refusal is not None and refusal.body["code"] == "voucher_is_promo_code"
    context = {
        "code": code,
        "error": str(refusal) if refusal else "",
        "shop": f"{reverse('buy')}?{urlencode({'promo': code})}" if is_promo_code else "",
        "request_id": uuid.uuid4(),
    }
    status = refusal.status if refusal else 200
    return render(request, "billing/redeem.html", context, status=status)
