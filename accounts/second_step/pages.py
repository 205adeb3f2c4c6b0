"""allauth's pages about second factors, where ours lead on differently."""

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import record_authentication
from allauth.account.models import EmailAddress
from allauth.account.utils import passthrough_next_redirect_url
from allauth.mfa.base.views import IndexView
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.views import (
    AddWebAuthnView,
    LoginWebAuthnView,
    ReauthenticateWebAuthnView,
)
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.generic import RedirectView

from accounts.requests import SignedInRequest
from accounts.second_step import guard


class Index(IndexView):
    """What is on, and what to do."""

    request: SignedInRequest

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        emails = EmailAddress.objects.filter(user=user)
        return super().get_context_data(**kwargs) | {
            "must_confirm_email": emails.filter(verified=False).exists(),
            "is_required": guard.is_required_of(user),
            "wanted": self.request.session.get(guard.WANTED),
        }


class AddApp(ActivateTOTPView):
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated and _of(request, Authenticator.Type.TOTP).exists():
            return redirect("mfa_index")  # by the same button, pressed twice, or by going back
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            response = super().form_valid(form)
        except IntegrityError:  # twice at the same moment
            return redirect("mfa_view_recovery_codes")
        _has_shown(self.request, Authenticator.Type.TOTP)
        return response

    def get_success_url(self) -> str:
        return _onward(self.request, super().get_success_url())


class AddPasskey(AddWebAuthnView):
    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        _has_shown(self.request, Authenticator.Type.WEBAUTHN)
        return response

    def get_success_url(self) -> str:
        return _onward(self.request, super().get_success_url())


def _has_shown(request: HttpRequest, kind: Authenticator.Type) -> None:
    """Who has just set a factor up has shown it, and is not asked for it again at once."""
    added = _of(request, kind).latest("pk")
    record_authentication(request, added.user, "mfa", id=added.pk, type=added.type)


def _of(request: HttpRequest, kind: Authenticator.Type) -> Any:
    return Authenticator.objects.filter(user=request.user, type=kind)


def _onward(request: HttpRequest, url: str) -> str:
    """To the page of the administration that waits; but new recovery codes are read first."""
    if url != reverse("mfa_index"):
        return url
    wanted: str = request.session.get(guard.WANTED, url)
    return wanted


class SignIn(LoginWebAuthnView):
    def form_invalid(self, form: Any) -> HttpResponse:
        return _refuse(self.request, form, reverse("account_login"))


class ConfirmByPasskey(ReauthenticateWebAuthnView):
    def form_invalid(self, form: Any) -> HttpResponse:
        return _refuse(self.request, form, self.request.path)


def _refuse(request: HttpRequest, form: Any, page: str) -> HttpResponse:
    """Say why on the page that one comes from, and keep where one is going."""
    for error in form.errors.get("credential", []):
        get_adapter().add_message(request, messages.ERROR, message=error)
    return redirect(passthrough_next_redirect_url(request, page, REDIRECT_FIELD_NAME))


index = Index.as_view()
add_app = AddApp.as_view()
add_passkey = AddPasskey.as_view()
passkeys = RedirectView.as_view(pattern_name="mfa_index")
sign_in = SignIn.as_view()
confirm_by_passkey = ConfirmByPasskey.as_view()
