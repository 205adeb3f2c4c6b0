"""`expand[]`: ids in an answer are replaced by the objects that they name."""

from collections.abc import Callable
from typing import Any

from stripe_sandbox import checkout, invoices, refunds, shapes, store
from stripe_sandbox.errors import invalid, unsupported
from stripe_sandbox.store import Object

DEPTH = 4

LEFT_OUT: dict[tuple[str, str], Callable[[str], Object]] = {
    ("charge", "refunds"): refunds.refunds_of,
    ("checkout.session", "line_items"): lambda id: checkout.line_items(id, {}),
    ("invoice", "payments"): invoices.payments_of,
}
"""What an answer has only when it is asked for."""


def expand(answer: Object, paths: list[str]) -> Object:
    for path in paths:
        names = path.split(".")
        if len(names) > DEPTH:
            raise invalid(
                f"You cannot expand more than {DEPTH} levels of a property. Property: {path}",
                param="expand",
            )
        _expand(answer, names, path)
    return answer


def _expand(node: Any, names: list[str], path: str) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(item, names, path)
        return
    if node is None:
        return
    name, *rest = names
    if not isinstance(node, dict):
        raise _inexpandable(path)
    if name not in node:
        node[name] = _left_out(node, name, path)
    if isinstance(node[name], str):
        found = store.find(node[name])
        if found is None:
            raise _inexpandable(path)
        node[name] = shapes.public(found)
    elif isinstance(node[name], int):
        raise _inexpandable(path)
    if rest:
        _expand(node[name], rest, path)


def _left_out(node: Object, name: str, path: str) -> Object:
    kind: Any = node.get("object")
    if (kind, name) in LEFT_OUT:
        return LEFT_OUT[kind, name](node["id"])
    known: Any = shapes.KINDS.get(kind)
    if known and name in shapes.fields(known):
        raise unsupported(f"expanding {path}")
    raise _inexpandable(path)


def _inexpandable(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", param="expand")
