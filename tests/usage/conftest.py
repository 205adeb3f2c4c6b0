from collections.abc import Iterator

import pytest
from django.db import connection

from credits import ledger
from credits.models import Wallet
from tests.usage.shop import make_meter
from usage.models import Meter


@pytest.fixture
def meter(db) -> Meter:
    return make_meter()


@pytest.fixture
def rich(wallet: Wallet) -> Wallet:
    """The user's wallet, with a million credits."""
    ledger.grant(wallet, 1_000_000, key="g", kind="purchase")
    return wallet


@pytest.fixture(autouse=True)
def _sums(request: pytest.FixtureRequest, _books: None) -> Iterator[None]:
    """Every test ends with months, days, events and entries that tell the same."""
    yield
    if request.node.get_closest_marker("django_db") is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENT)
        assert cursor.fetchall() == []


_DIFFERENT = """
WITH event AS (
    SELECT *, (at AT TIME ZONE 'UTC')::date AS day,
        date_trunc('month', at AT TIME ZONE 'UTC')::date AS month
    FROM usage_event
), months AS (
    SELECT user_id, meter_id, month, sum(quantity) AS units, sum(charged) AS charged,
        max(units) AS last
    FROM event GROUP BY user_id, meter_id, month
), days AS (
    SELECT user_id, meter_id, day, sum(quantity) AS units, sum(charged) AS charged
    FROM event GROUP BY user_id, meter_id, day
)
SELECT 'month', m.begins_on, m.units, m.charged, e.units, e.last, e.charged
FROM usage_month m FULL JOIN months e
    ON (e.user_id, e.meter_id, e.month) = (m.user_id, m.meter_id, m.begins_on)
WHERE (m.units, m.units, m.charged) IS DISTINCT FROM (e.units, e.last, e.charged)
UNION ALL
SELECT 'day', d.date, d.units, d.charged, e.units, NULL, e.charged
FROM usage_day d FULL JOIN days e
    ON (e.user_id, e.meter_id, e.day) = (d.user_id, d.meter_id, d.date)
WHERE (d.units, d.charged) IS DISTINCT FROM (e.units, e.charged)
UNION ALL
SELECT 'entry', NULL, e.id, e.charged, c.id, NULL, c.owed - c.amount
FROM usage_event e
    JOIN credits_wallet w ON w.user_id = e.user_id
    FULL JOIN (SELECT * FROM credits_entry WHERE key LIKE 'usage:%') AS c
        ON c.wallet_id = w.id AND c.key = 'usage:' || e.id
WHERE e.charged IS DISTINCT FROM coalesce(c.owed - c.amount, 0)"""
