"""The page on which customers see what they have used."""

import re
from datetime import date
from typing import Any, Final

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.requests import SignedInRequest
from usage import chart, summary
from usage.summary import MeterMonth

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


@never_cache
@login_required
@require_safe
def usage(request: SignedInRequest) -> HttpResponse:
    """A month of usage: all meters, and one of them with its prices and days.

    `?month=2026-01` and `?meter=code` choose; what makes no sense chooses nothing.
    """
    now = summary.this_month()
    months = sorted({*summary.months_of(request.user), now})
    asked = _month(request.GET.get("month", ""))
    month = asked if asked is not None and months[0] <= asked <= months[-1] else now
    rows = summary.of_month(request.user, month)
    context: dict[str, Any] = {
        "page": "usage",
        "month": month,
        "is_now": month == now,
        "older": max((other for other in months if other < month), default=None),
        "newer": min((other for other in months if other > month), default=None),
        "rows": rows,
        "charged": sum(row.charged for row in rows),
    }
    chosen = _chosen(rows, request.GET.get("meter", ""))
    if chosen is not None:
        days = summary.days_of(request.user, chosen.meter, month)
        context |= {
            "chosen": chosen,
            "days": days[::-1],
            "chart": chart.draw(month, days) if chosen.units else None,
        }
    return render(request, "usage/usage.html", context)


def _month(text: str) -> date | None:
    found = _MONTH.fullmatch(text)
    # There is no year 0.
    return date(int(found[1]), int(found[2]), 1) if found and int(found[1]) else None


def _chosen(rows: list[MeterMonth], code: str) -> MeterMonth | None:
    """The meter that is asked for, else the one that took the most credits, else the first."""
    return max(rows, key=lambda row: (row.meter.code == code, row.charged, row.units), default=None)
