"""What allauth's mails say and look like, and what becomes of them when no server takes them."""

import re
from datetime import UTC, datetime
from pathlib import Path

import allauth
import pytest
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.core import context
from django.conf import settings as django_settings
from django.core import mail
from django.utils import timezone

from accounts.models import User
from tests.accounts.conftest import PASSWORD

pytestmark = pytest.mark.django_db
CONTEXT = {
    "key": "KEY",
    "uid": "1",
    "code": "ABCD-EFGH",
    "from_email": "old@example.com",
    "to_email": "new@example.com",
    "deleted_email": "old@example.com",
    "provider": {"name": "GitHub"},
    "ip": "203.0.113.7",
    "user_agent": "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/130.0",
    "timestamp": datetime(2026, 1, 31, 14, 15, tzinfo=UTC),
}
MAILS = {
    "account/email/email_confirmation_signup": ("Confirm your email address", "confirm-email/KEY/"),
    "account/email/email_confirmation": ("Confirm your email address", "confirm-email/KEY/"),
    "account/email/account_already_exists": ("You have an account already", "password/reset/"),
    "account/email/unknown_account": ("There is no account with this address", "signup/"),
    "account/email/password_reset_key": ("Choose a new password", "password/reset/key/1-KEY/"),
    "account/email/login_code": ("Your sign-in code", ""),
    "account/email/email_changed": ("Your email address is changed", ""),
    "account/email/email_confirm": ("Your email address is confirmed", "password/reset/"),
    "account/email/email_deleted": ("An email address is removed", "password/reset/"),
    "account/email/password_changed": ("Your password is changed", "password/reset/"),
    "account/email/password_reset": ("Your password is changed", "password/reset/"),
    "account/email/password_set": ("Your account has a password", "password/reset/"),
    "socialaccount/email/account_connected": ("An account is connected", "password/reset/"),
    "socialaccount/email/account_disconnected": ("An account is disconnected", "password/reset/"),
}
NOTICES = list(MAILS)[6:]


@pytest.mark.parametrize("prefix", MAILS)
def test_each_is_ours_in_text_and_html(rf, settings, prefix):
    settings.SITE_NAME, settings.BASE_URL = "Tokens & Co", "https://tokens.example"
    subject, path = MAILS[prefix]
    request = rf.get("/", headers={"host": "testserver"})
    with context.request_context(request), timezone.override("Asia/Tokyo"):
        get_adapter().send_mail(prefix, "ada@example.com", dict(CONTEXT))
    (message,) = mail.outbox
    assert message.subject == f"[Tokens & Co] {subject}"
    assert message.to == ["ada@example.com"]
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"
    ((html, kind),) = message.alternatives
    assert kind == "text/html"
    assert "<style>" in html
    assert message.body.endswith("Tokens & Co\nhttps://tokens.example")
    assert "&amp;" not in message.body
    assert "\n\n\n" not in message.body
    for part in (message.body, html):
        links = re.findall(r"https?://[^\s\"<]+", part)
        assert all(link.startswith("https://tokens.example") for link in links)
        if path:
            assert f"https://tokens.example/accounts/{path}" in links
        for alien in ("testserver", "example.com/", "127.0.0.1", "Hello from", "Thank you for"):
            assert alien not in part
    assert ("Firefox on Windows" in message.body) == (prefix in NOTICES)
    assert ("31 January 2026, 14:15 (UTC)" in message.body) == (prefix in NOTICES)


def test_none_of_allauths_own_is_left():
    """Those that nothing here sends apart."""
    stock = Path(allauth.__file__).parent / "templates"
    unused = {"password_reset_code", "base_message", "base_notification"}
    found = {
        str(path.relative_to(stock)).removesuffix("_subject.txt")
        for folder in ("account/email", "socialaccount/email")
        for path in (stock / folder).glob("*_subject.txt")
    }
    assert {name for name in found if name.rpartition("/")[2] not in unused} == set(MAILS)
    ours = Path(django_settings.BASE_DIR) / "templates"
    for name in MAILS:
        for end in ("_subject.txt", "_message.txt", "_message.html"):
            assert (ours / f"{name}{end}").exists()


def says_so(response) -> bool:
    return response.status_code == 503 and "t send the mail" in response.content.decode()


@pytest.mark.usefixtures("mandatory", "dead_mail_server")
def test_without_a_mail_server_a_sign_up_is_kept_and_goes_on_later(client, settings, sign_in):
    form = {"email": "ada@example.com", "password1": PASSWORD}
    assert says_so(client.post("/accounts/signup/", form))
    assert not EmailAddress.objects.get(user__email="ada@example.com").verified
    assert says_so(sign_in())  # not told to wait
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert sign_in()["Location"] == "/accounts/confirm-email/"
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]


@pytest.mark.usefixtures("dead_mail_server")
def test_where_an_address_is_confirmed_afterwards_it_also_signs_in(client):
    form = {"email": "ada@example.com", "password1": PASSWORD}
    response = client.post("/accounts/signup/", form, follow=True)
    assert response.redirect_chain == [("/dashboard", 302)]
    page = response.content.decode()
    assert page.count("the mail to confirm ada@example.com did not leave") == 1
    assert "on its way" not in page
    assert User.objects.count() == 1


@pytest.mark.usefixtures("mandatory", "dead_mail_server")
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/accounts/signup/", {"password1": PASSWORD}),
        ("/accounts/password/reset/", {}),
        ("/accounts/login/code/", {}),
    ],
)
def test_nor_does_a_dead_mail_server_tell_who_has_an_account(client, member, path, more):
    pages = []
    for email in ("ada@example.com", "eve@example.com"):
        client.cookies.clear()
        response = client.post(path, {"email": email, **more})
        assert says_so(response)
        page = response.content.decode().replace(email, "…")
        pages.append(re.sub('value="[^"]*"', "", page))
    assert pages[0] == pages[1]


@pytest.mark.usefixtures("dead_mail_server")
def test_a_change_of_password_does_not_hang_on_its_mail(client, member, sign_in):
    sign_in()
    form = {"oldpassword": PASSWORD, "password1": "another horse"}
    assert client.post("/accounts/password/change/", form)["Location"] == "/dashboard/account"
    assert User.objects.get().check_password("another horse")


@pytest.mark.usefixtures("dead_mail_server")
def test_what_is_logged_names_nobody(client, caplog):
    client.post("/accounts/password/reset/", {"email": "ada@example.com"})
    (line,) = [record.getMessage() for record in caplog.records if "mail" in record.getMessage()]
    assert line == "A mail (account/email/unknown_account) was not sent: ConnectionRefusedError"
