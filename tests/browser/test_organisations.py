"""An organisation's main path: made, joined by invitation, drawn on within a limit."""

import hashlib

import pytest
import requests
from playwright.sync_api import Page, expect

from accounts import keys
from accounts.models import Invitation, Organisation, User
from credits import ledger
from tests.browser.test_story import PASSWORD
from tests.organisations import somebody

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def sign_in(page: Page, user: User, path: str) -> None:
    page.goto(path)
    page.get_by_label("Email").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")


def test_who_is_invited_draws_up_to_the_limit(page, new_page, site):
    ada, bob = somebody("ada"), somebody("bob")
    for user in (ada, bob):
        user.set_password(PASSWORD)
        user.save()
    sign_in(page, ada, "/dashboard/organisations")
    page.get_by_role("link", name="Make an organisation").click()
    page.get_by_label("Name").fill("Acme Ltd")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="Acme Ltd")).to_be_visible()
    page.get_by_role("link", name="Buy credits").last.click()
    expect(page.get_by_role("heading", name="Order for Acme Ltd")).to_be_visible()
    page.get_by_label("How many credits?").fill("1000")
    expect(page.locator("aside [data-out=total]")).to_have_text("$9.50")
    page.get_by_role("button", name="Continue to payment").click()
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry date").fill("12 / 34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button").click()
    expect(page.get_by_text("The balance of Acme Ltd is now 1,000 credits.")).to_be_visible()
    page.get_by_role("link", name="Go to Acme Ltd").click()

    page.get_by_role("link", name="Invite").click()
    page.get_by_label("Email address").fill("bob@example.com")
    page.get_by_label("Spending limit").fill("50")
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.get_by_text("An invitation was mailed to bob@example.com.")).to_be_visible()
    # The link's secret is in the mail alone.
    Invitation.objects.update(digest=hashlib.sha256(b"secret").digest())
    other = new_page()
    sign_in(other, bob, "/organisations/join/secret")
    expect(other.get_by_text("50 credits a month")).to_be_visible()
    other.get_by_role("button", name="Join").click()
    expect(other.get_by_text("0 of 50 credits used this month")).to_be_visible()

    acme = Organisation.objects.get()
    _, token = keys.make(made_by=bob, owner=bob, name="k", scopes=["credits:spend"])

    def spend(amount: int, key: str) -> requests.Response:
        return requests.post(
            f"{site}/api/v1/spend",
            json={"amount": amount, "note": "A picture", "organisation": acme.pk},
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
            timeout=30,
        )

    assert spend(45, "1").json()["available"] == 955
    refused = spend(6, "2")
    assert (refused.status_code, refused.json()["code"]) == (403, "member_limit_reached")
    assert ledger.balance_of(acme.account) == 955
    page.reload()
    expect(page.get_by_text("45 of 50 credits used this month")).to_be_visible()
