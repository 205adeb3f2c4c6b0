"""What Stripe knows and we were never told: found, done, and told apart from what is right."""

import io
import json
import os
import pty
import sqlite3
import subprocess
import sys
import termios
from contextlib import closing
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from billing import fulfilment, stripe_api, webhooks
from billing.checkout import start_checkout
from billing.models import Charge, Event, Purchase, Reconciliation, Subscription
from billing.reconcile import LOCK, AlreadyRunning, reconcile
from billing.stripe_api import StripeUnavailable
from credits import ledger
from credits.models import Entry, Lot
from tests.sandbox import Sandbox
from tests.site import ROOT, database_url
from tests.stripe_events import post

pytestmark = pytest.mark.django_db


def buy(user: User, credits: int = 1234, mode: str = "payment") -> Purchase:
    """An order whose payment page is open."""
    start_checkout(user, credits, mode)
    return Purchase.objects.filter(user=user).latest("created_at")


def run(since: timedelta = timedelta(days=30)) -> Reconciliation:
    return reconcile(timezone.now() - since)


def differences(result: Reconciliation) -> list[tuple[str, str]]:
    return [(one["kind"], one["about"]) for one in result.differences]


def changed_rows() -> dict[str, int]:
    """Rows of each table that this test's transaction has changed, by PostgreSQL's own count."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables"
        )
        return dict(cursor.fetchall())


def assert_all_is_well() -> None:
    """Another comparison finds nothing, and writes nothing but its own result."""
    before = changed_rows()
    result = run()
    assert result.differences == []
    assert sum(result.counts["mended"].values()) == 0
    # Begun and ended.
    assert changed_rows() == before | {
        "billing_reconciliation": before["billing_reconciliation"] + 2
    }


def forget_events(sandbox: Sandbox) -> None:
    """Let Stripe's events be gone, as they are after 30 days: only its objects tell."""
    _at_stripe(sandbox, "DELETE FROM object WHERE type = 'event'")


def _at_stripe(sandbox: Sandbox, statement: str, *values: str) -> list:
    with closing(sqlite3.connect(sandbox.state)) as state, state:
        return state.execute(statement, values).fetchall()


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
    client = stripe_api.client().v1
    client.checkout.sessions.expire(expired.stripe_session_id)

    plan = buy(other_user, 2000, "subscription")
    session = sandbox.pay(plan.stripe_session_id)
    sandbox.advance(session["subscription"])
    third = sandbox.advance(session["subscription"])
    sandbox.refund(third["latest_invoice"])
    client.subscriptions.cancel(session["subscription"])
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


def test_what_was_told_in_time_is_left_alone(client, sandbox, user, other_user):
    a_day_without_webhooks(sandbox, user, other_user)
    for told in sandbox.events():
        post(client, told)
    # One was refunded before its grant was told of, and is sent again.
    run()
    assert not Event.objects.filter(stripe_id__startswith=webhooks.SUPPLIED).exists()
    assert_all_is_well()


def test_an_event_that_failed_is_applied_again(client, sandbox, user, monkeypatch):
    sandbox.pay(buy(user).stripe_session_id)
    (completed,) = sandbox.events("checkout.session.completed")
    with monkeypatch.context() as broken:
        broken.setattr(fulfilment, "_grant", failing)
        assert post(client, completed).status_code == 500
        # The handler is still broken: said, and not tried in a second way.
        result = run()
        assert [one["kind"] for one in result.differences] == ["failed"]
        assert ledger.balance_of(user) == 0
    result = run()
    assert (result.differences, result.counts["mended"]["events"]) == ([], 1)
    assert Event.objects.get().status == "done"
    assert ledger.balance_of(user) == 1234


def failing(*args: object) -> None:
    raise RuntimeError("the disk is full")


def test_what_can_not_be_done_is_one_open_event_however_often_it_runs(sandbox, user, monkeypatch):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    forget_events(sandbox)
    with monkeypatch.context() as broken:
        broken.setattr(fulfilment, "_grant", failing)
        for _ in range(3):
            assert [one["kind"] for one in run().differences] == ["failed"]
        event = Event.objects.get()
        assert event.stripe_id == f"reconcile_{purchase.stripe_session_id}_1"
        assert "the disk is full" in event.error
    assert run().differences == []
    assert Event.objects.get().status == "done"
    assert_all_is_well()


def test_a_quarantined_event_counts_until_it_is_settled(sandbox, user, staff):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    Purchase.objects.update(total=1171)
    for _ in range(2):
        result = run()
        assert differences(result) == [("quarantined", purchase.stripe_session_id)]
        assert result.differences[0]["user_id"] == user.pk
        assert result.differences[0]["event_id"] == Event.objects.get().pk
    assert Entry.objects.count() == 0

    webhooks.settle(Event.objects.get(), staff=staff, reason="Returned at Stripe")
    assert_all_is_well()
    counts = Reconciliation.objects.latest("id").counts
    assert (counts["paid_at_stripe"], counts["paid_here"], counts["settled"]) == (1172, 0, 1172)
    assert Entry.objects.count() == 0


def test_a_bank_debit_that_was_settled_stays_so(client, sandbox, user, staff):
    purchase = buy(user)
    sandbox.pay_by_bank(purchase.stripe_session_id)
    sandbox.settle(purchase.stripe_session_id)
    Purchase.objects.update(total=1171)
    for one in sandbox.events():
        post(client, {name: one[name] for name in one if name != "delivery"})
    stored = Event.objects.get(status="quarantined")
    assert stored.type == "checkout.session.async_payment_succeeded"
    assert differences(run()) == [("quarantined", purchase.stripe_session_id)]
    webhooks.settle(stored, staff=staff, reason="Returned at Stripe")
    Purchase.objects.update(total=1172)  # the cause is gone, and so is the money
    assert_all_is_well()
    assert Purchase.objects.get().status == "settled"
    assert Entry.objects.count() == 0


def test_credits_for_which_nobody_paid_are_named(sandbox, user, wallet):
    unpaid = buy(user)
    ledger.grant(wallet, 10, key=f"purchase:{unpaid.pk}", kind="purchase", paid=50)
    ledger.grant(wallet, 10, key="invoice:in_nobody", kind="renewal", paid=50)
    ledger.grant(wallet, 10, key="seed", kind="purchase")  # no payment's key
    assert differences(run()) == [("not_paid", str(unpaid.pk)), ("not_paid", "in_nobody")]


def test_a_payment_of_before_is_looked_up(sandbox, user):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    _at_stripe(
        sandbox,
        "UPDATE object SET body = json_set(body, '$.created', 1700000000)"
        " WHERE type = 'checkout.session'",
    )
    result = run()  # its event is of these days
    assert (result.differences, result.counts["read"]["sessions"]) == ([], 0)
    assert ledger.balance_of(user) == 1234


def test_credits_booked_at_another_amount_are_named(sandbox, user, wallet):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    forget_events(sandbox)
    ledger.grant(wallet, 1234, key=f"purchase:{purchase.pk}", kind="purchase", paid=1171)
    (found,) = run().differences
    assert (found["kind"], found["here"], found["at_stripe"]) == ("money", "1171", "1172")


@pytest.mark.corrupts_the_books
def test_credits_that_were_not_taken_back_are(sandbox, user):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    sandbox.refund(purchase.stripe_session_id, 586)
    run()
    assert ledger.balance_of(user) == 617
    # As if somebody had written to the table.
    Charge.objects.update(refunded=0)
    assert run().counts["mended"]["refunds"] == 1
    Lot.objects.filter(entry_id=Entry.objects.earliest("id").pk).update(revoked=600)
    assert run().counts["mended"]["refunds"] == 1
    assert Charge.objects.get().refunded == 586
    assert Lot.objects.earliest("id").revoked == 617


def test_a_sale_that_is_not_here_is_taken(sandbox, user):
    """After a restored backup."""
    purchase = buy(user)
    plan = buy(user, 2000, "subscription")
    for one in (purchase, plan):
        sandbox.pay(one.stripe_session_id)
        one.delete()
    forget_events(sandbox)
    result = run()
    assert (result.differences, result.counts["paid_here"]) == ([], 1172 + 1800)
    assert ledger.balance_of(user) == 3234
    assert_all_is_well()


def test_other_products_of_the_account_are_left_alone_over_many_pages(sandbox, user):
    client = stripe_api.client().v1
    customer = client.customers.create({"email": "eve@example.com"})
    price = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "A mug"}}
    for number in range(105):
        session = client.checkout.sessions.create(
            {
                "mode": "payment",
                "customer": customer.id,
                "line_items": [{"quantity": 1, "price_data": price}],
                "success_url": "https://mugs.example",
            }
        )
        if number == 0:
            sandbox.pay(session.id)
            sandbox.refund(session.id, 100)
            sandbox.dispute(session.id, 100)
    forget_events(sandbox)
    sandbox.pay(buy(user).stripe_session_id)
    result = run()
    assert (result.differences, result.counts["read"]["sessions"]) == ([], 106)
    assert ledger.balance_of(user) == 1234
    assert Charge.objects.count() == 0
    assert_all_is_well()


def test_events_of_an_older_version_are_understood(sandbox, user):
    plan = buy(user, 2000, "subscription")
    sandbox.advance(sandbox.pay(plan.stripe_session_id)["subscription"])
    for id, body in _at_stripe(
        sandbox, "SELECT id, body FROM object WHERE type = 'event' AND body LIKE '%invoice.paid%'"
    ):
        event = json.loads(body)
        invoice = event["data"]["object"]
        details = invoice.pop("parent")["subscription_details"]
        invoice |= {
            "subscription": details["subscription"],
            "subscription_details": {"metadata": details["metadata"]},
        }
        event["api_version"] = "2024-06-20"
        _at_stripe(sandbox, "UPDATE object SET body = ? WHERE id = ?", json.dumps(event), id)
    assert run().differences == []
    assert sorted(Entry.objects.values_list("kind", flat=True)) == ["purchase", "renewal"]
    assert_all_is_well()


def test_a_plan_that_stripe_does_not_know_is_named(sandbox, user):
    Subscription.objects.create(
        user=user, stripe_id="sub_gone", status="active", credits=500, total=475, currency="usd",
        fetched_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    assert differences(run()) == [("no_such_plan", "sub_gone")]


@pytest.mark.parametrize("step", ["events", "invoices", "disputes", "subscriptions"])
def test_stripe_falls_silent_in_the_middle(sandbox, user, other_user, step):
    expected = a_day_without_webhooks(sandbox, user, other_user)
    sandbox.add_fault(method="GET", path=f"/v1/{step}", kind="error", status=503, times=9)
    with pytest.raises(CommandError, match="What was mended stays so; run this again") as stopped:
        call_command("reconcile_stripe")
    assert stopped.value.returncode == 1
    assert Reconciliation.objects.get().finished_at is None
    mended = Event.objects.filter(status="done").count()
    assert (mended > 0) == (step != "events")

    sandbox.clear_faults()
    assert run().differences == []
    assert {one.email: ledger.balance_of(one) for one in (user, other_user)} == expected
    assert_all_is_well()


def test_stripe_falls_silent_while_an_event_is_applied(sandbox, user):
    plan = buy(user, 2000, "subscription")
    sandbox.pay(plan.stripe_session_id)
    sandbox.add_fault(method="GET", path="/v1/subscriptions/", kind="error", status=503, times=9)
    with pytest.raises(StripeUnavailable):
        run()
    sandbox.clear_faults()
    assert run().differences == []
    assert Subscription.objects.get().status == "active"


@pytest.mark.django_db(transaction=True)
def test_two_at_once_are_one(sandbox, user, at_once):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        (refused,) = at_once(1, lambda index: run())
        assert isinstance(refused, AlreadyRunning)
        (refused,) = at_once(1, lambda index: call_command("reconcile_stripe"))
        assert "Another reconciliation is running" in str(refused)
        assert Reconciliation.objects.count() == 0
        cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    assert run().differences == []


@pytest.mark.django_db(transaction=True)
def test_beside_deliveries_it_grants_once(client, sandbox, user, at_once):
    for _ in range(5):
        sandbox.pay(buy(user).stripe_session_id)
    told = sandbox.events("checkout.session.completed")

    def one(index: int) -> object:
        return run() if index == 0 else post(Client(), told[index - 1]).status_code

    answers = at_once(6, one)
    assert answers[1:] == [200] * 5
    assert answers[0].differences == []
    assert ledger.balance_of(user) == 5 * 1234


def test_the_command_says_what_it_found(sandbox, user):
    sandbox.pay(buy(user).stripe_session_id)
    told = io.StringIO()
    call_command("reconcile_stripe", "--since", "36h", stdout=told)
    lines = told.getvalue().splitlines()
    assert lines[2].split() == ["read", "mended"]
    assert lines[3].split() == ["Events", "1", "1"]
    assert lines[4].split() == ["Payment", "pages", "1", "0"]
    assert lines[-2:] == [
        "Paid at Stripe $11.72, booked here $11.72, before tax.",
        "Money and credits agree.",
    ]
    age = timezone.now() - Reconciliation.objects.get().since
    assert timedelta(hours=36) < age < timedelta(hours=36, minutes=1)


def test_the_command_fails_while_something_differs(sandbox, user):
    purchase = buy(user)
    sandbox.pay(purchase.stripe_session_id)
    Purchase.objects.update(total=1171)
    told = io.StringIO()
    with pytest.raises(CommandError, match="1 differences are left") as failed:
        call_command("reconcile_stripe", stdout=told)
    assert failed.value.returncode == 1
    assert (
        f"Event in quarantine: {purchase.stripe_session_id} It sold for 1172 usd, the purchase for"
        " 1171 usd."
    ) in told.getvalue().splitlines()


@pytest.mark.parametrize("text", ["30", "d", "0d", "1.5h", "30 d", "30m", "1e3h", "99999d"])
def test_a_period_that_is_none_is_refused(text):
    with pytest.raises(CommandError, match="must look like 36h or 30d"):
        call_command("reconcile_stripe", "--since", text)
    assert Reconciliation.objects.count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_only(sandbox, user, has_terminal):
    sandbox.pay(buy(user).stripe_session_id)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    os.set_blocking(ours, False)
    done = subprocess.run(
        [sys.executable, "manage.py", "reconcile_stripe", "--since", "2d"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url(), "STRIPE_API_BASE": sandbox.base_url},
        stdout=subprocess.PIPE,
        stderr=theirs if has_terminal else subprocess.PIPE,
        check=True,
        text=True,
        timeout=60,
    )
    drawn = os.read(ours, 100_000).decode() if has_terminal else done.stderr
    os.close(theirs)
    os.close(ours)
    assert ("0%|" in drawn) == has_terminal
    assert done.stdout.endswith("Money and credits agree.\n")
    assert ledger.balance_of(user) == 1234
