"""Reading a list of recipients and credits, and saying of each line what is wrong with it.

A list is a CSV file, text that was pasted, or the lines of a request to the API. It is taken as a
whole or not at all.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.models import MAX_CREDITS, MIN_CREDITS
from credits.numbers import number

MOST_LINES: Final = 1_000
LIMIT: Final = 256 * 1024
"""The largest list taken, in bytes."""

_LONGEST_ADDRESS: Final = 254
_WHOLE: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_SHOWN: Final = 40
"""Characters of what was sent that a reason quotes."""


@dataclass(frozen=True)
class Line:
    """So many credits for one recipient: an address, or a user by number.

    `number` is the line's in the file, or its place in the request, from 1.
    """

    number: int
    credits: int
    email: str = ""
    user_id: int | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong, for a person; without a line it is about the list as a whole."""

    line: int | None
    field: str
    reason: str


class BadLines(Exception):
    """The list can't be bought as it is: all that is wrong with it, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].reason)
        self.problems = problems


def of_file(content: bytes) -> list[Line]:
    """The lines of a CSV file. Raises `BadLines`."""
    if len(content) > LIMIT:
        raise _too_large()
    try:
        return of_text(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        reason = _("The file can't be read as text. Save it as CSV in UTF-8, then choose it again.")
        raise BadLines([Problem(None, "lines", reason)]) from None


def of_text(text: str) -> list[Line]:
    """The lines of a text: an address and credits, apart by comma, semicolon or tab.

    The first line may be a header. Blank ones don't count, but have their numbers. Raises
    `BadLines`.
    """
    if len(text.encode()) > LIMIT:
        raise _too_large()
    rows = list(_rows(text.removeprefix("\ufeff").replace("\0", "\N{REPLACEMENT CHARACTER}")))
    if rows and _is_header(rows[0][1]):
        rows = rows[1:]
    _check_count(len(rows))
    read = _Read()
    for line, cells in rows:
        if len(cells) > 2:
            reason = _("It has more than two values. It takes an address and credits.")
            read.refuse(line, "line", reason)
            continue
        recipient, credits = (*cells, "")[:2]
        read.take(line, _address(recipient), _credits(credits))
    return read.result()


def of_request(lines: Sequence[Any]) -> list[Line]:
    """The lines of a request: objects with `email` or `user`, and `credits`. Raises `BadLines`."""
    _check_count(len(lines))
    read = _Read()
    for place, item in enumerate(lines, start=1):
        if not isinstance(item, dict) or not item.keys() <= {"email", "user", "credits"}:
            reason = _("It takes email or user, and credits, and nothing else.")
            read.refuse(place, "line", reason)
            continue
        user, email, credits = item.get("user"), item.get("email"), item.get("credits")
        if (user is None) == (email is None):
            recipient: str | int | _Wrong = _Wrong("email", _("Give either email or user."))
        elif user is not None:
            recipient = _user(user)
        else:
            recipient = _address(email if isinstance(email, str) else "")
        # As text: 1.0 and true are no whole numbers, "5" is none in JSON.
        text = str(credits) if type(credits) is int else "" if credits is None else repr(credits)
        read.take(place, recipient, _credits(text))
    return read.result()


@dataclass(frozen=True)
class _Wrong:
    field: str
    reason: str


class _Read:
    """The good lines and the problems so far."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._problems: list[Problem] = []
        self._first: dict[str | int, int] = {}

    def take(self, line: int, recipient: str | int | _Wrong, credits: int | _Wrong) -> None:
        is_good = True
        for value in (recipient, credits):
            if isinstance(value, _Wrong):
                self.refuse(line, value.field, value.reason)
                is_good = False
        if isinstance(recipient, _Wrong):
            return
        first = self._first.setdefault(recipient, line)
        if first != line:
            reason = _("The same recipient stands in line %(first)s already.")
            field = "user" if isinstance(recipient, int) else "email"
            self.refuse(line, field, reason % {"first": first})
        elif is_good and isinstance(credits, int):
            email = recipient if isinstance(recipient, str) else ""
            user_id = recipient if isinstance(recipient, int) else None
            self._lines.append(Line(line, credits, email, user_id))

    def refuse(self, line: int, field: str, reason: str) -> None:
        self._problems.append(Problem(line, field, reason))

    def result(self) -> list[Line]:
        # With a bad line nobody knows the total.
        if not self._problems:
            total = sum(line.credits for line in self._lines)
            if not MIN_CREDITS <= total <= MAX_CREDITS:
                self._problems.append(Problem(None, "credits", _out_of_range(total)))
        if self._problems:
            raise BadLines(self._problems)
        return self._lines


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that aren't blank, each with the number of the line that it begins on."""
    delimiter = _delimiter(text)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    begins = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()  # a spreadsheet's empty columns
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error:
        reason = _("The line can't be read as CSV.")
        raise BadLines([Problem(begins, "line", reason)]) from None


def _delimiter(text: str) -> str:
    """What stands between the values: what the first line that isn't blank has most of."""
    first = next((line for line in text.splitlines() if line.strip(" \t,;")), "")
    return max(",;\t", key=first.count)


def _is_header(cells: Iterable[str]) -> bool:
    return not any("@" in cell or any(map(str.isdigit, cell)) for cell in cells)


def _address(text: str) -> str | _Wrong:
    address = text.strip().lower()
    if not address:
        return _Wrong("email", _("The address is missing."))
    if len(address) > _LONGEST_ADDRESS or not _is_address(address):
        reason = _("“%(text)s” is no email address.")
        return _Wrong("email", reason % {"text": _quoted(text)})
    return address


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _user(value: Any) -> int | _Wrong:
    if type(value) is not int or not 0 < value < 2**31:
        return _Wrong("user", _("It is no number of a user."))
    return value


def _credits(text: str) -> int | _Wrong:
    if not text:
        return _Wrong("credits", _("The credits are missing."))
    if not _WHOLE.fullmatch(text):
        reason = _("“%(text)s” is no whole number of credits, written in digits only.")
        return _Wrong("credits", reason % {"text": _quoted(text)})
    credits = int(text)
    if not 1 <= credits <= MAX_CREDITS:
        reason = _("A line takes from 1 to %(most)s credits.")
        return _Wrong("credits", reason % {"most": number(MAX_CREDITS)})
    return credits


def _quoted(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _check_count(count: int) -> None:
    if count > MOST_LINES:
        words = _("There are %(count)s lines; one purchase takes at most %(most)s. Split the list.")
        reason = words % {"count": number(count), "most": number(MOST_LINES)}
        raise BadLines([Problem(None, "lines", reason)])
    if not count:
        reason = _("There are no lines. Each takes an address and credits.")
        raise BadLines([Problem(None, "lines", reason)])


def _out_of_range(total: int) -> str:
    words = ngettext(
        "The lines come to %(total)s credit; one purchase takes from %(min)s to %(max)s.",
        "The lines come to %(total)s credits; one purchase takes from %(min)s to %(max)s.",
        total,
    )
    return words % {
        "total": number(total),
        "min": number(MIN_CREDITS),
        "max": number(MAX_CREDITS),
    }


def _too_large() -> BadLines:
    reason = _("The list is larger than %(limit)s KB.") % {"limit": LIMIT // 1024}
    return BadLines([Problem(None, "lines", reason)])
