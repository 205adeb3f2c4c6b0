from collections.abc import Callable
from typing import Any

import pytest

from accounts import keys
from accounts.models import ApiKey, User
from api.models import Answer, HeldCharge
from billing.models import Purchase, StripeCustomer
from credits import ledger
from credits.models import Entry, Hold
from tests.api.program import Program

EVERY_SCOPE = list(ApiKey.Scope.values)


@pytest.fixture
def make_key() -> Callable[..., tuple[ApiKey, str]]:
    """A new key and its text. Without an owner it is a service key, called Hidden name."""

    def make(owner: User | None, scopes: list[str] | None = None, **terms: Any):
        staff = owner or User.objects.create_user(f"staff{User.objects.count()}@example.com")
        return keys.make(
            made_by=staff,
            owner=owner,
            name="Test" if owner else "Hidden name",
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


@pytest.fixture
def unchanged() -> Callable[[], object]:
    """What a refusal must leave as it was; call it before and after."""

    def look() -> object:
        tables = (Entry, Hold, Answer, HeldCharge, Purchase, StripeCustomer)
        return [list(table.objects.order_by("pk").values()) for table in tables]

    return look
