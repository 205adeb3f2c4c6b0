"""`/dashboard/account/keys`: what people see of their API keys, make and revoke."""

import base64
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import closing, keys
from accounts.models import ApiKey, Session, User

pytestmark = pytest.mark.django_db
LIST = "/dashboard/account/keys"
NEW = f"{LIST}/new"
PASSWORD = "correct horse battery"


@pytest.fixture
def ada(user: User) -> User:
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


@pytest.fixture
def browser(ada: User) -> Client:
    """Without a password there is nothing to be asked for again."""
    client = Client()
    client.force_login(ada)
    return client


@pytest.fixture
def password(ada: User) -> None:
    ada.set_password(PASSWORD)
    ada.save()


def form(**fields: Any) -> dict[str, Any]:
    typed = {
        "request_id": str(uuid.uuid4()), "language": "en", "name": "Night job",
        "scopes": ["balance:read", "credits:spend"], "expires_in": "never", "limit_credits": "",
        "limit_period": "month",
    }  # fmt: skip
    return typed | fields


def make(owner: User, name: str = "Night job", **terms: Any) -> tuple[ApiKey, str]:
    return keys.make(made_by=owner, owner=owner, name=name, scopes=["balance:read"], **terms)


def token_in(page: str) -> str:
    (token,) = set(re.findall(r"dcp_[\w-]{43}", page))
    return token


def revoke_url(key: ApiKey) -> str:
    return f"{LIST}/{key.pk}/revoke"


def everything_kept() -> str:
    """All rows of all tables as text, and what sessions and the cache hold in their own forms."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        rows = []
        for table in tables:
            cursor.execute(f'SELECT "{table}"::text FROM "{table}"')
            rows += [row for (row,) in cursor.fetchall()]
        cursor.execute("SELECT value FROM cache")
        rows += [str(base64.b64decode(value)) for (value,) in cursor.fetchall()]
    rows += [str(session.get_decoded()) for session in Session.objects.all()]
    return "\n".join(rows)


# --- The list -----------------------------------------------------------------------------------


def test_visitors_are_sent_to_sign_in(client, ada):
    key, _ = make(ada)
    for url in (LIST, NEW, revoke_url(key)):
        assert client.get(url)["Location"] == f"/accounts/login/?next={url}"
        if url != LIST:
            assert client.post(url, form()).status_code == 302
    key.refresh_from_db()
    assert key.is_open
    assert ApiKey.objects.count() == 1


def test_who_has_none_is_told_what_it_is_for(browser):
    page = browser.get(LIST).content.decode()
    assert "You have no key in use" in page
    assert page.count(f'href="{NEW}"') == 1
    assert f'href="{LIST}"' in browser.get("/dashboard/account").content.decode()


def test_the_list_tells_what_each_may_and_did(browser, ada, other_user):
    soon = timezone.now() + timedelta(days=3)
    key, token = make(ada, "<b>Shop</b>", limit_credits=5000, limit_period="week")
    keys.charge(key, 1234)
    keys.admit(token)
    ending, _ = make(ada, "Ending", expires_at=soon)
    revoked, _ = make(ada, "Gone")
    keys.revoke(revoked)
    expired, _ = make(ada, "Late", expires_at=timezone.now() - timedelta(seconds=1))
    theirs, _ = make(other_user, "Theirs")
    page = browser.get(LIST)
    assert "no-store" in page["Cache-Control"]
    text = page.content.decode()
    used, over = text.split("No longer in use")
    assert "&lt;b&gt;Shop&lt;/b&gt;" in used
    assert f"{key.prefix}…" in used
    assert "1,234 of 5,000 credits used this week" in used
    assert used.count("Read balances and their history") == 2
    assert (used.count("last used"), used.count("not used yet")) == (1, 1)
    assert used.count("Expires soon") == 1
    assert revoke_url(ending) in used
    assert all(one.name in over and one.prefix in over for one in (revoked, expired))
    assert "/revoke" not in over
    assert "Theirs" not in text
    assert theirs.prefix not in text
    assert not re.search(r"dcp_[\w-]{5}", text)


def test_it_asks_as_little_of_the_database_for_many_as_for_one(
    browser, ada, django_assert_num_queries
):
    make(ada, limit_credits=5, limit_period="day")
    browser.get(LIST)
    with django_assert_num_queries(5):
        browser.get(LIST)
    for _ in range(9):
        make(ada, limit_credits=5, limit_period="day")
    with django_assert_num_queries(5):
        browser.get(LIST)


# --- Making one ---------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_kept_nowhere(browser, ada, caplog):
    caplog.set_level("DEBUG")
    answer = browser.post(NEW, form(expires_in="90", limit_credits="5,000", limit_period="day"))
    assert (answer.status_code, answer.headers.get("Location")) == (200, None)
    assert "no-store" in answer["Cache-Control"]
    token = token_in(answer.content.decode())
    key = ApiKey.objects.get()
    assert keys.admit(token) == key
    assert (key.kind, key.user, key.made_by, key.name) == ("personal", ada, ada, "Night job")
    assert key.scopes == ["balance:read", "credits:spend"]
    assert (key.limit_credits, key.limit_period) == (5000, "day")
    left = key.expires_at - timezone.now()
    assert timedelta(days=89, hours=23) < left < timedelta(days=90)
    assert key.requests_per_minute is None

    assert token not in everything_kept()
    assert token not in str(answer.cookies)
    assert token not in caplog.text
    (message,) = mail.outbox
    assert token not in str(message.message())
    for url in (LIST, NEW, revoke_url(key), "/dashboard/account"):
        assert token not in browser.get(url).content.decode()


def test_one_without_end_and_limit(browser):
    browser.post(NEW, form(limit_period="week"))
    key = ApiKey.objects.get()
    assert (key.expires_at, key.limit_credits, key.limit_period) == (None, None, "")


def test_a_reload_makes_and_shows_none(browser):
    sent = form()
    token = token_in(browser.post(NEW, sent).content.decode())
    again = browser.post(NEW, sent, follow=True)
    assert again.redirect_chain == [(LIST, 303)]
    page = again.content.decode()
    assert "This form has made its key already, and a key is shown only once." in page
    assert not re.search(r"dcp_[\w-]{5}", page)
    assert keys.admit(token) == ApiKey.objects.get()
    assert len(mail.outbox) == 1


def test_another_s_form_makes_one_s_own(browser, ada, other_user):
    sent = form()
    assert browser.post(NEW, sent).status_code == 200
    other = Client()
    other.force_login(other_user)
    assert other.post(NEW, sent).status_code == 200
    assert [key.user for key in ApiKey.objects.order_by("pk")] == [ada, other_user]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": " "}, "Enter a name."),
        ({"name": "x" * 81}, "at most 80 characters"),
        ({"name": "a\0b"}, "Null characters are not allowed."),
        ({"scopes": []}, "Choose at least one thing that it may do."),
        ({"scopes": ["balance:read", "everything"]}, "everything is not one of"),
        ({"expires_in": "36500"}, "36500 is not one of"),
        ({"limit_period": "year"}, "year is not one of"),
        *(
            ({"limit_credits": text}, "Enter a whole number of credits from 1")
            for text in ("0", "-5", "0.5", "5.000", "1e3", "x", str(2**53), "٣")
        ),
        ({"request_id": ""}, "This form is out of date."),
        ({"request_id": "1"}, "This form is out of date."),
    ],
)
def test_what_makes_no_key(browser, fields, problem):
    answer = browser.post(NEW, form(**fields))
    assert answer.status_code == 400
    assert problem in answer.content.decode()
    assert not ApiKey.objects.exists()
    assert mail.outbox == []


def test_a_limit_is_read_in_the_language_of_its_form(browser):
    browser.post(NEW, form(language="de", limit_credits="5.000"))
    assert ApiKey.objects.get().limit_credits == 5000


def test_who_has_the_most_there_can_be_revokes_one_first(browser, ada, monkeypatch):
    monkeypatch.setattr(keys, "MOST_OPEN", 2)
    first, _ = make(ada)
    make(ada)
    page = browser.post(NEW, form(), follow=True)
    assert page.redirect_chain == [(LIST, 303)]
    assert "You have 2 keys, which is the most that one can have." in page.content.decode()
    assert NEW not in page.content.decode()
    assert ApiKey.objects.count() == 2
    assert mail.outbox == []
    keys.revoke(first)
    assert browser.post(NEW, form()).status_code == 200


def test_an_account_that_is_being_closed_gets_none(browser, ada):
    closing.begin(ada)
    answer = browser.post(NEW, form())
    assert answer.status_code == 409
    assert "This account is being closed: no key was made." in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_the_owner_gets_a_mail(browser):
    browser.post(NEW, form(name="Shop & <b>"), REMOTE_ADDR="203.0.113.7")
    key = ApiKey.objects.get()
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert message.subject == "[Dynamic Credits] A new API key"
    assert f"The API key “Shop & <b>”, which begins with {key.prefix}, was made." in message.body
    assert "203.0.113.7" in message.body
    assert LIST in message.body


def test_a_mail_server_that_is_away_keeps_no_key_back(browser, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    answer = browser.post(NEW, form())
    assert keys.admit(token_in(answer.content.decode())) == ApiKey.objects.get()


# --- Who one is, once more ----------------------------------------------------------------------


@pytest.mark.usefixtures("password")
def test_a_session_alone_makes_no_key(browser):
    assert (
        browser.get(NEW)["Location"] == f"/accounts/reauthenticate/?next={NEW.replace('/', '%2F')}"
    )
    assert browser.post(NEW, form())["Location"].startswith("/accounts/reauthenticate/")
    wrong = browser.post("/accounts/reauthenticate/", {"password": "wrong", "next": NEW})
    assert "This is not your password." in wrong.content.decode()
    assert browser.get(NEW).status_code == 302
    assert not ApiKey.objects.exists()
    assert browser.get(LIST).status_code == 200


@pytest.mark.usefixtures("password")
def test_what_was_typed_is_done_after_the_password_and_once(browser):
    browser.post(NEW, form())
    confirmed = {"password": PASSWORD, "next": NEW}
    answer = browser.post("/accounts/reauthenticate/", confirmed)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    token = token_in(answer.content.decode())
    assert keys.admit(token) == ApiKey.objects.get()
    assert token not in everything_kept()
    # A reload of that answer leads to an empty form.
    assert browser.post("/accounts/reauthenticate/", confirmed)["Location"] == NEW
    assert ApiKey.objects.count() == 1
    assert browser.get(NEW).status_code == 200


# --- Revoking -----------------------------------------------------------------------------------


def test_revoking_asks_first_and_is_done_once(browser, ada):
    key, token = make(ada, "Shop")
    page = browser.get(revoke_url(key)).content.decode()
    assert '“<strong class="name">Shop</strong>”' in page
    assert "It was not used yet." in page
    assert keys.admit(token)
    answer = browser.post(revoke_url(key), follow=True)
    assert answer.redirect_chain == [(LIST, 303)]
    assert "“Shop” is revoked." in answer.content.decode()
    with pytest.raises(keys.KeyRevoked):
        keys.admit(token)
    (message,) = mail.outbox
    assert message.subject == "[Dynamic Credits] An API key was revoked"
    assert f"The API key “Shop”, which begins with {key.prefix}, was revoked." in message.body

    key.refresh_from_db()
    first = key.revoked_at
    assert browser.get(revoke_url(key))["Location"] == LIST
    assert browser.post(revoke_url(key))["Location"] == LIST
    key.refresh_from_db()
    assert key.revoked_at == first
    assert len(mail.outbox) == 1


def test_nobody_sees_or_revokes_another_s_key(browser, ada, other_user, staff):
    theirs, token = make(other_user, "Theirs")
    service, _ = keys.make(made_by=staff, owner=None, name="Shop", scopes=["credits:spend"])
    for number in (theirs.pk, service.pk, theirs.pk + 99, 2**70):
        url = f"{LIST}/{number}/revoke"
        for answer in (browser.get(url), browser.post(url)):
            assert answer.status_code == 404
            assert "Theirs" not in answer.content.decode()
    assert keys.admit(token) == theirs
    assert ApiKey.objects.filter(revoked_at=None).count() == 2
    assert mail.outbox == []
    # Nor does staff's own page show the shop's keys.
    client = Client()
    client.force_login(staff)
    assert "Shop" not in client.get(LIST).content.decode()
