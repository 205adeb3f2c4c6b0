"""What an API key is made with: by its owner, or by staff as a service key."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import ApiKey, Period
from credits.models import MAX_CREDITS
from credits.numbers import parse_credits

NEVER: Final = "never"
EXPIRY: Final = [
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In a year")),
    (NEVER, _("Never")),
]
SUGGESTED_EXPIRY: Final = "90"
PERIODS: Final = [
    (Period.DAY, _("Every day")),
    (Period.WEEK, _("Every week")),
    (Period.MONTH, _("Every month")),
]
MOST_A_MINUTE: Final = 100_000


class CreditsField(forms.IntegerField):
    """Credits as people write them: Django's own takes 5.000 for 5."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        credits = parse_credits(text)
        if text and credits is None:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return credits


class LimitForm(forms.Form):
    """So many credits a period, or no limit."""

    limit_credits = CreditsField(
        label=_("Spending limit"),
        required=False,
        min_value=1,
        max_value=MAX_CREDITS,
        help_text=_("In credits. Leave it empty for none."),
        widget=forms.TextInput(
            attrs={"class": "input", "inputmode": "numeric", "autocomplete": "off"}
        ),
        error_messages={
            name: _("Enter a whole number of credits from 1, such as 500, or nothing.")
            for name in ("invalid", "min_value", "max_value")
        },
    )
    limit_period = forms.ChoiceField(
        label=_("The limit starts anew"),
        choices=PERIODS,
        initial=Period.MONTH,
        help_text=_("Days begin at 0:00 UTC, weeks on Monday, months on the first."),
        widget=forms.Select(attrs={"class": "input"}),
    )

    def limit(self) -> dict[str, Any]:
        """The limit of a form that is valid, as `accounts.models.Limited` has it."""
        typed = self.cleaned_data
        period = typed["limit_period"] if typed["limit_credits"] else ""
        return {"limit_credits": typed["limit_credits"], "limit_period": period}


class KeyForm(LimitForm):
    field_order = ("request_id", "name", "scopes", "expires_in", "limit_credits", "limit_period")
    # Made with the form, so that sending it twice makes one key.
    request_id = forms.UUIDField(widget=forms.HiddenInput)
    name = forms.CharField(
        label=_("Name"),
        max_length=ApiKey._meta.get_field("name").max_length,
        help_text=_("For you, to tell it from others: “Web shop”, “Nightly job”."),
        widget=forms.TextInput(attrs={"class": "input vTextField", "autocomplete": "off"}),
        error_messages={"required": _("Enter a name.")},
    )
    scopes = forms.MultipleChoiceField(
        label=_("What it may do"),
        choices=ApiKey.Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one thing that it may do.")},
    )
    expires_in = forms.ChoiceField(
        label=pgettext_lazy("key", "Expires"),
        choices=EXPIRY,
        initial=SUGGESTED_EXPIRY,
        widget=forms.Select(attrs={"class": "input"}),
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, initial={"request_id": uuid.uuid4()})

    def terms(self) -> dict[str, Any]:
        """What `keys.make` is told, of a form that is valid."""
        typed = dict(self.cleaned_data)
        days = typed.pop("expires_in")
        expires_at = None if days == NEVER else timezone.now() + timedelta(days=int(days))
        return typed | self.limit() | {"expires_at": expires_at}


class ServiceKeyForm(KeyForm):
    requests_per_minute = forms.IntegerField(
        label=_("Requests a minute"),
        required=False,
        min_value=1,
        max_value=MOST_A_MINUTE,
        help_text=_("Empty is what the site is set to."),
    )
