"""What a user is told of what was used."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone as clock

from credits import ledger
from tests.usage.shop import THIS_MONTH, make_meter, make_tariff
from usage import summary
from usage.models import Meter
from usage.recording import record
from usage.summary import DayOfUse, MeterMonth

pytestmark = pytest.mark.django_db


def test_each_meter_s_month_with_its_bands(rich, meter):
    make_meter("calls", name="API calls", unit="calls", bands=[(0, 1, 1)])
    record(rich.user, "tokens", 12_500, key="k")
    calls, tokens = summary.of_month(rich.user, THIS_MONTH)
    assert (calls.meter.code, calls.units, calls.charged) == ("calls", 0, 0)
    assert (tokens.meter, tokens.units, tokens.charged) == (meter, 12_500, 35)
    assert [(p.band.above, p.upto, p.units, p.credits, p.is_reached) for p in tokens.parts] == [
        (0, 10_000, 10_000, 30, False),
        (10_000, None, 2500, 5, True),
    ]
    assert summary.of_month(rich.user, THIS_MONTH, "tokens") == [tokens]
    assert summary.of_month(rich.user, THIS_MONTH, "nothing") == []


def test_a_month_has_the_list_that_held_in_it(rich, meter):
    make_tariff(meter, date(2024, 5, 1), [(0, 7, 1)])
    prices = [
        summary.of_month(rich.user, month)[0].prices.bands[0].credits
        for month in (date(2020, 1, 1), date(2024, 4, 1), date(2024, 5, 1), THIS_MONTH)
    ]
    assert prices == [3, 3, 7, 7]
    assert summary.of_month(rich.user, date(2019, 12, 1)) == []


def test_an_inactive_meter_is_told_where_it_was_used(rich, meter):
    record(rich.user, "tokens", 12_500, key="k")
    Meter.objects.update(is_active=False)
    assert [row.units for row in summary.of_month(rich.user, THIS_MONTH)] == [12_500]
    assert summary.of_month(rich.user, date(2024, 1, 1)) == []


def test_another_user_s_usage_is_not_told(rich, meter, other_user):
    ledger.grant(ledger.wallet_of(other_user), 50, key="g", kind="purchase")
    record(other_user, "tokens", 12_500, key="k")
    [row] = summary.of_month(rich.user, THIS_MONTH)
    assert row == MeterMonth(meter, THIS_MONTH, row.prices)
    assert {day.units for day in summary.days_of(rich.user, meter, THIS_MONTH)} == {0}
    assert summary.months_of(rich.user) == []
    assert summary.months_of(other_user) == [THIS_MONTH]


def test_each_day_of_a_month(rich, meter, monkeypatch):
    now = datetime(2024, 2, 29, 23, 58, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    record(rich.user, "tokens", 1000, key="a", at=now - timedelta(days=2))
    record(rich.user, "tokens", 500, key="b")
    record(rich.user, "tokens", 500, key="c")
    record(rich.user, "tokens", 7000, key="d", at=now + timedelta(minutes=3))
    days = summary.days_of(rich.user, meter, date(2024, 2, 1))
    assert len(days) == 29
    assert days[26:] == [
        DayOfUse(date(2024, 2, 27), 1000, 3),
        DayOfUse(date(2024, 2, 28), 0, 0),
        DayOfUse(date(2024, 2, 29), 1000, 3),
    ]
    assert summary.months_of(rich.user) == [date(2024, 3, 1), date(2024, 2, 1)]


def test_this_month_has_days_to_today_and_any_that_came_early(rich, meter):
    today = datetime.now(UTC).date()
    days = summary.days_of(rich.user, meter, THIS_MONTH)
    assert (days[0].date, days[-1].date) == (THIS_MONTH, today)


@pytest.mark.parametrize("month", [(2026, 1), (2026, 2), (2024, 2), (2026, 12)])
def test_months_follow_each_other(month):
    begins_on = date(*month, 1)
    follows = summary.next_month(begins_on)
    assert (follows.day, (follows - timedelta(days=1)).month) == (1, begins_on.month)
