"""A client of the API, which holds every answer to what the schema says."""

import functools
import json
import re
from typing import Any

from django.http import HttpResponse
from django.test import Client

from api.v1 import schema_text


class Program:
    """Calls with a key of its own; without one it sends no header."""

    def __init__(self, token: str = "") -> None:
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", query, headers=self.headers)
        return as_documented("get", path, answer)

    def post(self, path: str, key: str | None, body: Any = None, **fields: Any) -> Any:
        """POST the fields as JSON, or the body as it is, under an Idempotency-Key."""
        headers = self.headers | ({} if key is None else {"Idempotency-Key": key})
        answer = self.client.post(
            f"/api/v1/{path}",
            fields if body is None else body,
            content_type="application/json",
            headers=headers,
        )
        return as_documented("post", path, answer)


def as_documented(method: str, path: str, answer: HttpResponse) -> HttpResponse:
    """The answer, if its status, code, fields and headers are those of the schema."""
    path = re.sub(r"/[0-9]+/", "/{hold_id}/", f"/api/v1/{path}")
    path = re.sub(r"/purchases/.+", "/purchases/{purchase_id}", path)
    path = re.sub(r"/bulk-purchases/.+-.+", "/bulk-purchases/{bulk_id}", path)
    documented = schema()["paths"][path][method]["responses"][str(answer.status_code)]
    body = answer.json()
    content = documented["content"]["application/json"]
    check(content["schema"], body)
    if answer.status_code >= 400:
        assert body["code"] in content["examples"], body
    for name in documented.get("headers", ()):
        assert name in answer.headers
    assert answer["Cache-Control"] == "no-store"
    assert answer["Content-Type"].startswith("application/json")
    return answer


@functools.cache
def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(schema_text())
    return document


def check(expected: dict[str, Any], value: Any) -> None:
    """Raise unless the value has the documented names and kinds of values."""
    if "$ref" in expected:
        expected = schema()["components"]["schemas"][expected["$ref"].rpartition("/")[2]]
    for choices in ("anyOf", "oneOf"):
        if choices in expected:
            fitting = [choice for choice in expected[choices] if _fits(choice, value)]
            assert fitting, (expected, value)
            return
    if "enum" in expected:
        assert value in expected["enum"], (expected, value)
    match expected.get("type"):
        case "object":
            assert isinstance(value, dict)
            assert set(expected.get("required", ())) <= set(value) <= set(expected["properties"])
            for name, one in value.items():
                check(expected["properties"][name], one)
        case "array":
            assert isinstance(value, list)
            for one in value:
                check(expected["items"], one)
        case "integer":
            assert type(value) is int
        case "string":
            assert isinstance(value, str)
            if expected.get("format") == "date-time":
                assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?Z", value)
        case "boolean":
            assert isinstance(value, bool)
        case "null":
            assert value is None


def _fits(expected: dict[str, Any], value: Any) -> bool:
    try:
        check(expected, value)
    except AssertionError:
        return False
    return True
