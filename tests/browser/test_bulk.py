"""The main path of a bulk purchase: a list with a fault, mended, priced, paid, and sent."""

import pytest
from playwright.sync_api import Page, expect

from billing.bulk import delivery
from billing.models import Mail
from credits import ledger
from tests.browser.test_organisations import sign_in
from tests.browser.test_story import PASSWORD
from tests.organisations import found, somebody

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_list_is_mended_paid_and_sent(page: Page, site):
    owner, ann = somebody("owner"), somebody("ann")
    owner.set_password(PASSWORD)
    owner.save()
    acme = found(owner)
    sign_in(page, owner, f"/dashboard/organisations/{acme.pk}")
    page.get_by_role("link", name="Buy for many").click()
    page.get_by_role("link", name="New list").click()
    bad = b"email;credits\r\nann@example.com;100\r\nben@example.com;1.5\r\n"
    page.get_by_label("A CSV file").set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": bad}
    )
    page.get_by_role("button", name="See the price").click()
    expect(page.get_by_text("Line 3: “1.5” is no whole number")).to_be_visible()
    page.get_by_label("Or paste the lines").fill("ann@example.com, 100\nben@example.com, 400")
    page.get_by_role("button", name="See the price").click()
    page.get_by_role("button", name="Pay $4.75").click()
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry date").fill("12 / 34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button").click()
    expect(page.get_by_role("heading", name="Being sent")).to_be_visible()
    assert delivery.deliver_due() == 2  # the worker's
    # The page finds out by itself.
    expect(page.get_by_role("heading", name="All lines are dealt with")).to_be_visible(
        timeout=15000
    )
    expect(page.get_by_role("cell", name="ann@example.com Sent")).to_be_visible()
    expect(page.get_by_role("cell", name="ben@example.com Sent")).to_be_visible()
    assert (ledger.balance_of(ann), ledger.balance_of(acme.account)) == (100, 0)
    assert Mail.objects.get(kind="gift").context["email"] == "ben@example.com"
