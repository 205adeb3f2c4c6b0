import pytest
from django.test import Client

from billing.models import StripeCustomer

pytestmark = pytest.mark.django_db
URL = "/api/billing/portal-link"


@pytest.fixture
def buyer(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_get_goes_to_the_portal_and_makes_the_customer(buyer, user, sandbox, settings):
    settings.BILLING_PORTAL_RETURN_URL = "https://elsewhere.example/back?x=1"
    response = buyer.get(URL)

    assert response.status_code == 303
    assert "no-store" in response["Cache-Control"]
    (session,) = sandbox.objects("billing_portal.session")
    assert response["Location"] == session["url"]
    assert session["return_url"] == "https://elsewhere.example/back?x=1"
    assert session["customer"] == StripeCustomer.objects.get(user=user).stripe_id


def test_post_answers_the_address(buyer, sandbox):
    for body in ("", "{}"):
        response = buyer.post(URL, body, content_type="application/json")
        assert response.status_code == 200
        assert response.json()["url"] in [
            session["url"] for session in sandbox.objects("billing_portal.session")
        ]
    assert len(sandbox.objects("customer")) == 1


def test_everyone_gets_their_own(buyer, other_user, sandbox):
    other = Client()
    other.force_login(other_user)
    buyer.get(URL)
    other.get(URL)
    customers = {session["customer"] for session in sandbox.objects("billing_portal.session")}
    assert customers == set(StripeCustomer.objects.values_list("stripe_id", flat=True))
    assert len(customers) == 2


def test_visitors_are_unauthorized_but_navigations_go_to_sign_in(client):
    for accept in ("application/json", "*/*", ""):
        response = client.get(URL, headers={"Accept": accept})
        assert response.status_code == 401
        assert response.json() == {"error": "Unauthorized", "code": "unauthorized"}
    response = client.get(URL, headers={"Accept": "text/html,*/*"})
    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=%2Fapi%2Fbilling%2Fportal-link"
    assert client.post(URL, headers={"Accept": "text/html"}).status_code == 401


def test_post_needs_the_csrf_token(user, sandbox):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    response = client.post(URL, "{}", content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    assert sandbox.requests() == []


@pytest.mark.parametrize("method", ["head", "put", "delete", "patch", "options"])
def test_other_methods_are_refused(buyer, method):
    response = getattr(buyer, method)(URL)
    assert (response.status_code, response["Allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        ("x" * 65_537, "application/json", 413, "payload_too_large"),
        ("hello", "text/plain", 415, "unsupported_media_type"),
        ("{", "application/json", 400, "invalid_json"),
        ('{"customer": "cus_of_somebody"}', "application/json", 400, "unknown_field"),
    ],
)
def test_bad_bodies_are_refused(buyer, sandbox, body, kind, status, code):
    response = buyer.post(URL, body, content_type=kind)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert sandbox.requests() == []


@pytest.mark.parametrize("name", ["Sec-Purpose", "Purpose"])
def test_a_prefetch_opens_nothing(buyer, sandbox, name):
    response = buyer.get(URL, headers={name: "prefetch;prerender"})
    assert response.status_code == 503
    assert sandbox.requests() == []


def test_a_link_on_another_site_asks_first(buyer, sandbox):
    response = buyer.get(URL, headers={"Sec-Fetch-Site": "cross-site", "Accept": "text/html"})
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert b'method="post"' in response.content
    assert sandbox.requests() == []

    response = buyer.post(URL, {}, headers={"Accept": "text/html"}, content_type=FORM)
    assert response.status_code == 303
    assert response["Location"] == sandbox.objects("billing_portal.session")[0]["url"]


FORM = "application/x-www-form-urlencoded"


def test_an_outage_is_said(buyer, dead_stripe):
    response = buyer.post(URL, "{}", content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
    page = buyer.get(URL, headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert page["Content-Type"].startswith("text/html")
    assert b"Nothing was charged" in page.content
