"""What allauth asks us: how its mails leave, and what it says when it refuses."""

import logging
import smtplib
from typing import Any, Final

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.app_settings import EmailVerificationMethod
from allauth.account.models import EmailAddress
from allauth.core import context as current
from allauth.core import ratelimit
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import preferences
from accounts.models import User
from accounts.second_step import guard

logger = logging.getLogger(__name__)

SIGNUP_MAIL: Final = "account/email/email_confirmation_signup"
KEPT_OF_PROFILES: Final = ("name", "email", "login")


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": _("This account is not active."),
        "duplicate_email": _("This is your address already."),
        "email_password_mismatch": _("The address or the password is wrong."),
        "email_taken": _("There is an account with this address already. Sign in instead?"),
        "enter_current_password": _("This is not your current password."),
        "incorrect_code": _("This is not the code from the latest mail. Please check it."),
        "incorrect_password": _("This is not your password."),
        "too_many_login_attempts": _("Too many tries. Please wait some minutes and try again."),
        "rate_limited": _("That was often in a short time. Please wait a while and try again."),
    }

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send one of allauth's mails now: their links and codes must not lie in a table.

        When it can't be sent, the person is told so by a page, not by an error, and asks for it
        again. A notice about something done is not worth undoing that.
        """
        request = current.request
        message = self.render_mail(
            template_prefix,
            email,
            {
                "request": request,
                "email": email,
                "site_name": settings.SITE_NAME,
                "base_url": settings.BASE_URL,
                **context,
            },
            headers={"Auto-Submitted": "auto-generated"},  # no holiday notes, please
        )
        try:
            message.send()
        except (smtplib.SMTPException, OSError) as error:
            # Without what the server said, which may name the address or the login.
            logger.warning("A mail (%s) was not sent: %s", template_prefix, type(error).__name__)
            self._go_on_without(request, template_prefix, email, context)

    def _go_on_without(
        self, request: HttpRequest, template_prefix: str, email: str, context: dict[str, Any]
    ) -> None:
        if "timestamp" in context:  # a notice
            return
        # The next try need not wait.
        ratelimit.clear(request, action="confirm_email", key=email.lower())
        if template_prefix == SIGNUP_MAIL and _is_optional():
            request.mail_failed = True  # type: ignore[attr-defined]  # for `add_message`
            return
        page = render(request, "account/mail_not_sent.html", {"email": email}, status=503)
        raise ImmediateHttpResponse(page)

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if getattr(request, "mail_failed", False) and str(message_template).endswith("_sent.txt"):
            level, message_template = messages.WARNING, "account/messages/email_not_sent.txt"
        super().add_message(request, level, message_template, *args, **kwargs)

    def format_email_subject(self, subject: str) -> str:
        return f"[{settings.SITE_NAME}] {subject}"

    def login(self, request: HttpRequest, user: Any) -> None:
        super().login(request, user)
        preferences.remember_language(user)

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        return guard.reauthentication_methods(user, super().get_reauthentication_methods(user))

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account")

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Refused also where another account has the address and has not confirmed it yet."""
        others = User.objects.exclude(pk=email_address.user_id)
        if others.filter(email__iexact=email_address.email).exists():
            self.add_message(
                request,
                messages.ERROR,
                "account/messages/email_confirmation_failed.txt",
                {"email": email_address.email},
            )
            return False
        return super().confirm_email(request, email_address)


def _is_optional() -> bool:
    return bool(app_settings.EMAIL_VERIFICATION == EmailVerificationMethod.OPTIONAL)


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    error_messages = DefaultSocialAccountAdapter.error_messages | {
        "email_taken": _(
            "There is an account with this address already. Sign in to it first, then connect %s "
            "under Account."
        ),
        "no_password": _("Set a password first: without it you could not sign in any more."),
        "no_verified_email": _("Confirm your email address first: a new password is mailed to it."),
    }

    def new_user(self, request: HttpRequest, sociallogin: SocialLogin) -> User:
        # It may wait in the session, as JSON, which has no word for a database's default.
        return User(date_joined=timezone.now())

    def get_app(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Any:
        """404 for a provider whose keys are not set: its addresses exist, its buttons don't."""
        try:
            return super().get_app(request, provider, client_id)
        except SocialApp.DoesNotExist:
            raise Http404 from None

    def authenticate_by_email(self, sociallogin: SocialLogin) -> Any:
        """Whose account it is, if provider and owner have both confirmed the same address.

        An address that nobody confirmed here may be somebody else's who waits for its owner.
        """
        found = super().authenticate_by_email(sociallogin)
        if found is None:
            return None
        user, email = found
        is_confirmed = EmailAddress.objects.filter(
            user_id=user.pk, email=email, verified=True
        ).exists()
        return found if is_confirmed else None

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: Any) -> Any:
        """Of what the provider tells about somebody, keep what the page names them by."""
        profile = sociallogin.account.extra_data
        sociallogin.account.extra_data = {
            name: profile[name] for name in KEPT_OF_PROFILES if profile.get(name)
        }
        return super().populate_user(request, sociallogin, data)
