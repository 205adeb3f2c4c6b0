"""The pages as such: that each is there, in our words, and what its fields are."""

import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.password_validation import (
    MinimumLengthValidator,
    get_default_password_validators,
)
from django.template.loader import render_to_string

from accounts.models import User

pytestmark = pytest.mark.django_db

VISITORS = [
    ("/accounts/login/", "Sign in"),
    ("/accounts/signup/", "Sign up"),
    ("/accounts/login/code/", "Sign in by code"),
    ("/accounts/confirm-email/", "Confirm your address"),
    ("/accounts/confirm-email/old/", "Confirm your address"),
    ("/accounts/password/reset/", "Forgot your password?"),
    ("/accounts/password/reset/done/", "Look into your mail"),
    ("/accounts/password/reset/key/1-old/", "Link no longer valid"),
    ("/accounts/password/reset/key/done/", "Password changed"),
    ("/accounts/inactive/", "Account not active"),
    ("/accounts/3rdparty/login/cancelled/", "Sign-in cancelled"),
]
MEMBERS = [
    ("/dashboard/account", "Account"),
    ("/accounts/email/", "Email address"),
    ("/accounts/password/change/", "Change password"),
    ("/accounts/sessions/", "Where you are signed in"),
    ("/accounts/3rdparty/", "Connected accounts"),
    ("/accounts/logout/", "Sign out"),
]


class Fields(HTMLParser):
    """The fields of a page that are not the menu's or the footer's: name and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}
        self.feed(html.partition("<main")[2].partition("</main>")[0])

    def handle_starttag(self, tag, attrs):
        if tag == "input":
            self.found[dict(attrs)["name"]] = dict(attrs)


def fields(response) -> dict[str, dict[str, str | None]]:
    return Fields(response.content.decode()).found


def heading_and_title(response) -> str:
    html = response.content.decode()
    assert html.count("<h1") == 1
    return re.search("<title>(.*?) · Dynamic Credits</title>", html, re.DOTALL)[1].strip()


@pytest.mark.parametrize(("path", "title"), VISITORS)
def test_what_visitors_find(client, path, title):
    response = client.get(path)
    assert response.status_code == 200
    assert heading_and_title(response) == title


@pytest.mark.parametrize(("path", "title"), MEMBERS)
def test_what_members_find(client, member, path, title):
    client.force_login(member)
    response = client.get(path)
    assert response.status_code == 200
    assert heading_and_title(response) == title


@pytest.mark.parametrize(("path", "title"), MEMBERS[:-1])
def test_visitors_sign_in_first(client, path, title):
    assert client.get(path)["Location"] == f"/accounts/login/?next={path}"


def test_a_page_of_each_template_that_settings_or_providers_lead_to(rf):
    for name in ("account/signup_closed.html", "account/verified_email_required.html"):
        assert "<h1>" in render_to_string(name, request=rf.get("/"))


def test_who_is_signed_in_needs_no_sign_in(client, member):
    client.force_login(member)
    for path in ("/accounts/login/", "/accounts/signup/", "/accounts/login/code/"):
        assert client.get(path)["Location"] == "/dashboard"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/accounts/login/", {"login": "username", "password": "current-password"}),
        ("/accounts/signup/", {"email": "email", "password1": "new-password"}),
        ("/accounts/login/code/", {"email": "email"}),
        ("/accounts/password/reset/", {"email": "email"}),
    ],
)
def test_forms_are_short_and_known_to_password_managers(client, path, expected):
    found = {
        name: field for name, field in fields(client.get(path)).items() if field["type"] != "hidden"
    }
    assert {name: field["autocomplete"] for name, field in found.items()} == expected
    assert not any("placeholder" in field for field in found.values())


def test_the_form_to_change_the_password_names_the_account(client, member):
    client.force_login(member)
    found = fields(client.get("/accounts/password/change/"))
    assert {name: field.get("autocomplete") for name, field in found.items()} == {
        "csrfmiddlewaretoken": None,
        "username": "username",
        "oldpassword": "current-password",
        "password1": "new-password",
    }
    assert found["username"]["value"] == "ada@example.com"


def test_rules_for_passwords_are_told_before_and_are_those_that_count(client):
    html = client.get("/accounts/signup/").content.decode()
    rules = re.search(r'id="id_password1_helptext">(.*?)</div>', html)[1]
    assert "At least 8 characters" in rules
    assert 'aria-describedby="id_password1_helptext"' in html
    validators = get_default_password_validators()
    assert len(validators) == 4
    (least,) = [item.min_length for item in validators if isinstance(item, MinimumLengthValidator)]
    assert least == 8


@pytest.mark.parametrize(
    ("path", "form", "wrong", "told"),
    [
        ("/accounts/login/", {"login": "", "password": "x"}, "login", "Please fill this in."),
        ("/accounts/signup/", {"email": "ada", "password1": "correct horse"}, "email", "valid"),
        ("/accounts/signup/", {"email": "a@b.example", "password1": "12"}, "password1", "short"),
        ("/accounts/password/reset/", {"email": ""}, "email", "Please fill this in."),
        ("/accounts/login/code/", {"email": "ada"}, "email", "valid"),
    ],
)
def test_a_mistake_is_told_at_its_field_where_the_cursor_is(client, path, form, wrong, told):
    response = client.post(path, form)
    field = fields(response)[wrong]
    assert "autofocus" in field
    assert field["aria-invalid"] == "true"
    assert f"id_{wrong}_error" in (field["aria-describedby"] or "").split()
    error = re.search(rf'id="id_{wrong}_error">(.*?)</div>', response.content.decode(), re.DOTALL)
    assert told in error[1]
    assert not User.objects.exists()


def test_a_wrong_password_is_told_without_saying_what_is_wrong(client, member, sign_in):
    known = sign_in(password="wrong")
    unknown = sign_in("eve@example.com", password="wrong")
    for response in (known, unknown):
        assert "The address or the password is wrong." in response.content.decode()
        assert "autofocus" in fields(response)["password"]
        assert "value" not in fields(response)["password"]
    assert client.get("/dashboard").status_code == 302


def test_signing_out_takes_a_button_and_says_so_once(client, member):
    client.force_login(member)
    assert client.get("/accounts/logout/").status_code == 200
    assert client.get("/dashboard").status_code == 200
    response = client.post("/accounts/logout/", follow=True)
    assert response.content.decode().count("You are signed out.") == 1
    assert client.get("/dashboard").status_code == 302


def test_the_hub_leads_to_all_that_belongs_to_an_account(client, member):
    client.force_login(member)
    html = client.get("/dashboard/account").content.decode().partition("<main")[2]
    for path in (
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/sessions/",
        "/dashboard/alerts",
        "/dashboard/account/export",
        "/dashboard/account/close",
    ):
        assert f'href="{path}"' in html
    assert "/accounts/3rdparty/" not in html  # no provider has keys


@pytest.mark.parametrize(
    ("path", "form", "limit"),
    [
        ("/accounts/password/reset/", {"email": "ada@example.com"}, 5),
        ("/accounts/signup/", {"email": "ada@example.com", "password1": "x"}, 20),
    ],
)
def test_too_many_tries_get_our_page(client, path, form, limit):
    for _ in range(limit):
        assert client.post(path, form).status_code in {200, 302}
    response = client.post(path, form)
    assert response.status_code == 429
    assert heading_and_title(response) == "Too many tries"
