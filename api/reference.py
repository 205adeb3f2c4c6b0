"""The reference page of API v1, from its OpenAPI schema.

What the schema says is English, as the API is; the texts around it are in the reader's language
(docs/decisions/0028-a-reference-page-of-our-own.md).
"""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from accounts.keys import BURST
from api.answers import KEPT_FOR
from api.v1 import schema_text
from billing.api import JSON_LIMIT
from credits.models import MAX_CREDITS

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter, header or field: its name, with the path to it, and what it may hold."""

    name: str
    terms: str
    about: SafeString
    anchor: str
    """Where on the page it is explained."""


@dataclass(frozen=True)
class Code:
    """Why the API refuses: its status, the sentence, and what else the answer holds."""

    status: int
    code: str
    error: str
    more: tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    """One address and method."""

    id: str
    group: str
    method: str
    address: str
    title: str
    about: list[SafeString]
    scope: str
    parameters: list[Field]
    bodies: list[list[Field]]
    curl: str
    status: str
    answers: list[tuple[str, list[Field]]]
    """An example and its fields, of each kind of answer."""
    refusals: dict[int, list[str]]
    """Codes by status, without those that every request may get."""


@dataclass(frozen=True)
class Reference:
    """All of it, but for what settings decide."""

    operations: list[Operation]
    codes: list[Code]
    always: frozenset[str]
    writing: frozenset[str]


@gzip_page
@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    """How programs use the API, for anybody."""
    per_minute = settings.API_REQUESTS_PER_MINUTE
    context = {
        "reference": read(),
        "base": settings.BASE_URL,
        "per_minute": per_minute,
        "at_once": max(1, per_minute * BURST // 60),
        "kept_days": KEPT_FOR.days,
        "body_kb": JSON_LIMIT // 1024,
    }
    return render(request, "api/reference.html", context)


@functools.cache
def read() -> Reference:
    """What the schema says; it is the same as long as the process runs."""
    schema: Schema = json.loads(schema_text())
    found = [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    codes = {code.code: code for _, _, one in found for code in _codes(one)}
    each = [{code.code for code in _codes(one)} for _, _, one in found]
    always = frozenset(set.intersection(*each))
    posts = [
        set(names) for names, (_, method, _) in zip(each, found, strict=True) if method == "post"
    ]
    writing = frozenset(set.intersection(*posts) - always)
    reading = _Reading(schema["components"]["schemas"])
    return Reference(
        operations=[
            reading.operation(path, method, one, always | (writing if method == "post" else set()))
            for path, method, one in found
        ],
        codes=sorted(codes.values(), key=lambda code: code.status),
        always=always,
        writing=writing,
    )


def _codes(operation: Schema) -> Iterator[Code]:
    for status, answer in operation["responses"].items():
        if status[0] == "2":
            continue
        for code, example in answer["content"]["application/json"]["examples"].items():
            body = example["value"]
            more = tuple(name for name in body if name not in {"error", "code", "field"})
            yield Code(int(status), code, body["error"], more)


# --- An operation ------------------------------------------------------------------------------

EXPLAINED: Final = {
    "user": "signing-in",
    "organisation": "organisations",
    "Idempotency-Key": "once",
}
"""What many operations take, and the part of the page that says what it is."""

PLACES: Final = {"path": "in the address", "query": "in the query", "header": "header"}

_INDENT: Final = "  "
_LINE: Final = 60
"""Characters that fit beside each other; longer JSON is broken into lines."""


class _Reading:
    """Reads operations in their order; an object that many have is told where it comes first."""

    def __init__(self, named: dict[str, Schema]) -> None:
        self.named = named
        self.told = {"Error": "errors"}
        """The names of objects, and where on the page their fields are told."""

    def operation(self, path: str, method: str, told: Schema, usual: frozenset[str]) -> Operation:
        refusals: dict[int, list[str]] = {}
        for code in _codes(told):
            if code.code not in usual:
                refusals.setdefault(code.status, []).append(code.code)
        status, answer = next(
            (status, one) for status, one in told["responses"].items() if status[0] == "2"
        )
        answered = answer["content"]["application/json"]
        taken = told.get("requestBody", {}).get("content", {}).get("application/json", {})
        id = told["operationId"]
        return Operation(
            id=id,
            group=told["tags"][0],
            method=method.upper(),
            address=path,
            title=told["summary"],
            about=[_marked(part) for part in told.get("description", "").split("\n\n")],
            scope=told.get("x-scope", ""),
            parameters=[
                self._field(one["name"], one["schema"], one["required"], PLACES[one["in"]])
                for one in told.get("parameters", [])
            ],
            bodies=[
                list(self._fields(body, id, is_asked=True))
                for body in self._variants(taken.get("schema"))
            ],
            curl=_curl(path, method, told.get("parameters", []), _examples(taken)),
            status=f"{status} {HTTPStatus(int(status)).phrase}",
            answers=[
                (_as_text(example), list(self._fields(one, id)))
                for example, one in zip(
                    _examples(answered), self._variants(answered["schema"]), strict=True
                )
            ],
            refusals=dict(sorted(refusals.items())),
        )  # fmt: skip

    def _resolve(self, schema: Schema) -> Schema:
        """With what it refers to, and without null."""
        if "$ref" in schema:
            return self.named[schema["$ref"].rpartition("/")[2]] | schema
        options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
        if len(options) == 1:
            rest = {name: value for name, value in schema.items() if name != "anyOf"}
            return self._resolve(options[0]) | rest
        return schema

    def _variants(self, schema: Schema | None) -> list[Schema]:
        if schema is None:
            return []
        whole = self._resolve(schema)
        options = whole.get("oneOf") or whole.get("anyOf")
        return [self._resolve(one) for one in options] if options else [whole]

    def _fields(
        self, schema: Schema, operation: str, path: str = "", *, is_asked: bool = False
    ) -> Iterator[Field]:
        """Its fields and theirs, unless they were told before."""
        self.told.setdefault(schema["title"], operation)
        for name, field in schema["properties"].items():
            whole = self._resolve(field)
            inner = self._resolve(whole.get("items", whole))
            place = self.told.get(inner["title"], "") if "properties" in inner else ""
            is_required = is_asked and name in schema.get("required", ())
            yield self._field(path + name, field, is_required, anchor=place)
            if "properties" in inner and not place:
                step = "[]." if "items" in whole else "."
                path_in = f"{path}{name}{step}"
                yield from self._fields(inner, operation, path_in, is_asked=is_asked)

    def _field(
        self, name: str, schema: Schema, is_required: bool, place: str = "", anchor: str = ""
    ) -> Field:
        terms = [self._type(schema), *(["required"] if is_required else []), place]
        about = "" if name in EXPLAINED else self._resolve(schema).get("description", "")
        return Field(
            name,
            ", ".join(filter(None, terms)),
            _marked(about),
            anchor or EXPLAINED.get(name, ""),
        )

    def _type(self, schema: Schema) -> str:
        """What it may hold, in words."""
        whole = self._resolve(schema)
        words = self._type_of(whole)
        return f"{words} or null" if {"type": "null"} in schema.get("anyOf", ()) else words

    def _type_of(self, whole: Schema) -> str:
        if "const" in whole:
            return str(whole["const"])
        if "enum" in whole:
            return f"one of {', '.join(whole['enum'])}"
        if options := whole.get("oneOf") or whole.get("anyOf"):
            return " or ".join(self._type(one) for one in options)
        match whole.get("type"):
            case "integer":
                return f"whole number{_range(whole.get('minimum'), whole.get('maximum'))}"
            case "string" if whole.get("format") == "date-time":
                return "time"
            case "string" if "maxLength" in whole:
                return f"text of up to {whole['maxLength']} characters"
            case "string":
                return "text"
            case "boolean":
                return "true or false"
            case "array":
                items = self._resolve(whole["items"])
                of = "objects" if "properties" in items else self._type(items)
                return f"list of{_range(whole.get('minItems'), whole.get('maxItems'), '')} {of}"
        return "object"


def _examples(content: Schema) -> list[Any]:
    return [one["value"] for one in content.get("examples", {}).values()]


def _curl(path: str, method: str, parameters: list[Schema], bodies: list[Any]) -> str:
    """As a personal key's call on its owner's credits: it names nobody."""
    query = []
    lines = ['  -H "Authorization: Bearer $API_KEY"']
    for one in parameters:
        example = (one.get("examples") or one["schema"].get("examples") or [77])[0]
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(example))
        elif one["in"] == "header":
            lines.append(f'  -H "{one["name"]}: job-8812"')
        elif one["required"]:
            query.append(f"{one['name']}={example}")
    named = {"user", "organisation"}
    body = {name: bodies[0][name] for name in bodies[0] if name not in named} if bodies else {}
    if body:
        lines.append('  -H "Content-Type: application/json"')
        lines.append(f"  -d '{json.dumps(body, ensure_ascii=False)}'")
    elif method == "post":
        lines.insert(0, "  -X POST")
    address = f"{settings.BASE_URL}{path}"
    if query:
        address = f"'{address}?{'&'.join(query)}'"
    return " \\\n".join([f"curl {address}", *lines])


def _range(least: int | None, most: int | None, word: str = " from") -> str:
    if least is None:
        return ""
    return f"{word} {least}" if most in (None, MAX_CREDITS) else f"{word} {least} to {most}"


def _marked(text: str) -> SafeString:
    """Its `names` as code."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S308 (escaped)


def _as_text(value: Any, indent: str = "") -> str:
    """JSON that is as short as it reads well."""
    short = json.dumps(value, ensure_ascii=False)
    if len(indent + short) <= _LINE or not value or not isinstance(value, dict | list):
        return short
    inner = indent + _INDENT
    if isinstance(value, list):
        parts = [inner + _as_text(one, inner) for one in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    parts = [f'{inner}"{name}": {_as_text(one, inner)}' for name, one in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
