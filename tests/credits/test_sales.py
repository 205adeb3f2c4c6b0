from datetime import UTC, datetime, timedelta

import pytest

from credits import ledger, revenue, sales
from credits.sales import Sales
from tests.credits.test_revenue import move_back

pytestmark = pytest.mark.django_db


def test_days_mean_what_the_report_means(wallet, staff):
    ledger.grant(wallet, 1000, key="p", kind="purchase", paid=950)
    ledger.grant(wallet, 100, key="r", kind="renewal", paid=80)
    ledger.grant(wallet, 50, key="f", kind="promotion", category="promotional")
    ledger.adjust(wallet, 7, key="up", note="", actor=staff)
    ledger.spend(wallet, 57, key="s1")
    ledger.revoke(wallet, 100, of="r", key="refund", kind="refund")
    ledger.restore(wallet, 50, of="r", key="won")
    days = sales.last_days(30)
    today = datetime.now(UTC).date()
    assert [day.day for day in days] == [today - timedelta(days=back) for back in range(29, -1, -1)]
    assert days[-1] == Sales(today, sold=1100, sold_cents=1030, returned_cents=40)
    (month,) = revenue.months()
    assert (month.sold, month.sold_cents, month.returned) == (1100, 1030, 40)
    assert sales.total(days) == Sales(days[0].day, 1100, 1030, 40)
    assert sales.outstanding() == 1050


@pytest.mark.corrupts_the_books  # a time is moved
def test_what_is_older_is_not_counted(wallet):
    move_back(ledger.grant(wallet, 1000, key="p", kind="purchase", paid=950), 2)
    assert sales.total(sales.last_days(30)).sold_cents == 0
    assert sales.outstanding() == 1000


def test_nothing_yet(db):
    assert set(sales.last_days(2)) == {Sales(day.day) for day in sales.last_days(2)}
    assert sales.outstanding() == 0
