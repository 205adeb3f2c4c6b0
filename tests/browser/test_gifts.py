"""A gift, from one who has bought to one who has no account yet and no JavaScript."""

import re

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from playwright.sync_api import expect

from accounts.models import User
from billing import mails
from billing.models import Mail
from credits import ledger
from tests.browser.test_story import PASSWORD, sign_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_sent_signed_up_for_and_claimed(page, new_page):
    sign_up(page)
    ada = User.objects.get(email="ada@example.com")
    ledger.grant(ledger.wallet_of(ada), 1000, key="p", kind="purchase", paid=950)
    page.goto("/dashboard/account")
    page.get_by_role("link", name="See · Gifts").click()
    expect(page.get_by_text("You can give away 1,000 credits now.")).to_be_visible()
    page.get_by_label("Their email address").fill("bob@example.com")
    page.get_by_label("How many credits?").fill("1,000.5")
    page.get_by_label("A message with it").fill("Happy birthday!")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Enter a whole number of credits")).to_be_visible()
    page.get_by_label("How many credits?").fill("300")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Send this gift?")).to_be_visible()
    page.get_by_role("button", name="Send the gift").click()
    expect(page.get_by_role("status").first).to_contain_text("300 credits are on their way")
    expect(page.get_by_text("Not claimed yet")).to_be_visible()

    body = mails.message_of(Mail.objects.get(kind="gift")).body
    link = re.search(r"/gifts/[\w-]+", body)[0]
    theirs = new_page(java_script_enabled=False)
    theirs.goto(link)
    expect(theirs.get_by_text("b•••@e•••.com")).to_be_visible()
    expect(theirs.get_by_text("Happy birthday!")).to_have_count(0)
    theirs.locator("main").get_by_role("link", name="Sign up").click()
    theirs.get_by_label("Email").fill("bob@example.com")
    theirs.get_by_label("Password").fill(PASSWORD)
    theirs.get_by_role("button", name="Sign up").click()
    # Not before the address is confirmed.
    expect(theirs.get_by_role("heading", name="A gift is waiting")).to_be_visible()
    address = EmailAddress.objects.get(email="bob@example.com")
    theirs.goto(f"/accounts/confirm-email/{EmailConfirmationHMAC(address).key}/")
    theirs.goto(link)
    expect(theirs.get_by_role("heading", name="300 credits for you")).to_be_visible()
    expect(theirs.get_by_text("Happy birthday!")).to_be_visible()
    theirs.get_by_role("button", name="Claim the gift").click()
    expect(theirs.get_by_text("300 credits are yours now.")).to_be_visible()
    expect(theirs.locator(".big")).to_have_text("300 credits")
    page.reload()
    expect(page.get_by_text("Claimed", exact=True)).to_be_visible()
    assert ledger.balance_of(ada) == 700
