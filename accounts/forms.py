"""allauth's forms in our words, and as easy to fill in as they can be."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from allauth.account import forms as stock
from allauth.socialaccount.forms import SignupForm as StockSocialSignupForm
from django import forms
from django.utils.translation import gettext_lazy as _

EMAIL: Final = _("Email")
PASSWORD: Final = _("Password")
NEW_PASSWORD: Final = _("New password")

# What `AUTH_PASSWORD_VALIDATORS` ask for.
PASSWORD_RULES: Final = _(
    "At least 8 characters, not only digits. Nothing that many people use, and not your address."
)

_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    # Password managers keep a password under what is called a user name.
    "login": {"autocomplete": "username", "inputmode": "email"},
    "code": {"autocapitalize": "characters", "spellcheck": "false"},
}


class InOurWords(forms.Form):
    """Labels of ours, no placeholders that repeat them, and the cursor at the first mistake."""

    labels: ClassVar[Mapping[str, Any]] = {}
    rules_for: ClassVar[str] = ""
    """The field in which a password is chosen: its rules stand there before one types."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A password can be looked at while it is typed; it need not be typed twice.
        self.fields.pop("password2", None)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.widget.attrs.update(_ATTRIBUTES.get(name, {}))
            field.help_text = PASSWORD_RULES if name == self.rules_for else ""
            field.label = self.labels.get(name) or field.label
            field.error_messages["required"] = _("Please fill this in.")

    def full_clean(self) -> None:
        super().full_clean()
        if self.errors:
            wrong = [name for name in self.fields if name in self.errors]
            # What is wrong with all of it begins with the last: mostly the password.
            field = self.fields[wrong[0] if wrong else list(self.fields)[-1]]
            field.widget.attrs["autofocus"] = True


class LoginForm(InOurWords, stock.LoginForm):
    labels = {"login": EMAIL, "password": PASSWORD}


class SignupForm(InOurWords, stock.SignupForm):  # type: ignore[misc]  # its clean's type
    labels = {"email": EMAIL, "password1": PASSWORD}
    rules_for = "password1"


class RequestLoginCodeForm(InOurWords, stock.RequestLoginCodeForm):
    labels = {"email": EMAIL}


class ConfirmLoginCodeForm(InOurWords, stock.ConfirmLoginCodeForm):
    labels = {"code": _("Code from the mail")}


class AddEmailForm(InOurWords, stock.AddEmailForm):
    labels = {"email": _("New email address")}


class ResetPasswordForm(InOurWords, stock.ResetPasswordForm):
    labels = {"email": EMAIL}


class ResetPasswordKeyForm(InOurWords, stock.ResetPasswordKeyForm):
    labels = {"password1": NEW_PASSWORD}
    rules_for = "password1"


class ChangePasswordForm(InOurWords, stock.ChangePasswordForm):
    labels = {"oldpassword": _("Current password"), "password1": NEW_PASSWORD}
    rules_for = "password1"


class SetPasswordForm(InOurWords, stock.SetPasswordForm):
    labels = {"password1": NEW_PASSWORD}
    rules_for = "password1"


class SocialSignupForm(InOurWords, StockSocialSignupForm):  # type: ignore[misc]  # its clean's type
    labels = {"email": EMAIL}
