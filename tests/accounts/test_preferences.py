"""The language and the time zone that somebody reads in."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone, translation

from accounts import preferences
from accounts.models import User
from billing.models import Purchase

pytestmark = pytest.mark.django_db
GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}


def language_of(client: Client, path: str = "/credits", **headers: str) -> str:
    response = client.get(path, headers=headers)
    text = response.content.decode()
    return text.split('<html lang="')[1].split('"')[0]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("de", "de"), ("de-CH,fr;q=0.9", "de"), ("fr,de;q=0.5", "de"), ("fr", "en"), ("", "en")],
)
def test_a_visitor_reads_what_the_browser_asks_for(client, accepted, language):
    assert language_of(client, **{"Accept-Language": accepted}) == language


def test_a_visitor_chooses_and_stays_on_the_page(client):
    where = "/credits?credits=1234&mode=subscription"
    response = client.post("/language", {"language": "de", "next": where})
    assert (response.status_code, response["Location"]) == (302, where)
    cookie = response.cookies["django_language"]
    assert (cookie.value, cookie["samesite"], bool(cookie["httponly"])) == ("de", "Lax", True)
    assert cookie["max-age"] == 365 * 24 * 3600
    assert language_of(client, **{"Accept-Language": "en"}) == "de"


def test_a_user_chooses_for_every_browser(client, user):
    client.force_login(user)
    client.post("/language", {"language": "de", "next": "/dashboard"})
    user.refresh_from_db()
    assert user.language == "de"
    elsewhere = Client()
    elsewhere.force_login(user)
    assert language_of(elsewhere, "/dashboard", **{"Accept-Language": "en"}) == "de"


def test_one_user_chooses_for_nobody_else(client, user, other_user):
    client.force_login(user)
    client.post("/language", {"language": "de", "next": "/"})
    client.post("/dashboard/account/time-zone", {"time_zone": "Europe/Berlin"})
    other_user.refresh_from_db()
    assert (other_user.language, other_user.time_zone) == ("", "")


@pytest.mark.parametrize("language", ["tlh", "", "de'; DROP TABLE", "../de"])
def test_there_are_no_other_languages(client, user, language):
    client.force_login(user)
    response = client.post("/language", {"language": language, "next": "/credits"})
    user.refresh_from_db()
    assert (response.status_code, user.language) == (302, "")
    assert "django_language" not in response.cookies


@pytest.mark.parametrize("next", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_the_switch_leads_to_no_other_site(client, next):
    assert client.post("/language", {"language": "de", "next": next})["Location"] == "/"


def test_the_switch_is_a_form_that_nobody_else_can_send(user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post("/language", {"language": "de", "next": "/"}).status_code == 403
    assert client.get("/language?language=de").status_code == 405
    user.refresh_from_db()
    assert user.language == ""


def test_the_switch_names_the_page_with_its_query(client):
    page = client.get("/credits?credits=1234&mode=payment").content.decode()
    assert 'name="next" value="/credits?credits=1234&amp;mode=payment"' in page
    assert '<button name="language" value="de" lang="de">Deutsch</button>' in page
    assert (
        '<button name="language" value="en" lang="en" aria-current="true">English</button>' in page
    )


def test_after_a_refused_form_the_switch_leads_to_the_page_of_the_form(client, user):
    client.force_login(user)
    came_from = "http://testserver/dashboard/plan"
    page = client.post("/dashboard/plan/change", {"credits": "x"}, headers={"Referer": came_from})
    assert f'name="next" value="{came_from}"' in page.content.decode()


def test_signing_in_keeps_the_language_for_mails_until_another_is_chosen(client):
    user = User.objects.create_user("ada@example.com", "correct horse battery")
    login = {"login": user.email, "password": "correct horse battery"}
    client.post("/accounts/login/", login, headers=GERMAN)
    user.refresh_from_db()
    assert user.language == "de"
    client.post("/accounts/logout/")
    client.post("/accounts/login/", login, headers={"Accept-Language": "en"})
    user.refresh_from_db()
    assert user.language == "de"


def test_errors_of_the_api_are_in_the_language_that_is_asked_for(client):
    answer = client.get("/api/billing/quote?credits=1", headers={"Accept-Language": "de"})
    assert answer.json()["code"] == "credits_out_of_range"
    assert answer["Content-Language"] == "de"


# --- Time zones -----------------------------------------------------------------------------------


@pytest.fixture
def order(user) -> Purchase:
    """Ordered on another day in Berlin than in UTC."""
    order = Purchase.objects.create(
        user=user, mode="payment", credits=500, unit_price_e4=95, total=475, currency="usd",
        stripe_session_url="http://127.0.0.1:9",
    )  # fmt: skip
    at = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
    Purchase.objects.filter(pk=order.pk).update(created_at=at)
    return order


@pytest.mark.parametrize(
    ("cookie", "chosen", "language", "shown"),
    [
        ("", "", "en", "25 Nov 2026, 23:30"),
        ("Europe/Berlin", "", "en", "26 Nov 2026, 00:30"),
        ("Europe/Berlin", "", "de", "26.11.2026, 00:30"),
        ("Europe/Berlin", "America/New_York", "en", "25 Nov 2026, 18:30"),
        ("", "Asia/Kathmandu", "en", "26 Nov 2026, 05:15"),
        ("Mars/Olympus_Mons", "", "en", "25 Nov 2026, 23:30"),
        ("../../etc/passwd", "", "en", "25 Nov 2026, 23:30"),
        ("x" * 5000, "", "en", "25 Nov 2026, 23:30"),
    ],
)
def test_times_are_in_the_zone_of_the_reader(client, user, order, cookie, chosen, language, shown):
    client.force_login(user)
    client.cookies["tz"] = cookie
    preferences.choose(user, time_zone=chosen, language=language)
    assert shown in client.get("/dashboard").content.decode()


def test_a_zone_is_chosen_and_given_up_on_the_account_page(client, user):
    client.force_login(user)
    page = client.get("/dashboard/account").content.decode()
    assert '<optgroup label="Europe">' in page
    assert '<option value="America/New_York">New York' in page
    response = client.post("/dashboard/account/time-zone", {"time_zone": "Europe/Berlin"})
    assert (response.status_code, response["Location"]) == (303, "/dashboard/account")
    user.refresh_from_db()
    assert user.time_zone == "Europe/Berlin"
    assert "<option selected>Europe/Berlin</option>" in client.get("/dashboard/account").text
    client.post("/dashboard/account/time-zone", {"time_zone": ""})
    user.refresh_from_db()
    assert user.time_zone == ""


@pytest.mark.parametrize(
    "name", ["Mars/Olympus_Mons", "../../etc/passwd", "europe/berlin", "+01:00"]
)
def test_there_are_no_other_zones(client, user, name):
    preferences.choose(user, time_zone="Europe/Berlin")
    client.force_login(user)
    response = client.post("/dashboard/account/time-zone", {"time_zone": name}, follow=True)
    assert "there is no such time zone" in response.text
    user.refresh_from_db()
    assert user.time_zone == "Europe/Berlin"


def test_visitors_have_no_account_to_choose_for(client):
    response = client.post("/dashboard/account/time-zone", {"time_zone": "Europe/Berlin"})
    assert response["Location"].startswith("/accounts/login/")


def test_staff_read_times_in_utc(client, staff, order):
    preferences.choose(staff, time_zone="Asia/Tokyo")
    client.force_login(staff)
    assert "2026-11-25 23:30:00" in client.get("/admin/billing/purchase/").text


def test_what_is_written_for_somebody_else_is_as_they_read_it(user):
    preferences.choose(user, language="de", time_zone="Europe/Berlin")
    with translation.override("en"), preferences.read_by(user):
        assert translation.get_language() == "de"
        assert timezone.get_current_timezone_name() == "Europe/Berlin"
    preferences.choose(user, language="tlh", time_zone="Mars/Olympus_Mons")
    with translation.override("de"), preferences.read_by(user):
        assert translation.get_language() == "en"
        assert timezone.get_current_timezone_name() == "UTC"
