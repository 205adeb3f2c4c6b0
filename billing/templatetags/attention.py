"""What the staff's first page shows besides the list of tables."""

from dataclasses import dataclass
from typing import Final

from django import template
from django.template.context import RequestContext

from billing.admin import attention
from billing.admin.attention import Matter
from credits import sales
from credits.sales import Sales

register = template.Library()

DAYS: Final = 30
BAR: Final = 10
HEIGHT: Final = 60
"""Of the drawing, in its own units: what the best day reaches."""


@dataclass(frozen=True)
class Bar:
    """A day's sales: `height` of `HEIGHT`, standing on its bottom at `y`."""

    day: Sales
    x: int
    y: int
    height: int


@dataclass(frozen=True)
class Figures:
    today: Sales
    month: Sales
    outstanding: int
    bars: list[Bar]
    width: int = DAYS * BAR
    height: int = HEIGHT


@register.simple_tag(takes_context=True)
def matters(context: RequestContext) -> list[Matter]:
    """What waits for the one who looks."""
    return attention.matters(context["user"])


@register.simple_tag
def figures() -> Figures:
    """What was sold and what went back, today and in 30 days, and what customers have."""
    days = sales.last_days(DAYS)
    return Figures(days[-1], sales.total(days), sales.outstanding(), _bars(days))


def _bars(days: list[Sales]) -> list[Bar]:
    most = max(day.sold_cents for day in days)
    bars = []
    for index, day in enumerate(days):
        # A day with sales has at least a line.
        height = max(HEIGHT * day.sold_cents // most, 1) if day.sold_cents else 0
        bars.append(Bar(day, index * BAR, HEIGHT - height, height))
    return bars
