"""What became of a bulk purchase's lines, as those who bought it are told.

A recipient with an account has the credits at once, and anyone else is sent a gift to claim. Both
are "sent": nobody learns by buying who has an account. What nobody has claimed in time comes back,
and then that is told.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, F, Q, Sum
from django.utils.translation import gettext as _

from billing.history import inert
from billing.models import BulkLine, BulkPurchase
from credits.models import Entry, Transfer

PAGE: Final = 25
"""Lines of a page."""

BATCH: Final = 500
"""Lines that are read at once for a file."""

Status = BulkLine.Status


@dataclass(frozen=True)
class Progress:
    """How far handing out is; `kept` credits were not sent and stay with the organisation."""

    lines: int
    sent: int
    not_sent: int
    kept: int

    @property
    def done(self) -> int:
        return self.sent + self.not_sent


@dataclass(frozen=True)
class Result:
    """A line and what became of it: its status, or "returned"."""

    line: BulkLine
    status: str

    @property
    def recipient(self) -> str:
        if self.line.email:
            return self.line.email
        if self.line.user_id:
            return _("User %(id)s") % {"id": self.line.user_id}
        return _("A closed account")

    @property
    def label(self) -> str:
        if self.status == "returned":
            return _("Came back, unclaimed")
        return str(Status(self.line.status).label)

    @property
    def reason(self) -> str:
        return str(BulkLine.Reason(self.line.reason).label) if self.line.reason else ""


def progress_of(bulk: BulkPurchase) -> Progress:
    is_not_sent = Q(status=Status.NOT_SENT)
    counts = bulk.lines.aggregate(
        sent=Count("pk", filter=Q(status=Status.SENT)),
        not_sent=Count("pk", filter=is_not_sent),
        kept=Sum("credits", filter=is_not_sent, default=0),
    )
    return Progress(lines=bulk.lines_count, **counts)


def page_of(bulk: BulkPurchase, *, after: int = 0, limit: int = PAGE) -> tuple[list[Result], int]:
    """The lines after that number, and after which the next page begins, or 0."""
    lines = list(bulk.lines.filter(number__gt=after).order_by("number")[: limit + 1])
    page = lines[:limit]
    return _results(bulk, page), page[-1].number if len(lines) > limit else 0


def csv_of(bulk: BulkPurchase) -> Iterator[str]:
    """Every line with its status and reason; those are words for programs, as in the API."""
    rows = _Rows()
    writer = csv.writer(rows)
    writer.writerow(["line", "recipient", "credits", "status", "reason"])
    yield rows.take()
    after = 0
    while True:
        page, next_after = page_of(bulk, after=after, limit=BATCH)
        for found in page:
            line = found.line
            recipient = line.email or (f"user {line.user_id}" if line.user_id else "")
            writer.writerow(
                [line.number, inert(recipient), line.credits, found.status, line.reason]
            )
        yield rows.take()
        if not next_after:
            return
        after = next_after


class _Rows:
    """A file that hands out what was written to it."""

    def __init__(self) -> None:
        self._written: list[str] = []

    def write(self, text: str) -> None:
        self._written.append(text)

    def take(self) -> str:
        text = "".join(self._written)
        self._written.clear()
        return text


def _results(bulk: BulkPurchase, lines: list[BulkLine]) -> list[Result]:
    sent = [line.key for line in lines if line.status == Status.SENT]
    returned = _returned(bulk, sent) if sent else set()
    return [
        Result(line, "returned" if line.key in returned else str(line.status)) for line in lines
    ]


def _returned(bulk: BulkPurchase, keys: list[str]) -> set[str]:
    """Those of these lines whose credits are with the organisation again, as a whole."""
    account = bulk.organisation_id
    entries = Entry.objects.filter(wallet__user=account, key__in=keys)
    key_of = dict(entries.values_list("pk", "key"))
    back = Transfer.objects.filter(wallet__user=account, entry_id__in=key_of, to_wallet=F("wallet"))
    return {key_of[entry_id] for entry_id in back.values_list("entry_id", flat=True)}
