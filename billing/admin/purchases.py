"""Purchases, to read, with the way to refund one."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy

from billing.admin.refunds import entry_of
from billing.models import Purchase
from billing.templatetags.money import money
from credits.admin.cells import ReadOnlyAdmin, grouped, moment


@admin.register(Purchase)
class PurchaseAdmin(ReadOnlyAdmin):
    created_time = moment(Purchase, "created_at")
    paid_time = moment(Purchase, "paid_at")
    grouped_credits = grouped(Purchase, "credits")

    list_display = ("created_time", "user", "grouped_credits", "price", "mode", "status")
    list_filter = ("status", "mode")
    search_fields = ("user__email", "=id", "=stripe_session_id", "=stripe_payment_id")
    list_select_related = ("user",)
    ordering = ("-created_at",)
    show_full_result_count = False
    fields = (
        "id",
        "user",
        "grouped_credits",
        "price",
        "currency",
        "mode",
        "status",
        "created_time",
        "paid_time",
        "stripe_session_id",
        "stripe_payment_id",
        "gift",
        "request_id",
    )
    readonly_fields = fields
    change_form_template = "admin/billing/purchase/page.html"

    @admin.display(description=gettext_lazy("total"), ordering="total")
    def price(self, purchase: Purchase) -> str:
        return money(purchase.total)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        purchase = self.get_object(request, object_id)
        entry = entry_of(purchase) if purchase is not None else None
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "entry": entry}
        )
