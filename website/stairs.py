"""The discounts as stairs, for the eye: how far along an amount is, and how high what it saves."""

from collections.abc import Sequence
from math import log
from typing import Final, NamedTuple

from billing.pricing import Tier, discount_percent

HEADROOM: Final = 18
"""Percent of the height that is left above the highest step, for its label."""

NARROWEST: Final = 7
"""Percent of the width that a label needs."""


class Step(NamedTuple):
    """One tier's step, in whole percent of the drawing."""

    x: int
    y: int
    width: int
    height: int
    discount: int

    @property
    def has_label(self) -> bool:
        return self.discount > 0 and self.width >= NARROWEST


def draw(tiers: Sequence[Tier]) -> list[Step]:
    """The steps from left to right, none where nothing is discounted; amounts go by logarithm."""
    most = discount_percent(tiers[-1], tiers)
    if not most:
        return []
    first, last = tiers[0].min, tiers[-1].max
    edges = [round(100 * log(tier.min / first) / log(last / first)) for tier in tiers] + [100]
    steps = []
    for tier, start, end in zip(tiers, edges, edges[1:], strict=False):
        discount = discount_percent(tier, tiers)
        height = (100 - HEADROOM) * discount // most
        steps.append(Step(start, 100 - height, end - start, height, discount))
    return steps
