"""Customers: found by whatever one has in hand, and all about one of them on one page."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import BigIntegerField, F, Func, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy

from billing.admin.refunds import sold_to
from billing.models import Customer, Event, Refund, StripeCustomer
from billing.stripe_objects import uuid_of
from credits import ledger
from credits.admin.cells import ReadOnlyAdmin, moment
from credits.models import Adjustment, Entry, Hold, Transfer
from credits.numbers import number

ROWS: Final = 20
"""How many of the latest rows a customer's page shows of each."""


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
