"""A handler made to fail at each of its statements in turn, then delivered again."""

import pytest

from billing.models import Charge, Event, Mail, Purchase, Refund
from credits import ledger
from credits.models import Entry, Lot, Wallet
from tests.shop import Shop, bonus_for
from tests.statement_faults import Fault, fail_at_each_statement
from tests.stripe_events import post

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = [Charge, Entry, Lot, Mail, Purchase, Refund, Wallet]


def books() -> list[list[tuple]]:
    return [list(table.objects.order_by("pk").values_list()) for table in TABLES]


def settle_at_last(shop: Shop, type: str) -> Event:
    """Deliver the latest event of a type with a fault at each statement in turn."""
    payload = [one for one in shop.news() if one["type"] == type][-1]
    before = books()

    def failed(fault: Fault) -> None:
        event = Event.objects.get(stripe_id=payload["id"])
        assert event.status == "failed", fault.sql
        assert ("DivisionByZero" in event.error or "is gone" in event.error or
                "division by zero" in event.error), fault.sql  # fmt: skip
        assert event.done_at is None
        assert books() == before, fault.sql

    count = fail_at_each_statement(lambda: post(shop.client, payload).status_code, failed)
    assert count > 5
    after = books()
    assert after != before
    assert post(shop.client, payload).json() == {"status": "done"}
    assert books() == after
    event = Event.objects.get(stripe_id=payload["id"])
    assert (event.status, event.error) == ("done", "")
    return event


def test_a_sale(shop):
    shop.sandbox.pay(shop.order().stripe_session_id)
    settle_at_last(shop, "checkout.session.completed")
    assert shop.stands == (500, 0)


@pytest.mark.parametrize("month", [1, 2])
def test_a_month_of_a_plan(shop, month):
    purchase = shop.order(500, "subscription")
    shop.sandbox.pay(purchase.stripe_session_id)
    if month == 2:
        shop.tell()
        purchase.refresh_from_db()
        shop.sandbox.advance(purchase.stripe_payment_id)
    settle_at_last(shop, "invoice.paid")
    assert shop.stands == (500 * month, 0)


def test_a_refund(shop):
    purchase = shop.buy()
    bonus_for(purchase, 50)
    ledger.spend(ledger.wallet_of(shop.user), 150, key="s")
    shop.sandbox.refund(purchase.stripe_session_id)
    settle_at_last(shop, "charge.refunded")
    assert shop.stands == (0, 150)


def test_a_refund_that_fails(shop):
    purchase = shop.buy()
    refund = shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.tell()
    shop.sandbox.fail_refund(refund["id"])
    settle_at_last(shop, "refund.failed")
    assert shop.stands == (500, 0)


def test_a_dispute(shop):
    shop.sandbox.dispute(shop.buy().stripe_session_id)
    settle_at_last(shop, "charge.dispute.funds_withdrawn")
    assert shop.stands == (0, 0)


def test_a_dispute_that_is_won(shop):
    dispute = shop.sandbox.dispute(shop.buy().stripe_session_id)
    shop.tell()
    shop.sandbox.win_dispute(dispute["id"])
    settle_at_last(shop, "charge.dispute.funds_reinstated")
    assert shop.stands == (500, 0)
