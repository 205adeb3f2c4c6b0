"""Outside DEBUG no page of the administration opens without a second step."""

import re
from collections.abc import Iterator

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.http import HttpResponse
from django.test import Client
from django.urls import URLResolver
from django.urls.resolvers import RoutePattern

from accounts.models import User
from tests.second_step import add_app, code_of, unused_codes

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
SET_UP = "/accounts/2fa/"
ASKED = "/accounts/2fa/reauthenticate/"


@pytest.fixture
def staff() -> User:
    staff = User.objects.create_superuser("admin@example.com", PASSWORD)
    EmailAddress.objects.create(user=staff, email=staff.email, verified=True, primary=True)
    return staff


@pytest.fixture
def browser(staff) -> Client:
    """Signed in by the password alone."""
    browser = Client()
    browser.post("/accounts/login/", {"login": staff.email, "password": PASSWORD})
    return browser


def every_page(patterns=admin.site.urls[0], base: str = "/admin/") -> Iterator[str]:
    """An address of each of the admin's views, also of the one for all that it doesn't know."""
    for pattern in patterns:
        part = re.sub(r"<\w+:\w+>", "1", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from every_page(pattern.url_patterns, base + part)
        elif isinstance(pattern.pattern, RoutePattern):
            yield base + part
        else:
            yield f"{base}nowhere"


def opens(answer: HttpResponse) -> bool:
    return answer.status_code != 302 or not answer["Location"].startswith(("/accounts/",))


def test_every_page_leads_to_setting_it_up(browser):
    pages = list(every_page())
    assert len(pages) > 80
    assert {"/admin/", "/admin/login/", "/admin/jsi18n/", "/admin/nowhere"} < set(pages)
    for page in pages:
        if page == "/admin/logout/":
            continue
        for method in ("get", "head", "post", "put", "options"):
            answer = getattr(browser, method)(page)
            assert (answer.status_code, answer["Location"]) == (302, SET_UP), f"{method} {page}"
    assert not Authenticator.objects.exists()


def test_nothing_is_done_by_a_form_that_is_refused(browser, user):
    browser.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})
    browser.post("/admin/accounts/user/", {
        "action": "delete_selected", "_selected_action": [user.pk], "post": "yes",
    })  # fmt: skip
    assert User.objects.filter(pk=user.pk).exists()


def test_one_sets_it_up_and_gets_to_where_one_wanted(browser, staff):
    wanted = "/admin/billing/customer/?q=ada"
    page = browser.get(wanted, follow=True)
    assert page.redirect_chain == [(SET_UP, 302)]
    assert "The administration opens with a second step only." in page.content.decode()
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    secret = browser.get("/accounts/2fa/totp/activate/").context["form"].secret
    form = {"code": code_of(secret)}
    answer = browser.post("/accounts/2fa/totp/activate/", form)
    assert answer["Location"] == "/accounts/2fa/recovery-codes/"
    codes = browser.get("/accounts/2fa/recovery-codes/").content.decode()
    assert f'href="{wanted}"' in codes
    assert f'href="{wanted}"' in browser.get(SET_UP).content.decode()
    assert browser.get(wanted).status_code == 200
    # It is not offered any more, and the next sign-in asks for the code itself.
    assert f'href="{wanted}"' not in browser.get(SET_UP).content.decode()


def test_signing_in_with_it_opens_the_administration(staff):
    secret = add_app(staff)
    browser = Client()
    answer = browser.get("/admin/credits/wallet/", follow=True)
    assert answer.redirect_chain[-1][0] == "/accounts/login/?next=%2Fadmin%2Fcredits%2Fwallet%2F"
    browser.post("/accounts/login/?next=/admin/credits/wallet/", {
        "login": staff.email, "password": PASSWORD, "next": "/admin/credits/wallet/",
    })  # fmt: skip
    answer = browser.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    assert answer["Location"] == "/admin/credits/wallet/"
    assert browser.get(answer["Location"]).status_code == 200


def test_a_session_from_before_shows_it_first(browser, staff):
    secret = add_app(staff)
    wanted = "/admin/credits/wallet/?q=a%20b"
    answer = browser.get(wanted)
    assert answer["Location"] == f"{ASKED}?next=%2Fadmin%2Fcredits%2Fwallet%2F%3Fq%3Da%2520b"
    page = browser.get(answer["Location"])
    assert "The administration opens after your second step." in page.content.decode()
    assert "Use your password" not in page.content.decode()
    form = {"code": "000000", "next": wanted}
    assert browser.post(ASKED, form).status_code == 200
    assert not opens(browser.get(wanted))
    answer = browser.post(ASKED, form | {"code": code_of(secret)})
    assert answer["Location"] == wanted
    assert browser.get(wanted).status_code == 200


def test_the_password_is_not_enough_to_show_or_to_change_it(browser, staff):
    """Else one could add a second step of one's own to theirs."""
    add_app(staff)
    answer = browser.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": "/admin/"})
    assert answer["Location"] == f"{ASKED}?next=%2Fadmin%2F"
    assert not opens(browser.get("/admin/"))
    for page in ("webauthn/add/", "totp/deactivate/", "recovery-codes/"):
        assert browser.get(SET_UP + page)["Location"].startswith(ASKED)
    browser.post(f"{SET_UP}totp/deactivate/")
    browser.post(f"{SET_UP}webauthn/add/", {"name": "Mine", "credential": "{}"})
    assert Authenticator.objects.filter(user=staff).count() == 2


def test_a_recovery_code_stands_in(browser, staff):
    add_app(staff)
    browser.post(ASKED, {"code": unused_codes(staff)[0], "next": "/admin/"})
    assert browser.get("/admin/").status_code == 200


def test_recovery_codes_alone_are_no_second_step(client, staff):
    app = add_app(staff) and Authenticator.objects.get(type="totp")
    client.force_login(staff)
    client.show(staff, Authenticator.objects.get(type="recovery_codes"))
    assert client.get("/admin/").status_code == 200
    app.delete()
    assert client.get("/admin/")["Location"] == SET_UP


def test_who_loses_it_is_out_at_once(client, staff):
    client.force_login(staff)
    assert client.get("/admin/").status_code == 200
    Authenticator.objects.filter(user=staff).delete()
    assert client.get("/admin/")["Location"] == SET_UP
    assert client.post("/admin/password_change/")["Location"] == SET_UP
    # Nor does another one, which this session hasn't shown.
    add_app(staff)
    assert client.get("/admin/")["Location"].startswith(ASKED)


def test_somebody_elses_is_none(client, staff):
    other = User.objects.create_superuser("other@example.com")
    add_app(other)
    add_app(staff)
    client.force_login(staff)
    client.show(staff, Authenticator.objects.get(user=other, type="totp"))
    assert not opens(client.get("/admin/"))
    client.show(other, Authenticator.objects.get(user=staff, type="totp"))
    assert not opens(client.get("/admin/"))


def test_removing_it_warns_staff_only(client, staff, user):
    for person, is_warned in ((staff, True), (user, False)):
        add_app(person)
        client.force_login(person)
        session = client.session
        session["account_authentication_methods"] = [
            {"method": "mfa", "at": 2**40, "id": 0, "type": "totp", "reauthenticated": True}
        ]
        session["account_authentication_methods_user"] = str(person.pk)
        session.save()
        page = client.get("/accounts/2fa/totp/deactivate/").content.decode()
        assert ("You work here" in page) is is_warned


def test_the_sign_in_of_the_admin_takes_no_password(browser, client, staff, user):
    form = {"username": staff.email, "password": PASSWORD, "next": "/admin/"}
    answer = Client().post("/admin/login/", form)
    assert answer["Location"].startswith("/accounts/login/?next=")
    # Nor from somebody who is in: it would make them another one.
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    client.force_login(helper)
    assert client.post("/admin/login/", form)["Location"] == "/admin/"
    assert client.session["_auth_user_id"] == str(helper.pk)
    assert browser.post("/admin/login/", form)["Location"] == SET_UP
    customer = Client()
    customer.force_login(user)
    assert customer.post("/admin/login/", form).status_code == 403


def test_one_can_always_sign_out(browser):
    assert browser.post("/admin/logout/").status_code == 200
    assert "_auth_user_id" not in browser.session


def test_customers_are_asked_for_nothing(client, user):
    client.force_login(user)
    assert client.get("/dashboard").status_code == 200
    assert client.get("/admin/", follow=True).status_code == 403


def test_in_debug_nothing_of_this(browser, staff, settings):
    settings.DEBUG = True
    assert browser.get("/admin/").status_code == 200
    page = browser.get(SET_UP).content.decode()
    assert "The administration opens with a second step only." not in page
    add_app(staff)
    answer = browser.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": "/admin/"})
    assert answer["Location"] == "/admin/"
