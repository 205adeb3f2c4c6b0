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
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db import connection, transaction

from credits.models import CLAWBACKS, Kind, MonthTotal

SETTLED: Final = timedelta(days=1)
"""How long after its end a month is closed: by then whatever was booked in it is committed."""


@dataclass(frozen=True)
class Month:
    """One month's totals, and how things stood at its end."""

    start: date
    # Credits
    sold: int = 0
    granted: int = 0
    """Free: promotions, and adjustments up."""
    spent: int = 0
    """Also what was owed for it, once it is repaid."""
    expired: int = 0
    clawed_back: int = 0
    """Refunds, disputes and what they left owed, once it is repaid; less what was given back."""
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


def months(now: datetime | None = None) -> list[Month]:
    """Every month from the first entry's to the current one, oldest first."""
    now = now or datetime.now(UTC)
    totals = _totals(now)
    if not totals:
        return []
    found: list[Month] = []
    before = Month(date.min)
    for start in _starts(min(totals), max(now.date(), *totals)):
        before = _month(start, totals.get(start, {}), before)
        found.append(before)
    return found


# What of one kind moved in one month, in or out: credits, and the cost that went along.
Totals = dict[tuple[str, bool], tuple[int, int]]


def _totals(now: datetime) -> dict[date, Totals]:
    """All months' totals. Those of closed months are summed up once and kept."""
    kept = list(MonthTotal.objects.all())
    last = max((total.month for total in kept), default=None)
    summed = _sum_up(_next(last) if last else date.min)
    closed = [total for total in summed if _midnight(_next(total.month)) + SETTLED < now]
    MonthTotal.objects.bulk_create(closed, ignore_conflicts=True)
    totals: dict[date, Totals] = {}
    for total in kept + summed:
        totals.setdefault(total.month, {})[total.kind, total.is_in] = (total.credits, total.cost)
    return totals


def _sum_up(start: date) -> list[MonthTotal]:
    with transaction.atomic(), connection.cursor() as cursor:
        # The first time all entries are read, which takes longer than a page usually may.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(_SUMS, [_midnight(start)])
        rows = cursor.fetchall()
    return [
        MonthTotal(month=month, kind=kind, is_in=is_in, credits=int(credits), cost=int(cost))
        for month, kind, is_in, credits, cost in rows
    ]


_SUMS: Final = """
    WITH recent AS (
        SELECT wallet_id, id, kind, amount,
               date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month
        FROM credits_entry WHERE created_at >= %s
    )
    SELECT month, kind, is_in, sum(credits), sum(cost)
    FROM (
        SELECT month, kind, amount > 0 AS is_in, sum(abs(amount)) AS credits, 0 AS cost
        FROM recent GROUP BY 1, 2, 3
        UNION ALL
        SELECT month, kind, true, 0, sum(l.paid)
        FROM recent e JOIN credits_lot l ON l.wallet_id = e.wallet_id AND l.entry_id = e.id
        WHERE l.paid > 0 GROUP BY 1, 2
        UNION ALL
        SELECT month, kind, false, 0, sum(d.paid)
        FROM recent e JOIN credits_draw d ON d.wallet_id = e.wallet_id AND d.entry_id = e.id
        WHERE d.paid > 0 GROUP BY 1, 2
    ) AS moved
    GROUP BY month, kind, is_in"""


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _starts(first: date, last: date) -> Iterator[date]:
    start = first.replace(day=1)
    while start <= last:
        yield start
        start = _next(start)


def _month(start: date, totals: Totals, before: Month) -> Month:
    def sums(*kinds: str, is_in: bool = False) -> tuple[int, int]:
        found = [totals.get((kind, is_in), (0, 0)) for kind in kinds]
        return sum(credits for credits, _ in found), sum(cost for _, cost in found)

    sold, sold_cents = sums(Kind.PURCHASE, Kind.RENEWAL, is_in=True)
    promoted, promoted_cents = sums(Kind.PROMOTION, is_in=True)
    adjusted_up, _ = sums(Kind.ADJUSTMENT, is_in=True)
    spent, earned_by_spending = sums(Kind.SPEND, Kind.SPEND_REPAID)
    expired, earned_by_expiry = sums(Kind.EXPIRY)
    adjusted_down, earned_by_adjustment = sums(Kind.ADJUSTMENT)
    taken_back, cost_taken_back = sums(*CLAWBACKS, Kind.REPAYMENT)
    restored, cost_restored = sums(Kind.RESTORAL, is_in=True)
    sent, _ = sums(Kind.GIFT_SENT, Kind.GIFT_RECALLED)
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
