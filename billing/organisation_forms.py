"""What an organisation and its members are made and changed with."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import Membership, Organisation, Role
from billing.key_forms import LimitForm

ROLES: Final = [
    (Role.MEMBER, _("Member: draws on the credits")),
    (Role.BILLING, _("Billing: buys, sets limits")),
    (Role.OWNER, _("Owner: may do everything")),
]


def _address_field(label: Any, help_text: Any = "") -> forms.EmailField:
    return forms.EmailField(
        label=label,
        max_length=254,
        help_text=help_text,
        widget=forms.EmailInput(attrs={"class": "input vTextField", "autocomplete": "off"}),
        error_messages={
            "required": _("Enter an address."),
            "invalid": _("Enter an email address, such as name@example.com."),
        },
    )


class DetailsForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=Organisation._meta.get_field("name").max_length,
        widget=forms.TextInput(attrs={"class": "input vTextField", "autocomplete": "organization"}),
        error_messages={"required": _("Enter a name.")},
    )
    billing_email = _address_field(
        _("Billing address"), _("Where Stripe sends receipts and invoices.")
    )


class NewOrganisationForm(DetailsForm):
    # Made with the form, so that sending it twice makes one organisation.
    request_id = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, billing_email: str = "") -> None:
        initial = {"request_id": uuid.uuid4(), "billing_email": billing_email}
        super().__init__(data, initial=initial)


class MemberForm(LimitForm):
    field_order = ("email", "role", "limit_credits", "limit_period")
    role = forms.ChoiceField(
        label=pgettext_lazy("of a member", "Role"),
        choices=ROLES,
        initial=Role.MEMBER,
        help_text=_(
            "All draw on the credits. Billing members and owners also buy, see the whole history "
            "and set limits; only owners invite, make API keys and close."
        ),
        widget=forms.Select(attrs={"class": "input"}),
    )

    @classmethod
    def of(
        cls, member: Membership, data: Mapping[str, Any] | None, *, by: Membership
    ) -> "MemberForm":
        """The form that changes a member; who is no owner changes the limit only."""
        initial = {"role": member.role, "limit_credits": member.limit_credits}
        if member.limit_period:
            initial["limit_period"] = member.limit_period
        form = cls(data, initial=initial)
        if not by.is_owner:
            del form.fields["role"]
        return form


class InvitationForm(MemberForm):
    email = _address_field(
        _("Email address"), _("They join under this address, which has to be confirmed.")
    )
