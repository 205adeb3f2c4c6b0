import re
import threading

import pytest
import requests
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection, connections, transaction
from django.test import Client

from config import errors
from credits import ledger
from tests.site import serve

pytestmark = pytest.mark.django_db
NOT_UNDERSTOOD = "We didn\u2019t understand that"


def test_an_unknown_address_is_a_page_for_people_and_json_for_programs(client):
    page = client.get("/nowhere")
    assert page.status_code == 404
    assert page["Content-Type"].startswith("text/html")
    answer = client.get("/api/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = client.post("/api/nowhere", "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/credits/", "/dashboard/", "/credits/success/", "/healthz/"])
def test_our_own_routes_have_no_trailing_slash(client, path):
    assert client.get(path).status_code == 404


def test_a_crash_is_json_for_programs(client, monkeypatch):
    def fall(*args):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("billing.pricing.load_tiers", fall)
    client.raise_request_exception = False
    answer = client.get("/api/billing/quote?credits=500")
    assert (answer.status_code, answer.json()["code"]) == (500, "server_error")
    page = client.get("/credits")
    assert page.status_code == 500
    assert b"secret" not in page.content


def test_every_page_is_guarded_by_headers(client):
    response = client.get("/credits")
    policy = response["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert "form-action 'self' http" in policy
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/nothing.css", "/credits/success", "/accounts/email/", "/dashboard", "/credits"]
)
def test_what_one_person_sees_is_in_no_shared_cache(client, user, path):
    client.force_login(user)
    response = client.get(path)
    assert user.email in response.content.decode()
    assert "private" in response["Cache-Control"]
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize(
    ("type", "body"),
    [
        ("application/x-www-form-urlencoded", b"a" * 3_000_000),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(1500))),
        ("multipart/form-data", b"a" * 100),
    ],
)
def test_visitors_are_unauthorized_whatever_they_post(type, body):
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32
    answer = client.post("/api/billing/dynamic-checkout", body, content_type=type)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_api", [True, False])
def test_a_wallet_that_stays_locked_is_told_when_to_come_again(user, settings, rf, is_api):
    # Through the middleware, around a view that books; no endpoint of ours books yet.
    from config.middleware import BusyMiddleware

    wallet = ledger.wallet_of(user)
    locked, done = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM credits_wallet WHERE id = %s FOR UPDATE", [wallet.pk])
            locked.set()
            done.wait(timeout=30)
        connections.close_all()

    holder = threading.Thread(target=hold_lock)
    holder.start()
    locked.wait(timeout=30)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    request = rf.get("/api/x" if is_api else "/x")
    request.user = user
    try:
        with pytest.raises(ledger.errors.LedgerBusy) as busy:
            ledger.grant(wallet, 5, key="k", kind="purchase")
    finally:
        done.set()
        holder.join()
        connection.close()
    answer = BusyMiddleware(lambda request: None).process_exception(request, busy.value)
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert (b'"code": "busy"' in answer.content) == is_api
    assert ledger.balance_of(user) == 0


# --- Each error's page ------------------------------------------------------------------------


def look(response, status: int, title: str, way_on: str) -> str:
    """What every error's page owes its reader; answers it."""
    content = response.content.decode()
    assert response.status_code == status
    assert f"<title>{title} · Dynamic Credits</title>" in content
    assert content.count(f">{title}<") == 1 or status == 500
    assert f'<p class="eyebrow">{status}</p>' in content
    assert 'data-theme="dark"' in content
    main = content.split("<main", 1)[1]
    assert re.search(rf'<a class="btn primary" [^>]*href="{re.escape(way_on)}"', main), main
    assert "Traceback" not in content
    assert "style=" not in content
    return content


@pytest.fixture
def reader(client):
    """Somebody with the dark theme, who is answered as in production."""
    client.cookies["theme"] = "dark"
    client.raise_request_exception = False
    return client


def fail(error):
    def view(*args, **kwargs):
        raise error

    return view


def test_400(reader, settings):
    many = {f"field{number}": "1" for number in range(1001)}
    look(reader.post("/credits", many), 400, NOT_UNDERSTOOD, "/")
    # By a name that isn't ours, every page is a 400; the way on leads to one that is.
    answer = reader.get("/credits", headers={"host": "evil.example"})
    assert "evil" not in look(answer, 400, NOT_UNDERSTOOD, f"{settings.BASE_URL}/")


def test_403(reader, monkeypatch):
    monkeypatch.setattr("billing.pricing.load_tiers", fail(PermissionDenied("an inner secret")))
    page = look(reader.get("/credits?credits=7"), 403, "You may not see this", "/")
    assert "secret" not in page
    assert 'href="/accounts/login/?next=/credits%3Fcredits%3D7"' in page


@pytest.mark.parametrize(
    ("came_from", "way_on"),
    [("http://testserver/credits?credits=7", None), ("http://evil.example/", "/"), ("", "/")],
)
def test_403_for_a_form_that_has_expired(user, came_from, way_on):
    client = Client(enforce_csrf_checks=True)
    client.cookies["theme"] = "dark"
    client.force_login(user)
    answer = client.post("/credits", {"credits": "500"}, headers={"referer": came_from})
    look(answer, 403, "This form has expired", way_on or came_from)
    assert user.purchases.count() == 0


def test_404(reader):
    look(reader.get("/nowhere"), 404, "There is nothing here", "/")


def test_413(reader, user):
    body = "credits=500&" + "a" * 3_000_000
    answer = reader.post("/credits", body, content_type="application/x-www-form-urlencoded")
    look(answer, 413, "That was too large", "/")


@pytest.mark.parametrize(
    ("path", "limit", "wait", "words"),
    [
        ("/accounts/login/", {"login": "1/m/ip"}, "60", "again in a minute."),
        ("/accounts/signup/", {"signup": "1/m/ip,9/2h/ip"}, "7200", "again in 120 minutes."),
        ("/accounts/password/reset/", {"reset_password": "1/90s/ip"}, "90", "again in 2 minutes."),
    ],
)
def test_429_says_when_to_try_again(reader, settings, path, limit, wait, words):
    settings.ACCOUNT_RATE_LIMITS = limit
    form = {"email": "ada@example.com"}
    assert reader.post(path, form).status_code < 400
    answer = reader.post(path, form)
    assert words in look(answer, 429, "Too many tries", "/")
    assert answer["Retry-After"] == wait


def test_500(reader, user, monkeypatch):
    reader.force_login(user)
    monkeypatch.setattr("billing.pricing.load_tiers", fail(RuntimeError("an inner secret")))
    answer = reader.get("/credits")
    page = look(answer, 500, "Something broke", "")
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert "secret" not in page
    # By a link nothing is sent again.
    look(reader.post("/credits", {"credits": "500"}), 500, "Something broke", "/")
    # And if the page itself can't be made, there is still one.
    monkeypatch.setattr("config.errors.render_to_string", fail(RuntimeError("another secret")))
    answer = reader.get("/credits")
    assert (answer.status_code, b"secret" in answer.content) == (500, False)
    assert b'<a href="/">Back to the start</a>' in answer.content


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [(None, 503), ("08006", 503), ("57P01", 503), ("40P01", 503), ("23505", 500)],
)
def test_a_database_that_goes_away_is_told_and_others_faults_are_not(
    reader, monkeypatch, sqlstate, status
):
    cause = type("Cause", (Exception,), {"sqlstate": sqlstate})()
    error = OperationalError("at db.example")
    error.__cause__ = cause
    monkeypatch.setattr("billing.pricing.load_tiers", fail(error))
    for path in ("/credits", "/api/billing/quote?credits=500"):
        answer = reader.get(path)
        assert answer.status_code == status
        assert answer.has_header("Retry-After") == (status == 503)
        assert b"db.example" not in answer.content


def test_without_a_database_every_page_is_a_503():
    with serve(DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing") as url:
        browser = requests.Session()
        browser.cookies.update({"theme": "dark", "sessionid": "a" * 32, "csrftoken": "a" * 32})
        for path in ("/credits", "/dashboard", "/nowhere", "/accounts/login/"):
            answer = browser.get(url + path, timeout=30)
            page = answer.content.decode()
            assert (path, answer.status_code) == (path, 503)
            assert answer.headers["Retry-After"] == str(errors.AWAY_FOR)
            assert answer.headers["Content-Security-Policy"]
            assert "<title>Please try again in a minute · Dynamic Credits</title>" in page
            assert "Nothing was charged and nothing is lost." in page
            assert 'data-theme="dark"' in page
            assert '<a class="btn primary" href="">Try again</a>' in page
            assert "127.0.0.1:1" not in page
        answer = browser.get(f"{url}/api/billing/quote?credits=500", timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert browser.get(f"{url}/healthz", timeout=30).status_code == 200
