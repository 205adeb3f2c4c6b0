"""What allauth asks us about second factors: their names, and what it says when it refuses."""

from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy


class SecondStepAdapter(DefaultMFAAdapter):
    error_messages = DefaultMFAAdapter.error_messages | {
        "add_email_blocked": gettext_lazy(
            "Turn two-step sign-in off before you add an address, and on again afterwards."
        ),
        "cannot_generate_recovery_codes": gettext_lazy(
            "Recovery codes come with an authenticator app or a passkey. Add one of these first."
        ),
        "incorrect_code": gettext_lazy(
            "This code is wrong, has run out or was used already. Enter one that is new."
        ),
        "unverified_email": gettext_lazy(
            "Confirm your email address first: we sent you a mail with a link."
        ),
    }

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return _("Passkey {number}").format(number=number)

    # What a device lists a passkey under.
    def _get_site_name(self) -> str:
        return settings.SITE_NAME
