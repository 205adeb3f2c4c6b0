"""What each operation takes, answers and refuses, as ninja and its OpenAPI schema are told."""

from datetime import UTC, datetime
from enum import Enum
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from accounts.models import ApiKey
from api.admission import BearerKey
from api.refusals import REASONS, Error

TITLES: Final = {
    400: "The body can't be read",
    401: "No key, or one that opens nothing",
    402: "Not enough credits",
    403: "The key may not",
    404: "Not there, or not yours",
    409: "It doesn't go with what was done before",
    413: "Too long",
    415: "Not JSON",
    422: "A field is missing or wrong",
    429: "Too fast: wait for Retry-After",
    502: "No payment page could be opened",
    503: "Not just now: the same request may be made again after Retry-After",
}

HEADERS: Final = {
    401: {"WWW-Authenticate": ("string", "How to sign in.")},
    429: {"Retry-After": ("integer", "Seconds to wait.")},
    503: {"Retry-After": ("integer", "Seconds to wait.")},
}

ALWAYS: Final = (
    "missing_api_key", "invalid_api_key", "expired_api_key", "revoked_api_key", "rate_limited",
    "busy", "unavailable",
)  # fmt: skip
WRITING: Final = (
    "invalid_json", "bad_request", "payload_too_large", "unsupported_media_type", "invalid_request",
    "idempotency_key_reused",
)  # fmt: skip

A_TIME: Final = datetime(2026, 11, 25, 9, tzinfo=UTC)


def operation(
    answers: Any,
    *codes: str,
    scope: ApiKey.Scope | None = None,
    status: int = 200,
    takes: Any = None,
) -> dict[str, Any]:
    """For ninja's decorators: it answers this model with this status, and refuses with these codes.

    `takes` is the model of its body.
    """
    codes = (*ALWAYS, *codes)
    if scope is not None:
        codes += ("missing_scope",)
    by_status: dict[int, list[str]] = {}
    for code in REASONS:
        if code in codes:
            by_status.setdefault(REASONS[code].status, []).append(code)
    documented: dict[str, Any] = {
        "responses": {
            status: {"content": _json_like(answers)},
            **{refused: _refused(refused, of_it) for refused, of_it in by_status.items()},
        }
    }
    if scope is not None:
        documented["x-scope"] = scope
    if takes is not None:
        documented["requestBody"] = {"content": _json_like(takes)}
    return {
        "auth": BearerKey(scope),
        "response": {status: answers, frozenset(by_status): Error},
        "openapi_extra": documented,
    }


def _refused(status: int, codes: list[str]) -> dict[str, Any]:
    named = ", ".join(f"`{code}`" for code in codes)
    refused: dict[str, Any] = {
        "description": f"{TITLES[status]}: {named}.",
        "content": {
            "application/json": {
                "examples": {code: {"value": _refusal_for(code)} for code in codes}
            }
        },
    }
    if status in HEADERS:
        refused["headers"] = {
            name: {"description": words, "schema": {"type": kind}, "required": True}
            for name, (kind, words) in HEADERS[status].items()
        }
    return refused


def _refusal_for(code: str) -> dict[str, Any]:
    reason = REASONS[code]
    return {"error": reason.error, "code": code, **reason.extra}


# --- Examples ---------------------------------------------------------------------------------


def _json_like(model: Any) -> dict[str, Any]:
    """An example of the model, or of each of some models."""
    models = [_bare(choice) for choice in _choices(model)]
    return {
        "application/json": {"examples": {one.__name__: {"value": _example(one)} for one in models}}
    }


def _example(kind: Any) -> Any:
    """Made of the examples of its fields."""
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            name: field.examples[0] if field.examples else _example(field.annotation)
            for name, field in kind.model_fields.items()
        }
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    match get_origin(kind):
        case origin if origin is list:
            return [_example(get_args(kind)[0])]
        case origin if origin is Literal:
            return get_args(kind)[0]
    if kind is datetime:
        return A_TIME.isoformat().replace("+00:00", "Z")
    # Of what may be null: what it is else.
    return _example(_choices(kind)[0]) if len(_choices(kind)) > 1 else None


def _choices(kind: Any) -> list[Any]:
    kind = _bare(kind)
    return list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]


def _bare(kind: Any) -> Any:
    """A type without what `Annotated` says of it."""
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind
