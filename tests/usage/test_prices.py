"""Prices against a slow, obvious reference, and the cases that one can check by hand."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage.prices import GRADUATED, MAX_UNITS, VOLUME, Band, PriceList

LIST = (Band(0, 3, 1000), Band(10_000, 2, 1000), Band(100_000, 1, 1000))


@pytest.mark.parametrize(
    ("mode", "units", "credits"),
    [
        (GRADUATED, 0, 0),
        (GRADUATED, 333, 0),
        (GRADUATED, 334, 1),
        (GRADUATED, 10_000, 30),
        (GRADUATED, 10_500, 31),
        (GRADUATED, 100_000, 210),
        (GRADUATED, 200_000, 310),
        (VOLUME, 0, 0),
        (VOLUME, 10_000, 30),
        (VOLUME, 10_001, 20),
        (VOLUME, 100_000, 200),
        (VOLUME, 100_001, 100),
        (VOLUME, 200_000, 200),
    ],
)
def test_a_month_costs(mode, units, credits):
    assert PriceList(mode, LIST).price(units) == credits


def test_fractions_of_all_bands_are_added_before_they_are_dropped():
    thirds = PriceList(GRADUATED, (Band(0, 1, 3), Band(1, 1, 3), Band(2, 1, 3)))
    assert [thirds.price(units) for units in range(7)] == [0, 0, 0, 1, 1, 1, 2]


def test_the_largest_numbers_are_exact():
    dear = PriceList(GRADUATED, (Band(0, 10**6, 7), Band(10, 10**6, 11)))
    assert dear.price(10**12) == 10 * 10**6 * 11 // 77 + (10**12 - 10) * 10**6 // 11
    one = PriceList(VOLUME, (Band(0, 2**53 - 1, 2**53 - 1),))
    assert one.price(MAX_UNITS) == MAX_UNITS


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    edges = draw(st.lists(st.integers(1, 60), unique=True, max_size=5))
    return PriceList(
        draw(st.sampled_from([GRADUATED, VOLUME])),
        tuple(
            Band(above, draw(st.integers(0, 20)), draw(st.integers(1, 12)))
            for above in [0, *sorted(edges)]
        ),
    )


def reference(prices: PriceList, units: int) -> int:
    """Unit for unit, in fractions."""

    def rate(unit: int) -> Fraction:
        within = [band for band in prices.bands if unit > band.above]
        return Fraction(within[-1].credits, within[-1].per)

    if prices.mode == VOLUME:
        return units * rate(units) // 1 if units else 0
    return sum((rate(unit) for unit in range(1, units + 1)), Fraction(0)) // 1


@settings(max_examples=200, deadline=None)
@given(price_lists(), st.integers(0, 80))
def test_prices_are_those_of_a_slow_reference(prices, units):
    assert prices.price(units) == reference(prices, units)


@settings(max_examples=100, deadline=None)
@given(price_lists(), st.integers(0, 80))
def test_the_parts_are_the_whole(prices, units):
    parts = prices.parts(units)
    assert [part.band for part in parts] == list(prices.bands)
    assert sum(part.units for part in parts) == units
    [reached] = [part for part in parts if part.is_reached]
    assert reached.band == prices.band_of(units)
    assert reached.units > 0 or units == 0
    total = prices.price(units)
    assert total - len(parts) < sum(part.credits for part in parts) <= total
    assert [part.upto for part in parts[:-1]] == [band.above for band in prices.bands[1:]]
    assert parts[-1].upto is None
