"""What a gift is sent, or bought, with."""

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from billing.key_forms import CreditsField
from credits import gifts
from credits.models import MAX_CREDITS


class PresentForm(forms.Form):
    """For whom, and what to tell them; what is sent is a field of those that follow, or none."""

    recipient = forms.CharField(
        label=_("Their email address"),
        max_length=254,
        widget=forms.TextInput(
            attrs={"class": "input", "type": "email", "inputmode": "email", "autocomplete": "off"}
        ),
        error_messages={"required": _("Enter the email address of who gets the gift.")},
    )
    message = forms.CharField(
        label=_("A message with it, if you like"),
        required=False,
        widget=forms.Textarea(
            attrs={"class": "input", "rows": 3, "maxlength": gifts.LONGEST_MESSAGE}
        ),
    )

    def __init__(self, sender: User, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, initial={"request_id": uuid.uuid4()})
        self.sender = sender

    def clean_recipient(self) -> str:
        try:
            return gifts.check_address(self.sender, self.cleaned_data["recipient"])
        except gifts.BadAddress:
            raise forms.ValidationError(
                _("This is no email address. It looks like name@example.com.")
            ) from None
        except gifts.OwnAddress:
            raise forms.ValidationError(
                _("This is your own address: enter somebody else's.")
            ) from None

    def clean_message(self) -> str:
        try:
            return gifts.check_message(self.cleaned_data["message"])
        except gifts.BadMessage:
            raise forms.ValidationError(_("Write at most 500 characters of plain text.")) from None


class GiftForm(PresentForm):
    # Made with the form, so that sending it twice sends one gift.
    request_id = forms.UUIDField(widget=forms.HiddenInput)
    credits = CreditsField(
        label=_("How many credits?"),
        min_value=1,
        max_value=MAX_CREDITS,
        widget=forms.TextInput(
            attrs={"class": "input", "inputmode": "numeric", "autocomplete": "off"}
        ),
        error_messages={
            name: _("Enter a whole number of credits from 1, such as 500.")
            for name in ("required", "invalid", "min_value", "max_value")
        },
    )

    field_order = ("recipient", "credits", "message")
