"""allauth's forms for second factors, in our words."""

from collections.abc import Callable
from typing import Any, Final

from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

NAME_LENGTH: Final = 60

CODE: Final = {"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}

NOT_ACCEPTED: Final = _("The passkey was not accepted. Please try again.")


class AppForm(ActivateTOTPForm):
    code = forms.CharField(
        label=_("Code from the app"),
        # What is typed last, below the picture: not focused, or a phone scrolls past the picture.
        widget=forms.TextInput(attrs={**CODE, "autofocus": False}),
        error_messages={"required": _("Enter the code that the app shows.")},
    )


class _CodeForm(forms.Form):
    code = forms.CharField(
        widget=forms.TextInput(attrs=CODE),
        error_messages={"required": _("Enter a code.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        app = Authenticator.objects.filter(user=kwargs["user"], type=Authenticator.Type.TOTP)
        self.has_app = app.exists()
        self.fields["code"].label = (
            _("Code from your app, or a recovery code") if self.has_app else _("Recovery code")
        )


class CodeForm(_CodeForm, AuthenticateForm):
    pass


class ConfirmingCodeForm(_CodeForm, ReauthenticateForm):
    pass


class NewPasskeyForm(AddWebAuthnForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=NAME_LENGTH,
        required=False,
        help_text=_("For you, to tell it from others: “Laptop”, “Blue key”."),
    )
    passwordless = forms.BooleanField(
        label=_("Sign in with it alone, without a password"),
        required=False,
        initial=True,
        help_text=_(
            "Untick this for a security key without PIN or fingerprint. It is then the second step "
            "after the password."
        ),
    )
    field_order = ("name", "passwordless", "credential")

    def clean(self) -> Any:
        return _in_our_words(super().clean)


class PasskeyNameForm(EditWebAuthnForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=NAME_LENGTH,
        error_messages={"required": _("Enter a name.")},
    )


class _PasskeyForm(AuthenticateWebAuthnForm):
    credential = forms.JSONField(
        widget=forms.HiddenInput,
        error_messages={"required": NOT_ACCEPTED, "invalid": NOT_ACCEPTED},
    )

    def clean_credential(self) -> Any:
        return _in_our_words(super().clean_credential)


class PasskeyForm(_PasskeyForm):
    pass


class SigningInPasskeyForm(_PasskeyForm, LoginWebAuthnForm):
    pass


class ConfirmingPasskeyForm(_PasskeyForm, ReauthenticateWebAuthnForm):
    pass


def _in_our_words(check: Callable[[], Any]) -> Any:
    """What the check answers. What it says of codes is said of the passkey."""
    try:
        return check()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # JSON of another shape than a passkey's falls through the library's own checks.
        raise ValidationError(NOT_ACCEPTED) from error
    except ValidationError as error:
        if getattr(error, "code", None) == "incorrect_code":
            raise ValidationError(NOT_ACCEPTED) from error
        raise
