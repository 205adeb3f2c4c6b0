"""Whatever it is sent, the API answers as its schema says: schemathesis, with every check on.

`API_FUZZ=long` tries for some minutes, other things each time.
"""

import functools
import os
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from jsonschema_rs import validator_for
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from accounts.models import User
from api.reading import NUMBER
from credits import ledger
from tests.api.program import schema
from tests.usage.shop import make_meter

pytestmark = pytest.mark.django_db

IS_LONG = os.environ.get("API_FUZZ") == "long"
TRIES, LIVES, STEPS = (1_000, 300, 30) if IS_LONG else (15, 10, 8)
SETTINGS = settings(
    max_examples=TRIES,
    stateful_step_count=STEPS,
    derandomize=not IS_LONG,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# What is answered to a good key and a request that the schema allows: it is done, or there are too
# few credits, or what it names is not there, or its name was used before.
CONFIG = schemathesis.Config.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "402", "404", "409"]}}}
)


def load(document: dict[str, Any]) -> Any:
    loaded = schemathesis.openapi.from_dict(document, config=CONFIG)
    loaded.app = site
    return loaded


def site(environ: dict[str, Any], start_response: Any) -> Any:
    return _site()(environ, start_response)


@functools.cache
def _site() -> WSGIHandler:
    return get_wsgi_application()


def with_links() -> dict[str, Any]:
    """The schema, and that a hold's id is what its capture and its release take."""
    document = deepcopy(schema())
    document["paths"]["/api/v1/holds"]["post"]["responses"]["201"]["links"] = {
        name: {"operationId": name, "parameters": {"hold_id": "$response.body#/id"}}
        for name in ("capture_hold", "release_hold")
    }
    return document


api = load(schema())
# Of all operations' steps too few would be theirs.
Holds = load(with_links()).include(tag="Holds").as_state_machine()


@pytest.fixture(autouse=True)
def _one_transaction() -> Iterator[None]:
    """Requests leave the test's connection open, as with Django's own client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def headers(user: User, make_key, sandbox) -> dict[str, str]:
    """Of Ada's key. The schema's examples name her, and the meter."""
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 1_000_000, key="purchase:1", kind="purchase", paid=950_000)
    make_meter()
    return {"Authorization": f"Bearer {make_key(user)[1]}"}


@api.parametrize()
@SETTINGS
def test_what_is_answered_is_documented(case: schemathesis.Case, headers):
    response = case.call(headers=headers)
    case.validate_response(response, headers=headers, excluded_checks=excluded(case, response))


def test_so_it_is_whatever_came_before(headers):
    statuses: dict[str, set[int]] = {}

    class Lives(Holds):
        def get_call_kwargs(self, case):
            return {"headers": headers}

        def validate_response(self, response, case, additional_checks=(), **kwargs):
            statuses.setdefault(case.operation.definition.raw["operationId"], set()).add(
                response.status_code
            )
            case.validate_response(
                response, headers=headers, excluded_checks=excluded(case, response)
            )

    Lives.run(settings=settings(SETTINGS, max_examples=LIVES))
    assert 201 in statuses["place_hold"]
    # Links have been followed: to a hold that was open, and to one that no longer was.
    assert statuses["capture_hold"] | statuses["release_hold"] >= {200, 409}, statuses


def excluded(case: schemathesis.Case, response: schemathesis.Response) -> list[Any]:
    """The checks that can't be right about this request.

    What must be accepted, where the schema can't say why it need not be: parameters that exclude
    each other; 5.0, which to JSON Schema is a whole number; times that are too late or too early.
    What must be refused, where nothing is left of the fault in the address: an empty list, say.
    """
    checks: list[Any] = []
    if {"before", "after"} <= set(case.query or {}) or _is_beyond(case.body):
        checks.append(positive_data_acceptance)
    if case.method == "GET" and _is_right_as_sent(case, response):
        checks.append(negative_data_rejection)
    return checks


def _is_beyond(value: Any) -> bool:
    if isinstance(value, dict):
        return "at" in value or any(_is_beyond(each) for each in value.values())
    if isinstance(value, list):
        return any(_is_beyond(each) for each in value)
    return isinstance(value, float)


def _is_right_as_sent(case: schemathesis.Case, response: schemathesis.Response) -> bool:
    """Whether the query string has only documented parameters, and those that it has to have."""
    sent = parse_qs(urlsplit(response.request.url).query, keep_blank_values=True)
    for parameter in case.operation.definition.raw["parameters"]:
        texts = sent.pop(parameter["name"], [])
        values = [int(text) if NUMBER.fullmatch(text) else text for text in texts]
        expected = parameter["schema"]
        value: Any = values if expected.get("type") == "array" else values[0] if values else None
        if (parameter["required"] and not values) or (
            values and not validator_for(expected).is_valid(value)
        ):
            return False
    return not sent
