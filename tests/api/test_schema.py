"""Whatever it is sent, the API answers as its schema says: schemathesis, with every check on.

`API_FUZZ=long` tries for some minutes, other things each time.
"""

import functools
import os
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from accounts.models import User
from credits import ledger
from tests.api.program import schema
from tests.usage.shop import make_meter

pytestmark = pytest.mark.django_db

IS_LONG = os.environ.get("API_FUZZ") == "long"
TRIES, LIVES, STEPS = (3_000, 500, 30) if IS_LONG else (15, 10, 8)
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
Holds = load(with_links()).as_state_machine()


@pytest.fixture(autouse=True)
def _one_transaction() -> Iterator[None]:
    """Requests leave the test's connection open, as with Django's own client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def headers(user: User, make_key) -> dict[str, str]:
    """Of Ada's key. The schema's examples name her, and the meter."""
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 1_000_000, key="purchase:1", kind="purchase", paid=950_000)
    make_meter()
    return {"Authorization": f"Bearer {make_key(user)[1]}"}


@api.parametrize()
@SETTINGS
def test_what_is_answered_is_documented(case: schemathesis.Case, headers):
    case.call_and_validate(headers=headers, excluded_checks=excluded(case))


def test_so_it_is_whatever_came_before(headers):
    statuses: dict[str, set[int]] = {}

    class Lives(Holds):
        def get_call_kwargs(self, case):
            return {"headers": headers}

        def validate_response(self, response, case, additional_checks=(), **kwargs):
            statuses.setdefault(case.operation.definition.raw["operationId"], set()).add(
                response.status_code
            )
            case.validate_response(response, headers=headers, excluded_checks=excluded(case))

    Lives.run(settings=settings(SETTINGS, max_examples=LIVES))
    assert 201 in statuses["place_hold"]
    for name in ("capture_hold", "release_hold"):
        assert statuses[name] >= {200, 409}, statuses


def excluded(case: schemathesis.Case) -> list[Any]:
    """The check of what must be accepted, where the schema can't say why it need not be.

    Parameters that exclude each other; 5.0, which to JSON Schema is a whole number; times that are
    too late or too early.
    """
    is_beyond = {"before", "after"} <= set(case.query or {}) or _is_beyond(case.body)
    return [positive_data_acceptance] if is_beyond else []


def _is_beyond(value: Any) -> bool:
    if isinstance(value, dict):
        return "at" in value or any(_is_beyond(each) for each in value.values())
    if isinstance(value, list):
        return any(_is_beyond(each) for each in value)
    return isinstance(value, float)
