"""What a month's usage costs: whole units in, whole credits out, exact integers in between.

A price list is bands, each with its rate: so many credits for so many units. A month's price is
rounded down once, on the whole (docs/decisions/0026-prices-of-usage.md).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

GRADUATED: Final = "graduated"
"""Each unit costs what its band says."""

VOLUME: Final = "volume"
"""All units of the month cost what the band says that the month has reached."""

MAX_UNITS: Final = 2**53 - 1
"""The most units of an event and of a month: JavaScript reads every integer up to here exactly."""


class Band(NamedTuple):
    """After the first `above` units of a month, `per` units cost `credits`."""

    above: int
    credits: int
    per: int


class Part(NamedTuple):
    """What a month has in a band. `upto` is its last unit, None in the last band.

    `credits` is the part's price by itself, rounded down: their sum may be less than the month's.
    """

    band: Band
    upto: int | None
    units: int
    credits: int
    is_reached: bool
    """Whether the last unit is of this band; before there is one, it is the first."""


@dataclass(frozen=True)
class PriceList:
    """Bands in rising order, the first of them above 0; the last has no end."""

    mode: str
    bands: tuple[Band, ...]

    def price(self, units: int) -> int:
        """Credits for the units of one month, rounded down."""
        if self.mode == VOLUME:
            band = self.band_of(units)
            return units * band.credits // band.per
        common = math.lcm(*(band.per for band in self.bands))
        exact = sum(
            part * band.credits * (common // band.per)
            for band, part in zip(self.bands, self._split(units), strict=True)
        )
        return exact // common

    def band_of(self, units: int) -> Band:
        """The band that the last of so many units is in; of none, the first."""
        return next((band for band in reversed(self.bands) if band.above < units), self.bands[0])

    def parts(self, units: int) -> list[Part]:
        """The whole list, and where in it so many units are."""
        reached = self.band_of(units)
        is_volume = self.mode == VOLUME
        counts = (
            [units if band == reached else 0 for band in self.bands]
            if is_volume
            else self._split(units)
        )
        ends = [*(band.above for band in self.bands[1:]), None]
        return [
            Part(band, end, count, count * band.credits // band.per, band == reached)
            for band, end, count in zip(self.bands, ends, counts, strict=True)
        ]

    def _split(self, units: int) -> list[int]:
        """How many of the units are in each band."""
        edges = [*(min(band.above, units) for band in self.bands), units]
        return [end - start for start, end in pairwise(edges)]
