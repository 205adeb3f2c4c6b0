from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.utils import timezone

from accounts.models import User
from billing.models import Event, PlanChange, PriceTier, Purchase, StripeCustomer, Subscription
from credits import adjustments, ledger
from tests.billing.test_fulfilment import COMPLETED, order
from tests.stripe_events import event, post, session_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_client(client, staff):
    client.force_login(staff)
    return client


@pytest.fixture
def bought(admin_client, user, other_user) -> Purchase:
    purchase = order(user)
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id=f"cus_of_{user.pk}")
    Subscription.objects.create(
        user=user, stripe_id="sub_1", status="active", credits=500, total=475, currency="usd",
        fetched_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    post(admin_client, event(COMPLETED, session_of(purchase)))
    purchase.refresh_from_db()
    return purchase


@pytest.mark.parametrize(
    "search",
    [
        lambda purchase: purchase.user.email,
        lambda purchase: "ADA@",
        lambda purchase: str(purchase.pk),
        lambda purchase: purchase.stripe_session_id,
        lambda purchase: purchase.stripe_payment_id,
        lambda purchase: purchase.user.stripe_customer.stripe_id,
        lambda purchase: "sub_1",
        lambda purchase: Event.objects.get().stripe_id,
    ],
)
def test_a_customer_is_found(admin_client, bought, search):
    page = admin_client.get("/admin/billing/customer/", {"q": search(bought)})
    assert list(page.context["cl"].queryset.values_list("email", flat=True)) == ["ada@example.com"]


@pytest.mark.parametrize("search", ["cus_", "cs_test_", "sub_", "nobody@example.com"])
def test_ids_are_found_exactly_or_not_at_all(admin_client, bought, search):
    page = admin_client.get("/admin/billing/customer/", {"q": search})
    assert not page.context["cl"].queryset.exists()


def test_where_are_my_credits(admin_client, bought, django_assert_max_num_queries):
    with django_assert_max_num_queries(25):
        page = admin_client.get(f"/admin/billing/customer/{bought.user_id}/change/")
    text = page.content.decode()
    for shown in (
        "1,234", "$11.72", f"cus_of_{bought.user_id}", bought.stripe_payment_id,
        "checkout.session.completed", f"/admin/credits/wallet/of/{bought.user_id}/adjust/",
    ):  # fmt: skip
        assert shown in text


def test_the_list_counts_no_expired_credits(admin_client, user, django_assert_max_num_queries):
    wallet = ledger.wallet_of(user)
    soon = timezone.now() + timedelta(milliseconds=50)
    ledger.grant(wallet, 1234, key="g", kind="purchase")
    ledger.grant(wallet, 999, key="e", kind="purchase", expires_at=soon)
    ledger.hold(wallet, 234, key="h", expires_in=timedelta(hours=1))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.06)")
    with django_assert_max_num_queries(12):
        page = admin_client.get("/admin/billing/customer/").content.decode()
    assert f"{ledger.balance_of(user):,}" in page
    assert "2,233" not in page
    assert "1,999" not in page


def test_what_is_held_on_its_way_or_waits_is_shown(admin_client, staff, user):
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 5000, key="g", kind="purchase")
    ledger.hold(wallet, 1100, key="render:7", expires_in=timedelta(hours=1))
    ledger.send(wallet, 1200, key="t")
    adjustments.adjust(user, 20_000, key="adjustment:1", reason="Why", staff=staff)
    page = admin_client.get(f"/admin/billing/customer/{user.pk}/change/").content.decode()
    for shown in ("<dd>2,700</dd>", "<dd>1,100</dd>", "render:7", "1,200", "+20,000", "+5,000"):
        assert shown in page


def test_a_customer_without_anything(admin_client, other_user):
    page = admin_client.get(f"/admin/billing/customer/{other_user.pk}/change/")
    assert b"No credits have moved yet" in page.content


def test_an_event_is_replayed_from_its_page_and_from_the_list(admin_client, user, staff):
    purchase = order(user)
    session = session_of(purchase)
    Purchase.objects.filter(pk=purchase.pk).update(total=1171)
    post(admin_client, event(COMPLETED, session))
    stored = Event.objects.get()
    assert stored.status == "quarantined"
    page = admin_client.get(f"/admin/billing/event/{stored.pk}/change/")
    assert b"Replay" in page.content

    again = {"action": "replay", "_selected_action": [stored.pk]}
    response = admin_client.post("/admin/billing/event/", again, follow=True)
    assert b"Quarantined" in response.content
    Purchase.objects.filter(pk=purchase.pk).update(total=1172)
    response = admin_client.post(f"/admin/billing/event/{stored.pk}/replay/", follow=True)
    assert b"Done" in response.content
    assert ledger.balance_of(user) == 1234
    assert LogEntry.objects.filter(user=staff, change_message="Replayed: done").exists()


def test_replaying_takes_a_post_and_the_permission(client, admin_client, user):
    post(admin_client, event(COMPLETED, session_of(order(user), amount_subtotal=1)))
    address = f"/admin/billing/event/{Event.objects.get().pk}/replay/"
    assert admin_client.get(address).status_code == 403
    client.force_login(User.objects.create_user("helper@example.com", is_staff=True))
    assert client.post(address).status_code == 403


@pytest.mark.parametrize("model", ["customer", "purchase", "subscription", "event"])
def test_what_stripe_told_is_read_only(admin_client, bought, model):
    base = f"/admin/billing/{model}/"
    assert admin_client.get(base).status_code == 200
    assert admin_client.get(f"{base}add/").status_code == 403


def test_prices_are_edited_and_a_bad_table_is_refused(admin_client):
    tier = PriceTier.objects.get(min_credits=500)
    address = f"/admin/billing/pricetier/{tier.pk}/change/"
    page = admin_client.post(address, {"min_credits": 500, "unit_price_e4": 101})
    assert b"must not cost more from 500 credits" in page.content
    assert admin_client.post(address, {"min_credits": 600, "unit_price_e4": 94}).status_code == 302
    tier.refresh_from_db()
    assert (tier.min_credits, tier.unit_price_e4) == (600, 94)
    assert admin_client.post(f"/admin/billing/pricetier/{tier.pk}/delete/", {"post": "yes"})
    assert not PriceTier.objects.filter(pk=tier.pk).exists()

    first = PriceTier.objects.get(min_credits=10)
    response = admin_client.post(f"/admin/billing/pricetier/{first.pk}/delete/", {"post": "yes"})
    assert response.status_code == 403
    assert PriceTier.objects.filter(pk=first.pk).exists()


def test_a_plan_s_page_lists_the_amounts_that_were_chosen(admin_client, user):
    plan = Subscription.objects.create(
        user=user, stripe_id="sub_1", status="active", credits=2000, total=1800, currency="usd",
        fetched_at=timezone.now(),
    )  # fmt: skip
    PlanChange.objects.create(
        subscription=plan, credits=2000, unit_price_e4=90, total=1800, currency="usd"
    )
    page = admin_client.get(f"/admin/billing/subscription/{plan.pk}/change/").content.decode()
    assert "$18.00" in page
    assert 'name="changes-0-credits"' not in page  # nothing to type into
