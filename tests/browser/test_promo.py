"""A promo code from typing it to its credits, and a voucher."""

import pytest
from playwright.sync_api import expect

from billing.models import Purchase, Redemption
from credits import ledger
from tests.browser.test_story import pay, sign_up, total, type_amount
from tests.promotions import miscounted, promo, voucher

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def cancelled(sandbox) -> str:
    """Where the payment page leads back to."""
    return sandbox.objects("checkout.session")[0]["cancel_url"]


def test_a_code_is_typed_seen_bought_and_found(page, sandbox):
    promo(min_credits=100)
    voucher()
    sign_up(page)
    page.goto("/credits")
    page.locator("summary", has_text="Promo code").click()
    field = page.get_by_label("Promo code")
    gets = page.locator("[data-out=gets]")
    problem = page.locator("[data-out=promo-problem]")

    field.fill("NOSUCH")
    field.press("Enter")  # looks, and does not buy
    expect(problem).to_contain_text("This code can't be used.")
    field.fill("gift-500")
    expect(problem).to_contain_text("This is a voucher")
    field.fill("summer-25")
    expect(gets).to_have_text("You get 550 credits for the same price.")
    expect(problem).to_have_text("")
    expect(total(page)).to_have_text("$4.75")
    type_amount(page, "50")
    expect(problem).to_contain_text("This code is for orders of 100 credits or more.")
    expect(gets).to_be_hidden()
    type_amount(page, "1,234")
    expect(gets).to_have_text("You get 1,357 credits for the same price.")
    expect(page.locator("[data-out=bonus]")).to_have_text("+123 credits")
    expect(total(page)).to_have_text("$11.72")

    page.locator("aside").get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_text("$11.72").first).to_be_visible()
    page.goto(cancelled(sandbox))  # to look at it again: the use is one's own
    expect(gets).to_have_text("You get 1,357 credits for the same price.")
    page.locator("aside").get_by_role("button", name="Continue to payment").click()
    pay(page)
    expect(page.get_by_text("With the code SUMMER25 you got 123 credits on top.")).to_be_visible()
    page.get_by_role("link", name="Go to dashboard").click()
    expect(page.locator(".big")).to_have_text("1,357 credits")
    rows = page.locator(".ledger tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Bonus with the code SUMMER25")
    assert Purchase.objects.filter(status="paid").count() == 1
    assert Redemption.objects.get(status="kept").credits == 123

    page.goto("/redeem?code=GIFT-500")
    page.get_by_role("button", name="Add the credits").click()
    expect(page.get_by_text("500 credits were added.")).to_be_visible()
    expect(page.locator(".big")).to_have_text("1,857 credits")
    assert ledger.balance_of(Purchase.objects.latest("created_at").user) == 1857
    assert miscounted() == []
