"""Disputes: which payments a bank takes back or asks about, and by when to answer."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from billing.models import Dispute
from billing.templatetags.money import money
from credits.admin.cells import ReadOnlyAdmin, labelled, moment


class ToAnswer(admin.SimpleListFilter):
    title = gettext_lazy("needs attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", _("Yes"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Dispute]) -> QuerySet[Dispute]:
        return queryset.filter(status__in=Dispute.TO_ANSWER) if self.value() else queryset


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    answer_time = moment(Dispute, "answer_by")
    opened_time = moment(Dispute, "created_at")

    list_display = ("stripe_id", "customer", "money", "outcome", "answer_time", "opened_time")
    list_filter = (
        ToAnswer,
        labelled(gettext_lazy("status"), "status", Dispute.LABELS),
    )
    search_fields = ("=stripe_id", "=charge__stripe_id", "charge__purchase__user__email")
    search_help_text = gettext_lazy(
        "The customer's email address, or the exact id of the dispute or the charge"
    )
    list_select_related = ("charge__purchase__user",)
    ordering = ("-id",)
    show_full_result_count = False
    fields = (
        "stripe_id",
        "customer",
        "purchase",
        "charge",
        "money",
        "outcome",
        "reason",
        "answer_time",
        "opened_time",
    )
    readonly_fields = fields

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, dispute: Dispute) -> User:
        return dispute.charge.purchase.user

    @admin.display(description=gettext_lazy("purchase"))
    def purchase(self, dispute: Dispute) -> str:
        purchase = dispute.charge.purchase
        address = reverse("admin:billing_purchase_change", args=[purchase.pk])
        return format_html('<a href="{}">{}</a>', address, purchase)

    @admin.display(description=gettext_lazy("amount"), ordering="amount")
    def money(self, dispute: Dispute) -> str:
        return money(dispute.amount)

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def outcome(self, dispute: Dispute) -> str:
        return dispute.status_label
