"""Orders that nobody paid: none waits for ever, and none that was paid is lost."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from billing import fulfilment, stripe_api
from billing.abandoned import close_abandoned
from billing.checkout import start_checkout
from billing.models import Event, Purchase, StripeCustomer
from billing.stripe_api import StripeUnavailable
from credits import ledger
from credits.models import Entry
from tests.sandbox import Sandbox
from tests.stripe_events import post

pytestmark = pytest.mark.django_db

OLD = timedelta(hours=25, minutes=1)
YOUNG = timedelta(hours=24, minutes=59)


def buy(user: User, age: timedelta = OLD, mode: str = "payment") -> Purchase:
    start_checkout(user, 1234, mode)
    purchase = Purchase.objects.filter(user=user).latest("created_at")
    Purchase.objects.filter(pk=purchase.pk).update(created_at=timezone.now() - age)
    purchase.refresh_from_db()
    return purchase


def ordered(user: User, age: timedelta = OLD) -> Purchase:
    """An order that never got a payment page, as far as we know."""
    return Purchase.objects.create(
        user=user, mode="payment", credits=1234, unit_price_e4=95, total=1172, currency="usd",
        created_at=timezone.now() - age,
    )  # fmt: skip


def status_of(purchase: Purchase) -> str:
    purchase.refresh_from_db()
    return purchase.status


def expire(purchase: Purchase) -> None:
    stripe_api.client().v1.checkout.sessions.expire(purchase.stripe_session_id or "")


def test_an_order_whose_page_has_expired_is_closed(sandbox, user):
    purchase = buy(user)
    expire(purchase)
    assert close_abandoned() == 1
    assert status_of(purchase) == "expired"
    event = Event.objects.get()
    assert (event.type, event.status, event.object_id) == (
        "checkout.session.expired", "done", purchase.stripe_session_id,
    )  # fmt: skip
    assert close_abandoned() == 0
    assert Event.objects.count() == 1


def test_an_order_that_was_paid_is_granted(sandbox, user):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    assert close_abandoned() == 1
    assert status_of(purchase) == "paid"
    assert ledger.balance_of(user) == 1234
    # As an event has it: nothing expanded, no client secret.
    assert Event.objects.get().object["payment_intent"] == purchase.stripe_payment_id
    assert "_secret_" not in Event.objects.get().payload


def test_a_debit_under_way_waits_and_one_that_failed_does_not(sandbox, user):
    under_way, bounced, settled = (buy(user) for _ in range(3))
    for purchase in (under_way, bounced, settled):
        sandbox.pay_by_bank(purchase.stripe_session_id)
    sandbox.bounce(bounced.stripe_session_id)
    sandbox.settle(settled.stripe_session_id)
    assert close_abandoned() == 2
    assert [status_of(one) for one in (under_way, bounced, settled)] == [
        "settling", "failed", "paid",
    ]  # fmt: skip
    assert ledger.balance_of(user) == 1234


def test_a_page_that_can_still_be_paid_is_left_open(sandbox, user):
    purchase = buy(user)
    assert close_abandoned() == 0
    assert status_of(purchase) == "pending"
    assert Event.objects.count() == 0


def test_orders_of_today_are_not_asked_about(sandbox, user):
    expire(buy(user, YOUNG))
    ordered(user, YOUNG)
    calls = len(sandbox.requests())
    assert close_abandoned() == 0
    assert len(sandbox.requests()) == calls


def test_an_order_that_never_had_a_page_is_closed(sandbox, user, other_user):
    buy(user, YOUNG)  # this customer has another one's page
    with_customer, without = ordered(user), ordered(other_user)
    assert close_abandoned() == 2
    assert status_of(with_customer) == status_of(without) == "expired"
    assert Event.objects.count() == 0


@pytest.mark.parametrize("is_paid", [True, False])
def test_a_page_whose_address_was_lost_is_found(sandbox, user, is_paid):
    for _ in range(3):
        expire(buy(user, YOUNG))
    purchase = buy(user)
    session_id = purchase.stripe_session_id
    for _ in range(3):
        expire(buy(user, YOUNG))
    if is_paid:
        sandbox.pay(session_id)
    else:
        expire(purchase)
    # Its answer never came.
    Purchase.objects.filter(pk=purchase.pk).update(stripe_session_id=None, stripe_session_url="")
    assert close_abandoned() == 1
    assert status_of(purchase) == ("paid" if is_paid else "expired")
    assert ledger.balance_of(user) == (1234 if is_paid else 0)


def test_a_page_that_stripe_does_not_know_is_no_reason_to_wait(sandbox, user):
    purchase = buy(user)
    sandbox.reset()  # another account's key, say
    assert close_abandoned() == 1
    assert status_of(purchase) == "expired"


def test_a_customer_that_stripe_does_not_know_holds_up_no_other_order(sandbox, user, other_user):
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id="cus_of_before")
    lost = ordered(user, OLD * 2)
    after = buy(other_user)
    sandbox.pay(after.stripe_session_id)
    sandbox.add_fault(
        method="GET", path="/v1/checkout/sessions", kind="error", status=404,
        code="resource_missing",
    )  # fmt: skip
    assert close_abandoned() == 2
    assert status_of(lost) == "expired"
    assert status_of(after) == "paid"


@pytest.mark.parametrize("has_page", [True, False])
def test_a_payment_that_is_told_later_still_grants(client, sandbox, user, has_page):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    (told,) = sandbox.events("checkout.session.completed")
    fields = {} if has_page else {"stripe_session_id": None, "stripe_session_url": ""}
    Purchase.objects.filter(pk=purchase.pk).update(status="expired", **fields)
    assert post(client, told).json() == {"status": "done"}
    assert status_of(purchase) == "paid"
    assert ledger.balance_of(user) == 1234


def test_one_that_can_not_be_applied_does_not_hold_up_the_others(sandbox, user, monkeypatch):
    broken, expired = buy(user), buy(user)
    sandbox.pay(broken.stripe_session_id)
    expire(expired)

    def fall(*args):
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "_grant", fall)
        for _ in range(2):
            close_abandoned()
    assert [status_of(one) for one in (broken, expired)] == ["pending", "expired"]
    assert Event.objects.get(status="failed").error == "RuntimeError: the disk is full"
    assert close_abandoned() == 1
    assert ledger.balance_of(user) == 1234


def test_without_an_answer_nothing_is_closed(dead_stripe, user):
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id="cus_1")
    purchase = ordered(user)
    with pytest.raises(StripeUnavailable):
        close_abandoned()
    assert status_of(purchase) == "pending"
    assert Entry.objects.count() == 0


def test_a_plan_that_was_not_paid_is_closed(sandbox: Sandbox, user):
    purchase = buy(user, mode="subscription")
    expire(purchase)
    assert close_abandoned() == 1
    assert status_of(purchase) == "expired"
