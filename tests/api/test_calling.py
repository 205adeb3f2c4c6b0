"""GET /ping, and what is told of the API itself."""

import json

import pytest
from django.db import OperationalError

from accounts import keys
from api.refusals import REASONS
from tests.api.program import Program, schema

pytestmark = pytest.mark.django_db
UNAUTHENTICATED = Program()


def test_a_personal_key_is_told(user, make_key, django_assert_num_queries):
    _, token = make_key(user, ["usage:write"])
    with django_assert_num_queries(1):
        answer = Program(token).get("ping")
    assert answer.json() == {
        "name": "Test", "prefix": token[:8], "kind": "personal", "user": user.pk,
        "scopes": ["usage:write"], "expires_at": None,
    }  # fmt: skip


def test_a_service_key_is_nobody_s(service):
    answer = service.get("ping").json()
    assert (answer["kind"], answer["user"]) == ("service", None)


# --- What fails -------------------------------------------------------------------------------


def test_an_unknown_address_is_told_to_everybody(program):
    for path in ("", "nothing", "balance/", "holds/x/capture", "holds/-1/capture", "docs"):
        answer = UNAUTHENTICATED.client.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert set(answer.json()) == {"error", "code"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("post", "balance", "GET"), ("delete", "entries", "GET"), ("put", "spend", "POST"),
        ("get", "holds", "POST"), ("get", "holds/1/capture", "POST"), ("options", "spend", "POST"),
        ("post", "openapi.json", "GET"),
    ],
)  # fmt: skip
def test_another_method_is_told_before_the_key_is_looked_at(method, path, allowed):
    answer = getattr(UNAUTHENTICATED.client, method)(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer["Allow"] == allowed


def test_a_crash_is_told_in_the_same_shape(program, monkeypatch):
    def fall(*args):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(keys, "admit", fall)
    answer = program.client.get("/api/v1/ping", headers=program.headers)
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "Something went wrong on our side. Try again.", "code": "server_error",
    }  # fmt: skip


def test_without_a_database_there_is_a_time_to_come_again(program, monkeypatch):
    def fall(*args):
        raise OperationalError("connection refused")

    monkeypatch.setattr(keys, "admit", fall)
    answer = program.get("ping")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "30"


def test_another_host_s_name_is_refused(program):
    answer = program.client.get("/api/v1/ping", headers=program.headers | {"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


# --- The schema -------------------------------------------------------------------------------


def test_the_schema_is_for_everybody_and_its_own_page_is_ninja_s_no_more(client):
    answer = client.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "public, max-age=300"
    assert "Vary" not in answer.headers
    assert answer.json() == schema()
    assert schema()["openapi"] == "3.1.0"


def operations():
    for path, methods in schema()["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_operation_is_told_in_full():
    for name, operation in operations():
        assert operation["operationId"], name
        assert operation["description"], name
        assert operation["summary"], name
        assert operation["security"] == [{"BearerKey": []}], name
        for parameter in operation["parameters"]:
            assert parameter["in"] == "path" or parameter["description"], name
        for status, response in operation["responses"].items():
            (content,) = response["content"].values()
            assert content["schema"], (name, status)
            assert content["examples"], (name, status)
        if "requestBody" in operation:
            (content,) = operation["requestBody"]["content"].values()
            assert content["schema"], name
            assert content["examples"], name


def test_every_code_is_told_somewhere_and_no_other():
    told = {
        code
        for _, operation in operations()
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for code in response["content"]["application/json"]["examples"]
    }
    assert told == set(REASONS)


def test_ids_of_operations_are_unique():
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_the_schema_names_no_two_things_the_same():
    text = json.dumps(schema())
    for name in schema()["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text or name.endswith(
            ("Asked", "Whose", "WhoseCredits")
        ), name
