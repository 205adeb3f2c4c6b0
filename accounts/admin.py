from typing import Any

import allauth.socialaccount.admin
import allauth.usersessions.admin  # noqa: F401 (both register what is unregistered below)
from allauth.account.admin import EmailAddressAdmin as StockEmailAddressAdmin
from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _

from accounts import addresses
from accounts.models import User

# Staff sign in by the same door as everybody: rate limits and second factors apply there.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


@admin.register(User)
class UserAdmin(StockUserAdmin):
    """Only superusers say who is staff and what staff may do.

    Others who may change users change customers and themselves: who could set the password or the
    address of another staff member could act as them, and approve what they asked for themselves.
    Nor do others change an address: a new password can be mailed to it.
    """

    add_form = AdminUserCreationForm
    list_display = ("email", "is_staff", "is_active", "date_joined")
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("email",)
    ordering = ("email",)
    readonly_fields = ("date_joined", "last_login")
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (
            _("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fields
        if obj is not None:
            fields = (*fields, "email")
        return (*fields, "is_staff", "is_superuser", "groups", "user_permissions")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            addresses.moved(request, obj, was=form.initial["email"])

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return _is_theirs(request, obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return _is_theirs(request, obj) and super().has_delete_permission(request, obj)


def _is_theirs(request: HttpRequest, obj: User | None) -> bool:
    if obj is None or request.user.is_superuser or obj == request.user:
        return True
    return not (obj.is_staff or obj.is_superuser)


# Who could add or change these rows by hand could sign in as somebody, or learn where they are.
for _model in (EmailAddress, SocialAccount, SocialApp, SocialToken, UserSession):
    admin.site.unregister(_model)


@admin.register(EmailAddress)
class EmailAddressAdmin(StockEmailAddressAdmin):
    """Read only. Owners confirm their addresses themselves; staff have them mailed the link again.

    Superusers may confirm one on the owner's behalf, on record.
    """

    actions = ["send_link", "confirm"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: EmailAddress | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: EmailAddress | None = None) -> bool:
        return False

    def has_superuser_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    @admin.action(description=_("Mail the owner the link to confirm it"), permissions=["view"])
    def send_link(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        for address in queryset.filter(verified=False).select_related("user"):
            try:
                address.send_confirmation(request)
            except ImmediateHttpResponse:
                text = now("The mail to %(email)s could not be sent. Please try again later.")
                self.message_user(request, text % {"email": address.email}, messages.ERROR)
            else:
                self.log_change(request, address, "Mailed the link to confirm it.")
                text = now("The link was mailed to %(email)s.")
                self.message_user(request, text % {"email": address.email}, messages.SUCCESS)

    @admin.action(description=_("Confirm for the owner"), permissions=["superuser"])
    def confirm(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        for address in queryset.filter(verified=False).select_related("user"):
            if addresses.confirm(address):
                self.log_change(request, address, "Confirmed for the owner.")
                text = now("%(email)s is confirmed.")
                self.message_user(request, text % {"email": address.email}, messages.SUCCESS)
            else:
                text = now("%(email)s belongs to another account.")
                self.message_user(request, text % {"email": address.email}, messages.ERROR)
