"""Confirming an address by the link in the mail."""

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts.models import User
from tests.accounts.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mandatory")]
LINK = r"http\S+confirm-email/\S+/"


@pytest.fixture
def link(client, in_mail) -> str:
    """Of someone who has just signed up in `client`."""
    form = {"email": "ada@example.com", "password1": PASSWORD}
    client.post("/accounts/signup/?next=/credits%3Fcredits%3D1234", form)
    return in_mail(LINK)


def is_confirmed() -> bool:
    return EmailAddress.objects.get().verified


def test_one_click_where_one_has_signed_up_confirms_signs_in_and_goes_on(client, link):
    assert client.get("/dashboard").status_code == 302
    assert client.get(link)["Location"] == "/credits?credits=1234"
    assert is_confirmed()
    page = client.get("/dashboard").content.decode()
    assert page.count("Thank you, ada@example.com is confirmed.") == 1


def test_elsewhere_it_takes_a_button_and_a_sign_in(link, sign_in):
    other = Client()
    page = other.get(link).content.decode()
    assert "Is <strong>ada@example.com</strong> yours?" in page
    assert not is_confirmed()
    assert other.post(link)["Location"] == "/accounts/login/"
    assert is_confirmed()
    assert other.get("/dashboard").status_code == 302
    assert sign_in(client=other)["Location"] == "/dashboard"


@pytest.mark.parametrize("method", ["get", "head"])
def test_programs_that_look_for_harm_confirm_nothing(client, link, method):
    getattr(Client(), method)(link)
    client.head(link)
    assert not is_confirmed()


def test_nor_does_somebody_else_who_is_signed_in(link, other_user):
    other = Client()
    other.force_login(other_user)
    assert "yours?" in other.get(link).content.decode()
    assert not is_confirmed()


def test_a_link_that_was_used_says_so(client, link):
    client.get(link)
    page = client.get(link).content.decode()
    assert "This link is no longer valid" in page
    assert 'href="/dashboard"' in page
    page = Client().get(link).content.decode()
    assert "sign in, and a new one is mailed to you" in page


def test_an_old_link_says_so_and_signing_in_mails_another(client, link, settings, sign_in, in_mail):
    settings.ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = -1
    page = client.get(link).content.decode()
    assert "This link is no longer valid" in page
    assert not is_confirmed()
    settings.ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 3
    settings.ACCOUNT_RATE_LIMITS = {}
    assert sign_in()["Location"] == "/accounts/confirm-email/"
    assert len(mail.outbox) == 2
    assert client.get(in_mail(LINK))["Location"] == "/dashboard"
    assert is_confirmed()


def test_the_mail_can_be_had_again_after_a_minute(client, link, settings):
    page = client.get("/accounts/confirm-email/").content.decode()
    assert "<strong>ada@example.com</strong>" in page
    soon = client.post("/accounts/confirm-email/", follow=True)
    assert "less than a minute old" in soon.content.decode()
    assert len(mail.outbox) == 1
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"confirm_email": None}
    later = client.post("/accounts/confirm-email/", follow=True)
    assert "ada@example.com is on its way" in later.content.decode()
    assert [message.to for message in mail.outbox] == [["ada@example.com"]] * 2


def test_nobody_has_mails_sent_who_has_not_signed_up(client):
    page = client.post("/accounts/confirm-email/").content.decode()
    assert "When you sign in, it is mailed again." in page
    assert mail.outbox == []


def test_who_is_signed_in_finds_the_address_instead(client, member):
    client.force_login(member)
    assert client.get("/accounts/confirm-email/")["Location"] == "/accounts/email/"


def test_an_address_that_others_have_meanwhile_is_refused(client, member, in_mail, sign_in):
    sign_in()
    EmailAddress.objects.create(user=member, email="new@example.com")
    client.post("/accounts/email/", {"action_send": "", "email": "new@example.com"})
    link = in_mail(LINK)
    User.objects.create_user("new@example.com", PASSWORD)
    response = client.get(link, follow=True)
    assert "belongs to another account" in response.content.decode()
    member.refresh_from_db()
    assert member.email == "ada@example.com"
    assert not EmailAddress.objects.get(email="new@example.com").verified
