"""How a request is read: query strings and bodies have the documented fields, each once.

Two kinds of parameters for django-ninja, which by itself leaves out what it doesn't know, and reads
a body however long it is.
"""

import re
from typing import Any, ClassVar, Final

from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.params.models import Body, BodyModel, Query, QueryModel

from api.refusals import refusal
from billing.api import JSON_LIMIT, Refusal, json_object, raw_body

NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
"""A whole number in a query string: no sign, no leading zero, at most 2^53 - 1 and some more."""


def number_in_query(text: Any) -> Any:
    """For a field of a query string that is a whole number; what is none, its type refuses."""
    return int(text) if isinstance(text, str) and NUMBER.fullmatch(text) else text


class _Asked(QueryModel):
    @classmethod
    def get_request_data(
        cls, request: HttpRequest, api: NinjaAPI, path_params: dict[str, Any]
    ) -> dict[str, Any] | None:
        lists: set[str] = getattr(cls, "__ninja_collection_fields__", set())
        known: dict[str, Any] = getattr(cls, "__ninja_flatten_map__", {})
        for name, values in request.GET.lists():
            if name not in known:
                names = ", ".join(known)
                raise invalid(name, f"There is no such parameter here; it takes {names}.")
            if len(values) > 1 and name not in lists:
                raise invalid(name, f"{name} stands twice in the address.")
        return super().get_request_data(request, api, path_params)


class _Sent(BodyModel):
    limit: ClassVar[int] = JSON_LIMIT

    @classmethod
    def get_request_data(
        cls, request: HttpRequest, api: NinjaAPI, path_params: dict[str, Any]
    ) -> dict[str, Any] | None:
        # Left out it would be done to somebody else, or otherwise, than the address says.
        for name in request.GET:
            raise invalid(
                name, f"{name[:100]} stands in the address; here it belongs into the body."
            )
        body = raw_body(request, cls.limit)
        # Who has nothing to say needs no body for that.
        data = json_object(request, body) if body else {}
        return {cls.__read_from_single_attr__: data}


class _SentMuch(_Sent):
    limit: ClassVar[int] = 1024 * 1024


class Asked(Query):  # type: ignore[misc]  # its base is untyped
    """A query string that has these parameters only, each once unless it is a list."""

    _model = _Asked

    @classmethod
    def _param_source(cls) -> str:
        return "query"


class Sent(Body):  # type: ignore[misc]
    """A body that is a JSON object of these fields only, up to 64 KB."""

    _model = _Sent

    @classmethod
    def _param_source(cls) -> str:
        return "body"


class SentMuch(Sent):  # type: ignore[misc]
    """The same, up to 1 MB."""

    _model = _SentMuch


def invalid(field: str, error: str) -> Refusal:
    return refusal("invalid_request", error, field=field[:100])


WORDS: Final = {
    "missing": "{field} is missing.",
    "extra_forbidden": "There is no such field here: {field}.",
    "int_type": "{field} must be a whole number.",
    "greater_than_equal": "{field} must be at least {ge}.",
    "less_than_equal": "{field} must be at most {le}.",
    "string_type": "{field} must be text.",
    "string_too_long": "{field} takes at most {max_length} characters.",
    "string_pattern_mismatch": "{field} doesn't match {pattern}",
    "uuid_parsing": "{field} must be a UUID.",
    "value_error": "{error}.",
    "too_long": "{field} takes at most {max_length}.",
    "too_short": "{field} takes at least {min_length}.",
}
"""What is wrong with a field, by pydantic's names; what has no line here is told in its words."""


def first_fault(errors: list[dict[str, Any]]) -> Refusal:
    """The refusal of a request that has these faults, as ninja tells them."""
    fault = errors[0]
    field = _field_of(*fault["loc"])
    words = WORDS.get(fault["type"])
    if words is None:
        return invalid(field, f"{field[:100]}: {fault['msg']}.")
    return invalid(field, words.format(field=field[:100], **fault.get("ctx", {})))


def _field_of(source: str, *path: str | int) -> str:
    """A field's name, in lists and objects with the way to it: events.3.quantity."""
    if path and path[0] in PARAMETERS:
        path = path[1:]
    return ".".join(str(part) for part in path if part not in CHOICES) or source


PARAMETERS: Final = {"asked", "body"}
"""What views call a query string and a body."""

CHOICES: Final = {"an-id", "an-email", "one-event", "many-events"}
"""Tags of unions: pydantic says by which of them it has read a value."""
