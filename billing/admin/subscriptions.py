"""Monthly plans, to read, with the amounts that were chosen."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from billing.models import PlanChange, Subscription
from billing.templatetags.money import money
from credits.admin.cells import ReadOnlyAdmin, grouped, labelled, moment


class PlanChangeInline(admin.TabularInline):
    """The monthly amounts that the subscriber chose, each at the price of its time."""

    model = PlanChange
    fields = ("created_at", "credits", "price", "applied_at")
    readonly_fields = ("created_at", "price")
    ordering = ("-created_at",)
    extra = 0
    can_delete = False

    @admin.display(description=gettext_lazy("a month"))
    def price(self, change: PlanChange) -> str:
        return money(change.total)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    inlines = (PlanChangeInline,)
    grouped_credits = grouped(Subscription, "credits")
    paid_until = moment(Subscription, "current_period_end")
    fetched_time = moment(Subscription, "fetched_at")
    created_time = moment(Subscription, "created_at")

    list_display = (
        "user",
        "grouped_credits",
        "price",
        "outcome",
        "paid_until",
        "cancel_at_period_end",
    )
    list_filter = (
        labelled(gettext_lazy("status"), "status", Subscription.LABELS),
        "cancel_at_period_end",
    )
    search_fields = ("user__email", "=stripe_id")
    list_select_related = ("user",)
    fields = (
        "user",
        "outcome",
        "grouped_credits",
        "price",
        "currency",
        "paid_until",
        "cancel_at_period_end",
        "card_label",
        "stripe_id",
        "fetched_time",
        "created_time",
    )

    @admin.display(description=gettext_lazy("a month"), ordering="total")
    def price(self, subscription: Subscription) -> str:
        return money(subscription.total)

    @admin.display(description=gettext_lazy("card"))
    def card_label(self, subscription: Subscription) -> str:
        return subscription.card_label or "-"

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def outcome(self, subscription: Subscription) -> str:
        return subscription.status_label
