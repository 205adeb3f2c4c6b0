"""Confirming an email address: one click where one has asked for it, and asking once more."""

from typing import Any

from allauth.account.internal.flows.email_verification import send_verification_email_at_login
from allauth.account.internal.stagekit import unstash_login  # there is no public way to it
from allauth.account.models import Login, get_emailconfirmation_model
from allauth.account.views import ConfirmEmailView
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def mail_sent(request: HttpRequest) -> HttpResponse:
    """What to do with the mail; POST sends it once more.

    Nothing here tells whether there is an account: for an address that has one already a sign-up
    gets the same page, and its mail says so.
    """
    if request.user.is_authenticated:
        return HttpResponseRedirect(reverse("account_email"))
    login = unstash_login(request, peek=True)
    if request.method == "POST" and login is not None:
        if not send_verification_email_at_login(request, login):
            messages.info(
                request, _("The last mail is less than a minute old. Please give it a moment.")
            )
        return HttpResponseRedirect(reverse("account_email_verification_sent"), status=303)
    context = {"email": _address(login) if login else ""}
    return render(request, "account/verification_sent.html", context)


def _address(login: Login) -> str:
    """As it was typed, for an account that exists and for one that doesn't."""
    return login.email or str(login.user or "")


@method_decorator(never_cache, name="dispatch")
class ConfirmEmail(ConfirmEmailView):
    """The link in the mail. Elsewhere than where one has asked for it, it takes a button.

    Programs open the links in mails to look for harm. If that confirmed an address, whoever signed
    up with somebody else's would soon have it confirmed
    (docs/decisions/0019-how-an-address-is-confirmed.md).
    """

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "GET" and _asked_here(request, kwargs["key"]):
            return self.post(request, *args, **kwargs)
        return super().get(request, *args, **kwargs)


def _asked_here(request: HttpRequest, key: str) -> bool:
    confirmation = get_emailconfirmation_model().from_key(key)
    if confirmation is None:
        return False
    owner = confirmation.email_address.user
    if request.user.is_authenticated:
        return request.user == owner
    login = unstash_login(request, peek=True)
    return login is not None and login.user == owner
