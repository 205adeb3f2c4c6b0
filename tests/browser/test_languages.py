"""The language switch and the time zone, by a browser."""

import pytest
from playwright.sync_api import expect

from billing.models import Purchase
from tests.browser.test_dashboard import sign_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_language_is_chosen_and_an_amount_typed_in_it(new_page, complaints):
    page = new_page(locale="en-US", timezone_id="Asia/Tokyo")
    user = sign_in(page)
    page.goto("/credits?credits=5000&mode=payment")
    page.get_by_role("button", name="Deutsch").click()
    page.wait_for_url("**/credits?credits=5000&mode=payment")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    field = page.locator("#credits")
    expect(field).to_have_value("5.000")
    total = page.locator("aside [data-out=total]")
    expect(total).to_have_text("40,00\u00a0$")
    field.fill("20.000")
    expect(total).to_have_text("160,00\u00a0$")
    expect(page.locator("aside [data-out=each]")).to_have_text("0,0080\u00a0$")
    for text in ("5,000", "5.5", "5,5"):
        field.fill(text)
        expect(total).not_to_have_text("160,00\u00a0$")
        field.fill("20.000")
    page.locator("aside [data-submit]").click()
    page.get_by_label("Card number").wait_for()
    purchase = Purchase.objects.get()
    assert (purchase.credits, purchase.total, purchase.language) == (20_000, 16_000, "de")
    user.refresh_from_db()
    assert user.language == "de"

    # The browser has said where it is.
    assert {one["name"]: one["value"] for one in page.context.cookies()}["tz"] == "Asia/Tokyo"


def test_the_switch_needs_no_javascript(new_page):
    page = new_page(java_script_enabled=False)
    page.goto("/credits?credits=1234")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    assert page.url.endswith("/credits?credits=1234")
    expect(page.locator("#credits")).to_have_value("1.234")
