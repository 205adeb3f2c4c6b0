"""Adjusting a balance: amount and reason, preview, and where it takes one, a second person."""

import uuid
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from accounts.requests import SignedInRequest
from credits import adjustments, errors, ledger
from credits.admin.cells import ReadOnlyAdmin, moment, signed
from credits.models import MAX_CREDITS, Adjustment, Entry, Wallet
from credits.numbers import MINUS, number, parse_credits

Status = Adjustment.Status

SIGNS: Final = ("+", "-", MINUS)


class MovementField(forms.IntegerField):
    """Credits with or without a sign, as people write them: Django's own takes 5.000 for 5."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        sign, digits = text[:1], text[1:]
        if sign not in SIGNS:
            sign, digits = "", text
        if not text:
            return None
        credits = parse_credits(digits)
        if credits is None:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return -credits if sign in SIGNS[1:] else credits


class AdjustmentForm(forms.Form):
    amount = MovementField(
        label=gettext_lazy("Credits"),
        min_value=-MAX_CREDITS,
        max_value=MAX_CREDITS,
        help_text=gettext_lazy("Plus adds, minus takes away: 250 or -250."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        help_text=gettext_lazy("The customer sees it in the history."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    # Made with the form, so that sending it twice books it once.
    key = forms.UUIDField(widget=forms.HiddenInput)

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError(_("Enter an amount other than 0."))
        return amount

    def clean_key(self) -> str:
        return f"adjustment:{self.cleaned_data['key']}"


def adjust_view(request: SignedInRequest, user_id: int) -> HttpResponse:
    """Amount and reason, then a preview to confirm, then one entry or one request for it."""
    if not request.user.has_perm("credits.adjust_wallet"):
        raise PermissionDenied
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise Http404
    form = AdjustmentForm(request.POST or None, initial={"key": uuid.uuid4()})
    preview = None
    balance = ledger.balance_of(user)
    if request.method == "POST" and form.is_valid():
        amount = form.cleaned_data["amount"]
        # Before the balance is looked at: what is booked already needs none.
        known = adjustments.booked_or_asked(user, form.cleaned_data["key"])
        if known is None and balance + amount < 0:
            words = _("Only %(balance)s credits are there to take away.")
            form.add_error("amount", words % {"balance": number(balance)})
        elif "confirm" in request.POST:
            _adjust(request, user, form)
            return HttpResponseRedirect(request.get_full_path())
        elif "change" not in request.POST:
            preview = {
                "amount": amount,
                "after": balance + amount,
                "waits": adjustments.is_over_limit(user, amount, request.user),
            }
    context = {
        **admin.site.each_context(request),
        "title": _("Adjust balance"),
        "subtitle": user.email,
        "opts": Wallet._meta,
        "customer": user,
        "current_balance": balance,
        "form": form,
        "preview": preview,
        "limit": settings.ADJUSTMENT_LIMIT,
    }
    return TemplateResponse(request, "admin/credits/wallet/adjust.html", context)


def _adjust(request: SignedInRequest, user: User, form: AdjustmentForm) -> None:
    try:
        outcome = adjustments.adjust(
            user,
            form.cleaned_data["amount"],
            key=form.cleaned_data["key"],
            reason=form.cleaned_data["reason"],
            staff=request.user,
        )
    except errors.LedgerError as error:
        messages.error(request, _("Nothing was booked. %(why)s") % {"why": error})
        return
    if isinstance(outcome, Entry):
        messages.success(request, _booked(outcome, user))
        return
    words = {
        Status.WAITING: _("%(amount)s credits wait for a second person's approval."),
        Status.REJECTED: _("%(amount)s credits were rejected: nothing was booked."),
        Status.WITHDRAWN: _("%(amount)s credits were withdrawn: nothing was booked."),
    }[Status(outcome.status)]
    is_waiting = outcome.status == Status.WAITING
    messages.add_message(
        request,
        messages.SUCCESS if is_waiting else messages.WARNING,
        format_html(
            '{} <a href="{}">{}</a>',
            words % {"amount": f"{outcome.amount:+,}"},
            reverse("admin:credits_adjustment_change", args=[outcome.pk]),
            _("Look at it"),
        ),
    )


def _booked(entry: Entry, user: User) -> str:
    return _("%(amount)s credits booked; the balance of %(email)s after it is %(balance)s.") % {
        "amount": f"{entry.amount:+,}",
        "email": user.email,
        "balance": number(entry.balance),
    }


class Asker(admin.SimpleListFilter):
    title = gettext_lazy("who asked")
    parameter_name = "asker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("me", _("Me")), ("others", _("Others: I may decide"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Adjustment]
    ) -> QuerySet[Adjustment]:
        me = request.user.pk
        if self.value() == "me":
            return queryset.filter(asked_by=me)
        if self.value() == "others":
            return queryset.exclude(asked_by=me).exclude(user=me)
        return queryset


@admin.register(Adjustment)
class AdjustmentAdmin(ReadOnlyAdmin):
    """What was asked for; its page is where it is decided."""

    asked_time = moment(Adjustment, "asked_at")
    signed_amount = signed(Adjustment, "amount")
    decided_time = moment(Adjustment, "decided_at")

    list_display = (
        "asked_time",
        "user",
        "signed_amount",
        "status",
        "asked_by",
        "decided_by",
        "reason",
    )
    list_filter = ("status", Asker)
    search_fields = ("user__email", "=key")
    search_help_text = gettext_lazy("The customer's email address, or the exact key")
    list_select_related = ("user", "asked_by", "decided_by")
    ordering = ("-id",)
    fields = (
        "user",
        "signed_amount",
        "reason",
        "status",
        "asked_by",
        "asked_time",
        "decided_by",
        "decided_time",
        "answer",
        "key",
    )
    readonly_fields = fields
    change_form_template = "admin/credits/adjustment/page.html"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (
            super().has_view_permission(request, obj)
            or request.user.has_perm("credits.adjust_wallet")
            or request.user.has_perm("credits.approve_adjustment")
        )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        return [
            path("<int:adjustment_id>/decide/", view, name="credits_adjustment_decide"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        adjustment = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if adjustment is not None and adjustment.status == Status.WAITING:
            before = ledger.balance_of(adjustment.user)
            is_asker = request.user == adjustment.asked_by
            context = {
                "before": before,
                "after": before + adjustment.amount,
                "may_withdraw": is_asker and request.user.has_perm("credits.adjust_wallet"),
                "may_decide": request.user not in (adjustment.asked_by, adjustment.user)
                and request.user.has_perm("credits.approve_adjustment"),
            }
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )

    def decide_view(self, request: SignedInRequest, adjustment_id: int) -> HttpResponse:
        """Approve, reject or withdraw, by a POST that names which."""
        decision = request.POST.get("decision")
        permission = "adjust_wallet" if decision == "withdraw" else "approve_adjustment"
        if request.method != "POST" or not request.user.has_perm(f"credits.{permission}"):
            raise PermissionDenied
        adjustment = self.get_object(request, str(adjustment_id))
        if adjustment is None:
            raise Http404
        try:
            words = _decide(adjustment, decision, request.user, request.POST.get("answer", ""))
        except errors.LedgerError as error:
            messages.error(request, _("Nothing was changed. %(why)s") % {"why": error})
        else:
            messages.success(request, words)
        address = reverse("admin:credits_adjustment_change", args=[adjustment_id])
        return HttpResponseRedirect(address)


def _decide(adjustment: Adjustment, decision: str | None, staff: User, answer: str) -> str:
    match decision:
        case "approve":
            return _booked(adjustments.approve(adjustment, staff=staff), adjustment.user)
        case "reject":
            adjustments.reject(adjustment, staff=staff, answer=answer.strip()[:500])
            return _("It is rejected: nothing was booked.")
        case "withdraw":
            adjustments.withdraw(adjustment, staff=staff)
            return _("It is withdrawn: nothing was booked.")
    raise Http404
