"""What was used on each day of a month, as bars: where they go, in whole units of the drawing."""

from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from credits.axis import HEIGHT, Level, axis
from usage.summary import DayOfUse, next_month

DAY_WIDTH: Final = 100
BAR_WIDTH: Final = 70


class Bar(NamedTuple):
    """A day with usage. Its space begins at `slot`; however little it was, `height` can be seen."""

    slot: int
    x: int
    y: int
    height: int
    day: DayOfUse


@dataclass(frozen=True)
class Chart:
    """`bars` are of days with usage; `levels` from the top; `dates` stand below, spread evenly."""

    width: int
    height: int
    bars: list[Bar]
    levels: list[Level]
    dates: list[date]


def draw(month: date, days: list[DayOfUse]) -> Chart:
    """Draw a month's days, of which at least one has usage; those to come are left free."""
    scale = axis(max(day.units for day in days))
    count = (next_month(month) - month).days
    return Chart(
        width=count * DAY_WIDTH,
        height=HEIGHT,
        bars=[_bar(index, day, scale.y(day.units)) for index, day in enumerate(days) if day.units],
        levels=scale.levels,
        dates=[month.replace(day=1 + (count - 1) * part // 4) for part in range(5)],
    )


def _bar(index: int, day: DayOfUse, top: int) -> Bar:
    y = min(top, HEIGHT - _LEAST)
    slot = index * DAY_WIDTH
    return Bar(slot, slot + (DAY_WIDTH - BAR_WIDTH) // 2, y, HEIGHT - y, day)


_LEAST: Final = 10
