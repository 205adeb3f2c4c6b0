"""What programs may not send: each is refused with its field, and nothing is done."""

import json
from typing import Any

import pytest

from tests.api.program import Program

pytestmark = pytest.mark.django_db
GOOD: dict[str, dict[str, Any]] = {
    "spend": {"amount": 5},
    "holds": {"amount": 5, "expires_in": 60},
    "holds/1/capture": {"amount": 5},
    "holds/1/release": {},
    "usage/events": {"meter": "m", "quantity": 1, "idempotency_key": "k"},
    "purchases": {"credits": 500},
}
NO_TEXT = [5, None, [], True, "a\0b", "\0"]
NO_NUMBER = ["5", 5.0, 5.5, 1e300, True, None, [], {}, 0, -1, 2**53, 10**400]


@pytest.fixture(autouse=True)
def _nothing_changes(unchanged, rich):
    before = unchanged()
    yield
    assert unchanged() == before


def refused(answer: Any, status: int, code: str, field: str | None = None) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.json()
    assert answer.json().get("field") == field, answer.json()
    assert len(answer.content) < 400


@pytest.mark.parametrize(
    ("path", "field", "values"),
    [
        ("spend", "amount", NO_NUMBER),
        ("spend", "note", [*NO_TEXT, "x" * 201]),
        ("spend", "user", ["5", "", "x", 0, -1, 5.0, True, None, [], "a@b\0.c", "a@" + "b" * 300]),
        ("holds", "amount", NO_NUMBER),
        ("holds", "expires_in", [*NO_NUMBER, 86_401]),
        ("holds/1/capture", "amount", NO_NUMBER),
        ("holds/1/capture", "note", [*NO_TEXT, "x" * 201]),
        ("purchases", "credits", [one for one in NO_NUMBER if type(one) is not int]),
        ("purchases", "expected_total", NO_NUMBER),
        ("purchases", "mode", ["setup", "", "Payment", None, 1, [], True]),
        ("purchases", "user", ["x", 0, 5.0, None]),
        ("usage/events", "quantity", NO_NUMBER),
        ("usage/events", "meter", [*NO_TEXT, "", "M", "a b", "x" * 41, "m\n"]),
        ("usage/events", "idempotency_key", [*NO_TEXT, "", "a b", "x" * 129, "\u00e9", "k\n"]),
        (
            "usage/events",
            "at",
            [
                5, None, True, "", "now", "2026-11-25", "2026-11-25T09:00:00",
                "2026-13-01T00:00:00Z",
                "2026-11-25T09:00:00+25:00", "0000-01-01T00:00:00Z", "2026-11-25 09:00:00Z",
            ],
        ),
    ],
)  # fmt: skip
def test_each_field_takes_what_it_says(service, path, field, values):
    for value in values:
        answer = service.post(path, "k", **(GOOD[path] | {"user": 1, field: value}))
        refused(answer, 422, "invalid_request", field)


def test_credits_out_of_range_have_a_code_of_their_own(program):
    for credits in (9, 0, -500, 100_001, 2**53, 10**400):
        answer = program.post("purchases", "k", credits=credits)
        refused(answer, 422, "credits_out_of_range", "credits")


def test_half_a_character_is_no_text(program):
    answer = program.post("spend", "k", body='{"amount": 5, "note": "\\ud800"}')
    refused(answer, 422, "invalid_request", "note")


def test_of_many_events_the_first_wrong_one_is_named(program):
    good = GOOD["usage/events"]
    for events, field in (
        ([], "events"),
        ([good] * 1001, "events"),
        ("x", "events"),
        ([good, good | {"quantity": 0}], "events.1.quantity"),
        ([good, good | {"extra": 0}], "events.1.extra"),
        ([good, 5], "events.1"),
    ):
        answer = program.post("usage/events", "k", events=events)
        refused(answer, 422, "invalid_request", field)
    answer = program.post("usage/events", "k", events=[good], meter="m")
    refused(answer, 422, "invalid_request", "meter")


@pytest.mark.parametrize("path", GOOD)
def test_every_request_that_writes_has_a_key_of_its_own(program, path):
    for key in (None, "", "x" * 129, "a b", "\u00e9", "a\tb"):
        refused(program.post(path, key, **GOOD[path]), 422, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("path", GOOD)
def test_there_are_the_documented_fields_only(program, path):
    answer = program.post(path, "k", **GOOD[path], extra=1)
    refused(answer, 422, "invalid_request", "extra")
    answer = program.post(path, "k", **GOOD[path], **{"x" * 5000: 1})
    refused(answer, 422, "invalid_request", "x" * 100)
    if GOOD[path]:
        missing = next(iter(GOOD[path]))
        refused(program.post(path, "k", body="{}"), 422, "invalid_request", missing)


@pytest.mark.parametrize("path", GOOD)
def test_what_is_written_has_no_fields_in_its_address(program, path):
    headers = program.headers | {"Idempotency-Key": "k"}
    answer = program.client.post(
        f"/api/v1/{path}?user=77", GOOD[path], content_type="application/json", headers=headers
    )
    refused(answer, 422, "invalid_request", "user")


@pytest.mark.parametrize("path", GOOD)
def test_what_is_no_json_object_is_refused(program, path):
    for body in (
        "{", "[]", "5", '"x"', "null", "\0", '{"amount": 5, "amount": 6}', '{"amount": NaN}',
        '{"amount": Infinity}', "[" * 20_000, b"\xff", '{"a": {"b": 1, "b": 2}}', "amount=5",
    ):  # fmt: skip
        refused(program.post(path, "k", body=body), 400, "invalid_json")


@pytest.mark.parametrize("path", GOOD)
def test_what_is_too_long_or_no_json_is_refused(program, path):
    limit = 1024 * 1024 if path == "usage/events" else 64 * 1024
    body = json.dumps({"amount": 5, "note": "x" * limit})
    refused(program.post(path, "k", body=body), 413, "payload_too_large")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = program.headers | {"Idempotency-Key": "k"}
        answer = program.client.post(
            f"/api/v1/{path}", "amount=5", content_type=kind, headers=headers
        )
        refused(answer, 415, "unsupported_media_type")


def test_the_key_is_looked_at_before_the_body():
    for path in GOOD:
        refused(Program().post(path, None, body="{" * 100_000), 401, "missing_api_key")


def test_a_summary_is_of_a_month(program):
    for month in ("2026", "2026-13", "0000-01", "2026-1", "2026-01-01", "", "2026-11\n"):
        refused(program.get("usage/summary", month=month), 422, "invalid_request", "month")
    for meter in ("A B", "x" * 41, "", "m\0"):
        refused(program.get("usage/summary", meter=meter), 422, "invalid_request", "meter")
