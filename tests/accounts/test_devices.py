"""Where one is signed in, and signing out there."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from accounts import devices
from accounts.models import Session, User
from accounts.templatetags.devices import device
from tests.accounts.conftest import PASSWORD

pytestmark = pytest.mark.django_db
PAGE = "/accounts/sessions/"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
)


@pytest.fixture
def phone(member, sign_in) -> Client:
    phone = Client(headers={"user-agent": IPHONE}, REMOTE_ADDR="203.0.113.7")
    sign_in(client=phone)
    return phone


@pytest.fixture
def laptop(member, sign_in) -> Client:
    laptop = Client(headers={"user-agent": FIREFOX}, REMOTE_ADDR="203.0.113.8")
    sign_in(client=laptop)
    return laptop


def is_signed_in(browser: Client) -> bool:
    return browser.get("/dashboard").status_code == 200


def number_of(browser: Client) -> int:
    return UserSession.objects.get(session_key=browser.session.session_key).pk


def test_each_is_listed_with_what_where_and_when(phone, laptop):
    page = laptop.get(PAGE).content.decode().partition("<main")[2]
    assert page.index("Firefox on Windows") < page.index("This device") < page.index("iPhone")
    assert "Safari on iPhone" in page
    assert "Address 203.0.113.7" in page
    assert "Since " in page
    assert page.count('name="id"') == 1  # not for where one is


def test_one_is_signed_out(phone, laptop):
    response = laptop.post(PAGE, {"id": number_of(phone)}, follow=True)
    assert response.redirect_chain == [(PAGE, 303)]
    assert response.content.decode().count("Signed out there.") == 1
    assert "iPhone" not in response.content.decode()
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)


def test_all_others_are_signed_out_and_nobody_elses(phone, laptop, other_user):
    # One that began before sign-ins were noted.
    old = Client()
    old.force_login(phone_user := User.objects.get(email="ada@example.com"))
    UserSession.objects.filter(session_key=old.session.session_key).delete()
    stranger = Client()
    stranger.force_login(other_user)
    laptop.post(PAGE)
    assert is_signed_in(laptop)
    assert is_signed_in(stranger)
    assert not is_signed_in(phone)
    assert not is_signed_in(old)
    assert Session.objects.filter(user=phone_user).count() == 1
    assert UserSession.objects.filter(user=phone_user).count() == 1


@pytest.mark.parametrize("bad", ["", "x", "-1", "²", "9" * 30, "0"])
def test_what_is_no_session_ends_none(phone, laptop, bad):
    assert laptop.post(PAGE, {"id": bad}).status_code == 303
    assert is_signed_in(laptop)
    assert is_signed_in(phone)


def test_nobody_ends_another_ones_or_the_one_in_use(phone, laptop, other_user):
    stranger = Client()
    stranger.force_login(other_user)
    stranger.get(PAGE)
    phone.post(PAGE, {"id": number_of(stranger)})
    phone.post(PAGE, {"id": number_of(phone)})
    assert is_signed_in(stranger)
    assert is_signed_in(phone)
    page = phone.get(PAGE).content.decode()
    assert page.count('name="id"') == 1


def test_one_that_began_before_is_listed_where_one_is(member):
    old = Client(headers={"user-agent": FIREFOX})
    old.force_login(member)
    UserSession.objects.all().delete()
    assert "Firefox on Windows" in old.get(PAGE).content.decode()


def test_a_new_password_ends_the_others(phone, laptop):
    laptop.post(
        "/accounts/password/change/", {"oldpassword": PASSWORD, "password1": "another horse"}
    )
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)
    page = laptop.get(PAGE).content.decode()
    assert "iPhone" not in page
    assert "This device" in page


def test_what_is_over_is_forgotten(phone, laptop):
    assert devices.forget_old() == 0
    Session.objects.filter(session_key=phone.session.session_key).update(
        expire_date=timezone.now() - timedelta(seconds=1)
    )
    assert devices.forget_old() == 2
    (left,) = UserSession.objects.all()
    assert left.session_key == laptop.session.session_key
    assert is_signed_in(laptop)


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Windows"),
        (IPHONE, "Safari on iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/129.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X) Chrome/1 Safari/5 Edg/129.0", "Edge on Mac"),
        ("Mozilla/5.0 (Linux; Android 14) SamsungBrowser/26 Chrome/1", "Samsung Internet on"),
        ("curl/8.9", "Another program"),
        ("Firefox", "Firefox"),
        ("", "Another program"),
    ],
)
def test_browsers_in_words(user_agent, words):
    assert device(user_agent).startswith(words)
