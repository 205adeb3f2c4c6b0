"""What was sold, used and is still owed to customers, month by month (UTC).

Credits are whole credits, money is minor currency units (cents). A lot carries what was paid for it
and every draw its exact part of that, so nothing is estimated or rounded here. Of each month:

    outstanding = before + sold + granted - spent - expired - clawed back - adjusted down
    deferred = before + sold - earned - returned, all in money

Outstanding and deferred include what is in escrow: gifts move both from wallet to wallet and change
neither. What has expired counts once that is booked (`manage.py expire_due`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final

from django.db import connection, transaction

from credits.models import CLAWBACKS, Kind


@dataclass(frozen=True)
class Month:
    """One month's totals, and how things stood at its end."""

    start: date
    # Credits
    sold: int = 0
    granted: int = 0
    """Free: promotions, and adjustments up."""
    spent: int = 0
    expired: int = 0
    clawed_back: int = 0
    """Refunds, disputes and repaid debt, less what was given back."""
    adjusted_down: int = 0
    outstanding: int = 0
    """In wallets and in escrow at the month's end."""
    in_escrow: int = 0
    # Money
    sold_cents: int = 0
    earned_by_spending: int = 0
    earned_by_expiry: int = 0
    """Breakage: paid for and never used."""
    earned_by_adjustment: int = 0
    """The cost of what adjustments took away."""
    returned: int = 0
    """The cost of what was clawed back, less that of what was given back."""
    deferred: int = 0
    """Paid for and not used yet at the month's end: what the shop owes in service."""

    @property
    def earned(self) -> int:
        return self.earned_by_spending + self.earned_by_expiry + self.earned_by_adjustment


def months(until: date | None = None) -> list[Month]:
    """Every month from the first entry's to the current one, oldest first.

    `until` stands in for today.
    """
    totals = _totals()
    if not totals:
        return []
    found: list[Month] = []
    before = Month(date.min)
    for start in _starts(min(totals), max(until or datetime.now(UTC).date(), max(totals))):
        before = _month(start, totals.get(start, {}), before)
        found.append(before)
    return found


# What of one kind moved in one month, in or out: credits, and the cost that went along.
Totals = dict[tuple[str, bool], tuple[int, int]]


def _totals() -> dict[date, Totals]:
    """All months' totals, in one snapshot."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(_TOTALS)
        rows = cursor.fetchall()
    totals: dict[date, Totals] = {}
    for month, kind, is_in, credits, cost in rows:
        totals.setdefault(month, {})[kind, is_in] = (int(credits), int(cost))
    return totals


# Entries are read once for their credits, and joined with what has a cost.
_TOTALS: Final = """
    SELECT month::date, kind, is_in, sum(credits), sum(cost)
    FROM (
        SELECT date_trunc('month', created_at AT TIME ZONE 'UTC') AS month, kind,
               amount > 0 AS is_in, sum(abs(amount)) AS credits, 0 AS cost
        FROM credits_entry GROUP BY 1, 2, 3
        UNION ALL
        SELECT date_trunc('month', e.created_at AT TIME ZONE 'UTC'), e.kind, true, 0, sum(l.paid)
        FROM credits_lot l
            JOIN credits_entry e ON e.wallet_id = l.wallet_id AND e.id = l.entry_id
        WHERE l.paid > 0 GROUP BY 1, 2
        UNION ALL
        SELECT date_trunc('month', e.created_at AT TIME ZONE 'UTC'), e.kind, false, 0, sum(d.paid)
        FROM credits_draw d
            JOIN credits_entry e ON e.wallet_id = d.wallet_id AND e.id = d.entry_id
        WHERE d.paid > 0 GROUP BY 1, 2
    ) AS moved
    GROUP BY month, kind, is_in"""


def _starts(first: date, last: date) -> Iterator[date]:
    start = first.replace(day=1)
    while start <= last:
        yield start
        start = date(start.year + start.month // 12, start.month % 12 + 1, 1)


def _month(start: date, totals: Totals, before: Month) -> Month:
    def sums(*kinds: str, is_in: bool = False) -> tuple[int, int]:
        found = [totals.get((kind, is_in), (0, 0)) for kind in kinds]
        return sum(credits for credits, _ in found), sum(cost for _, cost in found)

    sold, sold_cents = sums(Kind.PURCHASE, Kind.RENEWAL, is_in=True)
    promoted, promoted_cents = sums(Kind.PROMOTION, is_in=True)
    adjusted_up, _ = sums(Kind.ADJUSTMENT, is_in=True)
    spent, earned_by_spending = sums(Kind.SPEND)
    expired, earned_by_expiry = sums(Kind.EXPIRY)
    adjusted_down, earned_by_adjustment = sums(Kind.ADJUSTMENT)
    taken_back, cost_taken_back = sums(*CLAWBACKS, Kind.REPAYMENT)
    restored, cost_restored = sums(Kind.RESTORAL, is_in=True)
    sent, _ = sums(Kind.GIFT_SENT)
    arrived, _ = sums(Kind.GIFT_RECEIVED, Kind.GIFT_RETURNED, is_in=True)
    month = Month(
        start=start,
        sold=sold,
        granted=promoted + adjusted_up,
        spent=spent,
        expired=expired,
        clawed_back=taken_back - restored,
        adjusted_down=adjusted_down,
        in_escrow=before.in_escrow + sent - arrived,
        sold_cents=sold_cents + promoted_cents,  # a price is what was paid, whatever the kind
        earned_by_spending=earned_by_spending,
        earned_by_expiry=earned_by_expiry,
        earned_by_adjustment=earned_by_adjustment,
        returned=cost_taken_back - cost_restored,
    )
    used = month.spent + month.expired + month.clawed_back + month.adjusted_down
    return replace(
        month,
        outstanding=before.outstanding + month.sold + month.granted - used,
        deferred=before.deferred + month.sold_cents - month.earned - month.returned,
    )
