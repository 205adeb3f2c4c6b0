"""Whose a session is: known with it in one query, and exactly where Django would say so too."""

import pytest
from django.contrib.auth.hashers import make_password

from accounts.models import Session, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(client, user) -> User:
    """Somebody whose session the client has."""
    client.force_login(user)
    return user


def who_asks(client) -> User | None:
    """Whom the next request is taken to be by."""
    response = client.get("/dashboard/account")
    return response.context["user"] if response.status_code == 200 else None


def test_a_session_and_its_user_are_read_at_once(client, ada, django_assert_num_queries):
    with django_assert_num_queries(2):  # the other one: the balance in the header
        assert client.get("/terms").context["user"] == ada


def test_who_may_not_sign_in_any_more_is_signed_out(client, ada):
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert who_asks(client) is None


def test_another_password_ends_the_session(client, ada):
    User.objects.filter(pk=ada.pk).update(password=make_password("another"))
    assert who_asks(client) is None
    assert not Session.objects.exists()


@pytest.mark.parametrize("has_row", [True, False])
def test_whose_the_row_is_decides_nothing(client, ada, other_user, has_row):
    User.objects.update(password=ada.password)  # all that the session's digest is of
    Session.objects.update(user=other_user if has_row else None)
    assert who_asks(client) == ada


def test_nor_does_a_user_of_another_way_to_sign_in(client, ada, settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert who_asks(client) is None


def test_a_new_secret_key_signs_nobody_out_while_the_old_one_stands_behind(client, ada, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key of some length, for the test"
    assert who_asks(client) == ada
    settings.SECRET_KEY_FALLBACKS = []
    assert who_asks(client) == ada


def test_a_session_that_is_over_is_nobody_s(client, ada):
    Session.objects.update(expire_date="2026-01-01T00:00:00Z")
    assert who_asks(client) is None


@pytest.mark.parametrize("key", ["", "\0", "a\0", "nobody's", "x" * 5000])
def test_a_cookie_that_names_no_session_is_nobody_s(client, ada, key):
    client.cookies["sessionid"] = key
    assert who_asks(client) is None
