import pytest

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
