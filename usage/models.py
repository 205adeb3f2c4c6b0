"""Meters, their price lists, and what was used.

Only `usage.recording` writes events, months and days. What must hold is in the database
(`usage/sql/`), and a month's charge is booked by the ledger in the same transaction.
"""

import re
from typing import Final

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey
from credits.models import MAX_CREDITS
from credits.numbers import number
from usage import prices
from usage.prices import MAX_UNITS

EVENT_KEY: Final = re.compile("[!-~]{1,128}")
"""What programs call an event by: visible ASCII."""

METER_CODE: Final = re.compile("[a-z][a-z0-9_.-]{0,39}")
"""What programs call a meter by."""


class Meter(models.Model):
    """One thing whose use costs credits: what is counted, and what happens without credits."""

    class Policy(models.TextChoices):
        REFUSE = "refuse", _("Refuse")
        OWE = "owe", _("Owe, up to a limit")

    code = models.CharField(
        _("code"), max_length=40, unique=True,
        help_text=_("What programs call it, for good: small letters, digits, dots, - and _."),
        validators=[RegexValidator(rf"^{METER_CODE.pattern}\Z")],
    )  # fmt: skip
    name = models.CharField(
        _("name"), max_length=80, help_text=_("Customers see it on their pages and in the history.")
    )
    unit = models.CharField(
        _("unit"), max_length=40, help_text=_("In the plural, as it stands above a column: tokens.")
    )
    description = models.CharField(
        _("what is counted"), max_length=300, blank=True,
        help_text=_("One sentence for customers: what makes a unit."),
    )  # fmt: skip
    policy = models.CharField(
        _("without enough credits"), max_length=6, choices=Policy.choices, default=Policy.REFUSE
    )
    owe_limit = models.BigIntegerField(
        _("may owe up to"), default=0,
        help_text=_("Credits that a customer may owe in all before usage is refused."),
        validators=[MinValueValidator(0), MaxValueValidator(MAX_CREDITS)],
    )  # fmt: skip
    is_active = models.BooleanField(
        _("active"), default=True,
        help_text=_("An inactive meter takes no usage; what was used stays on record."),
    )  # fmt: skip
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("meter")
        verbose_name_plural = _("meters")
        ordering = ["name", "code"]
        constraints = [
            models.CheckConstraint(
                condition=Q(code__regex=rf"^{METER_CODE.pattern}\Z"), name="usage_meter_code"
            ),
            models.CheckConstraint(
                condition=Q(policy="refuse", owe_limit=0)
                | Q(policy="owe", owe_limit__gt=0, owe_limit__lte=MAX_CREDITS),
                name="usage_meter_policy",
                violation_error_message=_(
                    "A limit belongs to a meter that lets usage be owed, and to no other."
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Tariff(models.Model):
    """A meter's price list from the first day of a month (UTC) until the next one begins.

    From an hour before it begins, and as soon as anything was used by it, it never changes.
    """

    class Mode(models.TextChoices):
        GRADUATED = prices.GRADUATED, _("Graduated: each unit costs what its band says")
        VOLUME = prices.VOLUME, _("Volume: all units cost what the band reached says")

    meter = models.ForeignKey(
        Meter, models.PROTECT, related_name="tariffs", verbose_name=_("meter"), db_index=False
    )
    begins_on = models.DateField(_("begins"))
    mode = models.CharField(_("how bands count"), max_length=9, choices=Mode.choices)
    # Set by the database: until its transaction ends, a list that holds at once is being written.
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("price list")
        verbose_name_plural = _("price lists")
        constraints = [
            models.UniqueConstraint(
                fields=["meter", "begins_on"],
                name="usage_tariff_once_a_month",
                violation_error_message=_("A price list of this meter begins in that month."),
            ),
            models.CheckConstraint(condition=Q(begins_on__day=1), name="usage_tariff_first_day"),
            models.CheckConstraint(
                condition=Q(mode__in=[prices.GRADUATED, prices.VOLUME]), name="usage_tariff_mode"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.meter_id}: {self.begins_on:%Y-%m}"

    def price_list(self) -> prices.PriceList:
        bands = sorted((band.above, band.credits, band.per) for band in self.bands.all())
        return prices.PriceList(self.mode, tuple(prices.Band(*band) for band in bands))


class Band(models.Model):
    """After the first `above` units of a month, `per` units cost `credits`.

    It ends where the next begins, so there is no gap; each list has one above 0.
    """

    tariff = models.ForeignKey(Tariff, models.CASCADE, related_name="bands", db_index=False)
    above = models.BigIntegerField(_("above"))
    credits = models.BigIntegerField(_("credits"))
    per = models.BigIntegerField(_("per so many units"))

    class Meta:
        verbose_name = _("band")
        verbose_name_plural = _("bands")
        constraints = [
            models.UniqueConstraint(fields=["tariff", "above"], name="usage_band_once"),
            models.CheckConstraint(
                condition=Q(above__gte=0, above__lt=MAX_UNITS), name="usage_band_above"
            ),
            models.CheckConstraint(
                condition=Q(credits__gte=0, credits__lte=MAX_CREDITS), name="usage_band_credits"
            ),
            models.CheckConstraint(
                condition=Q(per__gte=1, per__lte=MAX_UNITS), name="usage_band_per"
            ),
        ]

    def __str__(self) -> str:
        return f">{number(self.above)}: {number(self.credits)}/{number(self.per)}"


class Month(models.Model):
    """What a user has used of a meter in a month (UTC), and been charged for it.

    Its row is the lock under which events are priced: of two at once the second sees the first.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("customer"),
        db_index=False,
    )  # fmt: skip
    meter = models.ForeignKey(Meter, models.PROTECT, related_name="+", verbose_name=_("meter"))
    begins_on = models.DateField(_("month"))
    tariff = models.ForeignKey(
        Tariff, models.PROTECT, related_name="+", verbose_name=_("price list")
    )
    units = models.BigIntegerField(_("units"))
    charged = models.BigIntegerField(_("charged"), db_default=0)

    class Meta:
        verbose_name = _("month of usage")
        verbose_name_plural = _("months of usage")
        constraints = [
            models.UniqueConstraint(fields=["user", "begins_on", "meter"], name="usage_month_once"),
            models.CheckConstraint(condition=Q(begins_on__day=1), name="usage_month_first_day"),
            models.CheckConstraint(
                condition=Q(units__gte=1, units__lte=MAX_UNITS), name="usage_month_units"
            ),
            models.CheckConstraint(
                condition=Q(charged__gte=0, charged__lte=MAX_CREDITS), name="usage_month_charged"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.begins_on:%Y-%m}: {number(self.units)}"


class Day(models.Model):
    """A day (UTC) of a month: a chart costs the same however many events there were."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    meter = models.ForeignKey(Meter, models.PROTECT, related_name="+", db_index=False)
    date = models.DateField()
    units = models.BigIntegerField()
    charged = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "meter", "date"], name="usage_day_once"),
            models.CheckConstraint(
                condition=Q(units__gte=1, charged__gte=0), name="usage_day_sums"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.date}: {number(self.units)}"


class Event(models.Model):
    """Something that was used, as it was reported. Append-only.

    `units` is the month's total with it, `charged` what it brought the month's charge up by, which
    the ledger has under the key `usage:<id>` unless it is 0.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("customer"),
        db_index=False,
    )  # fmt: skip
    meter = models.ForeignKey(
        Meter, models.PROTECT, related_name="+", verbose_name=_("meter"), db_index=False
    )
    key = models.CharField(_("key"), max_length=128)
    # Reported with a key of the customer's own, whose events have names of their own.
    by_customer = models.BooleanField(db_default=False, editable=False)
    quantity = models.BigIntegerField(_("quantity"))
    at = models.DateTimeField(_("used"))
    units = models.BigIntegerField(_("units of the month after it"))
    charged = models.BigIntegerField(_("charged"))
    api_key = models.ForeignKey(
        ApiKey, models.PROTECT, null=True, related_name="+", verbose_name=_("API key"),
        db_index=False,
    )  # fmt: skip
    created_at = models.DateTimeField(_("reported"), db_default=Now())

    class Meta:
        verbose_name = _("usage event")
        verbose_name_plural = _("usage events")
        constraints = [
            models.UniqueConstraint(fields=["user", "by_customer", "key"], name="usage_event_once"),
            models.CheckConstraint(
                condition=Q(key__regex=rf"^{EVENT_KEY.pattern}\Z"), name="usage_event_key"
            ),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=F("units"), units__lte=MAX_UNITS),
                name="usage_event_quantity",
            ),
            models.CheckConstraint(
                condition=Q(charged__gte=0, charged__lte=MAX_CREDITS), name="usage_event_charged"
            ),
        ]
        # All of a user's, in the order in which they were reported.
        indexes = [models.Index(fields=["user", "id"], name="usage_event_of_user")]

    def __str__(self) -> str:
        return f"{self.key}: {number(self.quantity)}"
