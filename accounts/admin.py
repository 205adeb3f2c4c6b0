from typing import Any

import allauth.mfa.admin
import allauth.socialaccount.admin
import allauth.usersessions.admin  # noqa: F401 (they register what is unregistered below)
from allauth.account.admin import EmailAddressAdmin as StockEmailAddressAdmin
from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _
from django.views.generic import RedirectView

from accounts import addresses
from accounts.models import User
from accounts.requests import SignedInRequest
from accounts.second_step import removal

# Staff sign in by the same door as everybody: rate limits and second factors apply there. Of the
# admin's own sign-in nothing is left that would take a password.
admin.site.login = secure_admin_login(  # type: ignore[method-assign]
    RedirectView.as_view(pattern_name="admin:index")
)
# Its pages would show the secrets to staff, who could then sign in as somebody else.
admin.site.unregister(Authenticator)


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
    change_form_template = "admin/accounts/user/page.html"
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (
            _("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        # Nobody signs in to an organisation's account: there is nothing here to change.
        found: QuerySet[User] = super().get_queryset(request)
        return found.filter(is_organisation=False)

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

    def get_urls(self) -> list[URLPattern]:
        second_step = self.admin_site.admin_view(self.second_step)
        name = "accounts_user_second_step"
        return [path("<int:pk>/second-step/", second_step, name=name), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        user = self.get_object(request, object_id)
        may = user is not None and self._may_remove(request, user)
        extra = {**(extra_context or {}), "may_remove_second_step": may}
        return super().change_view(request, object_id, form_url, extra)

    def second_step(self, request: SignedInRequest, pk: int) -> HttpResponse:
        """GET says what a lost phone's owner is freed of, POST removes it."""
        user = get_object_or_404(User, pk=pk)
        if not self._may_remove(request, user):
            raise PermissionDenied
        if request.method == "POST":
            removal.by_staff(user, request)
            messages.success(request, _("Two-step sign-in is off, and a mail says so."))
            return redirect("admin:accounts_user_change", pk)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Turn two-step sign-in off"),
            "original": user,
            "factors": Authenticator.objects.filter(user=user).order_by("pk"),
        }
        return render(request, "admin/accounts/user/second_step.html", context)

    def _may_remove(self, request: HttpRequest, user: User) -> bool:
        """Not one's own: there is a page for that, which asks who one is."""
        is_other = user != request.user
        has_any = Authenticator.objects.filter(user=user).exists()
        return is_other and has_any and self.has_change_permission(request, user)


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
