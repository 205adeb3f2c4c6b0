"""Writing price lists: when one may begin, what it would cost, when it is too late to change it.

The rules are the database's (`usage/sql/0001_rules.sql`); here they are known beforehand.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db import transaction

from usage.models import Band, Meter, Month, Tariff
from usage.prices import PriceList
from usage.summary import next_month

MONTHS_AHEAD: Final = 12
FIXED_BEFORE: Final = timedelta(hours=1)
"""How long before it begins a list is fixed: events come some minutes early."""

SAMPLES: Final = (10, 1000, 100_000)
"""Units of which a preview says what they cost, besides those where a band begins."""


def months_for(meter: Meter) -> list[date]:
    """The months in which another price list of this meter may begin."""
    taken = set(meter.tariffs.values_list("begins_on", flat=True))
    month = datetime.now(UTC).date().replace(day=1)
    months = []
    for _ in range(MONTHS_AHEAD + 1):
        if month not in taken and (not taken or not _has_begun(month)):
            months.append(month)
        month = next_month(month)
    return months


def is_fixed(tariff: Tariff) -> bool:
    """Whether the list has begun, or something was used by it: then it never changes."""
    return _has_begun(tariff.begins_on) or Month.objects.filter(tariff=tariff).exists()


def _has_begun(month: date) -> bool:
    return month <= (datetime.now(UTC) + FIXED_BEFORE).date()


def costs(prices: PriceList) -> list[tuple[int, int]]:
    """What units of a month cost: the samples, and those on each side of where a band begins."""
    edges = [units for band in prices.bands[1:] for units in (band.above, band.above + 1)]
    return [(units, prices.price(units)) for units in sorted({*SAMPLES, *edges})]


def add(meter: Meter, begins_on: date, prices: PriceList) -> Tariff:
    """A new price list. Raises `IntegrityError` where it can't begin then (any more)."""
    with transaction.atomic():
        tariff = Tariff.objects.create(meter=meter, begins_on=begins_on, mode=prices.mode)
        _write_bands(tariff, prices)
    return tariff


def change(tariff: Tariff, begins_on: date, prices: PriceList) -> None:
    """Another month and other prices. Raises `IntegrityError` where it is too late for that."""
    with transaction.atomic():
        tariff.begins_on, tariff.mode = begins_on, prices.mode
        tariff.save(update_fields=["begins_on", "mode"])
        tariff.bands.all().delete()
        _write_bands(tariff, prices)


def remove(tariff: Tariff) -> None:
    """As if it had never been. Raises `IntegrityError` where it is too late for that."""
    with transaction.atomic():
        tariff.delete()


def _write_bands(tariff: Tariff, prices: PriceList) -> None:
    Band.objects.bulk_create(Band(tariff=tariff, **band._asdict()) for band in prices.bands)
