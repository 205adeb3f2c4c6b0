"""Gifts: who sent what to whom, how it went, and cancelling one for a reason."""

from typing import Final
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from accounts.requests import SignedInRequest
from billing import giving
from credits.admin.cells import ReadOnlyAdmin, grouped, moment
from credits.gifts import GiftGone
from credits.models import Gift

LONGEST_REASON: Final = 500


@admin.register(Gift)
class GiftAdmin(ReadOnlyAdmin):
    created_time = moment(Gift, "created_at")
    expires_time = moment(Gift, "expires_at")
    closed_time = moment(Gift, "closed_at")
    grouped_credits = grouped(Gift, "credits")

    list_display = (
        "created_time", "sender", "recipient", "grouped_credits", "status", "closed_time"
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("sender__email", "recipient", "=id", "claimed_by__email")
    search_help_text = gettext_lazy("An email address of either side, or the exact id")
    list_select_related = ("sender",)
    ordering = ("-created_at",)
    show_full_result_count = False
    fields = (
        "id",
        "sender",
        "recipient",
        "claimed_by",
        "grouped_credits",
        "message",
        "status",
        "recalled",
        "created_time",
        "expires_time",
        "closed_time",
        "cancelled_by",
        "reason",
        "wallets",
    )
    readonly_fields = fields
    change_form_template = "admin/billing/gift/page.html"

    @admin.display(description=gettext_lazy("entries"))
    def wallets(self, gift: Gift) -> str:
        """To what either side's wallet has booked."""
        entries = reverse("admin:credits_entry_changelist")
        sent = format_html('<a href="{}?q={}">{}</a>', entries, gift.sender.email, gift.sender)
        if gift.claimed_by is None:
            return sent
        taker = gift.claimed_by
        return format_html('{} · <a href="{}?q={}">{}</a>', sent, entries, taker.email, taker)

    def get_urls(self) -> list[URLPattern]:
        cancel = self.admin_site.admin_view(require_POST(self.cancel))
        return [
            path("<uuid:gift_id>/cancel/", cancel, name="credits_gift_cancel"),
            *super().get_urls(),
        ]

    def cancel(self, request: SignedInRequest, gift_id: UUID) -> HttpResponse:
        """The credits go back to the sender, and both sides are told."""
        if not request.user.has_perm("credits.cancel_gift"):
            raise PermissionDenied
        gift = get_object_or_404(Gift, pk=gift_id)
        page = HttpResponseRedirect(reverse("admin:credits_gift_change", args=[gift.pk]))
        reason = request.POST.get("reason", "").strip()
        if not 0 < len(reason) <= LONGEST_REASON or "\0" in reason:
            messages.error(request, _("Say in at most 500 characters why. Nothing was changed."))
            return page
        try:
            giving.cancel(gift, by=request.user, reason=reason)
        except GiftGone:
            messages.warning(request, _("It is not open any more. Nothing was changed."))
            return page
        LogEntry.objects.log_actions(
            request.user.pk,
            Gift.objects.filter(pk=gift.pk),
            CHANGE,
            change_message=f"Cancelled: {reason}",
            single_object=True,
        )
        messages.success(request, _("Cancelled: the credits are back with the sender."))
        return page
