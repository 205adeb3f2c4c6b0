"""Events from Stripe: what each says, and for those that wait, replay and settle."""

import json
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.requests import SignedInRequest
from billing import webhooks
from billing.models import Event
from billing.redaction import redacted
from credits.admin.cells import ReadOnlyAdmin, moment

REASON_LENGTH: Final = Event._meta.get_field("settled_reason").max_length or 0


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    created_time = moment(Event, "created_at")
    done_time = moment(Event, "done_at")

    list_display = ("created_time", "status", "type", "error", "about")
    list_filter = ("status", "type")
    search_fields = ("=stripe_id", "=object_id", "=customer_id")
    search_help_text = gettext_lazy("The exact id of an event, its object or a customer")
    ordering = ("-id",)
    fields = (
        "stripe_id",
        "type",
        "status",
        "error",
        "found",
        "customer_id",
        "livemode",
        "created_time",
        "done_time",
        "settled_by",
        "settled_reason",
        "content",
    )
    readonly_fields = ("content", "created_time", "done_time", "found")
    actions = ["replay"]
    change_form_template = "admin/billing/event/page.html"
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: Event | None = None) -> list[Any]:
        is_settled = obj is not None and obj.status == Event.Status.SETTLED
        return [name for name in self.fields if is_settled or not name.startswith("settled_")]

    def get_urls(self) -> list[URLPattern]:
        replay = self.admin_site.admin_view(self.replay_view)
        settle = self.admin_site.admin_view(self.settle_view)
        return [
            path("<int:event_id>/replay/", replay, name="billing_event_replay"),
            path("<int:event_id>/settle/", settle, name="billing_event_settle"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("about"))
    def about(self, event: Event) -> str:
        return format_html("{}<br>{}", event.object_id or "", event.customer_id or "")

    @admin.display(description=gettext_lazy("about"))
    def found(self, event: Event) -> str:
        """What the event is about, with the way to all that belongs to it."""
        if not event.object_id:
            return "-"
        address = f"{reverse('admin:billing_search')}?{urlencode({'q': event.object_id})}"
        return format_html(
            '{} <a href="{}">{}</a>', event.object_id, address, _("Show what belongs to it")
        )

    @admin.display(description=gettext_lazy("content"))
    def content(self, event: Event) -> str:
        shown = redacted(json.loads(event.payload))
        return format_html("<pre>{}</pre>", json.dumps(shown, indent=2))

    @admin.action(description=gettext_lazy("Replay the selected events"), permissions=["replay"])
    def replay(self, request: SignedInRequest, events: QuerySet[Event]) -> None:
        for event in events.order_by("id"):
            _replay(request, event)

    def replay_view(self, request: SignedInRequest, event_id: int) -> HttpResponse:
        event = self.get_object(request, str(event_id))
        if request.method != "POST" or event is None or not self.has_replay_permission(request):
            raise PermissionDenied
        _replay(request, event)
        return HttpResponseRedirect(reverse("admin:billing_event_change", args=[event_id]))

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.replay_event")

    def settle_view(self, request: SignedInRequest, event_id: int) -> HttpResponse:
        """Close an event that can't be applied, by a POST with the reason."""
        event = self.get_object(request, str(event_id))
        may_settle = request.user.has_perm("billing.settle_event")
        if request.method != "POST" or event is None or not may_settle:
            raise PermissionDenied
        _settle(request, event, request.POST.get("reason", "").strip())
        return HttpResponseRedirect(reverse("admin:billing_event_change", args=[event_id]))


def _settle(request: SignedInRequest, event: Event, reason: str) -> None:
    if not reason or len(reason) > REASON_LENGTH:
        words = _("Nothing was changed. Say in up to %(most)s characters how it was settled.")
        messages.error(request, words % {"most": REASON_LENGTH})
        return
    try:
        webhooks.settle(event, staff=request.user, reason=reason)
    except webhooks.NotOpen:
        messages.error(request, _("Nothing was changed: it neither failed nor is in quarantine."))
        return
    LogEntry.objects.log_actions(
        request.user.pk,
        Event.objects.filter(pk=event.pk),
        CHANGE,
        change_message=f"Settled: {reason}",
        single_object=True,
    )
    messages.success(request, _("It is settled, and counts as no difference any more."))


def _replay(request: SignedInRequest, event: Event) -> None:
    if event.status == Event.Status.SETTLED:
        words = _("%(event)s was settled by staff: nothing was done.")
        messages.error(request, words % {"event": event.stripe_id})
        return
    try:
        webhooks.process(event, replay=True)
    except Exception:  # noqa: BLE001 (it is on the event's record, which the message points to)
        event.refresh_from_db()
    LogEntry.objects.log_actions(
        request.user.pk,
        Event.objects.filter(pk=event.pk),
        CHANGE,
        change_message=f"Replayed: {event.status}",
        single_object=True,
    )
    outcome = _("%(event)s: %(status)s. %(error)s") % {
        "event": event.stripe_id,
        "status": event.get_status_display(),
        "error": event.error,
    }
    is_fine = event.status in {Event.Status.DONE, Event.Status.IGNORED}
    messages.add_message(request, messages.SUCCESS if is_fine else messages.ERROR, outcome)
