"""Organisations, for staff to look at: who belongs to one.

Their credits are on the customer's page.
"""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Count
from django.db.models.query import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from accounts.models import Membership, Organisation
from credits.admin.cells import ReadOnlyAdmin, moment
from credits.numbers import number

MEMBER_FIELDS: Final = ("user", "role", "limit_credits", "limit_period", "joined_at")


class MembersInline(admin.TabularInline):
    model = Membership
    fields = readonly_fields = MEMBER_FIELDS
    extra = 0
    can_delete = False
    ordering = ("user__email",)

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Organisation)
class OrganisationAdmin(ReadOnlyAdmin):
    made = moment(Organisation, "created_at")

    list_display = ("name", "account_id", "billing_email", "members", "made")
    search_fields = ("name", "billing_email", "=account__pk")
    search_help_text = gettext_lazy("Name, billing address, or number")
    ordering = ("-account",)
    fields = ("name", "credits", "billing_email", "made_by", "made")
    readonly_fields = ("credits", "made")
    inlines = (MembersInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organisation]:
        found: QuerySet[Organisation] = super().get_queryset(request)
        return found.annotate(member_count=Count("memberships"))

    @admin.display(description=gettext_lazy("members"))
    def members(self, organisation: Any) -> str:
        return number(organisation.member_count)

    @admin.display(description=gettext_lazy("credits"))
    def credits(self, organisation: Organisation) -> SafeString:
        address = reverse("admin:billing_customer_change", args=[organisation.pk])
        words = gettext_lazy("Balance, purchases and history")
        return format_html('<a href="{}">{}</a>', address, words)
