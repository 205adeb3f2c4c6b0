"""Parameters as Stripe takes them: form fields with brackets, checked against the SDK's types."""

import functools
import re
import sys
import types
import typing
from typing import Any
from urllib.parse import parse_qsl

from stripe import RequestOptions

from stripe_sandbox.errors import ApiError, invalid

Params = dict[str, Any]

_PART = re.compile(r"[^\[\]]+")
_PLACE = re.compile(r"[0-9]{1,6}")
_DEPTH = 16
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_OPTIONS = set(RequestOptions.__annotations__)

METADATA_KEYS, METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 50, 40, 500


def decode(text: str) -> Params:
    """`a[b]=c` as nested dictionaries. Lists stay dictionaries, by number, until a type is known:
    `metadata` may have numbers for names."""
    tree: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = _PART.findall(name)
        if not 1 <= len(parts) <= _DEPTH:
            raise invalid(f"Received unknown parameter: {name[:100]}", code="parameter_unknown")
        # Unnumbered lists (`a[]=b`) are in the order in which they are sent.
        leaf = None if name.endswith("[]") else parts.pop()
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise invalid(f"Invalid object at {name}", param=name)
        node[str(len(node)) if leaf is None else leaf] = value
    return tree


def listed(node: Any) -> Any:
    """Decoded parameters for people to read, with lists where there seem to be some."""
    if not isinstance(node, dict):
        return node
    items = _numbered(node)
    if items:
        return [listed(item) for item in items]
    return {key: listed(value) for key, value in node.items()}


def _numbered(node: Params) -> list[Any] | None:
    if not all(_PLACE.fullmatch(key) for key in node):
        return None
    return [node[key] for key in sorted(node, key=int)]


def check(params: Params, shape: Any) -> Params:
    """The parameters with the types that the SDK declares for them.

    Raises Stripe's error for an unknown, missing or mistyped one.
    """
    return typing.cast(Params, _typed(params, shape, ""))


@functools.cache
def _fields(shape: Any) -> dict[str, tuple[Any, bool]]:
    # The SDK's request options stand among the parameters, with types it imports for checkers only.
    own = {name: hint for name, hint in shape.__annotations__.items() if name not in _OPTIONS}
    probe = type("Probe", (), {"__annotations__": own})
    names = vars(sys.modules[shape.__module__])
    hints = typing.get_type_hints(probe, names, include_extras=True)
    fields = {}
    for name, hint in hints.items():
        required = typing.get_origin(hint) is not typing.NotRequired
        fields[name] = (hint if required else typing.get_args(hint)[0], required)
    return fields


def _typed(value: Any, hint: Any, at: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if hasattr(hint, "__required_keys__"):  # a TypedDict, of typing or of typing_extensions
        return _typed_object(value, hint, at)
    if origin is typing.Literal:
        if value not in arguments:
            names = ", ".join(str(argument) for argument in arguments if argument)
            raise invalid(f"Invalid {at}: must be one of {names}", param=at)
        return value
    if origin in {typing.Union, types.UnionType}:
        return _typed_union(value, arguments, at)
    if origin is list:
        items = _numbered(value) if isinstance(value, dict) else None
        if items is None:
            raise invalid("Invalid array", param=at)
        return [_typed(item, arguments[0], f"{at}[{n}]") for n, item in enumerate(items)]
    if origin is dict:
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=at)
        found = {key: _typed(item, arguments[1], f"{at}[{key}]") for key, item in value.items()}
        if at.endswith(("metadata", "metadata]")):
            _check_metadata(found, at)
        return found
    return _typed_scalar(value, hint, at)


def _typed_object(value: Any, hint: Any, at: str) -> Params:
    if not isinstance(value, dict):
        raise invalid("Invalid object", param=at)
    fields = _fields(hint)
    for name in value:
        if name not in fields:
            full = f"{at}[{name}]" if at else name
            raise invalid(
                f"Received unknown parameter: {full}", param=full, code="parameter_unknown"
            )
    for name, (_, required) in fields.items():
        if required and name not in value:
            full = f"{at}[{name}]" if at else name
            raise invalid(f"Missing required param: {full}.", param=full, code="parameter_missing")
        if required and value[name] == "":
            full = f"{at}[{name}]" if at else name
            raise invalid(
                f"You passed an empty string for '{full}'. We assume empty values are an attempt "
                f"to unset a parameter; however '{full}' cannot be unset.",
                param=full,
                code="parameter_invalid_empty",
            )
    return {
        name: _typed(item, fields[name][0], f"{at}[{name}]" if at else name)
        for name, item in value.items()
    }


def _check_metadata(metadata: Params, at: str) -> None:
    if len(metadata) > METADATA_KEYS:
        raise invalid(f"Metadata can have up to {METADATA_KEYS} keys.", param=at)
    for key, value in metadata.items():
        for word, text, most in (
            ("key", key, METADATA_KEY_LENGTH),
            ("value", value, METADATA_VALUE_LENGTH),
        ):
            if len(text) > most:
                raise invalid(
                    f"Metadata {word}s can have up to {most} characters, but you passed in a "
                    f"{word} that is {len(text)} characters.",
                    param=at,
                )


def merged(metadata: Params, change: Params | str) -> Params:
    """Metadata after an update: an empty value takes its key away, an empty whole takes all."""
    if isinstance(change, str):
        return {}
    return {key: value for key, value in (metadata | change).items() if value != ""}


def _typed_union(value: Any, arguments: tuple[Any, ...], at: str) -> Any:
    enums = [argument for argument in arguments if _names(argument)]
    if enums and str in arguments:
        # The SDK lets any string through beside the names it knows; Stripe doesn't.
        arguments = tuple(argument for argument in arguments if argument is not str)
    first: ApiError | None = None
    for argument in arguments:
        try:
            return _typed(value, argument, at)
        except ApiError as error:
            # A literal "" beside the real type only says that the parameter may be unset.
            is_unset = typing.get_args(argument) == ("",)
            first = first if is_unset else (first or error)
    raise first or invalid(f"Invalid {at}", param=at)


def _names(hint: Any) -> tuple[Any, ...]:
    is_enum = typing.get_origin(hint) is typing.Literal
    return tuple(filter(None, typing.get_args(hint))) if is_enum else ()


def _typed_scalar(value: Any, hint: Any, at: str) -> Any:
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {at}", param=at)
    if hint is bool:
        if value not in {"true", "false"}:
            raise invalid(f"Invalid boolean: {value}", param=at)
        return value == "true"
    if hint is int:
        if not _INTEGER.fullmatch(value):
            raise invalid(f"Invalid integer: {value}", param=at, code="parameter_invalid_integer")
        return int(value)
    return value
