"""Who gets in: keys that open, and those that don't."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import closing, keys
from accounts.models import User
from tests.api.program import Program

pytestmark = pytest.mark.django_db


def test_without_a_key_nothing_is_told(program):
    for header in (None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x", "dcp_x"):
        program.headers = {} if header is None else {"Authorization": header}
        answer = program.get("balance")
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_api_key")
        assert answer["WWW-Authenticate"] == "Bearer"
        assert set(answer.json()) == {"error", "code"}


def test_an_unknown_key_opens_nothing():
    for token in ("x", "dcp_" + "a" * 43, "a b", "é", "a" * 5000):
        answer = Program(token).get("balance")
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
        assert answer["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_the_scheme_s_case_does_not_matter(program):
    program.headers = {"Authorization": program.headers["Authorization"].replace("B", "b", 1)}
    assert program.get("balance").status_code == 200


def test_a_revoked_key_opens_nothing_from_now_on(user, make_key):
    key, token = make_key(user)
    assert Program(token).get("balance").status_code == 200
    keys.revoke(key)
    answer = Program(token).get("balance")
    assert (answer.status_code, answer.json()["code"]) == (401, "revoked_api_key")


def test_an_expired_key_opens_nothing(user, make_key):
    _, token = make_key(user, expires_at=timezone.now() - timedelta(seconds=1))
    answer = Program(token).get("balance")
    assert (answer.status_code, answer.json()["code"]) == (401, "expired_api_key")


def test_a_key_of_a_closed_account_opens_nothing(program):
    User.objects.update(is_active=False)
    answer = program.get("balance")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


def test_a_key_ends_with_the_account_and_not_before(program, user):
    mark = closing.begin(user)
    assert program.get("balance").status_code == 200
    user.refresh_from_db()
    closing.erase(user, mark)
    assert program.get("balance").status_code == 401


def test_too_many_requests_are_told_when_to_come_again(user, make_key):
    _, token = make_key(user, requests_per_minute=1)
    assert Program(token).get("balance").status_code == 200
    answer = Program(token).get("balance")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 0 < int(answer["Retry-After"]) <= 60


def test_a_key_needs_the_scope(user, make_key):
    _, token = make_key(user, ["credits:spend", "usage:read", "usage:write"])
    answer = Program(token).get("balance")
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "This API key may not do that. It would need the scope balance:read.",
        "code": "missing_scope",
        "scope": "balance:read",
    }


def test_a_session_opens_nothing(client, user):
    client.force_login(user)
    answer = client.get("/api/v1/balance")
    assert (answer.status_code, answer.json()["code"]) == (401, "missing_api_key")


def test_cookies_are_neither_read_nor_set(program, user, django_assert_num_queries):
    program.client.force_login(user)
    program.client.cookies["django_language"] = "de"
    answer = program.get("balance", nonsense=1)
    assert answer.json()["error"].startswith("There is no such parameter here")
    answer = program.get("balance")
    assert "Vary" not in answer.headers
    assert not answer.cookies
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["id", "email"])
def test_a_service_key_acts_for_who_is_named(service, rich, name):
    named = {"id": rich.pk, "email": rich.email.upper()}[name]
    answer = service.get("balance", user=named)
    assert answer.status_code == 200
    assert (answer.json()["user"], answer.json()["settled"]) == (rich.pk, 1000)


def test_a_service_key_has_to_name_somebody(service):
    answer = service.get("balance")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["field"] == "user"


@pytest.mark.parametrize("named", ["999999999", str(2**53 - 1), "nobody@example.com"])
def test_who_is_not_there_is_unknown(service, named):
    answer = service.get("balance", user=named)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")


@pytest.mark.parametrize("name", ["id", "email"])
def test_closed_accounts_are_unknown(service, rich, name):
    User.objects.filter(pk=rich.pk).update(is_active=False)
    named = {"id": rich.pk, "email": rich.email}[name]
    answer = service.get("balance", user=named)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")


@pytest.mark.parametrize("name", ["id", "email"])
def test_a_personal_key_names_its_owner_or_nobody_it_knows(program, rich, other_program, name):
    named = {"id": rich.pk, "email": rich.email}[name]
    assert program.get("balance", user=named).json()["settled"] == 1000
    answer = other_program.get("balance", user=named)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")
    nobody = other_program.get("balance", user={"id": 10**9, "email": "a@b.example"}[name])
    assert nobody.content == answer.content
