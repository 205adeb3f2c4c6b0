from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.models import ApiKey, User
from credits import ledger

EVERY_SCOPE = list(ApiKey.Scope.values)


class Program:
    """A client of the API with a key of its own. Without a key it sends no header."""

    def __init__(self, token: str = "", **headers: str) -> None:
        self.headers = headers | ({"Authorization": f"Bearer {token}"} if token else {})
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query, headers=self.headers)

    def post(self, path: str, key: str | None = None, body: Any = None, **fields: Any) -> Any:
        """POST the fields as JSON, or the body as it is, under an Idempotency-Key."""
        headers = self.headers | ({} if key is None else {"Idempotency-Key": key})
        return self.client.post(
            f"/api/v1/{path}",
            fields if body is None else body,
            content_type="application/json",
            headers=headers,
        )


@pytest.fixture
def make_key() -> Callable[..., tuple[ApiKey, str]]:
    def make(owner: User | None, scopes: list[str] | None = None, **terms: Any):
        staff = owner or User.objects.create_user(f"staff{User.objects.count()}@example.com")
        return keys.make(
            made_by=staff,
            owner=owner,
            name="Test",
            scopes=EVERY_SCOPE if scopes is None else scopes,
            **({"requests_per_minute": 1_000_000} | terms),
        )

    return make


@pytest.fixture
def program(user: User, make_key) -> Program:
    """With a personal key of Ada's."""
    return Program(make_key(user)[1])


@pytest.fixture
def other_program(other_user: User, make_key) -> Program:
    """With a personal key of Eve's."""
    return Program(make_key(other_user)[1])


@pytest.fixture
def service(make_key) -> Program:
    """With a service key."""
    return Program(make_key(None)[1])


@pytest.fixture
def rich(user: User) -> User:
    """Ada with 1,000 credits."""
    ledger.grant(ledger.wallet_of(user), 1000, key="purchase:1", kind="purchase", paid=950)
    return user
