"""The ledger in the admin: to read, and to correct by an adjustment."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from accounts.requests import SignedInRequest
from credits import errors, ledger
from credits.models import MAX_CREDITS, Entry, Hold, Lot, Wallet


class ReadOnlyAdmin(admin.ModelAdmin):
    """Looks, changes nothing: what the ledger holds is booked by its verbs alone."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AdjustmentForm(forms.Form):
    amount = forms.IntegerField(
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


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("user", "balance", "held", "owed")
    search_fields = ("user__email",)
    search_help_text = gettext_lazy("Email address")
    list_select_related = ("user",)
    readonly_fields = ("user", "balance", "held", "owed", "history", "adjust")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.adjust_view)
        return [
            path("of/<int:user_id>/adjust/", view, name="credits_wallet_adjust"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("History"))
    def history(self, wallet: Wallet) -> str:
        address = reverse("admin:credits_entry_changelist")
        return format_html(
            '<a href="{}?wallet__id__exact={}">{}</a>', address, wallet.pk, _("Show entries")
        )

    @admin.display(description=gettext_lazy("Correct"))
    def adjust(self, wallet: Wallet) -> str:
        address = reverse("admin:credits_wallet_adjust", args=[wallet.user_id])
        return format_html('<a href="{}">{}</a>', address, _("Adjust balance"))

    def adjust_view(self, request: SignedInRequest, user_id: int) -> HttpResponse:
        """Amount and reason, then a preview to confirm, then one entry."""
        if not request.user.has_perm("credits.adjust_wallet"):
            raise PermissionDenied
        user = User.objects.filter(pk=user_id).first()
        if user is None:
            raise Http404
        balance = ledger.balance_of(user)
        form = AdjustmentForm(request.POST or None, initial={"key": uuid.uuid4()})
        preview = None
        if request.method == "POST" and form.is_valid():
            amount = form.cleaned_data["amount"]
            if balance + amount < 0:
                form.add_error(
                    "amount",
                    _("Only %(balance)s credits are there to take away.")
                    % {"balance": f"{balance:,}"},
                )
            elif "confirm" in request.POST:
                return self._adjust(request, user, form)
            elif "change" not in request.POST:
                preview = {"amount": amount, "after": balance + amount}
        context = {
            **self.admin_site.each_context(request),
            "title": _("Adjust balance"),
            "subtitle": user.email,
            "opts": Wallet._meta,
            "customer": user,
            "current_balance": balance,
            "form": form,
            "preview": preview,
        }
        return TemplateResponse(request, "admin/credits/wallet/adjust.html", context)

    def _adjust(self, request: SignedInRequest, user: User, form: AdjustmentForm) -> HttpResponse:
        back = HttpResponseRedirect(request.get_full_path())
        wallet = ledger.wallet_of(user)
        try:
            entry = ledger.adjust(
                wallet,
                form.cleaned_data["amount"],
                key=f"adjustment:{form.cleaned_data['key']}",
                note=form.cleaned_data["reason"],
                actor=request.user,
            )
        except errors.LedgerError as error:
            messages.error(request, _("Nothing was booked. %(why)s") % {"why": error})
            return back
        LogEntry.objects.log_actions(
            request.user.pk,
            Wallet.objects.filter(pk=wallet.pk),
            CHANGE,
            change_message=f"{entry.amount:+}: {entry.note}",
            single_object=True,
        )
        messages.success(
            request,
            _("%(amount)s credits booked; the balance of %(email)s is now %(balance)s.")
            % {
                "amount": f"{entry.amount:+,}",
                "email": user.email,
                "balance": f"{entry.balance:,}",
            },
        )
        return back


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "owner", "kind", "amount", "balance", "note", "actor", "key")
    list_filter = ("kind", "account")
    search_fields = ("wallet__user__email", "=key")
    search_help_text = gettext_lazy("Email address, or the exact key")
    list_select_related = ("wallet__user", "actor")
    ordering = ("-id",)
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "wallet__id__exact" or super().lookup_allowed(lookup, value, request)

    @admin.display(description=gettext_lazy("customer"), ordering="wallet__user__email")
    def owner(self, entry: Entry) -> User:
        return entry.wallet.user


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    list_display = ("id", "wallet", "amount", "remaining", "category", "expires_at", "paid")
    list_filter = ("category",)
    search_fields = ("wallet__user__email",)
    list_select_related = ("wallet__user",)
    show_full_result_count = False


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "wallet", "amount", "status", "expires_at", "key")
    list_filter = ("status",)
    search_fields = ("wallet__user__email", "=key")
    search_help_text = gettext_lazy("Email address, or the exact key")
    list_select_related = ("wallet__user",)
    ordering = ("-id",)
    show_full_result_count = False
