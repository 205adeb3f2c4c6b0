"""The lines across a chart of whole numbers from 0 up, and what stands beside them."""

from typing import Final, NamedTuple

from django.utils.translation import pgettext

from credits.numbers import number

HEIGHT: Final = 1000
"""Of a drawing, in its own units."""

MOST_LINES: Final = 4
"""Lines across, apart from the one at 0."""


class Level(NamedTuple):
    """A line across the drawing, and what it stands for."""

    y: int
    label: str


class Axis(NamedTuple):
    """`top` is what the upper edge stands for; `levels` are from there down."""

    top: int
    levels: list[Level]

    def y(self, value: int) -> int:
        """How far below the upper edge a value is."""
        return HEIGHT - HEIGHT * value // self.top


def axis(most: int) -> Axis:
    """For values of which the largest is `most`, above 0."""
    step = _step(most)
    top = -(-most // step) * step
    levels = [
        Level(HEIGHT - HEIGHT * value // top, _short(value, step))
        for value in range(top, -1, -step)
    ]
    return Axis(top, levels)


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
