"""Promotions: what they give, in words; their codes, singly or a thousand; who has used them."""

import csv
import uuid
from collections.abc import Iterator
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.requests import SignedInRequest
from billing import promotions
from billing.models import PromoCode, Promotion, Redemption
from credits.admin.cells import ReadOnlyAdmin, grouped, moment
from credits.numbers import credits_in_words, number

HELP: Final = {
    "kind": gettext_lazy(
        "A bonus comes with a purchase that is paid. A voucher is redeemed without one."
    ),
    "percent": gettext_lazy(
        "Bonus in percent of what is bought, rounded down. Or give a fixed number below."
    ),
    "credits": gettext_lazy("The bonus as a fixed number, or what the voucher brings."),
    "max_bonus": gettext_lazy("The most that a bonus in percent comes to. Empty: no limit."),
    "min_credits": gettext_lazy("Smaller orders get no bonus. Empty: any order."),
    "first_purchase_only": gettext_lazy("For customers who have never paid for anything."),
    "starts_at": gettext_lazy("Empty: at once."),
    "ends_at": gettext_lazy(
        "Orders until then have the bonus, also if they are paid a little later. Empty: no end."
    ),
    "max_uses": gettext_lazy(
        "Of all codes together. An open order counts, until it is clear that it won't be paid. "
        "Empty: no limit."
    ),
    "max_uses_per_user": gettext_lazy("Of all codes together. A refund gives none back."),
    "expires_after_days": gettext_lazy(
        "How long the credits can be spent. Empty: as long as other promotional credits."
    ),
    "is_active": gettext_lazy("Off: no code of it can be used. What was ordered keeps its bonus."),
}
OPEN: Final = ("name", "ends_at", "max_uses", "is_active")
"""What can change once somebody has used a code: the terms that they saw can't."""


TIME: Final = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})


def in_words(promotion: Promotion) -> str:
    """What a promotion gives and to whom, in a line."""
    count = promotion.credits
    if promotion.kind == Promotion.Kind.VOUCHER:
        parts = [credits_in_words(count or 0)]
    elif count is not None:
        parts = [
            ngettext("%(count)s credit more", "%(count)s credits more", count)
            % {"count": number(count)}
        ]
    else:
        parts = [_("%(percent)s%% more") % {"percent": number(promotion.percent or 0)}]
    if promotion.max_bonus:
        parts.append(_("at most %(credits)s") % {"credits": credits_in_words(promotion.max_bonus)})
    if promotion.min_credits:
        parts.append(
            _("from %(credits)s on") % {"credits": credits_in_words(promotion.min_credits)}
        )
    if promotion.first_purchase_only:
        parts.append(_("first purchase only"))
    if promotion.max_uses is not None:
        parts.append(
            ngettext("%(count)s use in all", "%(count)s uses in all", promotion.max_uses)
            % {"count": number(promotion.max_uses)}
        )
    each = promotion.max_uses_per_user
    parts.append(
        ngettext("%(count)s use for each customer", "%(count)s uses for each customer", each)
        % {"count": number(each)}
    )
    if promotion.starts_at:
        parts.append(_("from %(day)s") % {"day": _day(promotion.starts_at)})
    if promotion.ends_at:
        parts.append(_("until %(day)s") % {"day": _day(promotion.ends_at)})
    if days := promotion.expires_after_days:
        parts.append(
            ngettext("to be spent within %(count)s day", "to be spent within %(count)s days", days)
            % {"count": number(days)}
        )
    return ", ".join(parts)


def _day(time: Any) -> str:
    return date_format(timezone.localtime(time), "SHORT_DATETIME_FORMAT")


class PromotionForm(forms.ModelForm):
    class Meta:
        model = Promotion
        fields = (
            "name", "kind", "percent", "max_bonus", "credits", "min_credits",
            "first_purchase_only", "starts_at", "ends_at", "max_uses", "max_uses_per_user",
            "expires_after_days", "is_active",
        )  # fmt: skip
        help_texts = HELP
        # The browser's own: Django's two fields for a time have one label, and their scripts are
        # heavy.
        field_classes = dict.fromkeys(("starts_at", "ends_at"), forms.DateTimeField)
        widgets = dict.fromkeys(("starts_at", "ends_at"), TIME)

    def clean_max_uses(self) -> int | None:
        most: int | None = self.cleaned_data["max_uses"]
        before = self.instance.max_uses
        is_less = most is not None and (before is None or most < before)
        if self.instance.used and is_less:
            raise forms.ValidationError(_("It is in use: this can only be raised."))
        return most


class CodesForm(forms.Form):
    """One code as it is typed here, or many at random."""

    code = forms.CharField(
        label=gettext_lazy("One code"),
        required=False,
        max_length=60,
        help_text=gettext_lazy(
            "4 to 40 letters A to Z and digits; capitals, spaces and hyphens don't matter. A short "
            "one can be guessed: for what is worth something, take random ones."
        ),
    )
    count = forms.IntegerField(
        label=gettext_lazy("Or so many random ones"),
        required=False,
        min_value=1,
        max_value=promotions.BATCH,
    )
    max_uses = forms.IntegerField(
        label=gettext_lazy("Uses of each code"),
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text=gettext_lazy("1: whoever has it first. Empty: as often as the promotion allows."),
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if not self.errors and bool(given.get("code")) == bool(given.get("count")):
            raise forms.ValidationError(_("Give one code, or a number of random ones."))
        return given


@admin.register(Promotion)
class PromotionAdmin(admin.ModelAdmin):
    """Promotions are switched off, not deleted."""

    form = PromotionForm
    list_display = ("name", "words", "state", "redeemed", "bonus")
    list_filter = ("kind", "is_active")
    search_fields = ("name", "codes__code")
    search_help_text = gettext_lazy("Name or code")
    fields = (
        "name",
        "kind",
        ("percent", "max_bonus"),
        "credits",
        ("min_credits", "first_purchase_only"),
        ("starts_at", "ends_at"),
        ("max_uses", "max_uses_per_user"),
        "expires_after_days",
        "is_active",
    )
    change_form_template = "admin/billing/promotion/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Promotion]:
        kept = Q(codes__redemptions__kept_at__isnull=False)
        found: QuerySet[Promotion] = super().get_queryset(request)
        return found.annotate(
            kept=Count("codes__redemptions", filter=kept),
            granted=Sum("codes__redemptions__credits", filter=kept, default=0),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Promotion | None = None) -> list[str]:
        if obj is None or not Redemption.objects.filter(code__promotion=obj).exists():
            return []
        names = [field.name for field in Promotion._meta.fields if field.editable]
        return [name for name in names if name not in (*OPEN, "created_at")]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Promotion, form: Any, change: bool) -> None:
        # Not its count of uses, which goes on meanwhile.
        obj.save(update_fields=form.changed_data if change else None)

    def response_add(
        self, request: HttpRequest, obj: Promotion, post_url_continue: str | None = None
    ) -> HttpResponse:
        answer = super().response_add(request, obj, post_url_continue)
        is_done = "_save" in request.POST and request.user.has_perm("billing.add_promocode")
        return HttpResponseRedirect(_address("codes_new", obj)) if is_done else answer

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        promotion = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if isinstance(promotion, Promotion):
            context |= {
                "words": in_words(promotion),
                "state": self.state(promotion),
                "code_count": promotion.codes.count(),
                "kept": self.redeemed(promotion),
                "granted": self.bonus(promotion),
                "batches": promotion.codes.exclude(batch=None)
                .values("batch")
                .annotate(count=Count("id"), used_up=Count("id", filter=Q(used__gt=0)))
                .order_by("batch"),
            }
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description=gettext_lazy("gives"))
    def words(self, promotion: Promotion) -> str:
        return in_words(promotion)

    @admin.display(description=gettext_lazy("state"))
    def state(self, promotion: Promotion) -> str:
        now = timezone.now()
        if not promotion.is_active:
            return _("Off")
        if promotion.ends_at and promotion.ends_at <= now:
            return _("Ended")
        if promotion.max_uses is not None and promotion.used >= promotion.max_uses:
            return _("Used up")
        if promotion.starts_at and promotion.starts_at > now:
            return _("Not started")
        return _("On")

    @admin.display(description=gettext_lazy("redeemed"))
    def redeemed(self, promotion: Promotion) -> str:
        return number(promotion.kept)  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("credits granted"))
    def bonus(self, promotion: Promotion) -> str:
        return number(promotion.granted)  # type: ignore[attr-defined]

    # --- Codes ----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path(
                "<int:promotion_id>/codes/new/",
                wrap(self.make_codes),
                name="billing_promotion_codes_new",
            ),
            path(
                "<int:promotion_id>/codes.csv",
                wrap(self.codes_csv),
                name="billing_promotion_codes_csv",
            ),
            *super().get_urls(),
        ]

    def make_codes(self, request: SignedInRequest, promotion_id: int) -> HttpResponse:
        if not request.user.has_perm("billing.add_promocode"):
            raise PermissionDenied
        promotion = get_object_or_404(Promotion, pk=promotion_id)
        form = CodesForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and self._make(request, promotion, form):
            return HttpResponseRedirect(_address("change", promotion))
        context = {
            **self.admin_site.each_context(request),
            "title": _("New codes"),
            "subtitle": promotion.name,
            "opts": Promotion._meta,
            "promotion": promotion,
            "words": in_words(promotion),
            "form": form,
        }
        return TemplateResponse(request, "admin/billing/promotion/codes.html", context)

    def _make(self, request: SignedInRequest, promotion: Promotion, form: CodesForm) -> bool:
        given = form.cleaned_data
        if given["code"]:
            try:
                code = promotions.make_code(promotion, given["code"], given["max_uses"])
            except promotions.CodeTaken:
                form.add_error("code", _("There is such a code already."))
                return False
            except promotions.NoCode:
                form.add_error("code", _("A code is 4 to 40 letters A to Z and digits."))
                return False
            done = _("The code %(code)s is made.") % {"code": code.code}
        else:
            made = promotions.make_codes(promotion, given["count"], given["max_uses"])
            words = ngettext("%(count)s code is made.", "%(count)s codes are made.", len(made))
            done = words % {"count": number(len(made))}
        self.log_change(request, promotion, done)
        messages.success(request, done)
        return True

    def codes_csv(self, request: SignedInRequest, promotion_id: int) -> HttpResponse:
        """The codes of a promotion, or of `?batch=`, to hand out: worth credits, so by permission.

        A code begins with a letter or a digit, which no spreadsheet takes for a formula.
        """
        if request.method != "GET" or not request.user.has_perm("billing.download_promocode"):
            raise PermissionDenied
        promotion = get_object_or_404(Promotion, pk=promotion_id)
        codes = promotion.codes.order_by("id")
        if "batch" in request.GET:
            codes = codes.filter(batch=_uuid(request.GET["batch"]))
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="codes-{promotion.pk}.csv"'
        response["Cache-Control"] = "no-store"
        csv.writer(response).writerows(_rows(codes))
        self.log_change(request, promotion, "Downloaded codes.")
        return response


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Http404 from None


def _rows(codes: QuerySet[PromoCode]) -> Iterator[tuple[Any, ...]]:
    yield "code", "used", "uses", "made"
    for code in codes:
        made = code.created_at.isoformat(timespec="seconds")
        yield code.grouped, code.used, code.max_uses or "", made


def _address(what: str, promotion: Promotion) -> str:
    return reverse(f"admin:billing_promotion_{what}", args=[promotion.pk])


@admin.register(PromoCode)
class PromoCodeAdmin(ReadOnlyAdmin):
    created_time = moment(PromoCode, "created_at")

    list_display = ("grouped", "promotion", "used", "max_uses", "created_time")
    list_filter = (("promotion", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("promotion",)
    search_fields = ("code",)
    ordering = ("-id",)
    fields = ("grouped", "promotion", "used", "max_uses", "batch", "created_time")
    readonly_fields = fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PromoCode], search_term: str
    ) -> tuple[QuerySet[PromoCode], bool]:
        return super().get_search_results(request, queryset, promotions.normalised(search_term))


@admin.register(Redemption)
class RedemptionAdmin(ReadOnlyAdmin):
    created_time = moment(Redemption, "created_at")
    kept_time = moment(Redemption, "kept_at")
    freed_time = moment(Redemption, "freed_at")
    grouped_credits = grouped(Redemption, "credits")

    list_display = ("created_time", "user", "code", "grouped_credits", "status", "note")
    list_filter = ("status", ("code__promotion", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("user", "code")
    search_fields = ("user__email", "=code__code")
    search_help_text = gettext_lazy("Email address or code")
    ordering = ("-created_at",)
    show_full_result_count = False
    fields = (
        "user", "code", "purchase", "grouped_credits", "status", "note", "created_time",
        "kept_time", "freed_time",
    )  # fmt: skip
    readonly_fields = fields
