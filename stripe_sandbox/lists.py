"""Lists as Stripe pages them: newest first, by cursor."""

import fnmatch
from collections.abc import Callable
from typing import Any

from stripe_sandbox import shapes, store
from stripe_sandbox.errors import invalid, unsupported
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object

PAGING = {"limit", "starting_after", "ending_before", "expand"}


def list_of(kind: str, *filters: str) -> Callable[[Params], Object]:
    """The list of all objects of a kind, by these filters; others are a 501."""

    def run(params: Params) -> Object:
        unknown = set(params) - PAGING - set(filters)
        if unknown:
            raise unsupported(f"{', '.join(sorted(unknown))} in a list")
        if "type" in params and "types" in params:
            raise invalid("You may only specify one of these parameters: type, types.")
        if kind == "subscription":
            params = {"status": "not canceled"} | params
        wanted = {name: value for name, value in params.items() if name in filters}
        return page(
            store.all_of(kind),
            params,
            kind=kind,
            url=f"/v1/{kind.replace('.', '/')}s",
            fits=lambda item: _fits(item, wanted),
        )

    return run


def page(
    found: list[Object],
    params: Params,
    *,
    kind: str,
    url: str,
    fits: Callable[[Object], bool] = lambda item: True,
) -> Object:
    """The part of what is found that `limit` and the cursors ask for."""
    limit = params.get("limit", 10)
    if limit < 1:
        raise invalid("This value must be greater than or equal to 1.", param="limit")
    if limit > 100:
        raise invalid("This value must be less than or equal to 100.", param="limit")
    if "starting_after" in params and "ending_before" in params:
        raise invalid(
            "You cannot use both starting_after and ending_before.", param="starting_after"
        )
    backwards = "ending_before" in params
    if "starting_after" in params:
        found = found[_place(found, params, "starting_after", kind) + 1 :]
    elif backwards:
        found = found[: _place(found, params, "ending_before", kind)]
    found = [item for item in found if fits(item)]
    data = found[-limit:] if backwards else found[:limit]
    return {
        "object": "list",
        "data": [shapes.public(item) for item in data],
        "has_more": len(found) > limit,
        "url": url,
    }


def _place(found: list[Object], params: Params, cursor: str, kind: str) -> int:
    # The object's place among all: it may no longer fit the filters that found it.
    for place, item in enumerate(found):
        if item["id"] == params[cursor]:
            return place
    raise invalid(f"No such {kind}: '{params[cursor]}'", param=cursor, code="resource_missing")


def _fits(item: Object, wanted: Params) -> bool:
    return not item.get("deleted") and all(
        _matches(item, name, value) for name, value in wanted.items()
    )


def _matches(item: Object, name: str, wanted: Any) -> bool:
    if name == "types":
        return item["type"] in wanted
    if name == "type":
        return fnmatch.fnmatchcase(item["type"], wanted)
    if name == "subscription" and item["object"] == "invoice":
        return bool(item["parent"]["subscription_details"]["subscription"] == wanted)
    if name == "payment":
        return all(item["payment"].get(key) == value for key, value in wanted.items())
    if name == "created" and isinstance(wanted, dict):
        tests = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__}
        return all(tests[key](item["created"], value) for key, value in wanted.items())
    if name == "status" and item["object"] == "subscription":
        is_over = item["status"] == "canceled"
        words = {"all": True, "ended": is_over, "not canceled": not is_over}
        return bool(words.get(wanted, item["status"] == wanted))
    return bool(item.get(name) == wanted)
