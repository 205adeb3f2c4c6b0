"""An authenticator app and a passkey, as one sets them up and signs in with them."""

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from playwright.sync_api import Page, expect

from accounts.models import User
from tests.browser.test_story import PASSWORD
from tests.second_step import code_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("ada@example.com", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def sign_in(page: Page, site: str = "") -> None:
    page.goto(f"{site}/accounts/login/")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")


def sign_out(page: Page) -> None:
    page.locator("[data-menu] summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").wait_for()


def type_code(page: Page, code: str) -> None:
    page.get_by_label("Code from your app, or a recovery code").fill(code)
    page.get_by_label("Code from your app, or a recovery code").press("Enter")


def test_an_app_is_set_up_and_signed_in_with(page, user):
    sign_in(page)
    page.locator("[data-menu] summary").click()
    page.get_by_role("link", name="Account", exact=True).click()
    page.get_by_role("link", name="Two-step sign-in").click()
    page.get_by_role("link", name="Add an app").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    picture = page.get_by_role("img", name="QR code of the key below")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    secret = page.locator(".key-text").inner_text().replace(" ", "")
    page.get_by_label("Code from the app").fill("000 000")
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_text("This code is wrong")).to_be_visible()
    page.get_by_label("Code from the app").fill(code_of(secret))
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_text("10 of 10 are left.")).to_be_visible()
    recovery = page.locator(".codes code").first.inner_text()
    page.evaluate("print = () => { document.title = 'printed'; }")
    page.get_by_role("button", name="Print").click()
    assert page.title() == "printed"

    sign_out(page)
    sign_in(page)
    type_code(page, code_of(secret))
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    sign_out(page)
    sign_in(page)
    page.get_by_text("Your phone or key is lost?").click()
    type_code(page, recovery)
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()


def test_a_passkey_is_added_and_signed_in_with(page, site, user, complaints):
    # A passkey belongs to a name; an address of numbers has none.
    name = site.replace("127.0.0.1", "localhost")
    page.on("console", lambda message: complaints.append(message.text))
    sign_in(page, site)
    page.get_by_role("heading", name="Dashboard").wait_for()
    page.goto(f"{site}/accounts/2fa/webauthn/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("button", name="Add the passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("Browsers allow passkeys only at a name")
    assert not Authenticator.objects.exists()

    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    added = device.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    key = added["authenticatorId"]
    sign_in(page, name)
    page.get_by_role("heading", name="Dashboard").wait_for()
    page.goto(f"{name}/accounts/2fa/webauthn/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_label("Name")).to_have_value("Passkey 1")
    page.get_by_label("Name").fill("Laptop")
    page.get_by_role("button", name="Add the passkey").click()
    expect(page.get_by_text("10 of 10 are left.")).to_be_visible()
    page.get_by_role("link", name="Back to two-step sign-in").click()
    expect(page.get_by_text("Signs in by itself")).to_be_visible()
    page.get_by_role("link", name="Rename Laptop").click()
    page.get_by_label("Name").fill("Old laptop")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Old laptop").first).to_be_visible()
    # The same device can't be added twice.
    page.get_by_role("link", name="Add another passkey").click()
    page.get_by_role("button", name="Add the passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("has a passkey for your account already")

    # Alone, without a password.
    sign_out(page)
    page.goto(f"{name}/accounts/login/?next=/credits")
    device.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": False})
    page.locator("[form=mfa_login]").click()
    expect(page.get_by_text("No passkey was chosen, or it took too long.")).to_be_visible()
    device.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": True})
    page.locator("[form=mfa_login]").click()
    page.get_by_role("heading", name="Buy credits").wait_for()
    expect(page.locator("[data-menu]")).to_be_visible()

    # As the second step after the password.
    sign_out(page)
    sign_in(page, name)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()

    # To confirm who one is; then it is removed and asks for itself no more.
    page.goto(f"{name}/accounts/2fa/")
    page.get_by_role("link", name="Remove Old laptop").click()
    page.get_by_role("link", name="Use a passkey").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("button", name="Remove the passkey").click()
    expect(page.get_by_text("The passkey is removed.")).to_be_visible()
    assert not Authenticator.objects.exists()
