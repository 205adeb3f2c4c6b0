"""What Stripe knows and we were never told: found, done, and told apart from what is right."""

import io
import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from billing import webhooks
from billing.checkout import start_checkout
from billing.models import Charge, Event, Purchase, Reconciliation, Subscription
from billing.reconcile import LOCK, AlreadyRunning, reconcile
from billing.stripe_api import StripeUnavailable
from credits import ledger
from credits.models import Entry, Lot
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db


def buy(user: User, credits: int = 1234, mode: str = "payment") -> Purchase:
    """An order whose payment page is open."""
    start_checkout(user, credits, mode)
    return Purchase.objects.filter(user=user).latest("created_at")


def run(since: timedelta = timedelta(days=30)) -> Reconciliation:
    return reconcile(timezone.now() - since)


def differences(result: Reconciliation) -> list[tuple[str, str]]:
    return [(one["kind"], one["about"]) for one in result.differences]


def writes(queries: CaptureQueriesContext) -> list[str]:
    """What changed the database, but for the result itself."""
    verbs = ("INSERT", "UPDATE", "DELETE", "SELECT * FROM credits_", "SELECT credits_")
    return [
        query["sql"]
        for query in queries
        if any(verb in query["sql"] for verb in verbs)
        and 'UPDATE "billing_reconciliation"' not in query["sql"]
        and 'INTO "billing_reconciliation"' not in query["sql"]
        and " FOR UPDATE" not in query["sql"].removeprefix("SELECT")
    ]


def assert_all_is_well() -> None:
    """Another comparison finds nothing, and writes nothing but its own result."""
    with CaptureQueriesContext(connection, ) as queries:
        result = run()
    assert result.differences == []
    assert sum(result.counts["mended"].values()) == 0
    assert writes(queries) == []


def forget_events(sandbox: Sandbox) -> None:
    """Let Stripe's events be gone, as they are after 30 days: only its objects tell."""
    sandbox.forget("event")


def a_day_without_webhooks(sandbox: Sandbox, user: User, other_user: User) -> dict[str, int]:
    """All that may happen while nothing is delivered; answers what each should have then."""
    paid, refunded, disputed, won, bounced, settled, expired = (buy(user) for _ in range(7))
    for purchase in (paid, refunded, disputed, won):
        sandbox.pay(purchase.stripe_session_id)
    for purchase in (bounced, settled):
        sandbox.pay_by_bank(purchase.stripe_session_id)
    sandbox.settle(settled.stripe_session_id)
    sandbox.bounce(bounced.stripe_session_id)
    sandbox.refund(refunded.stripe_session_id, 293)  # a quarter
    sandbox.refund(refunded.stripe_session_id, 293)
    failed = sandbox.refund(paid.stripe_session_id)
    sandbox.fail_refund(failed["id"])
    sandbox.dispute(disputed.stripe_session_id)
    sandbox.win_dispute(sandbox.dispute(won.stripe_session_id)["id"])
    sandbox.expire(expired.stripe_session_id)

    plan = buy(other_user, 2000, "subscription")
    session = sandbox.pay(plan.stripe_session_id)
    sandbox.advance(session["subscription"])
    third = sandbox.advance(session["subscription"])
    sandbox.refund(third["latest_invoice"])
    sandbox.cancel(session["subscription"])
    return {user.email: 3 * 1234 + 617, other_user.email: 2 * 2000}


@pytest.mark.parametrize("are_events_gone", [False, True])
def test_a_day_without_webhooks(sandbox, user, other_user, are_events_gone):
    expected = a_day_without_webhooks(sandbox, user, other_user)
    assert Event.objects.count() == 0
    assert Entry.objects.count() == 0
    if are_events_gone:
        forget_events(sandbox)
        # A debit that bounced is told by its order alone, once that is old.
        Purchase.objects.update(created_at=timezone.now() - timedelta(hours=26))

    result = run()

    assert result.differences == []
    assert {one.email: ledger.balance_of(one) for one in (user, other_user)} == expected
    statuses = Purchase.objects.values_list("status", flat=True)
    assert sorted(statuses) == ["expired", "failed", *["paid"] * 6]
    assert Subscription.objects.get().status == "canceled"
    assert result.counts["paid_at_stripe"] == result.counts["paid_here"] == 5 * 1172 + 3 * 1800
    assert Event.objects.exclude(status="done").count() == 0
    assert_all_is_well()
