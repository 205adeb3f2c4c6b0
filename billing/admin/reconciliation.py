"""Stripe and us, for staff: what the last comparison came to, and what waits for somebody."""

from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models import Event, Reconciliation
from billing.reconciliations import detail_of, kind_of, sums, table
from credits.admin.cells import ReadOnlyAdmin, moment
from credits.numbers import number

ROWS: Final = 50
"""How many events are shown at once; the rest is counted."""


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyAdmin):
    """The list says above it what needs attention now; a row's page is what was found then."""

    started_time = moment(Reconciliation, "started_at")
    since_time = moment(Reconciliation, "since")

    list_display = ("started_time", "outcome", "mended", "since_time")
    ordering = ("-id",)
    fields = ("started_time", "took", "since_time", "outcome")
    readonly_fields = fields
    change_list_template = "admin/billing/reconciliation/list.html"
    change_form_template = "admin/billing/reconciliation/page.html"
    show_full_result_count = False

    @admin.display(description=gettext_lazy("outcome"))
    def outcome(self, result: Reconciliation) -> str:
        if result.finished_at is None:
            return _("Did not finish")
        count = result.counts["differences"]
        return _("%(count)s still differ") % {"count": number(count)} if count else _("All agrees")

    @admin.display(description=gettext_lazy("mended"))
    def mended(self, result: Reconciliation) -> str:
        return number(sum(result.counts.get("mended", {}).values()))

    @admin.display(description=gettext_lazy("took"))
    def took(self, result: Reconciliation) -> str:
        if result.finished_at is None:
            return "-"
        seconds = (result.finished_at - result.started_at).total_seconds()
        return _("%(seconds)s seconds") % {"seconds": f"{seconds:,.1f}"}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        status = Event.Status
        waiting = Event.objects.filter(status__in=(status.RECEIVED, status.FAILED))
        quarantine = Event.objects.filter(status=status.QUARANTINED)
        context = {
            "title": _("Stripe and us"),
            "latest": Reconciliation.objects.order_by("-id").first(),
            "last": Reconciliation.objects.exclude(finished_at=None).order_by("-id").first(),
            "waiting": waiting.order_by("created_at").defer("payload")[:ROWS],
            "waiting_count": waiting.count(),
            "quarantine": quarantine.order_by("created_at").defer("payload")[:ROWS],
            "quarantine_count": quarantine.count(),
            "rows": ROWS,
        }
        return super().changelist_view(request, {**(extra_context or {}), **context})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        result = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if result is not None and result.finished_at is not None:
            context = told(result)
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )


def told(result: Reconciliation) -> dict[str, Any]:
    """A finished comparison as its page shows it."""
    return {
        "table": table(result),
        "sums": sums(result),
        "differences": [
            {**one, "label": kind_of(one), "detail": detail_of(one)} for one in result.differences
        ],
        "more": result.counts["differences"] - len(result.differences),
    }
