"""The balance of some days as a line: where it goes, in whole units of the drawing."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from credits.axis import HEIGHT, Level, axis
from credits.statement import Day

DAY_WIDTH: Final = 100


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
    def purchases(self) -> list[Point]:
        return [point for point in self.points if point.day.bought]


def draw(days: list[Day]) -> Chart:
    """Draw the days, of which at least one has a balance."""
    scale = axis(max(day.balance for day in days))
    points = [Point(index * DAY_WIDTH, scale.y(day.balance), day) for index, day in enumerate(days)]
    width = len(days) * DAY_WIDTH
    # A balance stays as it is until the next entry: steps, no slopes.
    steps = "".join(f"V{point.y}H{point.x + DAY_WIDTH}" for point in points)
    line = f"M0 {points[0].y}{steps}"
    return Chart(
        width=width,
        height=HEIGHT,
        line=line,
        area=f"{line}V{HEIGHT}H0Z",
        levels=scale.levels,
        points=points,
    )
