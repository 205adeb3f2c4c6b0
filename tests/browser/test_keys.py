"""An API key, as one makes it and copies it."""

import pytest
from allauth.account.models import EmailAddress
from playwright.sync_api import expect

from accounts import keys
from accounts.models import ApiKey, User
from tests.browser.test_story import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_two_clicks_make_one_key_and_show_it_to_copy(page):
    user = User.objects.create_user("ada@example.com", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    page.goto("/accounts/login/?next=/dashboard/account/keys/new")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("Night job")
    page.get_by_label("Spend and reserve credits").check()
    # The second comes when the first is sent and not answered.
    page.get_by_role("button", name="Make the key").evaluate(
        "button => { button.click(); setTimeout(() => button.click(), 15); }"
    )
    expect(page.get_by_role("heading", name="Your new key")).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the key").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    token = page.evaluate("navigator.clipboard.readText()")
    assert keys.admit(token) == ApiKey.objects.get()
