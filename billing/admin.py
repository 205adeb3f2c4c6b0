"""Customers, purchases, plans, prices and events in the admin. Nothing is sold or booked here."""

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, F, Func, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.requests import SignedInRequest
from billing import mails, webhooks
from billing.admin_reconciliation import ReconciliationAdmin
from billing.models import (
    Customer,
    Event,
    Mail,
    PlanChange,
    PriceTier,
    Purchase,
    Reconciliation,
    Refund,
    StripeCustomer,
    Subscription,
)
from billing.redaction import redacted
from billing.refund_admin import entry_of, sold_to
from billing.stripe_objects import uuid_of
from billing.templatetags.money import money, unit_price
from credits import ledger
from credits.admin.cells import ReadOnlyAdmin, grouped, moment, to_the_second
from credits.models import Adjustment, Entry, Hold, Transfer
from credits.numbers import number

admin.site.register(Reconciliation, ReconciliationAdmin)

ROWS = 20
"""How many of the latest rows a customer's page shows of each."""

REASON_LENGTH = Event._meta.get_field("settled_reason").max_length or 0


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


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """Everything about one user on one page: where are my credits?"""

    joined_time = moment(Customer, "date_joined")

    list_display = ("email", "balance", "stripe", "joined_time")
    search_fields = ("email",)
    search_help_text = gettext_lazy(
        "Email address, or the exact id of a customer, session, payment, subscription or purchase"
    )
    ordering = ("-id",)
    list_select_related = ("stripe_customer",)
    change_form_template = "admin/billing/customer/page.html"
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        # Without what has expired, booked or not.
        available = Func(F("pk"), function="credits_available", output_field=BigIntegerField())
        customers: QuerySet[Customer] = super().get_queryset(request)
        return customers.annotate(available=available)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Customer], search_term: str
    ) -> tuple[QuerySet[Customer], bool]:
        term = search_term.strip()
        if term.startswith(("cus_", "cs_", "pi_", "sub_", "in_", "ch_", "evt_")):
            events = Event.objects.filter(Q(object_id=term) | Q(stripe_id=term))
            return queryset.filter(
                Q(stripe_customer__stripe_id=term)
                | Q(stripe_customer__stripe_id__in=events.values("customer_id"))
                | Q(purchases__stripe_session_id=term)
                | Q(purchases__stripe_payment_id=term)
                | Q(subscriptions__stripe_id=term)
            ), True
        purchase_id = uuid_of(term)
        if purchase_id is not None:
            return queryset.filter(purchases=purchase_id), True
        return super().get_search_results(request, queryset, search_term)

    # Not to sort by: that would work it out for every customer.
    @admin.display(description=gettext_lazy("credits"))
    def balance(self, customer: Any) -> str:
        return number(customer.available)

    @admin.display(description=gettext_lazy("Stripe id"))
    def stripe(self, customer: Customer) -> str:
        return _stripe_id(customer)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        customer = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if customer is not None:
            stripe_id = _stripe_id(customer)
            events = Event.objects.filter(customer_id=stripe_id) if stripe_id else None
            context = {
                "customer": customer,
                "standing": ledger.standing(customer),
                "stripe_id": stripe_id,
                "entries": Entry.objects.filter(wallet__user=customer)
                .select_related("actor")
                .order_by("-id")[:ROWS],
                "purchases": customer.purchases.order_by("-created_at")[:ROWS],
                "subscriptions": customer.subscriptions.order_by("-created_at")[:ROWS],
                "events": events.order_by("-id")[:ROWS] if events is not None else [],
                "waiting": Adjustment.objects.filter(
                    user=customer, status=Adjustment.Status.WAITING
                ).select_related("asked_by"),
                "holds": Hold.objects.filter(
                    wallet__user=customer, status=Hold.Status.OPEN
                ).order_by("expires_at")[:ROWS],
                "transfers": Transfer.objects.filter(
                    wallet__user=customer, to_wallet__isnull=True
                ).order_by("entry_id")[:ROWS],
                "sold": sold_to(customer)[:ROWS],
                "refunds": Refund.objects.filter(purchase__user=customer)
                .select_related("actor")
                .order_by("-created_at")[:ROWS],
                "may_refund": request.user.has_perm("billing.refund_purchase"),
                "may_adjust": request.user.has_perm("credits.adjust_wallet"),
            }
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )


def _stripe_id(customer: Customer) -> str:
    stripe_customer: StripeCustomer | None = getattr(customer, "stripe_customer", None)
    return (stripe_customer.stripe_id if stripe_customer else None) or ""


@admin.register(Purchase)
class PurchaseAdmin(ReadOnlyAdmin):
    created_time = moment(Purchase, "created_at")
    grouped_credits = grouped(Purchase, "credits")

    list_display = ("created_time", "user", "grouped_credits", "price", "mode", "status")
    list_filter = ("status", "mode")
    search_fields = ("user__email", "=id", "=stripe_session_id", "=stripe_payment_id")
    list_select_related = ("user",)
    ordering = ("-created_at",)
    show_full_result_count = False
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

    list_display = (
        "user",
        "grouped_credits",
        "price",
        "status",
        "current_period_end",
        "cancel_at_period_end",
    )
    list_filter = ("status", "cancel_at_period_end")
    search_fields = ("user__email", "=stripe_id")
    list_select_related = ("user",)

    @admin.display(description=gettext_lazy("a month"), ordering="total")
    def price(self, subscription: Subscription) -> str:
        return money(subscription.total)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    created_time = moment(Event, "created_at")

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
        "object_id",
        "customer_id",
        "livemode",
        "created_at",
        "done_at",
        "settled_by",
        "settled_reason",
        "content",
    )
    readonly_fields = ("content",)
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


class MailState(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("sent", _("Sent")), ("waiting", _("Waiting")), ("given_up", _("Given up"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Mail]) -> QuerySet[Mail]:
        unsent = queryset.filter(sent_at__isnull=True)
        if self.value() == "sent":
            return queryset.filter(sent_at__isnull=False)
        if self.value() == "waiting":
            return unsent.filter(tries__lt=mails.MAX_TRIES)
        if self.value() == "given_up":
            return unsent.filter(tries__gte=mails.MAX_TRIES)
        return queryset


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    created_time = moment(Mail, "created_at")
    sent_time = moment(Mail, "sent_at")

    list_display = ("created_time", "kind", "user", "sent_time", "tries", "next_try", "error")
    list_filter = (MailState, "kind")
    search_fields = ("user__email", "=key")
    list_select_related = ("user",)
    ordering = ("-id",)
    actions = ["send_again"]
    show_full_result_count = False

    @admin.display(description=gettext_lazy("next try"))
    def next_try(self, mail: Mail) -> str:
        if mail.sent_at is not None:
            return "-"
        return _("given up") if mail.tries >= mails.MAX_TRIES else to_the_second(mail.due_at)

    @admin.action(description=gettext_lazy("Send the selected mails again"), permissions=["resend"])
    def send_again(self, request: SignedInRequest, chosen: QuerySet[Mail]) -> None:
        LogEntry.objects.log_actions(request.user.pk, chosen, CHANGE, change_message="Sent again")
        count = mails.send_again(chosen)
        messages.success(request, _("%(count)s mails go out now.") % {"count": number(count)})

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.resend_mail")
