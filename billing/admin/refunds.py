"""Refunds in the admin: how much and why, a preview, and one refund at Stripe."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from accounts.requests import SignedInRequest
from billing import refunds
from billing.models import Purchase, Refund
from billing.refunds import CannotRefund, Part, Payment
from billing.stripe_api import Clock, StripeRefused, StripeUnavailable
from billing.templatetags.money import money
from credits import ledger
from credits.admin.cells import ReadOnlyAdmin, labelled, moment
from credits.models import Entry, Kind
from credits.numbers import number

SOLD = [Kind.PURCHASE, Kind.RENEWAL]
"""What was paid for."""


class RefundForm(forms.Form):
    part = forms.ChoiceField(
        label=gettext_lazy("How much"), choices=Part.choices, widget=forms.RadioSelect
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        help_text=gettext_lazy("For your colleagues; the customer doesn't see it."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    # Made with the form, so that sending it twice refunds once.
    id = forms.UUIDField(widget=forms.HiddenInput)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def offer(self, choices: list[tuple[str, str]]) -> None:
        part = self.fields["part"]
        assert isinstance(part, forms.ChoiceField)  # noqa: S101 (it is declared above)
        part.choices = choices


def sold_to(user: User) -> QuerySet[Entry]:
    """What a customer has paid for, latest first."""
    return Entry.objects.filter(wallet__user=user, kind__in=SOLD).order_by("-id")


def entry_of(purchase: Purchase) -> Entry | None:
    """What a one-time purchase brought, once it did."""
    return sold_to(purchase.user).filter(key=f"purchase:{purchase.pk}").first()


def refund_view(request: SignedInRequest, entry_id: int) -> HttpResponse:
    """How much and why, then a preview to confirm, then one refund."""
    if not request.user.has_perm("billing.refund_purchase"):
        raise PermissionDenied
    entry = Entry.objects.select_related("wallet__user").filter(pk=entry_id, kind__in=SOLD).first()
    if entry is None:
        raise Http404
    form = RefundForm(request.POST or None, initial=_initial(entry))
    known = None
    if form.is_bound and form.is_valid():
        known = Refund.objects.filter(pk=form.cleaned_data["id"]).first()
    context: dict[str, Any] = {}
    clock = Clock()
    try:
        payment = refunds.find_payment(entry, clock)
        context = _look(request, form, payment, known, clock)
        if "done" in context:
            return _finish(request, context["done"])
    except CannotRefund as error:
        context = {"refusal": str(error)}
    except StripeUnavailable:
        context = {"problem": _unavailable(known), "is_again": "confirm" in request.POST}
    except StripeRefused as error:
        context = {"refusal": _("Stripe has refused it: %(why)s.") % {"why": error}}
    context |= {
        **admin.site.each_context(request),
        "title": _("Refund"),
        "subtitle": entry.wallet.user.email,
        "opts": Refund._meta,
        "customer": entry.wallet.user,
        "entry": entry,
        "form": form,
        "balance": ledger.balance_of(entry.wallet.user),
    }
    return TemplateResponse(request, "admin/billing/refund/refund.html", context)


def _initial(entry: Entry) -> dict[str, Any]:
    started = refunds.unfinished(entry)
    if started is not None:
        return {"id": started.pk, "part": Part.ALL, "reason": started.reason}
    return {"id": uuid.uuid4(), "part": Part.ALL}


def _look(
    request: SignedInRequest,
    form: RefundForm,
    payment: Payment,
    known: Refund | None,
    clock: Clock,
) -> dict[str, Any]:
    """What the page shows; `done` if the refund was made.

    Raises `CannotRefund`, `StripeRefused`.
    """
    started = refunds.unfinished(payment.entry)
    context: dict[str, Any] = {"payment": payment, "started": started}
    if not form.is_bound or not form.is_valid():
        form.offer(_choices(payment))
        return context
    asked = form.cleaned_data
    if known is not None:
        amount, is_seen = known.amount, True  # what was agreed to when it was asked for first
    else:
        preview = refunds.outcome(payment, asked["part"])
        amount, is_seen = preview.amount, preview.seen == asked["seen"]
        context |= {"preview": preview, "has_changed": "confirm" in request.POST}
    if "change" in request.POST:
        form.offer(_choices(payment))
        return {"payment": payment, "started": started}
    if "confirm" not in request.POST or not is_seen:
        return context
    try:
        done = refunds.refund(
            payment,
            amount,
            id=asked["id"],
            reason=asked["reason"],
            staff=request.user,
            clock=clock,
        )
    except StripeUnavailable:
        row = Refund.objects.get(pk=asked["id"])
        return context | {"problem": _unavailable(row), "is_again": True, "has_changed": False}
    return context | {"done": done}


def _choices(payment: Payment) -> list[tuple[str, str]]:
    """What each would do, or why it can't be made."""
    choices = []
    for part in Part:
        try:
            found = refunds.outcome(payment, part)
            words = _("%(amount)s, and %(credits)s credits leave") % {
                "amount": money(found.amount),
                "credits": number(found.credits),
            }
        except CannotRefund as error:
            words = str(error)
        choices.append((str(part), f"{part.label}: {words}"))
    return choices


def _unavailable(row: Refund | None) -> str:
    if row is None:
        return _("Stripe doesn't answer. Nothing was refunded. Try again in a minute.")
    return _(
        "Stripe hasn't answered, so nobody knows yet whether the refund was made. Send it again: "
        "it is made once, however often you do."
    )


def _finish(request: HttpRequest, row: Refund) -> HttpResponse:
    words = {"amount": money(row.amount), "email": row.purchase.user.email}
    if row.status in {"failed", "canceled"}:
        messages.error(
            request, _("The refund of %(amount)s to %(email)s did not get through.") % words
        )
    else:
        messages.success(
            request,
            _(
                "%(amount)s go back to %(email)s. Their credits leave the balance when Stripe "
                "confirms it, usually within seconds."
            )
            % words,
        )
    address = reverse("admin:billing_customer_change", args=[row.purchase.user_id])
    return HttpResponseRedirect(address)


class Attention(admin.SimpleListFilter):
    title = gettext_lazy("needs attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", _("Yes"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Refund]) -> QuerySet[Refund]:
        return refunds.needing_attention(queryset) if self.value() == "yes" else queryset


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    """Refunds that staff have asked for, and what became of them."""

    created_time = moment(Refund, "created_at")

    list_display = ("created_time", "customer", "money", "outcome", "actor", "reason")
    list_filter = (Attention, labelled(gettext_lazy("status"), "status", Refund.LABELS))
    search_fields = ("purchase__user__email", "=id", "=stripe_id", "=entry_key")
    search_help_text = gettext_lazy("The customer's email address, or an exact id")
    list_select_related = ("purchase__user", "actor")
    ordering = ("-created_at",)
    fields = (
        "created_time",
        "customer",
        "purchase",
        "money",
        "reason",
        "actor",
        "outcome",
        "stripe_id",
        "entry_key",
    )
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(refund_view)
        return [
            path("of/<int:entry_id>/", view, name="billing_refund_entry"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, refund: Refund) -> User:
        return refund.purchase.user

    @admin.display(description=gettext_lazy("amount"), ordering="amount")
    def money(self, refund: Refund) -> str:
        return money(refund.amount)

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def outcome(self, refund: Refund) -> str:
        return refund.status_label
