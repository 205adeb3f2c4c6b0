import pytest
from playwright.sync_api import expect

from billing import pricing
from billing.templatetags.money import money

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_the_calculator_tells_the_server_s_price_and_hands_it_on(new_page):
    page = new_page(viewport={"width": 390, "height": 844})
    page.goto("/")
    amount, total = page.get_by_label("How many credits?"), page.locator("form [data-out=total]")
    tier, offer = page.locator("tr[aria-current]"), page.locator("[data-out=deal]")
    for credits in (10, 499, 500, 1234, 1999, 5000, 100_000):
        quote = pricing.quote(credits)
        amount.fill(str(credits))
        expect(total).to_have_text(money(quote.total))
        expect(tier).to_have_attribute("data-tier", str(quote.tier.min))
        expect(offer).to_be_visible(visible=quote.better_deal is not None)

    amount.fill("499")
    offer.get_by_role("link", name="Switch to 500").click()
    expect(amount).to_have_value("500")
    page.get_by_label("Credits, roughly").press("End")
    expect(total).to_have_text("$800.00")

    amount.fill("5.5")
    page.get_by_role("button", name="Buy these credits").click()
    expect(page.get_by_text("Enter a whole number of credits")).to_be_visible()
    expect(amount).to_be_focused()

    amount.fill("1999")
    page.locator("label", has_text="Every month").click()
    expect(page.locator("form [data-out=every]")).to_have_text("a month")
    amount.press("Enter")
    page.wait_for_url("**/credits?mode=subscription&credits=1%2C999")
    expect(page.get_by_label("How many credits?")).to_have_value("1,999")
    expect(page.locator("aside [data-out=total]")).to_have_text("$18.99")
    expect(page.get_by_label("Every month")).to_be_checked()
