"""What was sold and what went back in the last days, and what customers have: figures for staff.

Days are those of UTC, credits whole, money minor units (cents). The words mean what they do in the
revenue report (`credits.revenue`): returned is the cost of what was clawed back, less that of what
was given back.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Coalesce

from credits.models import Wallet


@dataclass(frozen=True)
class Sales:
    """One day's, or several days' together."""

    day: date
    sold: int = 0
    sold_cents: int = 0
    returned_cents: int = 0


def last_days(count: int) -> list[Sales]:
    """Today and the days before it, oldest first."""
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=back) for back in reversed(range(count))]
    with connection.cursor() as cursor:
        cursor.execute(_SALES, [datetime.combine(days[0], time(), UTC)])
        found = {day: (int(sold), int(cents), int(back)) for day, sold, cents, back in cursor}
    return [Sales(day, *found.get(day, ())) for day in days]


def total(days: list[Sales]) -> Sales:
    return Sales(
        day=days[0].day,
        sold=sum(day.sold for day in days),
        sold_cents=sum(day.sold_cents for day in days),
        returned_cents=sum(day.returned_cents for day in days),
    )


# The kinds are those of the index `credits_entry_sales`.
_SALES: Final = """
    WITH recent AS (
        SELECT wallet_id, id, kind, amount, (created_at AT TIME ZONE 'UTC')::date AS day
        FROM credits_entry
        WHERE created_at >= %s
          AND kind IN ('purchase', 'renewal', 'promotion', 'refund', 'dispute', 'repayment',
                       'restoral')
    )
    SELECT day, sum(sold), sum(cents), sum(back)
    FROM (
        SELECT day, amount AS sold, 0 AS cents, 0 AS back
        FROM recent WHERE kind IN ('purchase', 'renewal')
        UNION ALL
        SELECT day, 0, CASE WHEN kind = 'restoral' THEN 0 ELSE l.paid END,
               CASE WHEN kind = 'restoral' THEN -l.paid ELSE 0 END
        FROM recent e JOIN credits_lot l ON l.wallet_id = e.wallet_id AND l.entry_id = e.id
        WHERE l.paid > 0
        UNION ALL
        SELECT day, 0, 0, d.paid
        FROM recent e JOIN credits_draw d ON d.wallet_id = e.wallet_id AND d.entry_id = e.id
        WHERE d.paid > 0
    ) AS moved
    GROUP BY day"""


def outstanding() -> int:
    """What is in all wallets; what has expired counts until that is booked."""
    return int(Wallet.objects.aggregate(sum=Coalesce(Sum("balance"), 0))["sum"])
