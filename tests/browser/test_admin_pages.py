"""The staff's pages in a real browser: accessible in both themes, inside the screen, quiet."""

import json
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from billing.models import Event, Mail, Purchase, Reconciliation, StripeCustomer
from credits import adjustments
from credits.models import Entry
from tests.browser.test_pages import be_busy, violations
from tests.browser.test_story import PASSWORD
from tests.shop import Shop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def pages(sandbox, staff) -> list[str]:
    """Every page of ours, each with something on it."""
    user = User.objects.create_user("ada.with.a.long.name@subdomain.example.com")
    purchase = Shop(user, sandbox, Client()).buy()
    be_busy(user)
    helper = User.objects.create_superuser("helper@example.com")
    adjustments.adjust(user, 20_000, key="adjustment:1", reason="Outage", staff=helper)
    event = Event.objects.create(
        stripe_id=f"evt_{uuid.uuid4().hex}", type="checkout.session.completed",
        status="quarantined", object_id=purchase.stripe_session_id,
        customer_id=StripeCustomer.objects.get().stripe_id, created_at=timezone.now(),
        payload=json.dumps({"data": {"object": {}}}),
        error="It sold for 1 usd, the purchase for 1172 usd, which is said in a long sentence.",
    )  # fmt: skip
    Mail.objects.create(user=user, kind="restored", key="k", tries=20, error="550 no such mailbox")
    Purchase.objects.create(
        user=user, mode="payment", credits=10, unit_price_e4=100, total=50, currency="usd",
        status="review",
    )  # fmt: skip
    compared = Reconciliation.objects.create(
        since=timezone.now() - timedelta(days=9), finished_at=timezone.now(),
        counts={
            "differences": 1, "paid_at_stripe": 475, "paid_here": 475, "settled": 0,
            "read": dict.fromkeys(STEPS, 1), "mended": dict.fromkeys(STEPS, 0),
        },
        differences=[
            {"kind": "money", "about": purchase.stripe_session_id, "here": 1, "at_stripe": 2,
             "user_id": user.pk, "event_id": event.pk},
        ],
    )  # fmt: skip
    entry = Entry.objects.get(key=f"purchase:{purchase.pk}")
    return [
        "/admin/",
        f"/admin/billing/customer/search/?q={purchase.stripe_session_id}",
        "/admin/billing/customer/search/?q=nobody",
        f"/admin/billing/customer/{user.pk}/change/",
        f"/admin/billing/refund/of/{entry.pk}/",
        f"/admin/credits/wallet/of/{user.pk}/adjust/",
        f"/admin/billing/event/{event.pk}/change/",
        "/admin/billing/reconciliation/",
        f"/admin/billing/reconciliation/{compared.pk}/change/",
        "/admin/credits/entry/revenue/",
        "/admin/billing/purchase/",
    ]


STEPS = (
    "events", "sessions", "invoices", "refunds", "disputes", "plans", "orders", "grants",
)  # fmt: skip


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1280)])
def test_staff_s_pages(new_page, staff, pages, theme, width):
    page = new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    sign_in(page, staff)
    for path in pages:
        page.goto(path)
        assert violations(page) == [], path
        inside = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(inside), f"{path} is wider than the screen"

    page.keyboard.press("/")
    page.keyboard.type("ada.with")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="ada.with.a.long.name@")).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy cus_").first.click()
    expect(page.locator(".copied")).to_have_count(1)
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == StripeCustomer.objects.get().stripe_id

    page.goto(next(path for path in pages if "/refund/of/" in path))
    page.get_by_label("Reason").fill("Bought by mistake")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Refund $").wait_for()
    assert violations(page) == []


def sign_in(page: Page, staff: User) -> None:
    staff.set_password(PASSWORD)
    staff.save()
    page.goto("/admin/")
    page.get_by_label("Email").fill(staff.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_role("heading", name="What needs attention")).to_be_visible()
