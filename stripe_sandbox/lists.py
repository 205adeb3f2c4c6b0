"""Lists as Stripe pages them: newest first, by cursor."""

from collections.abc import Callable
from typing import Any

from stripe_sandbox import shapes, store
from stripe_sandbox.errors import invalid, unsupported
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object

PAGING = {"limit", "starting_after", "ending_before", "expand"}

FIELDS = {("invoice", "subscription"): "parent.subscription_details.subscription"}
"""Where an object has what a filter asks for, when it isn't under the filter's own name."""

SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

MOST_TYPES = 20

Condition = tuple[str, list[Any]]
"""A condition in SQL, and its values."""


def list_of(kind: str, *filters: str) -> Callable[[Params], Object]:
    """The list of all objects of a kind, by these filters; others are a 501."""

    def run(params: Params) -> Object:
        unknown = set(params) - PAGING - set(filters)
        if unknown:
            raise unsupported(f"{', '.join(sorted(unknown))} in a list")
        if "type" in params and "types" in params:
            raise invalid("You may only specify one of these parameters: type, types.")
        if len(params.get("types", [])) > MOST_TYPES:
            raise invalid(f"Array too long: up to {MOST_TYPES} types.", param="types")
        _check_paging(params)
        if kind == "subscription":
            params = {"status": "not canceled"} | params
        conditions = [
            condition
            for name, value in params.items()
            if name in filters
            for condition in _conditions(kind, name, value)
        ]
        conditions.append((f"{store.field('deleted')} IS NULL", []))
        return _page(kind, conditions, params)

    return run


def _conditions(kind: str, name: str, wanted: Any) -> list[Condition]:
    field = store.field(FIELDS.get((kind, name), name))
    if name == "created" and isinstance(wanted, dict):
        return [(f"{field} {SIGNS[sign]} ?", [value]) for sign, value in wanted.items()]
    if name == "payment":
        return [(f"{store.field(f'payment.{key}')} = ?", [value]) for key, value in wanted.items()]
    if name == "types":
        return [(f"{store.field('type')} IN ({', '.join('?' * len(wanted))})", list(wanted))]
    if name == "type":
        return [(f"{field} GLOB ?", [wanted])]  # `invoice.*`, say
    if name == "delivery_success":
        return [(f"({store.field('pending_webhooks')} = 0) = ?", [wanted])]
    if (kind, name) == ("subscription", "status"):
        if wanted == "all":
            return []
        sign = "<>" if wanted == "not canceled" else "="
        is_over = wanted in {"ended", "not canceled"}
        return [(f"{field} {sign} ?", ["canceled" if is_over else wanted])]
    return [(f"{field} = ?", [wanted])]


def _page(kind: str, conditions: list[Condition], params: Params) -> Object:
    limit, cursor, is_backwards = params.get("limit", 10), None, "ending_before" in params
    for name in ("starting_after", "ending_before"):
        if name in params:
            # The object's place among all: it may no longer fit the filters that found it.
            cursor = store.place(kind, params[name])
            if cursor is None:
                raise _no_such(kind, params[name], name)
    found = store.search(
        kind, conditions, beyond=cursor, is_backwards=is_backwards, limit=limit + 1
    )
    data = found[:limit]
    return _list(
        data[::-1] if is_backwards else data,
        has_more=len(found) > limit,
        url=f"/v1/{kind.replace('.', '/')}s",
    )


def page(found: list[Object], params: Params, *, kind: str, url: str) -> Object:
    """The part of a list at hand that `limit` and the cursors ask for."""
    _check_paging(params)
    limit, is_backwards = params.get("limit", 10), "ending_before" in params
    ids = [item["id"] for item in found]
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in ids:
            raise _no_such(kind, params[name], name)
    if "starting_after" in params:
        found = found[ids.index(params["starting_after"]) + 1 :]
    elif is_backwards:
        found = found[: ids.index(params["ending_before"])]
    data = found[-limit:] if is_backwards else found[:limit]
    return _list(data, has_more=len(found) > limit, url=url)


def _check_paging(params: Params) -> None:
    limit = params.get("limit", 10)
    if limit < 1:
        raise invalid("This value must be greater than or equal to 1.", param="limit")
    if limit > 100:
        raise invalid("This value must be less than or equal to 100.", param="limit")
    if "starting_after" in params and "ending_before" in params:
        raise invalid(
            "You cannot use both starting_after and ending_before.", param="starting_after"
        )


def _no_such(kind: str, id: str, cursor: str) -> Exception:
    return invalid(f"No such {kind}: '{id}'", param=cursor, code="resource_missing")


def _list(data: list[Object], *, has_more: bool, url: str) -> Object:
    return {
        "object": "list",
        "data": [shapes.public(item) for item in data],
        "has_more": has_more,
        "url": url,
    }
