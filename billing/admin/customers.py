"""Customers: found by whatever one has in hand, and all about one of them on one page."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import BigIntegerField, Count, F, Func, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy

from billing.admin.refunds import sold_to
from billing.admin.search import clean, is_id, search, search_view
from billing.models import (
    Charge,
    Customer,
    Dispute,
    Event,
    Mail,
    Purchase,
    Refund,
    StripeCustomer,
    Subscription,
)
from credits import ledger
from credits.admin.cells import ReadOnlyAdmin, moment
from credits.models import Adjustment, Entry, Hold, Lot, Transfer
from credits.numbers import number

ROWS: Final = 20
"""How many of the latest rows a customer's page shows of each."""


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """Everything about one user on one page: where are my credits?"""

    joined_time = moment(Customer, "date_joined")

    list_display = ("email", "balance", "stripe", "joined_time")
    search_fields = ("email", "organisation__name")
    search_help_text = gettext_lazy(
        "Email address, name of an organisation, or the exact id of a customer, session, payment, "
        "subscription or purchase"
    )
    ordering = ("-id",)
    list_select_related = ("stripe_customer",)
    change_form_template = "admin/billing/customer/page.html"
    show_full_result_count = False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(search_view)
        return [path("search/", view, name="billing_search"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        # Without what has expired, booked or not.
        available = Func(F("pk"), function="credits_available", output_field=BigIntegerField())
        customers: QuerySet[Customer] = super().get_queryset(request)
        return customers.annotate(available=available).select_related("top_up")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Customer], search_term: str
    ) -> tuple[QuerySet[Customer], bool]:
        term = clean(search_term)
        if is_id(term):
            found = search(term, ["customers"]).customers
            return queryset.filter(pk__in=[customer.pk for customer in found]), False
        return super().get_search_results(request, queryset, term)

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
        if customer is not None and self.has_view_permission(request, customer):
            title = customer.organisation.name if customer.is_organisation else customer.email
            context = {"title": title or customer.email, "subtitle": None}
            context |= _all_about(customer, request)
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )


def _stripe_id(customer: Customer) -> str:
    stripe_customer: StripeCustomer | None = getattr(customer, "stripe_customer", None)
    return (stripe_customer.stripe_id if stripe_customer else None) or ""


def _all_about(customer: Customer, request: HttpRequest) -> dict[str, Any]:
    """What the page shows, each part of it to those who may look at its rows."""
    stripe_id = _stripe_id(customer)
    parts: dict[str, tuple[str, QuerySet[Any]]] = {
        "waiting": (
            "credits.view_adjustment",
            Adjustment.objects.filter(
                user=customer, status=Adjustment.Status.WAITING
            ).select_related("asked_by"),
        ),
        "lots": ("credits.view_lot", _open_lots(customer)),
        "holds": (
            "credits.view_hold",
            Hold.objects.filter(wallet__user=customer, status=Hold.Status.OPEN).order_by(
                "expires_at"
            ),
        ),
        "transfers": (
            "credits.view_entry",
            Transfer.objects.filter(wallet__user=customer, to_wallet__isnull=True).order_by(
                "entry_id"
            ),
        ),
        "entries": (
            "credits.view_entry",
            Entry.objects.filter(wallet__user=customer).select_related("actor").order_by("-id"),
        ),
        "purchases": (
            "billing.view_purchase",
            Purchase.objects.filter(user=customer).order_by("-created_at"),
        ),
        "sold": ("billing.view_purchase", sold_to(customer)),
        "subscriptions": (
            "billing.view_subscription",
            Subscription.objects.filter(user=customer).order_by("-created_at"),
        ),
        "refunds": (
            "billing.view_refund",
            Refund.objects.filter(purchase__user=customer)
            .select_related("actor")
            .order_by("-created_at"),
        ),
        "disputes": (
            "billing.view_dispute",
            Dispute.objects.filter(charge__purchase__user=customer).order_by("-id"),
        ),
        "events": (
            "billing.view_event",
            Event.objects.filter(customer_id=stripe_id).defer("payload").order_by("-id")
            if stripe_id
            else Event.objects.none(),
        ),
        "mails": ("billing.view_mail", Mail.objects.filter(user=customer).order_by("-id")),
    }
    shown = {
        name: list(rows[: ROWS + 1])
        for name, (permission, rows) in parts.items()
        if request.user.has_perm(permission)
    }
    # Who may adjust or decide sees what waits without another right.
    if any(map(request.user.has_perm, ("credits.adjust_wallet", "credits.approve_adjustment"))):
        shown["waiting"] = list(parts["waiting"][1])
    may_see_money = request.user.has_perm("billing.view_purchase")
    return shown | {
        "customer": customer,
        "standing": ledger.standing(customer),
        "stripe_id": stripe_id,
        "sums": _sums(customer) if may_see_money else None,
        "top_up": getattr(customer, "top_up", None) if may_see_money else None,
        "may_refund": request.user.has_perm("billing.refund_purchase"),
        "may_adjust": request.user.has_perm("credits.adjust_wallet"),
    }


def _open_lots(customer: Customer) -> QuerySet[Lot]:
    """What there is to spend, in the order in which it is spent."""
    return Lot.objects.filter(Q(is_open=True) | Q(held__gt=0), wallet__user=customer).order_by(
        "priority", F("expires_at").asc(nulls_last=True), F("category").desc(), "id"
    )


def _sums(customer: Customer) -> dict[str, int]:
    """All that was ever bought and went back: credits, and cents before tax."""
    bought = sold_to(customer).aggregate(count=Count("pk"), credits=Coalesce(Sum("amount"), 0))
    paid = Lot.objects.filter(wallet__user=customer, paid__gt=0).aggregate(
        sum=Coalesce(Sum("paid"), 0)
    )
    charges = Charge.objects.filter(purchase__user=customer).aggregate(
        refunded=Coalesce(Sum("refunded"), 0), withdrawn=Coalesce(Sum("withdrawn"), 0)
    )
    return {**bought, "paid": paid["sum"], **charges}
