"""The months of a plan: paid, failed, recovered, and sold by another amount than the first."""

import re
import uuid

import pytest
from django.test import Client
from django.utils import timezone

from billing import checkout, plans
from billing.models import Event, Mail, PlanChange, PriceTier, Purchase, Subscription
from billing.stripe_objects import product_sold
from credits import ledger
from credits.models import Entry, Lot
from tests import stripe_events
from tests.stripe_events import event, invoice_of, post

pytestmark = pytest.mark.django_db


def text(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.fixture
def report(client, sandbox):
    """Deliver what has happened at Stripe since the last time."""
    told: set[str] = set()

    def deliver() -> None:
        for found in sandbox.events():
            if found["id"] not in told:
                told.add(found["id"])
                found.pop("delivery")
                assert post(client, found).status_code == 200
        assert not Event.objects.filter(status="quarantined").exists()

    return deliver


@pytest.fixture
def plan(user, sandbox, report) -> Subscription:
    checkout.start_checkout(user, 500, "subscription")
    sandbox.pay(Purchase.objects.get().stripe_session_id)
    report()
    return Subscription.objects.get()


def failures() -> list[tuple[str, dict]]:
    found = Mail.objects.filter(kind="payment_failed").order_by("id")
    return [(mail.key, mail.context) for mail in found]


def test_a_failed_renewal_is_told_and_recovers_by_itself(user, plan, sandbox, report):
    client = Client()
    client.force_login(user)
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    report()
    plan.refresh_from_db()
    (invoice,) = [one for one in sandbox.objects("invoice") if one["status"] == "open"]
    assert plan.status == "past_due"
    assert ledger.balance_of(user) == 500
    assert failures() == [(f"invoice:{invoice['id']}:1", {"credits": 500, "total": 475})]
    assert "Your last monthly payment failed." in text(client.get("/dashboard"))

    sandbox.retry(plan.stripe_id)
    report()
    assert [key for key, _ in failures()] == [f"invoice:{invoice['id']}:{n}" for n in (1, 2)]
    assert ledger.balance_of(user) == 500

    sandbox.fix_card(plan.stripe_id)
    sandbox.retry(plan.stripe_id)
    report()
    plan.refresh_from_db()
    assert plan.status == "active"
    assert ledger.balance_of(user) == 1000
    assert len(failures()) == 2
    assert "Your last monthly payment failed." not in text(client.get("/dashboard"))


def test_a_failure_of_a_changed_amount_tells_that_amount(user, plan, sandbox, report):
    plans.change_plan(user, 2000, expected_total=1800)
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    report()
    assert [context for _, context in failures()] == [{"credits": 2000, "total": 1800}]


def test_a_failure_that_is_told_after_the_recovery_tells_nobody(client, plan, sandbox):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    sandbox.fix_card(plan.stripe_id)
    sandbox.retry(plan.stripe_id)
    failed = sandbox.events("invoice.payment_failed")
    assert len(failed) == 1
    for one in failed:
        one.pop("delivery")
        assert post(client, one).json() == {"status": "done"}
    plan.refresh_from_db()
    assert plan.status == "active"
    assert failures() == []
    assert ledger.balance_of(plan.user) == 500  # only what is paid grants, when that is told


def test_late_events_of_several_tries_tell_once(client, plan, sandbox):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    sandbox.retry(plan.stripe_id)
    failed = sandbox.events("invoice.payment_failed")
    assert len(failed) == 2
    for one in failed:
        one.pop("delivery")
        post(client, one)
    assert [key.rpartition(":")[2] for key, _ in failures()] == ["2"]


@pytest.mark.parametrize(("outcome", "shown"), [("canceled", "Ended"), ("unpaid", "failed")])
def test_when_stripe_gives_up_the_plan_is_what_stripe_says(
    user, plan, sandbox, report, outcome, shown
):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    sandbox.give_up(plan.stripe_id, outcome)
    report()
    plan.refresh_from_db()
    assert plan.status == outcome
    assert shown in plan.status_label
    assert ledger.balance_of(user) == 500

    # Paid on the invoice's page after all, it brings what it sold.
    (invoice,) = [one for one in sandbox.objects("invoice") if one["status"] == "open"]
    sandbox.pay_invoice(invoice["id"])
    report()
    assert ledger.balance_of(user) == 1000


def test_the_first_payment_s_failure_is_no_mail(client, user, plan, sandbox):
    """It fails on the payment page, before the buyer's eyes."""
    invoice = sandbox.objects("invoice")[0]
    assert invoice["billing_reason"] == "subscription_create"
    assert post(client, event("invoice.payment_failed", invoice)).json() == {"status": "done"}
    assert failures() == []


def test_somebody_else_s_failed_invoice_is_left_alone(client, sandbox):
    invoice = {"id": "in_1", "object": "invoice", "billing_reason": "subscription_cycle"}
    for found in (
        invoice,
        invoice | {"parent": {"subscription_details": {"subscription": "sub_1", "metadata": {}}}},
        invoice | {"subscription": "sub_1", "subscription_details": {"metadata": {"a": "b"}}},
    ):
        assert post(client, event("invoice.payment_failed", found)).json() == {"status": "ignored"}
    assert sandbox.requests() == []
    assert not Subscription.objects.exists()


def test_while_stripe_is_down_a_failure_waits_for_the_next_delivery(
    client, plan, sandbox, settings
):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    (failed,) = sandbox.events("invoice.payment_failed")
    failed.pop("delivery")
    sandbox.add_fault(method="GET", path="/v1/invoices", kind="error", status=503, times=9)
    assert post(client, failed).status_code == 500
    assert failures() == []
    sandbox.clear_faults()
    assert post(client, failed).json() == {"status": "done"}
    assert len(failures()) == 1


# --- What an invoice sold ---------------------------------------------------------------------


def order(user, credits: int = 1234, total: int = 1172) -> Purchase:
    return Purchase.objects.create(
        user=user, mode="subscription", credits=credits, unit_price_e4=95, total=total,
        currency="usd", stripe_session_id=f"cs_test_{uuid.uuid4().hex}",
    )  # fmt: skip


def changed(purchase: Purchase, credits: int = 2000, total: int = 1800) -> PlanChange:
    subscription, _ = Subscription.objects.get_or_create(
        stripe_id=f"sub_{purchase.pk.hex}",
        defaults={
            "user": purchase.user, "status": "active", "credits": credits, "total": total,
            "currency": "usd", "fetched_at": timezone.now(),
        },
    )  # fmt: skip
    return PlanChange.objects.create(
        subscription=subscription, credits=credits, unit_price_e4=90, total=total, currency="usd",
        applied_at=timezone.now(),
    )  # fmt: skip


def line(product: str, style: str = "pricing") -> dict:
    if style == "pricing":
        return {"pricing": {"type": "price_details", "price_details": {"product": product}}}
    return {style: {"id": "x", "product": product}}


def renewal(purchase: Purchase, product: str, *, style: str = "pricing", **fields) -> dict:
    metadata = fields.pop("metadata", {})
    invoice = invoice_of(purchase, id=f"in_{uuid.uuid4().hex}", reason="subscription_cycle")
    invoice |= {"lines": {"data": [line(product, style)]}, **fields}
    invoice["parent"]["subscription_details"]["metadata"] |= metadata
    if style != "pricing":
        details = invoice.pop("parent")["subscription_details"]
        invoice |= {
            "subscription": details["subscription"],
            "subscription_details": {"metadata": details["metadata"]},
        }
    return invoice


@pytest.mark.parametrize("style", ["pricing", "price", "plan"])
def test_an_invoice_sells_what_its_product_was_agreed_for(client, user, style):
    purchase = order(user)
    change = changed(purchase)
    for told in ("1234", "2000"):  # its metadata may be of before the change, or of after it
        new = renewal(
            purchase,
            change.stripe_product_id,
            style=style,
            subtotal=1800,
            metadata={"credits": told},
        )
        old = renewal(purchase, "prod_of_the_order", style=style, metadata={"credits": told})
        for invoice in (new, old):
            assert post(client, event("invoice.paid", invoice)).json() == {"status": "done"}
    assert [(lot.amount, lot.paid) for lot in Lot.objects.order_by("id")] == [
        (2000, 1800), (1234, 1172),
    ] * 2  # fmt: skip
    assert Mail.objects.filter(kind="renewal").count() == 4


@pytest.mark.parametrize(
    "tamper",
    [
        {"subtotal": 1172},
        {"subtotal": 1799},
        {"subtotal": 1801},
        {"currency": "eur"},
        {"metadata": {"credits": "2001"}},
        {"metadata": {"credits": "100000"}},
        {"metadata": {"user_id": "999999"}},
        {"amount_paid": 0},
    ],
)
def test_a_month_that_is_not_as_agreed_is_quarantined(client, user, tamper):
    purchase = order(user)
    change = changed(purchase)
    invoice = renewal(purchase, change.stripe_product_id, **{"subtotal": 1800} | tamper)
    assert post(client, event("invoice.paid", invoice)).json() == {"status": "quarantined"}
    assert not Entry.objects.exists()


def test_a_change_of_another_plan_sells_nothing_here(client, user, other_user):
    change = changed(order(other_user))
    invoice = renewal(order(user), change.stripe_product_id, subtotal=1800)
    assert post(client, event("invoice.paid", invoice)).json() == {"status": "quarantined"}
    assert "never agreed" in Event.objects.get().error
    assert not Entry.objects.exists()


@pytest.mark.parametrize(
    ("lines", "sold"),
    [
        (None, None),
        ({}, None),
        ({"data": []}, None),
        ({"data": [line("a")]}, "a"),
        ({"data": [line("a", "price")]}, "a"),
        ({"data": [line("a", "plan")]}, "a"),
        ({"data": [{"price": {"product": {"id": "a", "object": "product"}}}]}, "a"),
        ({"data": [line("p", "price") | {"proration": True}, line("a")]}, "a"),
        (
            {"data": [
                line("p") | {"parent": {"subscription_item_details": {"proration": True}}},
                line("a"),
            ]},
            "a",
        ),
        ({"data": [{"pricing": None, "price": None, "plan": None}]}, None),
    ],
)  # fmt: skip
def test_the_product_that_an_invoice_sells(lines, sold):
    assert product_sold({"lines": lines}) == sold


@pytest.mark.parametrize(
    "product",
    [None, "", "prod_1", "credits_", "credits_500", "credits_" + "g" * 32, "credits_" + "A" * 32,
     "x_" + "a" * 32, "credits_" + "a" * 33, "credits_" + "a" * 32 + "\n"],
)  # fmt: skip
def test_other_products_are_no_change_of_ours(product):
    assert PlanChange.id_of(product) is None


def test_a_change_is_known_by_its_product():
    change = PlanChange(credits=500)
    assert PlanChange.id_of(change.stripe_product_id) == change.pk


# --- After a restored backup ------------------------------------------------------------------


def forget_changes() -> None:
    PlanChange.objects.all().delete()


def test_a_change_that_is_not_known_here_any_more_is_taken(user, plan, sandbox, report):
    change = plans.change_plan(user, 2000, expected_total=1800)
    forget_changes()
    Subscription.objects.all().delete()
    sandbox.advance(plan.stripe_id)
    report()
    assert ledger.balance_of(user) == 2500
    assert Lot.objects.order_by("id").last().paid == 1800
    adopted = PlanChange.objects.get()
    assert (adopted.pk, adopted.credits, adopted.total) == (change.pk, 2000, 1800)
    subscription = Subscription.objects.get()
    assert (subscription.credits, subscription.total) == (2000, 1800)
    assert plans.present_terms(subscription) == subscription


def test_a_change_below_our_price_is_not_taken(client, user, plan, sandbox):
    plans.change_plan(user, 2000, expected_total=1800)
    forget_changes()
    sandbox.advance(plan.stripe_id)
    paid = sandbox.events("invoice.paid")[-1]
    paid.pop("delivery")
    PriceTier.objects.all().update(unit_price_e4=100)
    assert post(client, paid).json() == {"status": "quarantined"}
    assert not PlanChange.objects.exists()
    assert ledger.balance_of(user) == 500


def test_a_change_is_asked_for_only_where_it_is_not_known(user, plan, sandbox, client):
    plans.change_plan(user, 2000, expected_total=1800)
    sandbox.advance(plan.stripe_id)
    paid = sandbox.events("invoice.paid")[-1]
    paid.pop("delivery")
    so_far = len(sandbox.requests())
    assert stripe_events.post(client, paid).json() == {"status": "done"}
    assert len(sandbox.requests()) == so_far


# --- By bank debit ----------------------------------------------------------------------------


def test_a_plan_by_bank_debit_is_one_plan_while_it_is_under_way(user, sandbox, report):
    checkout.start_checkout(user, 500, "subscription")
    purchase = Purchase.objects.get()
    purchase.status = "settling"
    purchase.save()
    with pytest.raises(checkout.AlreadySubscribed):
        checkout.start_checkout(user, 600, "subscription")
    assert checkout.start_checkout(user, 600, "payment")
    purchase.status = "failed"
    purchase.save()
    assert checkout.start_checkout(user, 600, "subscription")


def test_a_bank_debit_over_the_stand_in(user, sandbox, report):
    for outcome, status, balance in (("settle", "paid", 500), ("bounce", "failed", 500)):
        checkout.start_checkout(user, 500, "payment")
        purchase = Purchase.objects.get(status="pending")
        sandbox.pay_by_bank(purchase.stripe_session_id)
        report()
        purchase.refresh_from_db()
        assert purchase.status == "settling"
        getattr(sandbox, outcome)(purchase.stripe_session_id)
        report()
        purchase.refresh_from_db()
        assert purchase.status == status
        assert ledger.balance_of(user) == balance
