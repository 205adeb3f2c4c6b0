"""Automatic top-up by hand: a card, the consent, and a balance that is up again by itself."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from billing import topup_charges
from billing.models import Purchase
from credits import ledger
from tests.browser.test_story import sign_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_balance_that_runs_low_is_topped_up(new_page, settings, sandbox):
    page: Page = new_page(java_script_enabled=False)
    sign_up(page)
    page.goto("/dashboard/account")
    page.get_by_role("link", name="See · Automatic top-up").click()
    page.get_by_role("button", name="Add a card").click()
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry date").fill("12/34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button", name="Save the card").click()
    expect(page.get_by_text("Visa ending 4242 is saved")).to_be_visible()

    page.get_by_label("When I have fewer credits than").fill("50")
    page.get_by_label("Buy", exact=True).fill("1,000")
    page.get_by_label("At most in a month, in dollars").fill("25")
    page.get_by_role("button", name="Continue").click()
    agree = page.get_by_role("checkbox", name="$9.50 for 1,000 credits")
    page.get_by_role("button", name="Agree and turn on").click()
    expect(agree).to_be_focused()  # the browser asks for it
    agree.check()
    page.get_by_role("button", name="Agree and turn on").click()
    expect(page.get_by_text("Your card is charged within a minute")).to_be_visible()

    user = User.objects.get()
    assert topup_charges.run_due() == 1  # the worker's turn
    ledger.spend(ledger.wallet_of(user), 970, key="job")
    assert topup_charges.run_due() == 1
    assert list(Purchase.objects.values_list("status", "total")) == [("paid", 950)] * 2
    page.reload()
    expect(page.get_by_text("Charged this month: $19.00 of $25.00")).to_be_visible()
    expect(page.locator(".pill")).to_contain_text("1,030 credits")
    page.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("your card is not charged any more")).to_be_visible()
