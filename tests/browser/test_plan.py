"""The plan's page by hand: the price as one types, the change, the end and its taking back."""

import pytest
from playwright.sync_api import Page, expect

from billing.models import PlanChange, Subscription
from tests.browser.test_story import pay, sign_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def subscribe(page: Page) -> None:
    sign_up(page)
    page.goto("/credits?credits=500&mode=subscription")
    page.locator("aside [data-submit]").click()
    pay(page)
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()
    for _ in range(50):
        if Subscription.objects.exists():
            break
        page.wait_for_timeout(100)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_the_amount_is_changed(new_page, has_scripts):
    page = new_page()
    subscribe(page)
    page = new_page(java_script_enabled=has_scripts, storage_state=page.context.storage_state())
    page.goto("/dashboard")
    page.get_by_role("link", name="Change or cancel the plan").click()
    amount = page.get_by_label("Credits a month")
    expect(amount).to_have_value("500")
    amount.fill("1,999")
    if not has_scripts:
        amount.press("Enter")  # shows the price, and changes nothing
    expect(page.locator("[data-out=total]")).to_have_text("$18.99")
    offer = page.locator("[data-out=deal]")
    expect(offer).to_contain_text("2,000 credits cost $18.00, $0.99 less than 1,999.")
    assert not PlanChange.objects.exists()
    offer.get_by_role("link").click()
    expect(page.locator("[data-out=total]")).to_have_text("$18.00")
    expect(amount).to_have_value("2,000")
    expect(offer).to_be_hidden()
    page.get_by_role("button", name="Change from").click()
    expect(
        page.get_by_text("2,000 credits for $18.00 a month. Nothing is due now.")
    ).to_be_visible()
    plan = page.locator("section", has=page.get_by_role("heading", name="Your plan"))
    for words in ("500 a month", "$4.75 a month", "2,000 credits for $18.00 a month"):
        expect(plan).to_contain_text(words)
    assert Subscription.objects.get().credits == 2000

    plan.get_by_role("link", name="Cancel the plan").click()
    page.get_by_role("button", name="Cancel the plan").click()
    expect(plan).to_contain_text("nothing more is charged")
    page.get_by_role("button", name="Resume the plan").click()
    expect(page.get_by_text("your plan goes on as before")).to_be_visible()


def test_a_mistake_is_said_and_not_sent(page):
    subscribe(page)
    page.goto("/dashboard/plan")
    amount = page.get_by_label("Credits a month")
    amount.fill("5.5")
    page.get_by_role("button", name="Change from").click()
    expect(amount).to_be_focused()
    expect(amount).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-out=total]")).to_have_text("\u2013")
    expect(page.get_by_text("Enter a whole number of credits")).to_be_visible()
    amount.fill("5000")
    expect(page.get_by_text("Enter a whole number of credits")).to_be_hidden()
    expect(page.locator("[data-out=total]")).to_have_text("$40.00")
    expect(page.get_by_role("status").last).to_have_text("5,000 credits cost $40.00. ")
    assert not PlanChange.objects.exists()


def test_what_was_typed_before_the_script_came_counts(page):
    subscribe(page)
    waiting = []
    page.route("**/js/credits*.js", lambda route: waiting.append(route))
    with page.expect_request("**/js/credits*.js"):
        page.goto("/dashboard/plan", wait_until="commit")
    page.get_by_label("Credits a month").fill("1,999")
    expect(page.locator("[data-out=total]")).to_have_text("$4.75")
    for route in waiting:
        route.continue_()
    expect(page.locator("[data-out=total]")).to_have_text("$18.99")
