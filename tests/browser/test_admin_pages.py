"""The staff's pages by hand; `test_pages` holds each of them to its budgets."""

import pytest
from playwright.sync_api import expect

from billing.models import StripeCustomer
from script.every_page import Page, bring
from script.everybody import regular, settle_in, staff

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_customer_is_found_by_key_and_an_id_copied(new_page, site, complaints):
    accounts, places = settle_in([regular, staff])
    page = new_page()
    page.goto(bring(page, site, Page("staff", "/admin/", staff), accounts, places))
    customer = StripeCustomer.objects.select_related("user").latest("pk")

    page.keyboard.press("/")
    page.keyboard.type(customer.stripe_id)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=customer.user.email)).to_be_visible()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy cus_").first.click()
    expect(page.locator(".copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == customer.stripe_id
    assert complaints == []
