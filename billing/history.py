"""The history on the dashboard: what its address asks for, and the file to download."""

import csv
import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, time, tzinfo
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, time_format
from django.utils.http import urlencode
from django.utils.translation import get_language, ngettext

from billing.templatetags.money import money
from credits.models import Kind, Wallet
from credits.numbers import number, signed
from credits.statement import Day, Filter, Line, Page, export

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST_ID: Final = 18  # digits
DAY: Final = "SHORT_DATE_FORMAT"
TIME: Final = "TIME_FORMAT"


@dataclass(frozen=True)
class Asked:
    """What a query string asks for. What it has that makes no sense is left out.

    `before` and `after` are entries' ids. `has_bad_date`: there is something to tell.
    """

    chosen: Filter
    before: int | None
    after: int | None
    has_bad_date: bool


def asked(query: QueryDict, zone: tzinfo) -> Asked:
    kinds = tuple(kind for kind in Kind.values if kind in query.getlist("kind"))
    first, last = _date(query.get("from", "")), _date(query.get("to", ""))
    return Asked(
        chosen=Filter(kinds, first, last, zone),
        before=_id(query.get("before", "")),
        after=_id(query.get("after", "")),
        has_bad_date=bool((query.get("from") and not first) or (query.get("to") and not last)),
    )


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _id(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID
    return int(text) if is_number else None


def query_of(chosen: Filter, **cursor: int | None) -> str:
    """The query string that asks for this, the way back from `asked`."""
    pairs = [("kind", kind) for kind in chosen.kinds]
    for name, value in {"from": chosen.first, "to": chosen.last, **cursor}.items():
        if value:
            pairs.append((name, str(value)))
    return urlencode(pairs)


# Lines and days are put into words here, and into rows by `templatetags/tables.py`: hundreds of
# filters in a template take far longer.


def _own_receipt(entry_id: int) -> str:
    return reverse("receipt", args=[entry_id])


def page_of(
    question: Asked,
    page: Page,
    receipt_path: Callable[[int], str] = _own_receipt,
    by: Mapping[int, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What `billing/_history.html` shows, but for the addresses that lead to it."""
    chosen = question.chosen
    return {
        "chosen": chosen,
        "has_bad_date": question.has_bad_date,
        "kinds": [(kind.value, kind.label, kind in chosen.kinds) for kind in Kind],
        "kinds_chosen": ", ".join(str(Kind(kind).label) for kind in chosen.kinds),
        "lines": list(rows(page.lines, receipt_path, by)),
        # Their number is told where it is known: to count a long history takes long.
        "is_whole": not (page.newer or page.older),
        "newer": query_of(chosen, after=page.newer) if page.newer else None,
        "older": query_of(chosen, before=page.older) if page.older else None,
        "csv": query_of(chosen),
    }


def rows(
    lines: list[Line], receipt_path: Callable[[int], str], by: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    """The lines of a page in words. `receipt` is the address of it, or empty.

    `by` is who drew them on an organisation's credits, by the entry's id.
    """
    kinds = {kind.value: str(kind.label) for kind in Kind}
    language = get_language()
    for line in lines:
        paid_by = line.id if line.paid else line.returns
        at = timezone.localtime(line.created_at)
        yield {
            "line": line,
            "at": line.created_at.isoformat(),
            "day": _day(at.date(), language),
            "time": _time(time(at.hour, at.minute), language),
            "kind": kinds[line.kind],
            "by": by.get(line.id, ""),
            "paid": money(line.paid) if line.paid else "",
            "receipt": receipt_path(paid_by) if paid_by else "",
            "is_invoice": line.kind == Kind.RENEWAL,
            "is_plus": line.amount > 0,
            "amount": signed(line.amount),
            "balance": number(line.balance),
        }


class Figures(NamedTuple):
    """A day of the chart in words."""

    day: str
    balance: str
    bought: str
    used: str
    reading: str
    """The day, its balance and what was bought, as one sentence."""


def figures(days: list[Day]) -> Iterator[Figures]:
    language = get_language()
    for day in days:
        # Mostly nothing was bought, and often nothing used.
        balance, bought, used = (
            number(n) if n else "0" for n in (day.balance, day.bought, day.used)
        )
        values = {"day": _day(day.date, language), "count": balance, "bought": bought}
        reading = (
            ngettext(
                "%(day)s: %(count)s credit, %(bought)s bought",
                "%(day)s: %(count)s credits, %(bought)s bought",
                day.balance,
            )
            if day.bought
            else ngettext("%(day)s: %(count)s credit", "%(day)s: %(count)s credits", day.balance)
        )
        yield Figures(values["day"], balance, bought, used, reading % values)


# Days and minutes come back on every page, and Django takes longer for one than for ten numbers.


@functools.lru_cache(maxsize=10_000)
def _day(day: date, language: str | None) -> str:
    return date_format(day, DAY)


@functools.lru_cache(maxsize=10_000)
def _time(at: time, language: str | None) -> str:
    return time_format(at, TIME)


def filename(chosen: Filter) -> str:
    parts = ["credits-history"]
    if chosen.first:
        parts.append(f"from-{chosen.first}")
    if chosen.last:
        parts.append(f"to-{chosen.last}")
    return f"{'-'.join(parts)}.csv"


class _Lines:
    """A file that hands out, once in a while, what was written to it."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)

    def take(self) -> str:
        text = "".join(self.written)
        self.written.clear()
        return text


def csv_of(
    wallet: Wallet | None,
    chosen: Filter,
    who: Callable[[list[Line]], Mapping[int, str]] | None = None,
) -> Iterator[str]:
    """The history as CSV, oldest first: times in UTC, whole credits, what was paid in cents.

    `owed` is what an entry added to the debt, or took off it. With `who`, which answers who drew
    some lines by the entry's id, there is a column for that.
    """
    lines = _Lines()
    writer = csv.writer(lines)
    names = ["time", "kind", "note", "credits", "balance", "paid_cents", "owed"]
    writer.writerow([*names, "by"] if who else names)
    yield lines.take()  # so that the download begins at once
    for batch in export(wallet, chosen) if wallet else ():
        by = who(batch) if who else {}
        for line in batch:
            at = line.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            row = [at, line.kind, inert(line.note), line.amount, line.balance, line.paid, line.owed]
            writer.writerow([*row, inert(by.get(line.id, ""))] if who else row)
        yield lines.take()


def inert(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula."""
    # What counts is the first that one sees; and full-width signs, which some read like plain ones.
    start = next((char for char in text if char.isprintable() and not char.isspace()), "")
    is_formula = start and unicodedata.normalize("NFKC", start) in "=+-@"
    return f"'{text}" if is_formula or text.startswith(("\t", "\r", "\n")) else text
