"""Changing, cancelling and resuming a monthly plan, over the stand-in."""

import json
import uuid

import pytest
from django.test import Client

from billing import checkout, plans, stripe_api
from billing.models import Event, Mail, PlanChange, PriceTier, Purchase, Subscription
from billing.stripe_api import StripeRefused, StripeUnavailable
from credits import ledger
from credits.models import Entry, Lot
from tests import stripe_events

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def report(client, sandbox):
    """Deliver what has happened at Stripe since the last time."""
    told: set[str] = set()

    def deliver() -> None:
        for event in sandbox.events():
            if event["id"] not in told:
                told.add(event["id"])
                event.pop("delivery")
                assert stripe_events.post(client, event).status_code == 200
        assert not Event.objects.filter(status="quarantined").exists()

    return deliver


@pytest.fixture
def plan(user, sandbox, report) -> Subscription:
    """500 credits for $4.75 a month, paid for the first month."""
    checkout.start_checkout(user, 500, "subscription")
    sandbox.pay(Purchase.objects.get().stripe_session_id)
    report()
    return Subscription.objects.get()


def total(credits: int) -> int:
    return plans.quote(credits).total


def change(user, credits: int) -> PlanChange:
    return plans.change_plan(user, credits, expected_total=total(credits))


def grants() -> list[tuple[str, int, int]]:
    entries = Entry.objects.in_bulk()
    lots = Lot.objects.order_by("id")
    return [(entries[lot.entry_id].kind, lot.amount, lot.paid) for lot in lots]


def updates(sandbox) -> int:
    """How often a subscription's amount was changed at Stripe."""
    events = sandbox.events("customer.subscription.updated")
    return len([one for one in events if "metadata" in one["data"]["previous_attributes"]])


def terms(subscription: Subscription) -> tuple[int, int]:
    subscription.refresh_from_db()
    return subscription.credits, subscription.total


def test_another_amount_counts_from_the_next_renewal_on(user, plan, sandbox, report):
    agreed = change(user, 2000)
    (found,) = sandbox.objects("subscription")
    (item,) = found["items"]["data"]
    assert (item["price"]["product"], item["price"]["unit_amount"]) == (
        agreed.stripe_product_id, 1800,
    )  # fmt: skip
    assert found["metadata"]["credits"] == "2000"
    assert agreed.applied_at is not None
    assert agreed.starts_at == plan.current_period_end
    # On record at once, without waiting for the webhook; and nothing was charged or granted.
    assert terms(plan) == (2000, 1800)
    assert plans.present_terms(plan) == Purchase.objects.get()
    assert ledger.balance_of(user) == 500
    assert len(sandbox.objects("invoice")) == 1

    sandbox.advance(plan.stripe_id)
    report()
    assert grants() == [("purchase", 500, 475), ("renewal", 2000, 1800)]
    assert plans.present_terms(Subscription.objects.get()) == Subscription.objects.get()
    mail = Mail.objects.get(kind="renewal")
    assert mail.context == {"credits": 2000, "total": 1800}
    assert mail.key == Entry.objects.get(kind="renewal").key
    sandbox.advance(plan.stripe_id)
    report()
    assert ledger.balance_of(user) == 4500


def test_a_later_change_before_the_renewal_replaces_the_earlier(user, plan, sandbox, report):
    for credits in (2000, 700, 10, 100_000, 600):
        change(user, credits)
    assert terms(plan) == (600, 570)
    assert plans.present_terms(plan) == Purchase.objects.get()
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[1:] == [("renewal", 600, 570)]
    # The next one replaces nothing of what is paid for.
    change(user, 500)
    subscription = Subscription.objects.get()
    assert plans.present_terms(subscription).credits == 600
    assert subscription.credits == 500


def test_the_first_amount_can_be_chosen_again(user, plan, sandbox, report):
    change(user, 2000)
    change(user, 500)
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[1:] == [("renewal", 500, 475)]


def test_the_same_wish_again_is_the_same_change(user, plan, sandbox):
    first = change(user, 2000)
    assert change(user, 2000) == first
    assert updates(sandbox) == 1
    assert PlanChange.objects.count() == 1


def test_the_price_is_fixed_with_the_change(user, plan, sandbox, report):
    change(user, 2000)
    PriceTier.objects.filter(min_credits=2000).update(unit_price_e4=85)
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[1:] == [("renewal", 2000, 1800)]
    # Today's price for the same amount is another change.
    change(user, 2000)
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[2:] == [("renewal", 2000, 1700)]


@pytest.mark.parametrize("expected", [None, 0, 1799, 475])
def test_another_price_than_the_one_seen_is_refused(user, plan, sandbox, expected):
    with pytest.raises(checkout.PriceChanged):
        plans.change_plan(user, 2000, expected_total=expected)
    assert_unchanged(plan, sandbox)


def assert_unchanged(plan: Subscription, sandbox) -> None:
    assert terms(plan) == (500, 475)
    assert updates(sandbox) == 0
    assert not PlanChange.objects.exists()


def test_the_same_amount_is_refused(user, plan, sandbox):
    with pytest.raises(plans.SameAmount):
        change(user, 500)
    assert_unchanged(plan, sandbox)


def test_without_a_plan_there_is_nothing_to_do(user, other_user, plan, sandbox):
    for verb in (plans.cancel_plan, plans.resume_plan, lambda user: change(user, 2000)):
        with pytest.raises(plans.NoPlan):
            verb(other_user)
    assert_unchanged(plan, sandbox)
    assert not plan.cancel_at_period_end


def test_a_plan_that_ends_is_resumed_first(user, plan, sandbox):
    plans.cancel_plan(user)
    with pytest.raises(plans.PlanEnds):
        change(user, 2000)
    assert_unchanged(plan, sandbox)
    plans.resume_plan(user)
    change(user, 2000)
    assert terms(plan) == (2000, 1800)


def test_what_is_due_is_paid_first(user, plan, sandbox):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    # Nothing has been reported yet: it is asked.
    with pytest.raises(plans.PlanUnpaid):
        change(user, 2000)
    assert_unchanged(plan, sandbox)
    assert plan.status == "past_due"


def test_a_plan_that_has_ended_at_stripe_is_known_to_have(user, plan, sandbox):
    stripe_api.client().v1.subscriptions.cancel(plan.stripe_id)
    with pytest.raises(plans.NoPlan):
        change(user, 2000)
    assert_unchanged(plan, sandbox)
    assert plan.status == "canceled"


# --- Lost replies and outages -----------------------------------------------------------------


PATHS = [
    ("GET", "/v1/subscriptions/"),
    ("POST", "/v1/products"),
    ("POST", "/v1/subscriptions/"),
]


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize("kind", ["lose_reply", "reset", "error"])
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_what_a_lost_reply_did_is_not_done_again(
    user, plan, sandbox, report, method, path, kind, times
):
    fault = {"status": 500} if kind == "error" else {}
    sandbox.add_fault(method=method, path=path, kind=kind, times=times, **fault)
    if times == 1:
        change(user, 2000)
    else:
        with pytest.raises(StripeUnavailable):
            change(user, 2000)
        sandbox.clear_faults()
        change(user, 2000)
    assert updates(sandbox) == 1
    assert len(sandbox.objects("product")) == 2  # the order's and the change's
    assert PlanChange.objects.count() == 1
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[1:] == [("renewal", 2000, 1800)]


def test_after_a_lost_reply_the_webhook_tells(user, plan, sandbox, report):
    sandbox.add_fault(method="POST", path="/v1/subscriptions/", kind="lose_reply", times=9)
    with pytest.raises(StripeUnavailable):
        change(user, 2000)
    assert terms(plan) == (500, 475)
    sandbox.clear_faults()
    report()
    assert terms(plan) == (2000, 1800)
    assert PlanChange.objects.get().applied_at is not None
    assert plans.present_terms(plan) == Purchase.objects.get()
    change(user, 2000)
    assert updates(sandbox) == 1


def test_after_a_lost_reply_the_old_amount_can_be_kept(user, plan, sandbox, report):
    sandbox.add_fault(method="POST", path="/v1/subscriptions/", kind="lose_reply", times=9)
    with pytest.raises(StripeUnavailable):
        change(user, 2000)
    sandbox.clear_faults()
    change(user, 500)
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[1:] == [("renewal", 500, 475)]


def test_a_change_whose_reply_was_lost_before_a_renewal_is_known_after_it(
    user, plan, sandbox, report
):
    sandbox.add_fault(method="POST", path="/v1/subscriptions/", kind="lose_reply", times=9)
    with pytest.raises(StripeUnavailable):
        change(user, 2000)
    sandbox.clear_faults()
    sandbox.advance(plan.stripe_id)
    before = plan.current_period_end
    with pytest.raises(plans.SameAmount):
        change(user, 2000)
    plan.refresh_from_db()
    assert plan.current_period_end > before
    assert PlanChange.objects.get().starts_at == before
    assert plans.present_terms(plan) == plan
    assert updates(sandbox) == 1
    report()
    assert grants()[1:] == [("renewal", 2000, 1800)]


def test_stripe_down(user, plan, sandbox, dead_stripe):
    for verb in (plans.cancel_plan, plans.resume_plan, lambda user: change(user, 2000)):
        with pytest.raises(StripeUnavailable):
            verb(user)
    assert terms(plan) == (500, 475)
    assert not plan.cancel_at_period_end
    assert not PlanChange.objects.exists()


@pytest.mark.parametrize("path", ["/v1/products", "/v1/subscriptions/"])
def test_refused(user, plan, sandbox, path):
    sandbox.add_fault(method="POST", path=path, kind="error", status=402, times=1)
    with pytest.raises(StripeRefused):
        change(user, 2000)
    assert updates(sandbox) == 0
    assert terms(plan) == (500, 475)


# --- At the same moment -----------------------------------------------------------------------


def test_the_same_change_from_many_threads_is_one(user, plan, sandbox, at_once):
    answers = at_once(6, lambda index: change(user, 2000))
    assert {type(answer) for answer in answers} <= {PlanChange, StripeUnavailable}
    assert PlanChange.objects.count() == 1
    assert updates(sandbox) == 1
    assert terms(plan) == (2000, 1800)


@pytest.mark.parametrize("round", range(3))
def test_different_changes_at_once_end_as_stripe_has_it(
    user, plan, sandbox, report, at_once, round
):
    amounts = [600, 700, 2000, 5000]
    answers = at_once(4, lambda index: change(user, amounts[index]))
    assert {type(answer) for answer in answers} == {PlanChange}
    (found,) = sandbox.objects("subscription")
    (item,) = found["items"]["data"]
    agreed = PlanChange.objects.get(pk=PlanChange.id_of(item["price"]["product"]))
    assert terms(plan) == (agreed.credits, agreed.total)
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[1:] == [("renewal", agreed.credits, agreed.total)]


def test_a_change_while_the_renewal_is_drafted_leaves_it_what_it_sells(
    client, user, plan, sandbox, report
):
    """Stripe drafts the invoice, then the change comes; its metadata is of when it is final."""
    sandbox.advance(plan.stripe_id)
    invoice = sandbox.events("invoice.paid")[-1]
    agreed = change(user, 2000)
    details = invoice["data"]["object"]["parent"]["subscription_details"]
    details["metadata"] |= {"credits": "2000", "change_id": str(agreed.pk)}
    invoice.pop("delivery")
    assert stripe_events.post(client, invoice).json() == {"status": "done"}
    assert grants()[1:] == [("renewal", 500, 475)]
    # From when Stripe says, not from when we thought.
    plan.refresh_from_db()
    assert agreed.starts_at == plan.current_period_end
    assert plans.present_terms(plan) == Purchase.objects.get()
    sandbox.advance(plan.stripe_id)
    report()
    assert grants()[2:] == [("renewal", 2000, 1800)]


def test_a_renewal_while_the_plan_changes(user, plan, sandbox, report, at_once):
    def act(index: int) -> object:
        return change(user, 2000) if index else sandbox.advance(plan.stripe_id)

    at_once(2, act)
    report()
    sold = sandbox.objects("invoice")[0]["total"]
    assert grants()[1:] == [("renewal", {475: 500, 1800: 2000}[sold], sold)]


# --- Cancel and resume ------------------------------------------------------------------------


def test_cancel_and_resume_are_on_record_at_once(user, plan, sandbox, report):
    plans.cancel_plan(user)
    plan.refresh_from_db()
    assert plan.cancel_at_period_end
    plans.cancel_plan(user)
    plans.resume_plan(user)
    plans.resume_plan(user)
    plan.refresh_from_db()
    assert not plan.cancel_at_period_end
    assert len(sandbox.events("customer.subscription.updated")) == 2
    plans.cancel_plan(user)
    sandbox.advance(plan.stripe_id)
    report()
    plan.refresh_from_db()
    assert plan.status == "canceled"
    assert ledger.balance_of(user) == 500


@pytest.mark.parametrize("is_by_date", [True, False])
def test_what_the_portal_resumed_is_cancelled(user, plan, sandbox, report, is_by_date):
    plans.cancel_plan(user)
    stripe_api.client().v1.subscriptions.update(plan.stripe_id, {"cancel_at_period_end": False})
    if is_by_date:
        end = int(plan.current_period_end.timestamp())
        stripe_api.client().v1.subscriptions.update(plan.stripe_id, {"cancel_at": end})
    plans.cancel_plan(user)  # before the webhook has told
    plan.refresh_from_db()
    assert plan.cancel_at_period_end
    sandbox.advance(plan.stripe_id)
    report()
    plan.refresh_from_db()
    assert plan.status == "canceled"
    assert ledger.balance_of(user) == 500


def test_what_the_portal_cancelled_is_resumed(user, plan, sandbox, report):
    end = int(plan.current_period_end.timestamp())
    stripe_api.client().v1.subscriptions.update(plan.stripe_id, {"cancel_at": end})
    plans.resume_plan(user)  # before the webhook has told
    plan.refresh_from_db()
    assert not plan.cancel_at_period_end
    assert sandbox.objects("subscription")[0]["cancel_at"] is None
    report()
    sandbox.advance(plan.stripe_id)
    report()
    assert ledger.balance_of(user) == 1000


@pytest.mark.parametrize("verb", [plans.cancel_plan, plans.resume_plan])
def test_a_lost_reply_to_cancel_or_resume_is_made_good(user, plan, sandbox, verb):
    if verb is plans.resume_plan:
        plans.cancel_plan(user)
    so_far = len(sandbox.events("customer.subscription.updated"))
    sandbox.add_fault(method="POST", path="/v1/subscriptions/", kind="lose_reply", times=1)
    verb(user)
    plan.refresh_from_db()
    assert plan.cancel_at_period_end is (verb is plans.cancel_plan)
    assert len(sandbox.events("customer.subscription.updated")) == so_far + 1


def test_ended_at_stripe_meanwhile(user, plan, sandbox):
    stripe_api.client().v1.subscriptions.cancel(plan.stripe_id)
    with pytest.raises(StripeRefused):
        plans.cancel_plan(user)
    plan.refresh_from_db()
    assert plan.status == "canceled"


# --- Two orders at once -----------------------------------------------------------------------


@pytest.mark.parametrize("round", range(4))
def test_orders_at_the_same_moment_leave_one_page_open(user, sandbox, at_once, round):
    def order(index: int) -> tuple[int, str]:
        client = Client()
        client.force_login(user)
        body = {"credits": 500 + index, "mode": "subscription", "request_id": str(uuid.uuid4())}
        response = client.post(
            "/api/billing/dynamic-checkout", json.dumps(body), content_type="application/json"
        )
        return response.status_code, response.json().get("code") or response.json()["url"]

    answers = at_once(4, order)
    open_pages = [one for one in sandbox.objects("checkout.session") if one["status"] == "open"]
    assert len(open_pages) == 1
    assert (200, open_pages[0]["url"]) in answers
    assert {status for status, _ in answers} <= {200, 409}
    assert {code for status, code in answers if status == 409} <= {"order_replaced"}
    pending = Purchase.objects.get(status="pending")
    assert pending.stripe_session_url == open_pages[0]["url"]
