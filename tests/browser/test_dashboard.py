"""The dashboard by hand: its filter, its chart, and what the shop says beside it."""

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from billing.models import Subscription
from credits import ledger
from script.everybody import busy
from tests.browser.budgets import violations
from tests.browser.test_story import PASSWORD, sign_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def sign_in(page: Page) -> User:
    user = User.objects.create_user("ada@example.com", PASSWORD)
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    return user


@pytest.mark.parametrize("has_scripts", [True, False])
def test_the_history_is_filtered_and_paged(new_page, has_scripts):
    page = new_page(java_script_enabled=has_scripts)
    busy(sign_in(page))
    page.goto("/dashboard")
    rows = page.locator(".ledger tbody tr")
    expect(rows).to_have_count(25)
    page.get_by_text("All kinds").click()
    page.get_by_label("Promotion").check()
    page.get_by_label("Purchase", exact=True).check()
    page.get_by_role("button", name="Show", exact=True).click()
    expect(rows).to_have_count(7)
    expect(page.locator(".choice summary")).to_have_text("Purchase, Promotion")
    page.get_by_label("To", exact=True).fill("2020-01-01")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(rows).to_have_count(0)
    page.get_by_role("link", name="Show the whole history").click()
    expect(rows).to_have_count(25)
    newest = rows.first.inner_text()
    page.get_by_role("link", name="Older").click()
    assert rows.first.inner_text() != newest
    page.get_by_role("link", name="Newer").click()
    expect(page.get_by_role("link", name="Newer")).to_have_count(0)
    assert rows.first.inner_text() == newest


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_opens_is_accessible_and_inside_the_screen(new_page, theme):
    page = new_page(viewport={"width": 320, "height": 900}, color_scheme=theme)
    busy(sign_in(page))
    page.goto("/dashboard")
    page.get_by_text("Show as a table").click()
    expect(page.locator(".data tbody tr")).to_have_count(30)
    page.get_by_text("All kinds").click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Promotion")).to_be_hidden()


def test_the_chart_has_a_name_and_a_figure_for_each_day(page):
    user = sign_in(page)
    ledger.grant(ledger.wallet_of(user), 1234, key="g", kind="purchase", paid=1172)
    page.reload()
    name = "Credits over the last 30 days: from 0 to 1,234, bought on 1 day."
    expect(page.get_by_role("img", name=name)).to_be_visible()
    expect(page.locator(".data tbody tr")).to_have_count(30)


def test_an_amount_that_is_none_has_no_tier(page):
    page.goto("/credits?credits=500")
    tier = page.get_by_text("Your tier")
    expect(tier.locator("visible=true")).to_have_count(1)
    page.get_by_label("How many credits?").fill("5.5")
    expect(tier.locator("visible=true")).to_have_count(0)
    expect(page.locator(".picks [aria-current]")).to_have_count(0)
    page.get_by_label("How many credits?").fill("5000")
    expect(tier.locator("visible=true")).to_have_count(1)


def test_the_pay_bar_says_what_the_form_says(new_page):
    page = new_page(viewport={"width": 390, "height": 700})
    sign_up(page)
    page.goto("/credits?credits=500")
    bar = page.locator(".paybar button")
    form = page.locator("aside [data-submit]")
    for choice, words in (("Every month", "Subscribe"), ("One time", "Continue to payment")):
        page.get_by_text(choice, exact=True).click()
        expect(bar).to_have_text(words)
        expect(form).to_have_text(words)


def test_with_a_plan_another_can_not_be_chosen(page):
    user = sign_in(page)
    Subscription.objects.create(
        user=user, stripe_id="sub_1", status="active", credits=500, total=475, currency="usd",
        fetched_at=timezone.now(),
    )  # fmt: skip
    page.goto("/credits?mode=subscription")
    monthly = page.get_by_label("Every month")
    expect(monthly).to_be_disabled()
    expect(monthly).to_have_accessible_description(
        "You have a monthly plan of 500 credits. There can be one at a time; further credits can "
        "be bought one time."
    )
    expect(page.get_by_label("One time")).to_be_checked()
    expect(page.get_by_role("link", name="Change the plan")).to_have_count(1)
    assert violations(page) == []
