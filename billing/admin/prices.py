"""The price table, the one thing of the shop that staff edit."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from billing.models import PriceTier
from billing.templatetags.money import unit_price


@admin.register(PriceTier)
class PriceTierAdmin(admin.ModelAdmin):
    list_display = ("min_credits", "each")
    ordering = ("min_credits",)

    @admin.display(description=gettext_lazy("each"))
    def each(self, tier: PriceTier) -> str:
        return unit_price(tier.unit_price_e4)

    def has_delete_permission(self, request: HttpRequest, obj: PriceTier | None = None) -> bool:
        # Without the first one the smallest amounts would have no price.
        is_first = obj is not None and obj == PriceTier.objects.order_by("min_credits").first()
        return not is_first and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: PriceTier | None = None) -> list[str]:
        is_first = obj is not None and obj == PriceTier.objects.order_by("min_credits").first()
        return ["min_credits"] if is_first else []

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}
