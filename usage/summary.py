"""What a user has used in a month (UTC): in all, by band of the price list, by day."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import Prefetch, Q

from accounts.models import User
from usage.models import Day, Meter, Month, Tariff
from usage.prices import Part, PriceList


@dataclass(frozen=True)
class MeterMonth:
    """A meter's month: its price list, what was used of it, and what it was charged.

    `charged` is at least what the units cost: by volume, a month may have cost more before.
    """

    meter: Meter
    begins_on: date
    prices: PriceList
    units: int = 0
    charged: int = 0

    @property
    def parts(self) -> list[Part]:
        """The bands, with what the month has in each, and which of them it has reached."""
        return self.prices.parts(self.units)


class DayOfUse(NamedTuple):
    date: date
    units: int
    charged: int


def this_month() -> date:
    return datetime.now(UTC).date().replace(day=1)


def of_month(user: User, month: date, meter_code: str | None = None) -> list[MeterMonth]:
    """Each meter that the user has used in this month, and each active one that has a price in it.

    `month` is its first day; `meter_code` asks for one meter only. By name.
    """
    rows = {row.meter_id: row for row in Month.objects.filter(user=user, begins_on=month)}
    lists = Tariff.objects.filter(begins_on__lte=month).order_by("begins_on")
    meters = Meter.objects.filter(Q(is_active=True) | Q(pk__in=rows)).prefetch_related(
        Prefetch("tariffs", lists.prefetch_related("bands"))
    )
    if meter_code is not None:
        meters = meters.filter(code=meter_code)
    return list(_months(meters, rows, month))


def _months(meters: Iterable[Meter], rows: dict[int, Month], month: date) -> Iterator[MeterMonth]:
    for meter in meters:
        *_, tariff = [None, *meter.tariffs.all()]
        if tariff is None:
            continue
        row = rows.get(meter.pk)
        yield MeterMonth(
            meter,
            month,
            tariff.price_list(),
            units=row.units if row else 0,
            charged=row.charged if row else 0,
        )


def days_of(user: User, meter: Meter, month: date) -> list[DayOfUse]:
    """Each day of the month, to its end or today, oldest first."""
    rows = Day.objects.filter(user=user, meter=meter, date__gte=month, date__lt=next_month(month))
    used = {row.date: DayOfUse(row.date, row.units, row.charged) for row in rows}
    # A clock that is ahead of ours may have brought a day more.
    last = max([min(next_month(month) - _DAY, datetime.now(UTC).date()), *used])
    return [
        used.get(day, DayOfUse(day, 0, 0))
        for day in (month + _DAY * index for index in range((last - month).days + 1))
    ]


def months_of(user: User) -> list[date]:
    """The months in which the user has used anything, newest first."""
    months = Month.objects.filter(user=user).order_by("-begins_on")
    return list(months.values_list("begins_on", flat=True).distinct())


def next_month(month: date) -> date:
    """The first day of the month after that of the first day `month`."""
    return (month + timedelta(days=31)).replace(day=1)


_DAY: Final = timedelta(days=1)
