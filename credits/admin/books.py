"""Wallets, entries, lots and holds, to read. What has no page of its own stands on the entry's."""

from collections.abc import Iterable

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from credits import ledger
from credits.admin.adjustments import adjust_view
from credits.admin.cells import ReadOnlyAdmin, grouped, moment, signed
from credits.admin.revenue import csv_view, revenue_view
from credits.models import Draw, Entry, Hold, HoldDraw, Lot, Transfer, Wallet
from credits.numbers import number


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    grouped_balance = grouped(Wallet, "balance")
    grouped_held = grouped(Wallet, "held")
    grouped_owed = grouped(Wallet, "owed")
    grouped_overspent = grouped(Wallet, "overspent")

    list_display = (
        "user",
        "grouped_balance",
        "grouped_held",
        "grouped_owed",
    )
    search_fields = ("user__email",)
    search_help_text = gettext_lazy("Email address")
    list_select_related = ("user",)
    fields = (
        "user",
        "grouped_balance",
        "grouped_held",
        "grouped_owed",
        "grouped_overspent",
        "available",
        "history",
        "adjust",
    )
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(adjust_view)
        return [
            path("of/<int:user_id>/adjust/", view, name="credits_wallet_adjust"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("to spend now"))
    def available(self, wallet: Wallet) -> str:
        return number(ledger.balance_of(wallet.user))

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


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    created_time = moment(Entry, "created_at")
    signed_amount = signed(Entry, "amount")
    grouped_balance = grouped(Entry, "balance")
    signed_owed = signed(Entry, "owed")

    list_display = (
        "created_time",
        "kind",
        "signed_amount",
        "grouped_balance",
        "owner",
        "details",
    )
    list_filter = ("kind", "account")
    search_fields = ("wallet__user__email", "=key")
    search_help_text = gettext_lazy("Email address, or the exact key")
    list_select_related = ("wallet__user", "actor")
    ordering = ("-id",)
    sortable_by = ()  # no other order has an index
    show_full_result_count = False
    fields = (
        "created_time",
        "owner",
        "kind",
        "account",
        "signed_amount",
        "signed_owed",
        "grouped_balance",
        "note",
        "actor",
        "key",
        "about",
        "lots",
        "draws",
        "transfer",
    )
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("revenue/", wrap(revenue_view), name="credits_revenue"),
            path("revenue.csv", wrap(csv_view), name="credits_revenue_csv"),
            *super().get_urls(),
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "wallet__id__exact" or super().lookup_allowed(lookup, value, request)

    @admin.display(description=gettext_lazy("customer"))
    def owner(self, entry: Entry) -> User:
        return entry.wallet.user

    # One column for what is long, so that none is out of sight.
    @admin.display(description=gettext_lazy("note, who and key"))
    def details(self, entry: Entry) -> str:
        by = _("by %(actor)s") % {"actor": entry.actor} if entry.actor else ""
        words = " ".join(filter(None, [entry.note, by]))
        return format_html('{} <span class="quiet">{}</span>', words, entry.key)

    @admin.display(description=gettext_lazy("about"))
    def about(self, entry: Entry) -> str:
        return _link("entry", entry.about_id, f"#{entry.about_id}") if entry.about_id else ""

    @admin.display(description=gettext_lazy("brought"))
    def lots(self, entry: Entry) -> str:
        lots = Lot.objects.filter(wallet_id=entry.wallet_id, entry_id=entry.pk).order_by("id")
        return _lines(
            (
                _link("lot", lot.pk, _("lot %(id)s") % {"id": lot.pk}),
                _("%(amount)s credits, %(remaining)s left, for %(paid)s cents")
                % _grouped(amount=lot.amount, remaining=lot.remaining + lot.held, paid=lot.paid),
            )
            for lot in lots
        )

    @admin.display(description=gettext_lazy("drew on"))
    def draws(self, entry: Entry) -> str:
        draws = Draw.objects.filter(wallet_id=entry.wallet_id, entry_id=entry.pk)
        return _lines(
            (
                _link("lot", draw.lot_id, _("lot %(id)s") % {"id": draw.lot_id}),
                _("%(amount)s credits, for %(paid)s cents")
                % _grouped(amount=draw.amount, paid=draw.paid),
            )
            for draw in draws.order_by("lot_id")
        )

    @admin.display(description=gettext_lazy("on their way"))
    def transfer(self, entry: Entry) -> str:
        sent = Transfer.objects.filter(wallet_id=entry.wallet_id, entry_id=entry.pk)
        arrived = Transfer.objects.filter(to_wallet_id=entry.wallet_id, to_entry_id=entry.pk)
        lines = [_arrival(transfer) for transfer in sent.select_related("to_wallet__user")]
        lines += [_departure(transfer) for transfer in arrived.select_related("wallet__user")]
        return _lines((line, "") for line in lines)


def _arrival(transfer: Transfer) -> str:
    if transfer.to_wallet is None or transfer.to_entry_id is None:
        return _("in escrow")
    words = _("arrived at %(email)s") % {"email": transfer.to_wallet.user.email}
    return _link("entry", transfer.to_entry_id, words)


def _departure(transfer: Transfer) -> str:
    words = _("sent by %(email)s") % {"email": transfer.wallet.user.email}
    return _link("entry", transfer.entry_id, words)


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    grouped_amount = grouped(Lot, "amount")
    grouped_remaining = grouped(Lot, "remaining")
    grouped_held = grouped(Lot, "held")
    expires_time = moment(Lot, "expires_at")
    grouped_paid = grouped(Lot, "paid")
    grouped_revoked = grouped(Lot, "revoked")

    list_display = (
        "id",
        "wallet",
        "grouped_amount",
        "grouped_remaining",
        "grouped_held",
        "category",
        "expires_time",
        "priority",
        "grouped_paid",
    )
    list_filter = ("category",)
    search_fields = ("wallet__user__email",)
    search_help_text = gettext_lazy("Email address")
    list_select_related = ("wallet__user",)
    ordering = ("-id",)
    show_full_result_count = False
    fields = (
        "wallet",
        "brought_by",
        "grouped_amount",
        "grouped_remaining",
        "grouped_held",
        "grouped_revoked",
        "category",
        "priority",
        "expires_time",
        "grouped_paid",
    )
    readonly_fields = fields

    @admin.display(description=gettext_lazy("entry"))
    def brought_by(self, lot: Lot) -> str:
        return _link("entry", lot.entry_id, f"#{lot.entry_id}")


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    created_time = moment(Hold, "created_at")
    grouped_amount = grouped(Hold, "amount")
    expires_time = moment(Hold, "expires_at")
    closed_time = moment(Hold, "closed_at")

    list_display = (
        "created_time",
        "wallet",
        "grouped_amount",
        "status",
        "expires_time",
        "key",
    )
    list_filter = ("status",)
    search_fields = ("wallet__user__email", "=key")
    search_help_text = gettext_lazy("Email address, or the exact key")
    list_select_related = ("wallet__user",)
    ordering = ("-id",)
    show_full_result_count = False
    fields = (
        "wallet",
        "grouped_amount",
        "status",
        "created_time",
        "expires_time",
        "closed_time",
        "key",
        "spent_by",
        "draws",
    )
    readonly_fields = fields

    @admin.display(description=gettext_lazy("entry"))
    def spent_by(self, hold: Hold) -> str:
        return _link("entry", hold.entry_id, f"#{hold.entry_id}") if hold.entry_id else ""

    @admin.display(description=gettext_lazy("drew on"))
    def draws(self, hold: Hold) -> str:
        draws = HoldDraw.objects.filter(wallet_id=hold.wallet_id, hold_id=hold.pk)
        return _lines(
            (
                _link("lot", draw.lot_id, _("lot %(id)s") % {"id": draw.lot_id}),
                _("%(amount)s credits") % _grouped(amount=draw.amount),
            )
            for draw in draws.order_by("lot_id")
        )


def _link(model: str, pk: int, words: str) -> SafeString:
    address = reverse(f"admin:credits_{model}_change", args=[pk])
    return format_html('<a href="{}">{}</a>', address, words)


def _lines(lines: Iterable[tuple[str, str]]) -> SafeString:
    return format_html_join(mark_safe("<br>"), "{} {}", lines)


def _grouped(**values: int) -> dict[str, str]:
    return {name: number(value) for name, value in values.items()}
