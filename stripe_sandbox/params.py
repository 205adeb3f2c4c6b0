"""Parameters as Stripe takes them: form fields with brackets, checked against the SDK's types."""

import functools
import re
import sys
import typing
from typing import Any
from urllib.parse import parse_qsl

from stripe import RequestOptions

from stripe_sandbox.errors import ApiError, invalid

Params = dict[str, Any]

_PART = re.compile(r"[^\[\]]+")
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_OPTIONS = set(RequestOptions.__annotations__)


def decode(text: str) -> Params:
    """`a[b][0]=c` as nested dictionaries and lists."""
    tree: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = _PART.findall(name)
        node = tree
        for part in parts[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise invalid(f"Invalid object at {name}", param=name)
            node = child
        if name.endswith("[]"):
            # Unnumbered lists, in the order in which they are sent.
            node = node.setdefault(parts[-1], {})
            node[str(len(node))] = value
        else:
            node[parts[-1]] = value
    return typing.cast(Params, _lists(tree))


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdigit() for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _lists(value) for key, value in node.items()}


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
    if origin is typing.Union:
        return _typed_union(value, arguments, at)
    if origin is list:
        if not isinstance(value, list):
            raise invalid("Invalid array", param=at)
        return [_typed(item, arguments[0], f"{at}[{n}]") for n, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=at)
        return {key: _typed(item, arguments[1], f"{at}[{key}]") for key, item in value.items()}
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
    return {
        name: _typed(item, fields[name][0], f"{at}[{name}]" if at else name)
        for name, item in value.items()
    }


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
