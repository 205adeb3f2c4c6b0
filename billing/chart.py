"""The balance of some days as a line: where it goes, in whole units of the drawing."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from django.utils.translation import pgettext

from credits.numbers import number
from credits.statement import Day

DAY_WIDTH: Final = 100
HEIGHT: Final = 1000
MOST_LINES: Final = 4
"""Lines across, apart from the one at 0."""


class Level(NamedTuple):
    """A line across the drawing, and what it stands for."""

    y: int
    label: str


class Point(NamedTuple):
    """Where a day begins, at the height of its last balance."""

    x: int
    y: int
    day: Day


@dataclass(frozen=True)
class Chart:
    """`line` is the path of the balance, `area` that of what is under it; `levels` from the top."""

    width: int
    height: int
    line: str
    area: str
    levels: list[Level]
    points: list[Point]

    @property
    def dates(self) -> list[Point]:
        """The points whose dates stand below, spread evenly."""
        last = len(self.points) - 1
        return [self.points[last * part // 4] for part in range(5)]

    @property
    def purchases(self) -> list[Point]:
        return [point for point in self.points if point.day.bought]


def draw(days: list[Day]) -> Chart:
    """Draw the days, of which at least one has a balance."""
    most = max(day.balance for day in days)
    step = _step(most)
    top = -(-most // step) * step
    points = [
        Point(index * DAY_WIDTH, HEIGHT - HEIGHT * day.balance // top, day)
        for index, day in enumerate(days)
    ]
    width = len(days) * DAY_WIDTH
    # A balance stays as it is until the next entry: steps, no slopes.
    steps = "".join(f"V{point.y}H{point.x + DAY_WIDTH}" for point in points)
    line = f"M0 {points[0].y}{steps}"
    return Chart(
        width=width,
        height=HEIGHT,
        line=line,
        area=f"{line}V{HEIGHT}H0Z",
        levels=[
            Level(HEIGHT - HEIGHT * value // top, _short(value, step))
            for value in range(top, -1, -step)
        ],
        points=points,
    )


def _step(most: int) -> int:
    """The distance of the lines across: 1, 2 or 5 with zeros."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if most <= MOST_LINES * step:
                return step
        power *= 10


def _short(value: int, step: int) -> str:
    # Translators: a number of thousands, millions, billions (10^9) or trillions beside a chart.
    for unit, words in (
        (10**12, pgettext("short number", "%(number)sT")),
        (10**9, pgettext("short number", "%(number)sB")),
        (10**6, pgettext("short number", "%(number)sM")),
        (1000, pgettext("short number", "%(number)sk")),
    ):
        if step % unit == 0 and value:
            return words % {"number": number(value // unit)}
    return number(value)
