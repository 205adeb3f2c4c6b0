"""Automatic top-ups, to read, with what was agreed to; and the way to turn them off."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext

from accounts.requests import SignedInRequest
from billing import topup
from billing.models import TopUp, TopUpConsent
from billing.templatetags.money import money
from credits.admin.cells import ReadOnlyAdmin, moment
from credits.numbers import number


class ConsentInline(admin.TabularInline):
    """All that the customer has agreed to, the latest first."""

    model = TopUpConsent
    fields = ("given_at", "threshold", "credits", "price", "at_most", "text")
    readonly_fields = ("given_at", "price", "at_most")
    ordering = ("-pk",)
    extra = 0
    can_delete = False

    @admin.display(description=gettext_lazy("price"))
    def price(self, consent: TopUpConsent) -> str:
        return money(consent.total)

    @admin.display(description=gettext_lazy("at most a month"))
    def at_most(self, consent: TopUpConsent) -> str:
        return money(consent.cap)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(TopUp)
class TopUpAdmin(ReadOnlyAdmin):
    inlines = (ConsentInline,)
    next_time = moment(TopUp, "next_try_at")
    asks_time = moment(TopUp, "asks_until")

    list_display = ("user", "status", "reason", "terms", "at_most", "declines", "next_time")
    list_filter = ("status", "reason")
    search_fields = ("user__email", "=payment_method_id")
    list_select_related = ("user", "consent")
    actions = ["turn_off"]
    fields = (
        "user",
        "status",
        "reason",
        "terms",
        "at_most",
        "used",
        "card_label",
        "payment_method_id",
        "declines",
        "next_time",
        "asks_time",
    )

    @admin.display(description=gettext_lazy("agreed"))
    def terms(self, top_up: TopUp) -> str:
        consent = top_up.consent
        if consent is None:
            return "-"
        words = ngettext(
            "below %(threshold)s: %(count)s credit for %(total)s",
            "below %(threshold)s: %(count)s credits for %(total)s",
            consent.credits,
        )
        return words % {
            "threshold": number(consent.threshold),
            "count": number(consent.credits),
            "total": money(consent.total),
        }

    @admin.display(description=gettext_lazy("at most a month"))
    def at_most(self, top_up: TopUp) -> str:
        return money(top_up.consent.cap) if top_up.consent else "-"

    @admin.display(description=gettext_lazy("of that this month"))
    def used(self, top_up: TopUp) -> str:
        return money(topup.used_now(top_up))

    @admin.display(description=gettext_lazy("card"))
    def card_label(self, top_up: TopUp) -> str:
        return top_up.card_label or "-"

    @admin.action(
        description=gettext_lazy("Turn the selected automatic top-ups off"), permissions=["suspend"]
    )
    def turn_off(self, request: SignedInRequest, chosen: QuerySet[TopUp]) -> None:
        done = [top_up for top_up in chosen if topup.turn_off_by_staff(top_up)]
        rows = TopUp.objects.filter(pk__in=[top_up.pk for top_up in done])
        LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, change_message="Turned off")
        words = ngettext(
            "%(count)s automatic top-up was turned off; its customer gets a mail.",
            "%(count)s automatic top-ups were turned off; their customers get a mail.",
            len(done),
        )
        messages.success(request, words % {"count": number(len(done))})

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.suspend_topup")
