"""A second factor, and sessions that have shown it."""

import time
from typing import Any

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
)
from django.test import Client

from accounts.models import User

PERIOD = 30  # seconds


def add_app(user: User) -> str:
    """Answers the secret."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret


def code_of(secret: str) -> str:
    """The code of this moment, which has at least two seconds to live."""
    left = PERIOD - time.time() % PERIOD
    if left < 2:
        time.sleep(left)
    return format_hotp_value(hotp_value(secret, int(time.time()) // PERIOD))


def unused_codes(user: User) -> list[str]:
    codes = Authenticator.objects.get(user=user, type="recovery_codes").wrap()
    return codes.get_unused_codes()


class StaffClient(Client):
    """Who works here is signed in with the second step that the administration asks for."""

    def force_login(self, user: User, backend: str | None = None) -> None:
        super().force_login(user, backend)
        if user.is_staff:
            app = Authenticator.objects.filter(user=user, type="totp").first()
            self.show(user, app or TOTP.activate(user, generate_totp_secret()).instance)

    def show(self, user: User, factor: Authenticator) -> None:
        session: Any = self.session
        record = {"method": "mfa", "at": time.time(), "id": factor.pk, "type": factor.type}
        session[AUTHENTICATION_METHODS_SESSION_KEY] = [record]
        session["account_authentication_methods_user"] = str(user.pk)
        session.save()
