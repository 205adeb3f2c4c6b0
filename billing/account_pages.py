"""The pages about one's own account: its data to download, and its end."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from allauth.core import ratelimit
from allauth.core.internal import ratelimit as limits  # the public one lets every GET through
from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import organisations, preferences
from accounts.closing import AccountClosed, ClosingInterrupted, StaffAccount
from accounts.models import User
from accounts.organisations import LastOwner
from accounts.requests import SignedInRequest
from billing import closing
from billing.checkout import live_subscription
from billing.export import own_data
from billing.stripe_api import StripeRefused, StripeUnavailable
from credits import ledger

EXPORT_LIMIT: Final = {"export": "10/h/user"}


class ClosingForm(forms.Form):
    """The password once more, and that one knows what one does."""

    password = forms.CharField(
        label=gettext_lazy("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "current-password"}),
        error_messages={"required": gettext_lazy("Enter your password.")},
    )
    is_sure = forms.BooleanField(
        label=gettext_lazy("Close my account for good"),
        error_messages={"required": gettext_lazy("Tick this to close the account.")},
    )

    def __init__(self, user: User, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.user = user

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not self.user.check_password(password):
            raise forms.ValidationError(_("This is not your password. Nothing was closed."))
        return password


REFUSALS: Final[dict[type[Exception], tuple[int, Any]]] = {
    closing.PaymentUnderWay: (
        409,
        gettext_lazy(
            "A payment of yours is not confirmed yet; a bank debit takes some days. Nothing was "
            "closed. Please come back when its credits have arrived or it has failed."
        ),
    ),
    LastOwner: (
        409,
        gettext_lazy(
            "You are the only owner of an organisation. Nothing was closed: make somebody else its "
            "owner first, or close it."
        ),
    ),
    ClosingInterrupted: (
        409,
        gettext_lazy(
            "Something else was happening with your account. Nothing was erased; please try again."
        ),
    ),
    StripeUnavailable: (
        503,
        gettext_lazy(
            "Our payment provider doesn't answer just now, so your account is not closed. Nothing "
            "here was erased and nothing was charged; a monthly plan may have ended already. "
            "Please try again in a minute: it goes on where it stopped."
        ),
    ),
    StripeRefused: (
        502,
        gettext_lazy(
            "Our payment provider refused a step, so your account is not closed. Nothing here was "
            "erased and nothing was charged; a monthly plan may have ended already. Please try "
            "again, or write to us if it stays like this."
        ),
    ),
}


@never_cache
@login_required
@require_safe
def account(request: SignedInRequest) -> HttpResponse:
    return render(
        request,
        "billing/account.html",
        {"page": "account", "zones": preferences.zones_by_region()},
    )


@never_cache
@login_required
@require_POST
def time_zone(request: SignedInRequest) -> HttpResponse:
    """Choose in which time zone one reads times; none is the browser's."""
    name = request.POST.get("time_zone", "")
    if name and preferences.zone_named(name) is None:
        messages.error(request, _("Nothing was saved: there is no such time zone."))
    else:
        preferences.choose(request.user, time_zone=name)
        messages.success(request, _("Saved: times are in this time zone from now on."))
    return HttpResponseRedirect(reverse("account"), status=303)


@never_cache
@login_required
@require_safe
def export(request: SignedInRequest) -> HttpResponse | StreamingHttpResponse:
    """Everything about oneself as a JSON file, as it is read."""
    pieces: Iterator[str] = iter(())
    if request.method == "GET":
        if not limits.consume(
            request,
            app="billing",
            action="export",
            config=EXPORT_LIMIT,
            user=request.user,
            limit_get=True,
        ):
            return ratelimit.respond_429(request)
        pieces = own_data(request.user)
    response = StreamingHttpResponse(pieces, content_type="application/json")
    name = f"my-data-{timezone.now():%Y-%m-%d}.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def close(request: SignedInRequest) -> HttpResponse:
    """GET says what closing means, POST closes: with the password and a tick."""
    if request.method != "POST":
        return _closing_page(request, ClosingForm(request.user))
    if not ratelimit.consume(request, action="reauthenticate", user=request.user):
        return ratelimit.respond_429(request)
    form = ClosingForm(request.user, request.POST)
    if not form.is_valid():
        return _closing_page(request, form, status=400)
    try:
        closing.close_account(request.user)
    except AccountClosed:
        pass  # by the same button, pressed twice
    except StaffAccount:
        return _closing_page(request, form, status=403)  # which says why
    except tuple(REFUSALS) as error:
        status, problem = REFUSALS[type(error)]
        return _closing_page(request, ClosingForm(request.user), problem, status)
    logout(request)
    return HttpResponseRedirect(reverse("account_closed"), status=303)


def _closing_page(
    request: SignedInRequest, form: ClosingForm, problem: str = "", status: int = 200
) -> HttpResponse:
    user = request.user
    context = {
        "form": form,
        "problem": problem,
        "is_staff": user.is_staff or user.is_superuser,
        "has_password": user.has_usable_password(),
        "owned_alone": organisations.owned_alone(user),
        "standing": ledger.standing(user),
        "subscription": live_subscription(user),
        "page": "account",
    }
    return render(request, "billing/account_close.html", context, status=status)


@never_cache
@require_safe
def closed(request: HttpRequest) -> HttpResponse:
    """What one sees afterwards, signed out."""
    if request.user.is_authenticated:
        return redirect("account")
    return render(request, "billing/account_closed.html")
