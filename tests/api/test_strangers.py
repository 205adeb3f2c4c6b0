"""Two users, every operation: nobody sees, learns of or touches what is another's."""

from uuid import UUID

import pytest

from credits import ledger
from credits.models import Entry
from tests.api.program import Program, schema
from tests.billing.test_dashboard import order
from tests.usage.shop import make_meter

pytestmark = pytest.mark.django_db
OPERATIONS = {
    "get /api/v1/ping": None,
    "get /api/v1/balance": {},
    "get /api/v1/entries": {},
    "post /api/v1/spend": {"amount": 5},
    "post /api/v1/holds": {"amount": 5, "expires_in": 60},
    "post /api/v1/holds/{hold_id}/capture": {"amount": 5},
    "post /api/v1/holds/{hold_id}/release": {},
    "post /api/v1/usage/events": {"meter": "tokens", "quantity": 1, "idempotency_key": "e"},
    "get /api/v1/usage/summary": {},
    "get /api/v1/quote": None,
    "post /api/v1/purchases": {"credits": 500},
    "get /api/v1/purchases": {},
    "get /api/v1/purchases/{purchase_id}": {},
    "post /api/v1/bulk-purchases": None,
    "post /api/v1/bulk-purchases/preview": None,
    "get /api/v1/bulk-purchases/{bulk_id}": None,
}
"""What each takes besides a user; None where it is about nobody, or, as in `test_bulk.py`, about an
organisation."""

SCOPES = {
    "get /api/v1/balance": "balance:read",
    "get /api/v1/entries": "balance:read",
    "post /api/v1/spend": "credits:spend",
    "post /api/v1/holds": "credits:spend",
    "post /api/v1/holds/{hold_id}/capture": "credits:spend",
    "post /api/v1/holds/{hold_id}/release": "credits:spend",
    "post /api/v1/usage/events": "usage:write",
    "get /api/v1/usage/summary": "usage:read",
    "post /api/v1/purchases": "purchases:write",
    "get /api/v1/purchases": "purchases:read",
    "get /api/v1/purchases/{purchase_id}": "purchases:read",
}
OF_ADA = {"{hold_id}": "unknown_hold", "{purchase_id}": "unknown_purchase"}
"""What stands in addresses for something of Ada's, and what it is to others."""
IDS = {"{hold_id}": 1, "{purchase_id}": UUID(int=1), "{bulk_id}": UUID(int=1)}


def call(program: Program, operation: str, ids: dict[str, object], *, key: str = "k", **fields):
    method, path = operation.split(" ")
    path = path.removeprefix("/api/v1/")
    for name, id in ids.items():
        path = path.replace(name, str(id))
    if method == "get":
        return program.get(path, **fields)
    return program.post(path, key.replace(" ", ":"), **fields)


@pytest.fixture
def ids(program, rich, sandbox) -> dict[str, object]:
    """Of a hold and a purchase of Ada's."""
    make_meter(bands=[(0, 2, 1)])
    return {
        "{hold_id}": program.post("holds", "ada's", amount=20, expires_in=60).json()["id"],
        "{purchase_id}": order(rich, credits=700).pk,
    }


def test_all_operations_are_here():
    there_are = {
        f"{method} {path}" for path, methods in schema()["paths"].items() for method in methods
    }
    assert there_are == set(OPERATIONS)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if OPERATIONS[name] is not None])
def test_another_s_name_is_nobody_s(
    other_program, rich, other_user, ids, service, unchanged, operation
):
    ledger.grant(ledger.wallet_of(other_user), 100, key="g", kind="purchase")
    fields, before = OPERATIONS[operation], unchanged()
    for named in (rich.pk, rich.email):
        answer = call(other_program, operation, ids, user=named, **fields)
        assert answer.status_code == 404
        assert answer.json() == {
            "error": "There is no such user.", "code": "unknown_user", "field": "user",
        }  # fmt: skip
        nobody = {int: 2**40, str: "nobody@example.com"}[type(named)]
        assert call(other_program, operation, ids, user=nobody, **fields).content == answer.content
        assert call(service, operation, ids, user=nobody, **fields).content == answer.content
    assert unchanged() == before
    # What Eve may do is done to her.
    answer = call(other_program, operation, ids, **fields)
    (unknown,) = [OF_ADA[name] for name in OF_ADA if name in operation] or [None]
    if unknown:
        assert (answer.status_code, answer.json()["code"]) == (404, unknown)
    else:
        assert answer.status_code in (200, 201)
    assert rich.email not in answer.content.decode()
    assert str(ids["{purchase_id}"]) not in answer.content.decode()
    assert not Entry.objects.filter(wallet__user=rich, kind="spend").exists()
    assert ledger.standing(rich) == ledger.Standing(1000, 20, 0)


def test_every_operation_needs_its_scope(user, make_key, rich, ids, unchanged):
    before = unchanged()
    for operation, scope in SCOPES.items():
        others = [other for other in set(SCOPES.values()) if other != scope]
        answer = call(Program(make_key(user, others)[1]), operation, ids, **OPERATIONS[operation])
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
        assert answer.json()["scope"] == scope
    assert unchanged() == before


@pytest.mark.parametrize("scope", sorted(set(SCOPES.values())))
def test_its_scope_is_all_that_an_operation_needs(user, make_key, rich, ids, scope):
    allowed = Program(make_key(user, [scope])[1])
    operations = [operation for operation in SCOPES if SCOPES[operation] == scope]
    for operation in operations:
        if operation.endswith("/release"):
            another = allowed.post("holds", "another", amount=5, expires_in=60).json()["id"]
            ids |= {"{hold_id}": another}
        answer = call(allowed, operation, ids, key=operation, **OPERATIONS[operation])
        assert answer.status_code in (200, 201)


def test_a_key_without_scopes_still_pings_and_quotes(user, make_key):
    program = Program(make_key(user, [])[1])
    assert program.get("ping").json()["scopes"] == []
    assert program.get("quote", credits=500).status_code == 200


def test_every_operation_wants_a_key():
    for operation, fields in OPERATIONS.items():
        answer = call(Program(), operation, IDS, **(fields or {}))
        assert answer.json()["code"] == "missing_api_key"
        answer = call(Program("dcp_x"), operation, IDS, **(fields or {}))
        assert answer.json()["code"] == "invalid_api_key"
