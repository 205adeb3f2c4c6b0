"""The rows of the dashboard's two tables, which are most of its page.

Written here and not in its template, whose four hundred variables took a third of the page's time.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from django import template
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.history import Figures
from credits.numbers import number
from credits.statement import Line

register = template.Library()


@register.filter
def day_rows(figures: Iterable[Figures]) -> SafeString:
    return mark_safe(  # noqa: S308 (each escapes what is a text; dates and numbers need it not)
        "".join(
            f'<tr><th scope="row" data-reading-of="{escape(one.reading)}">{one.day}</th>'
            f'<td class="num">{one.balance}</td><td class="num">{one.bought}</td>'
            f'<td class="num">{one.used}</td></tr>'
            for one in figures
        )
    )


@register.filter
def ledger_rows(rows: Iterable[dict[str, Any]]) -> SafeString:
    return mark_safe("\n".join(map(_ledger_row, rows)))  # noqa: S308 (as above)


def _ledger_row(row: dict[str, Any]) -> str:
    notes = "".join(f'<span class="sub">{escape(one)}</span>' for one in _notes(row))
    receipt = _receipt(row) if row["receipt"] else ""
    sign = "plus" if row["is_plus"] else "minus"
    return (
        f'<tr><td class="c-when"><time datetime="{row["at"]}">{row["day"]}</time>'
        f'<span class="sub">{row["time"]}</span></td>'
        f'<th scope="row" class="c-what">{escape(row["kind"])}{notes}</th>'
        f'<td class="c-paid num">{row["paid"]}{receipt}</td>'
        f'<td class="c-amt num"><span class="{sign}">{row["amount"]}</span></td>'
        f'<td class="c-bal num">{row["balance"]}</td></tr>'
    )


def _notes(row: dict[str, Any]) -> Iterator[str]:
    line: Line = row["line"]
    if row["by"]:
        yield row["by"]
    if line.note:
        yield line.note
    if line.owed > 0:
        words = ngettext(
            "%(count)s credit added to what you owe",
            "%(count)s credits added to what you owe",
            line.owed,
        )
        yield words % {"count": number(line.owed)}


def _receipt(row: dict[str, Any]) -> SafeString:
    return format_html(
        ' <span class="sub"><a rel="nofollow" href="{}">{}'
        ' <span class="vh">{}, {}</span></a></span>',
        row["receipt"],
        _("Invoice") if row["is_invoice"] else _("Receipt"),
        row["kind"],
        row["day"],
    )
