"""Meters and their price lists, for staff; what was used, to read."""

from datetime import date
from itertools import pairwise
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.requests import SignedInRequest
from credits.admin.cells import ReadOnlyAdmin, grouped, moment
from credits.models import MAX_CREDITS
from credits.numbers import number, parse_credits
from usage import prices, tariffs
from usage.models import Event, Meter, Month, Tariff
from usage.prices import MAX_UNITS, PriceList
from usage.summary import this_month

BAND_ROWS: Final = 6
"""Rows of a new price list's form; one with many bands has two more than it needs."""


# --- A price list's form ----------------------------------------------------------------------


class WholeField(forms.IntegerField):
    """A whole number as people write it: Django's own takes 5.000 for 5."""

    widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "size": 8})

    def to_python(self, value: Any) -> int | None:
        text = str("" if value is None else value).strip()
        if not text:
            return None
        whole = parse_credits(text)
        if whole is None:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return whole


class TariffForm(forms.Form):
    begins_on = forms.TypedChoiceField(label=gettext_lazy("Begins"), coerce=date.fromisoformat)
    mode = forms.ChoiceField(
        label=gettext_lazy("How bands count"),
        choices=Tariff.Mode.choices,
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, months: list[date], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        begins_on = self.fields["begins_on"]
        assert isinstance(begins_on, forms.TypedChoiceField)  # noqa: S101 (it is declared above)
        begins_on.choices = [
            (str(month), date_format(month, "YEAR_MONTH_FORMAT")) for month in months
        ]


class BandForm(forms.Form):
    """A row that is left empty is none."""

    above = WholeField(
        label=gettext_lazy("Above"), required=False, min_value=0, max_value=MAX_UNITS - 1
    )
    credits = WholeField(
        label=gettext_lazy("Credits"), required=False, min_value=0, max_value=MAX_CREDITS
    )
    per = WholeField(
        label=gettext_lazy("Per so many units"), required=False, min_value=1, max_value=MAX_UNITS
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        missing = [name for name in self.fields if given.get(name) is None]
        if len(missing) < len(self.fields):
            for name in missing:
                if name not in self.errors:
                    self.add_error(name, _("Fill in the whole row, or leave it empty."))
        return given


class BandForms(forms.BaseFormSet):
    def clean(self) -> None:
        if any(self.errors):
            return
        above = [band.above for band in self.bands()]
        if not above or above[0] != 0:
            raise forms.ValidationError(
                _("One band must begin above 0 units: else the first ones would have no price.")
            )
        for one, following in pairwise(above):
            if one == following:
                raise forms.ValidationError(
                    _("Two bands begin above %(above)s units.") % {"above": number(one)}
                )

    def bands(self) -> tuple[prices.Band, ...]:
        """In rising order, in whichever they were written."""
        rows = [form.cleaned_data for form in self.forms]
        return tuple(
            sorted(
                prices.Band(row["above"], row["credits"], row["per"])
                for row in rows
                if row.get("above") is not None
            )
        )


def _band_forms(data: Any, known: list[dict[str, Any]]) -> Any:
    extra = max(BAND_ROWS - len(known), 2)
    made = forms.formset_factory(BandForm, formset=BandForms, extra=extra, max_num=100)
    return made(data, initial=known, prefix="band")


# --- Meters -----------------------------------------------------------------------------------


@admin.register(Meter)
class MeterAdmin(admin.ModelAdmin):
    """Meters are switched off, not deleted; their price lists have pages of their own."""

    list_display = ("name", "code", "price_now", "policy", "is_active")
    search_fields = ("name", "code")
    fields = (
        "name",
        "code",
        "unit",
        "description",
        ("policy", "owe_limit"),
        "is_active",
    )
    change_form_template = "admin/usage/meter/page.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Meter | None = None) -> list[str]:
        return [] if obj is None else ["code"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:meter_id>/prices/", wrap(self.add_prices), name="usage_tariff_add"),
            path("prices/<int:tariff_id>/", wrap(self.change_prices), name="usage_tariff_change"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        meter = self.get_object(request, object_id)
        lists = meter.tariffs.order_by("-begins_on").prefetch_related("bands") if meter else []
        rows = [
            {
                "tariff": tariff,
                "words": _in_words(tariff.price_list()),
                "is_fixed": tariffs.is_fixed(tariff),
            }
            for tariff in lists
        ]
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "price_lists": rows}
        )

    def response_add(
        self, request: HttpRequest, obj: Meter, post_url_continue: str | None = None
    ) -> HttpResponse:
        answer = super().response_add(request, obj, post_url_continue)
        is_done = "_save" in request.POST and request.user.has_perm("usage.add_tariff")
        return HttpResponseRedirect(_address("add", obj.pk)) if is_done else answer

    @admin.display(description=gettext_lazy("price now"))
    def price_now(self, meter: Meter) -> str:
        tariff = (
            meter.tariffs.filter(begins_on__lte=this_month())
            .order_by("-begins_on")
            .prefetch_related("bands")
            .first()
        )
        return _in_words(tariff.price_list()) if tariff else _("None yet")

    def add_prices(self, request: SignedInRequest, meter_id: int) -> HttpResponse:
        """A price list from a coming month on, or for a meter without one, from this month on."""
        if not request.user.has_perm("usage.add_tariff"):
            raise PermissionDenied
        meter = get_object_or_404(Meter, pk=meter_id)
        latest = meter.tariffs.order_by("-begins_on").first()
        return self._prices(request, meter, None, latest)

    def change_prices(self, request: SignedInRequest, tariff_id: int) -> HttpResponse:
        """One that has not begun: its month, its prices, or away with it."""
        if not request.user.has_perm("usage.change_tariff"):
            raise PermissionDenied
        tariff = get_object_or_404(Tariff.objects.select_related("meter"), pk=tariff_id)
        back = HttpResponseRedirect(_meter_address(tariff.meter))
        too_late = _("It has begun: it never changes. Make a new price list.")
        if tariffs.is_fixed(tariff):
            messages.warning(request, too_late)
            return back
        if "remove" in request.POST:
            if not request.user.has_perm("usage.delete_tariff"):
                raise PermissionDenied
            month = _month(tariff)
            try:
                tariffs.remove(tariff)
            except IntegrityError:
                messages.warning(request, too_late)
                return back
            self.log_change(request, tariff.meter, f"Removed the prices from {month} on.")
            messages.success(request, _("The price list is removed."))
            return back
        return self._prices(request, tariff.meter, tariff, tariff)

    def _prices(
        self, request: SignedInRequest, meter: Meter, tariff: Tariff | None, like: Tariff | None
    ) -> HttpResponse:
        months = tariffs.months_for(meter)
        if tariff is not None:
            months = sorted({*months, tariff.begins_on})
        mode = like.mode if like else Tariff.Mode.GRADUATED
        month = tariff.begins_on if tariff else next(iter(months), "")
        initial = {"mode": mode, "begins_on": str(month)}
        known = [band._asdict() for band in like.price_list().bands] if like else [{"above": 0}]
        form = TariffForm(request.POST or None, months=months, initial=initial)
        bands = _band_forms(request.POST or None, known)
        preview = None
        if request.method == "POST" and form.is_valid() and bands.is_valid():
            begins_on = form.cleaned_data["begins_on"]
            price_list = PriceList(form.cleaned_data["mode"], bands.bands())
            seen = f"{begins_on} {price_list}"
            if "save" in request.POST and request.POST.get("seen") == seen:
                return self._save(request, meter, tariff, begins_on, price_list)
            preview = {"costs": tariffs.costs(price_list), "seen": seen, "begins_on": begins_on}
        context = {
            **self.admin_site.each_context(request),
            "title": _("Change price list") if tariff else _("New price list"),
            "subtitle": meter.name,
            "opts": Meter._meta,
            "meter": meter,
            "tariff": tariff,
            "form": form,
            "bands": bands,
            "preview": preview,
            "may_remove": tariff is not None and request.user.has_perm("usage.delete_tariff"),
        }
        return TemplateResponse(request, "admin/usage/meter/prices.html", context)

    def _save(
        self,
        request: SignedInRequest,
        meter: Meter,
        tariff: Tariff | None,
        begins_on: date,
        price_list: PriceList,
    ) -> HttpResponse:
        try:
            if tariff is None:
                tariffs.add(meter, begins_on, price_list)
            else:
                tariffs.change(tariff, begins_on, price_list)
        except IntegrityError:
            # What the form offered was taken, or began, since.
            messages.error(
                request, _("Nothing was saved: a price list cannot begin then any more.")
            )
            return HttpResponseRedirect(request.get_full_path())
        self.log_change(request, meter, f"Prices from {begins_on:%Y-%m} on: {price_list}")
        messages.success(
            request,
            _("The price list is saved. It holds from %(month)s on.")
            % {"month": date_format(begins_on, "YEAR_MONTH_FORMAT")},
        )
        return HttpResponseRedirect(_meter_address(meter))


def _in_words(price_list: PriceList) -> str:
    rates = "; ".join(
        _("above %(above)s: %(credits)s per %(per)s")
        % {"above": number(band.above), "credits": number(band.credits), "per": number(band.per)}
        for band in price_list.bands
    )
    if len(price_list.bands) == 1:
        band = price_list.bands[0]
        return ngettext(
            "%(credits)s credit per %(per)s", "%(credits)s credits per %(per)s", band.credits
        ) % {"credits": number(band.credits), "per": number(band.per)}
    if price_list.mode == prices.VOLUME:
        return _("Volume: %(rates)s") % {"rates": rates}
    return _("Graduated: %(rates)s") % {"rates": rates}


def _month(tariff: Tariff) -> str:
    return date_format(tariff.begins_on, "YEAR_MONTH_FORMAT")


def _address(what: str, row_id: int) -> str:
    return reverse(f"admin:usage_tariff_{what}", args=[row_id])


def _meter_address(meter: Meter) -> str:
    return reverse("admin:usage_meter_change", args=[meter.pk])


# --- What was used ----------------------------------------------------------------------------


@admin.register(Month)
class MonthAdmin(ReadOnlyAdmin):
    grouped_units = grouped(Month, "units")
    grouped_charged = grouped(Month, "charged")

    list_display = ("month", "user", "meter", "grouped_units", "grouped_charged")
    list_filter = ("meter",)
    date_hierarchy = "begins_on"
    search_fields = ("user__email",)
    search_help_text = gettext_lazy("Email address")
    list_select_related = ("user", "meter")
    ordering = ("-begins_on", "-id")
    show_full_result_count = False
    fields = ("month", "user", "meter", "tariff", "grouped_units", "grouped_charged")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("month"), ordering="begins_on")
    def month(self, row: Month) -> str:
        return date_format(row.begins_on, "YEAR_MONTH_FORMAT")


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    at_time = moment(Event, "at")
    created_time = moment(Event, "created_at")
    grouped_quantity = grouped(Event, "quantity")
    grouped_units = grouped(Event, "units")
    grouped_charged = grouped(Event, "charged")

    list_display = (
        "at_time",
        "user",
        "meter",
        "grouped_quantity",
        "grouped_charged",
        "key",
    )
    list_filter = ("meter",)
    search_fields = ("user__email", "=key")
    search_help_text = gettext_lazy("Email address, or the exact key")
    list_select_related = ("user", "meter")
    ordering = ("-id",)
    sortable_by = ()  # no other order has an index
    show_full_result_count = False
    fields = (
        "at_time",
        "created_time",
        "user",
        "meter",
        "grouped_quantity",
        "grouped_units",
        "grouped_charged",
        "api_key",
        "key",
    )
    readonly_fields = fields
