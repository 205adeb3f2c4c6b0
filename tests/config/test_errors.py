import threading

import pytest
from django.db import connection, connections, transaction
from django.test import Client

from credits import ledger

pytestmark = pytest.mark.django_db


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
