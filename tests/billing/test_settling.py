"""Events that can't be applied, closed by staff with a reason; and the page where they stand."""

import threading
import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from billing import fulfilment, webhooks
from billing.models import Event, Purchase, Reconciliation, StripeCustomer
from credits import ledger
from tests.billing.test_fulfilment import COMPLETED, assert_nothing_granted, order
from tests.stripe_events import event, invoice_of, post, session_of

pytestmark = pytest.mark.django_db
PAGE = "/admin/billing/reconciliation/"


@pytest.fixture
def admin_client(client, staff):
    client.force_login(staff)
    return client


@pytest.fixture
def quarantined(client, user) -> Event:
    post(client, event(COMPLETED, session_of(order(user), amount_subtotal=1)))
    return Event.objects.get()


@pytest.fixture
def failed(client, user, monkeypatch) -> Event:
    def fall(*args):
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(fulfilment, "_grant", fall)
        post(client, event(COMPLETED, session_of(order(user))))
    return Event.objects.get()


def address(stored: Event, verb: str) -> str:
    return reverse(f"admin:billing_event_{verb}", args=[stored.pk])


def settle(client, stored: Event, reason: str = "Returned at Stripe"):
    return client.post(address(stored, "settle"), {"reason": reason}, follow=True)


@pytest.mark.parametrize("which", ["quarantined", "failed"])
def test_settled_with_a_reason_and_by_whom(admin_client, staff, request, which):
    stored = request.getfixturevalue(which)
    assert b"How it was settled:" in admin_client.get(address(stored, "change")).content
    page = settle(admin_client, stored).content.decode()
    stored.refresh_from_db()
    assert (stored.status, stored.settled_by, stored.settled_reason) == (
        "settled", staff, "Returned at Stripe",
    )  # fmt: skip
    assert stored.error  # why it couldn't be applied is still told
    assert "Returned at Stripe" in page
    assert staff.email in page
    assert address(stored, "settle") not in page
    log = LogEntry.objects.get()
    assert (log.user, log.change_message, log.object_id) == (
        staff, "Settled: Returned at Stripe", str(stored.pk),
    )  # fmt: skip
    assert_nothing_granted()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_without_a_reason_nothing_is_settled(admin_client, quarantined, reason):
    assert b"Nothing was changed" in settle(admin_client, quarantined, reason).content
    quarantined.refresh_from_db()
    assert (quarantined.status, quarantined.settled_by) == ("quarantined", None)
    assert LogEntry.objects.count() == 0
    assert Purchase.objects.get().status == "review"


def test_settling_takes_a_post_and_the_permission(client, admin_client, quarantined):
    assert admin_client.get(address(quarantined, "settle")).status_code == 403
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    names = ["view_event", "replay_event", "view_reconciliation"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(helper)
    page = client.get(address(quarantined, "change")).content.decode()
    assert address(quarantined, "settle") not in page
    assert settle(client, quarantined).status_code == 403
    quarantined.refresh_from_db()
    assert quarantined.status == "quarantined"


def test_what_is_done_can_not_be_settled(admin_client, user):
    post(admin_client, event(COMPLETED, session_of(order(user))))
    assert (
        b"neither failed nor is in quarantine" in settle(admin_client, Event.objects.get()).content
    )
    assert Event.objects.get().status == "done"
    assert LogEntry.objects.count() == 0


def test_what_is_settled_is_never_applied(admin_client, user, quarantined):
    settle(admin_client, quarantined)
    Purchase.objects.update(total=1)  # the cause is gone
    assert b"Replay" not in admin_client.get(address(quarantined, "change")).content
    page = admin_client.post(address(quarantined, "replay"), follow=True)
    assert b"was settled by staff: nothing was done" in page.content
    webhooks.process(quarantined, replay=True)
    payload = {
        "id": quarantined.stripe_id,
        "type": COMPLETED,
        "data": {"object": quarantined.object},
    }
    assert post(admin_client, payload).json() == {"status": "settled"}
    assert webhooks.supply(COMPLETED, quarantined.object) is None
    assert LogEntry.objects.count() == 1
    assert_nothing_granted()


def test_a_delivery_that_fails_meanwhile_does_not_open_it_again(
    client, user, staff, failed, monkeypatch
):
    def settled_meanwhile(*args):
        # As another process would between our look and our end.
        Event.objects.update(status="settled", settled_reason="Returned", settled_by=staff)
        raise RuntimeError("the disk is full")

    # Outside the transaction, whose end would undo it.
    monkeypatch.setitem(
        webhooks.HANDLERS, COMPLETED, webhooks.Handler(apply=print, fetch=settled_meanwhile)
    )
    with pytest.raises(RuntimeError):
        webhooks.process(failed)
    failed.refresh_from_db()
    assert (failed.status, failed.settled_reason) == ("settled", "Returned")


def test_its_buyer_is_told(client, user, staff, quarantined):
    client.force_login(user)
    purchase = Purchase.objects.get()
    page = f"/credits/success?purchase={purchase.pk}"
    assert b"We are checking your payment" in client.get(page).content
    webhooks.settle(quarantined, staff=staff, reason="Returned at Stripe")
    text = client.get(page).content.decode()
    assert "We have checked your payment" in text
    assert "Nothing was charged" not in text
    assert "Returned at Stripe" not in text  # that is for staff
    assert "checking it by hand" not in client.get("/dashboard").content.decode()


def test_a_plan_is_checked_until_both_of_its_events_are_settled(client, user, staff):
    purchase = order(user, "subscription")
    post(client, event(COMPLETED, session_of(purchase, amount_subtotal=1)))
    post(client, event("invoice.paid", invoice_of(purchase, subtotal=1)))
    for number, stored in enumerate(Event.objects.filter(status="quarantined")):
        purchase.refresh_from_db()
        assert purchase.status == "review", number
        webhooks.settle(stored, staff=staff, reason="Returned")
    purchase.refresh_from_db()
    assert purchase.status == "settled"


@pytest.mark.django_db(transaction=True)
def test_both_events_of_a_plan_settled_at_once_settle_it(client, user, staff, at_once, monkeypatch):
    post(client, event(COMPLETED, session_of(order(user, "subscription"), amount_subtotal=1)))
    post(client, event("invoice.paid", invoice_of(Purchase.objects.get(), subtotal=1)))
    both = list(Event.objects.filter(status="quarantined"))
    purchase_id, meet = webhooks._purchase_id, threading.Barrier(2)

    def purchase_id_of(stored: Event) -> uuid.UUID | None:
        if stored.status == "settled":
            meet.wait(timeout=30)
        return purchase_id(stored)

    monkeypatch.setattr(webhooks, "_purchase_id", purchase_id_of)
    settled = at_once(2, lambda index: webhooks.settle(both[index], staff=staff, reason="Returned"))
    assert settled == [None, None]
    assert Purchase.objects.get().status == "settled"


def test_a_settled_purchase_that_is_paid_after_all_is_granted(client, user, staff, quarantined):
    webhooks.settle(quarantined, staff=staff, reason="Wait for the right one")
    purchase = Purchase.objects.get()
    assert post(client, event(COMPLETED, session_of(purchase))).json() == {"status": "done"}
    purchase.refresh_from_db()
    assert purchase.status == "paid"
    assert ledger.balance_of(user) == 1234


def test_a_payload_that_is_odd_is_settled(client, user, staff):
    session = session_of(order(user), livemode=True) | {"metadata": ["type"], "id": "cs_other"}
    post(client, event(COMPLETED, session, livemode=True))
    webhooks.settle(Event.objects.get(), staff=staff, reason="A stranger's")
    assert Event.objects.get().status == "settled"


def test_the_page_says_that_nothing_needs_attention(admin_client):
    text = admin_client.get(PAGE).content.decode()
    assert "Nothing needs attention." in text
    assert "There has been none yet." in text
    assert "in quarantine" not in admin_client.get("/admin/").content.decode()


def test_the_page_shows_what_waits(admin_client, user, quarantined, failed_too):
    text = admin_client.get(PAGE).content.decode()
    for shown in (
        "the oldest is from", "RuntimeError: the disk is full", address(failed_too, "change"),
        "It sold for 1 usd, the purchase for 1172 usd.", address(quarantined, "change"),
    ):  # fmt: skip
        assert shown in text
    home = admin_client.get("/admin/").content.decode()
    assert "Events in quarantine" in home
    assert "Events that failed" in home


@pytest.fixture
def failed_too(client, quarantined, user) -> Event:
    payload = event(COMPLETED, session_of(order(user)))
    return Event.objects.create(
        stripe_id=payload["id"], type=COMPLETED, status="failed", payload="{}",
        error="RuntimeError: the disk is full",
    )  # fmt: skip


def test_a_result_is_told_with_links(
    admin_client, user, quarantined, django_assert_max_num_queries
):
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id="cus_1")
    steps = ["events", "sessions", "invoices", "refunds", "disputes", "plans", "orders", "grants"]
    result = Reconciliation.objects.create(
        since=timezone.now(),
        finished_at=timezone.now(),
        counts={
            "read": dict.fromkeys(steps, 1234), "mended": dict.fromkeys(steps, 2),
            "differences": 1002, "paid_at_stripe": 117200, "paid_here": 117100, "settled": 100,
        },
        differences=[
            {"kind": "quarantined", "about": "cs_1", "here": "Why", "at_stripe": "",
             "user_id": user.pk, "event_id": quarantined.pk},
            {"kind": "money", "about": "cs_2", "here": "1171", "at_stripe": "1172",
             "user_id": None, "event_id": None},
        ],
    )  # fmt: skip
    with django_assert_max_num_queries(15):
        text = admin_client.get(PAGE).content.decode()
    assert "<strong>1002 differences</strong>" in text.replace("1,002", "1002")
    assert "16" in text
    text = admin_client.get(f"{PAGE}{result.pk}/change/").content.decode()
    for shown in (
        "1,234", "Paid at Stripe $1,172.00, booked here $1,171.00, settled by hand $1.00,",
        "Event in quarantine", f"/admin/billing/customer/{user.pk}/change/",
        address(quarantined, "change"), "$11.71 here, $11.72 at Stripe", "And 1,000 more.",
    ):  # fmt: skip
        assert shown in text


def test_a_comparison_that_did_not_finish_is_said(admin_client):
    result = Reconciliation.objects.create(since=timezone.now())
    assert "did not finish" in admin_client.get(PAGE).content.decode()
    assert "Did not finish" in admin_client.get(f"{PAGE}{result.pk}/change/").content.decode()
    assert admin_client.get(f"{PAGE}add/").status_code == 403


def test_the_page_takes_a_permission(client):
    client.force_login(User.objects.create_user("helper@example.com", is_staff=True))
    assert client.get(PAGE).status_code == 403
    assert "Stripe and us" not in client.get("/admin/").content.decode()
