"""The revenue report: a page with a chart and the table behind it, and the table as CSV."""

import csv
from dataclasses import dataclass
from typing import Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from credits import revenue
from credits.models import Entry
from credits.revenue import Month

MONTHS: Final = 24
"""How many of the latest months are shown where no year is chosen."""

COLUMNS: Final = {
    "sold": "sold",
    "granted": "granted_free",
    "spent": "spent",
    "expired": "expired",
    "clawed_back": "clawed_back",
    "adjusted_down": "adjusted_down",
    "outstanding": "outstanding",
    "in_escrow": "of_it_in_escrow",
    "sold_cents": "sold_cents",
    "earned_by_spending": "earned_by_spending_cents",
    "earned_by_expiry": "earned_by_expiry_cents",
    "earned_by_adjustment": "earned_by_adjustment_cents",
    "returned": "returned_cents",
    "deferred": "deferred_cents",
}
"""Fields of a month and what the CSV calls them."""


def revenue_view(request: HttpRequest) -> HttpResponse:
    """The months of `?year=`, else the latest."""
    everything, year = _months(request), _year(request)
    shown = _chosen(everything, year)
    context = {
        **admin.site.each_context(request),
        "title": _("Revenue"),
        "opts": Entry._meta,
        "months": shown,
        "years": sorted({month.start.year for month in everything}, reverse=True),
        "year": year,
        "latest": MONTHS,
        "chart": chart(shown),
        "total": _total(shown),
    }
    return TemplateResponse(request, "admin/credits/revenue.html", context)


def csv_view(request: HttpRequest) -> HttpResponse:
    """The same months. Numbers and months only, so a spreadsheet finds nothing to run."""
    shown = _chosen(_months(request), _year(request))
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="revenue.csv"'
    writer = csv.writer(response)
    writer.writerow(["month", *COLUMNS.values()])
    for month in shown:
        writer.writerow([f"{month.start:%Y-%m}", *(getattr(month, name) for name in COLUMNS)])
    return response


def _months(request: HttpRequest) -> list[Month]:
    if not request.user.has_perm("credits.view_revenue"):
        raise PermissionDenied
    return revenue.months()


def _year(request: HttpRequest) -> int | None:
    text = request.GET.get("year", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) == 4 else None


def _chosen(months: list[Month], year: int | None) -> list[Month]:
    return [month for month in months if month.start.year == year] if year else months[-MONTHS:]


def _total(months: list[Month]) -> dict[str, int]:
    """Sums of what moved. How things stood at an end has no sum."""
    moved = [name for name in COLUMNS if name not in {"outstanding", "in_escrow", "deferred"}]
    return {name: sum(getattr(month, name) for month in months) for name in moved}


# --- The chart --------------------------------------------------------------------------------

WIDTH: Final = 960
HEIGHT: Final = 260
LEFT: Final = 80
BOTTOM: Final = 30
TOP: Final = 12


@dataclass(frozen=True)
class Bar:
    """What was earned in a month, in parts that stand on each other, in the chart's units."""

    month: Month
    x: int
    width: int
    parts: list[tuple[str, int, int]]
    """Name, y and height of each."""
    label: str

    @property
    def middle(self) -> int:
        return self.x + self.width // 2


@dataclass(frozen=True)
class Chart:
    """Bars of what was earned and a line of what is deferred, on one scale from 0 (cents)."""

    bars: list[Bar]
    line: str
    """The points of a polyline."""
    ticks: list[tuple[int, int]]
    """y and cents."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH
    baseline: int = HEIGHT - BOTTOM


def chart(months: list[Month]) -> Chart | None:
    """None where there is no money to show."""
    top = max((max(month.earned, month.deferred) for month in months), default=0)
    if top <= 0:
        return None
    step = _step(top)
    scale = -(-top // step) * step
    room = HEIGHT - BOTTOM - TOP

    def y(cents: int) -> int:
        return HEIGHT - BOTTOM - cents * room // scale

    slot = (WIDTH - LEFT) // max(len(months), 6)
    every = 1 + (len(months) - 1) // 12  # a label for each, or each second
    bars = []
    points = []
    for index, month in enumerate(months):
        x = LEFT + index * slot
        parts, stacked = [], 0
        for name in ("spending", "expiry", "adjustment"):
            cents = getattr(month, f"earned_by_{name}")
            parts.append((name, y(stacked + cents), y(stacked) - y(stacked + cents)))
            stacked += cents
        label = f"{month.start:%m/%y}" if index % every == 0 else ""
        bars.append(Bar(month, x + slot // 6, slot * 2 // 3, parts, label))
        points.append(f"{x + slot // 2},{y(month.deferred)}")
    ticks = [(y(cents), cents) for cents in range(0, scale + 1, step)]
    return Chart(bars, " ".join(points), ticks)


def _step(top: int) -> int:
    """A round distance of about four ticks up to the top."""
    size: int = 10 ** max(len(str(top)) - 2, 0)
    return next(
        step for step in (size, 2 * size, 5 * size, 10 * size, 25 * size) if top <= 4 * step
    )
