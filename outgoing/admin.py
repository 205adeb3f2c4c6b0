"""Webhooks for staff: where they go, what was sent, and sending it again."""

import json
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.requests import SignedInRequest
from credits.admin.cells import ReadOnlyAdmin, labelled, moment
from credits.numbers import number
from outgoing import endpoints, transport
from outgoing import messages as outgoing_messages
from outgoing.models import Delivery, Endpoint, EventType, Message

EVENTS: Final = dict(EventType.choices) | {outgoing_messages.TEST: gettext_lazy("A test by staff")}


class EndpointForm(forms.ModelForm):
    events = forms.MultipleChoiceField(
        label=gettext_lazy("Events"),
        choices=[
            (event.value, format_lazy("{}: {}", event.value, event.label)) for event in EventType
        ],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=Endpoint._meta.get_field("events").help_text,
    )

    class Meta:
        model = Endpoint
        fields = ("url", "description", "events", "is_enabled")
        widgets = {"url": forms.URLInput(attrs={"class": "vLargeTextField"})}

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            transport.check(url)
        except transport.Refused as error:
            raise ValidationError(str(error)) from error
        return url


@admin.register(Endpoint)
class EndpointAdmin(admin.ModelAdmin):
    """Never deleted, but switched off. The secret is shown when it is asked for, on record."""

    created_time = moment(Endpoint, "created_at")
    failing_time = moment(Endpoint, "failing_since")

    form = EndpointForm
    list_display = ("url", "description", "wants", "state", "failing_time")
    list_filter = ("is_enabled",)
    search_fields = ("url", "description")
    ordering = ("pk",)
    change_form_template = "admin/outgoing/endpoint/page.html"
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> list[Any]:
        fields = ["url", "description", "events", "is_enabled"]
        return fields if obj is None else [*fields, *self.get_readonly_fields(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Endpoint | None = None) -> list[str]:
        if obj is None:
            return []
        notes = [name for name in ("off_because", "failing_since") if getattr(obj, name)]
        return ["failing_time" if name == "failing_since" else name for name in notes] + [
            "made_by",
            "created_time",
        ]

    def has_delete_permission(self, request: HttpRequest, obj: Endpoint | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        secret = self.admin_site.admin_view(self.secret_view)
        test = self.admin_site.admin_view(self.test_view)
        return [
            path("<int:pk>/secret/", secret, name="outgoing_endpoint_secret"),
            path("<int:pk>/test/", test, name="outgoing_endpoint_test"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("events"))
    def wants(self, endpoint: Endpoint) -> str:
        return ", ".join(endpoint.events) or _("all")

    @admin.display(description=gettext_lazy("state"))
    def state(self, endpoint: Endpoint) -> str:
        if endpoint.is_enabled:
            return _("Failing") if endpoint.failing_since else _("On")
        return endpoint.off_because or _("Off")

    def save_model(self, request: Any, obj: Endpoint, form: Any, change: bool) -> None:
        if not change:
            obj.secret, obj.made_by = endpoints.new_secret(), request.user
            obj.save()
            return
        # Only what was typed: the worker writes the same row.
        if "is_enabled" in form.changed_data and obj.is_enabled:
            endpoints.switch_on(obj)
        if form.changed_data:
            obj.save(update_fields=form.changed_data)

    def response_add(
        self, request: HttpRequest, obj: Endpoint, post_url_continue: str | None = None
    ) -> HttpResponse:
        messages.success(
            request, _("The endpoint gets webhooks from now on. Give its receiver the secret.")
        )
        return redirect("admin:outgoing_endpoint_secret", obj.pk)

    def secret_view(self, request: SignedInRequest, pk: int) -> HttpResponse:
        """GET says what the secret is for; POST shows it, or makes a new one and shows that."""
        endpoint = self._chosen(request, pk)
        is_shown = request.method == "POST"
        if is_shown:
            if "roll" in request.POST:
                endpoints.roll(endpoint)
            what = "Rolled the secret." if "roll" in request.POST else "Looked at the secret."
            self.log_change(request, endpoint, what)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Signing secret"),
            "original": endpoint,
            "secrets": endpoints.secrets_of(endpoint) if is_shown else [],
            "rolled_until": endpoint.old_secret_until if endpoints.is_rolling(endpoint) else None,
        }
        return render(request, "admin/outgoing/endpoint/secret.html", context)

    def test_view(self, request: SignedInRequest, pk: int) -> HttpResponse:
        endpoint = self._chosen(request, pk)
        if request.method != "POST" or not endpoint.is_enabled:
            raise PermissionDenied
        message_id = outgoing_messages.tell_test(endpoint)
        self.log_change(request, endpoint, "Sent a test.")
        messages.success(
            request, _("The test goes out now. Load this page again to see what came of it.")
        )
        return redirect("admin:outgoing_message_change", quote(message_id))

    def _chosen(self, request: HttpRequest, pk: int) -> Endpoint:
        """Raises `PermissionDenied`."""
        endpoint: Endpoint | None = self.get_object(request, str(pk))
        if endpoint is None or not self.has_change_permission(request, endpoint):
            raise PermissionDenied
        return endpoint


class DeliveryState(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, str(status.label)) for status in Delivery.Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        if self.value() is None:
            return queryset
        return queryset.filter(
            Exists(Delivery.objects.filter(message=OuterRef("pk"), status=self.value()))
        )


class WentTo(admin.SimpleListFilter):
    title = gettext_lazy("endpoint")
    parameter_name = "endpoint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(endpoint.pk), str(endpoint)) for endpoint in Endpoint.objects.order_by("pk")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        chosen = self.value() or ""
        if not chosen.isdecimal():
            return queryset
        return queryset.filter(
            Exists(Delivery.objects.filter(message=OuterRef("pk"), endpoint=int(chosen)))
        )


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    created_time = moment(Message, "created_at")

    list_display = ("created_time", "type", "user", "state")
    list_filter = (DeliveryState, labelled(gettext_lazy("event"), "type", EVENTS), WentTo)
    search_fields = ("=id", "user__email")
    search_help_text = gettext_lazy("The exact id of a message, or a part of a customer's address")
    list_select_related = ("user",)
    ordering = ("-created_at",)
    actions = ["send_again"]
    show_full_result_count = False
    fields = ("id", "type", "user", "created_time", "content")
    change_form_template = "admin/outgoing/message/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).prefetch_related("deliveries__endpoint")

    def get_urls(self) -> list[URLPattern]:
        again = self.admin_site.admin_view(self.again_view)
        return [
            path("<str:message_id>/again/", again, name="outgoing_message_again"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("state"))
    def state(self, message: Message) -> str:
        """What is worst of its deliveries."""
        found = {delivery.status for delivery in message.deliveries.all()}
        for status in (Delivery.Status.GIVEN_UP, Delivery.Status.WAITING):
            if status in found:
                return str(status.label)
        return str(Delivery.Status.DELIVERED.label)

    @admin.display(description=gettext_lazy("content"))
    def content(self, message: Message) -> str:
        text = json.dumps(json.loads(message.payload), indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)

    @admin.action(
        description=gettext_lazy("Send the selected messages again"), permissions=["resend"]
    )
    def send_again(self, request: SignedInRequest, chosen: QuerySet[Message]) -> None:
        _send_again(request, chosen)

    def again_view(self, request: SignedInRequest, message_id: str) -> HttpResponse:
        message = self.get_object(request, message_id)
        if request.method != "POST" or message is None or not self.has_resend_permission(request):
            raise PermissionDenied
        _send_again(request, Message.objects.filter(pk=message.pk))
        return redirect("admin:outgoing_message_change", quote(message.pk))

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("outgoing.resend_message")


def _send_again(request: SignedInRequest, chosen: QuerySet[Message]) -> None:
    LogEntry.objects.log_actions(request.user.pk, chosen, CHANGE, change_message="Sent again")
    count = outgoing_messages.send_again(chosen)
    if not count:
        messages.error(request, _("Nothing is sent: the endpoints are off."))
        return
    words = ngettext("%(count)s message goes out now.", "%(count)s messages go out now.", count)
    messages.success(request, words % {"count": number(count)})
