"""Bulk purchases of organisations, to read and to have tried again; who may pay by invoice."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext

from accounts.requests import SignedInRequest
from billing.bulk import delivery, results, terms
from billing.models import BulkPurchase, InvoiceTerms
from billing.templatetags.money import money
from credits.admin.cells import ReadOnlyAdmin, grouped, labelled, moment
from credits.numbers import number


@admin.register(BulkPurchase)
class BulkPurchaseAdmin(ReadOnlyAdmin):
    view_on_site = False  # it is the organisation's page
    grouped_credits = grouped(BulkPurchase, "credits")
    grouped_lines = grouped(BulkPurchase, "lines_count")
    created_time = moment(BulkPurchase, "created_at")
    next_time = moment(BulkPurchase, "due_at")
    done_time = moment(BulkPurchase, "done_at")

    list_display = (
        "created_time",
        "organisation",
        "grouped_lines",
        "grouped_credits",
        "status",
        "tries",
        "error",
    )
    list_filter = (labelled(gettext_lazy("status"), "status", dict(BulkPurchase.Status.choices)),)
    search_fields = ("organisation__name", "=id", "po_number", "=invoice__number")
    list_select_related = ("organisation",)
    ordering = ("-created_at",)
    show_full_result_count = False
    actions = ["retry"]
    fields = (
        "organisation",
        "made_by",
        "purchase",
        "status",
        "grouped_lines",
        "sent",
        "not_sent",
        "grouped_credits",
        "po_number",
        "invoice",
        "created_time",
        "done_time",
        "tries",
        "next_time",
        "error",
    )

    @admin.display(description=gettext_lazy("sent"))
    def sent(self, bulk: BulkPurchase) -> str:
        return number(results.progress_of(bulk).sent)

    @admin.display(description=gettext_lazy("not sent"))
    def not_sent(self, bulk: BulkPurchase) -> str:
        return number(results.progress_of(bulk).not_sent)

    @admin.display(description=gettext_lazy("invoice"))
    def invoice(self, bulk: BulkPurchase) -> str:
        found = getattr(bulk, "invoice", None)
        return f"{found}, {found.status_label}, {money(found.total)}" if found else "-"

    @admin.action(
        description=gettext_lazy("Go on with the selected ones now"), permissions=["retry"]
    )
    def retry(self, request: SignedInRequest, chosen: QuerySet[BulkPurchase]) -> None:
        LogEntry.objects.log_actions(request.user.pk, chosen, CHANGE, change_message="Tried again")
        count = delivery.retry(chosen)
        words = ngettext("%(count)s goes on now.", "%(count)s go on now.", count)
        messages.success(request, words % {"count": number(count)})

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.retry_bulkpurchase")


@admin.register(InvoiceTerms)
class InvoiceTermsAdmin(admin.ModelAdmin):
    """Never deleted: what is not approved any more is switched off, on record."""

    list_display = ("organisation", "is_approved", "limit", "open_invoices", "tax_id")
    list_filter = ("is_approved",)
    search_fields = ("organisation__name", "=tax_id")
    list_select_related = ("organisation",)
    raw_id_fields = ("organisation",)
    fields = (
        "organisation",
        "is_approved",
        "credit_limit",
        "open_invoices",
        "tax_id_type",
        "tax_id",
    )
    readonly_fields = ("open_invoices",)

    @admin.display(description=gettext_lazy("credit limit"), ordering="credit_limit")
    def limit(self, found: InvoiceTerms) -> str:
        return money(found.credit_limit)

    @admin.display(description=gettext_lazy("open invoices"))
    def open_invoices(self, found: InvoiceTerms) -> str:
        return money(terms.open_total(found.organisation)) if found.pk else "-"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return (*fields, "organisation") if obj else fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
