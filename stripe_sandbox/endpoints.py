"""Webhook endpoints, as their owner sets them up. Events go out to the receiver that the stand-in
was started with (`delivery`), whatever endpoints there are: like `stripe listen` does."""

import re
import time

from stripe_sandbox import store
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

KIND = "webhook_endpoint"
MOST = 16
_URL = re.compile(r"https?://[^/\s]+(/\S*)?")


def create(params: Params) -> Object:
    """Make an endpoint. This answer alone has the secret that signs for it."""
    _check(params, {"api_version", "description", "enabled_events", "metadata", "url"})
    if len([each for each in store.all_of(KIND) if not each.get("deleted")]) >= MOST:
        raise invalid(f"You have reached the maximum of {MOST} test webhook endpoints.")
    secret = store.new_id("whsec")
    endpoint = store.put(
        {
            "id": store.new_id("we"),
            "object": KIND,
            "api_version": params.get("api_version"),
            "application": None,
            "created": int(time.time()),
            "description": params.get("description") or None,
            "enabled_events": params["enabled_events"],
            "livemode": False,
            "metadata": merged({}, params.get("metadata", "")),
            "status": "enabled",
            "url": params["url"],
        }
    )
    return endpoint | {"secret": secret}


def retrieve(id: str, params: Params) -> Object:
    return _found(id)


def update(id: str, params: Params) -> Object:
    """Change an endpoint; its API version stays what it was made with."""
    _check(params, {"description", "disabled", "enabled_events", "metadata", "url"})
    endpoint = _found(id)
    changed: Params = {name: params[name] for name in ("enabled_events", "url") if name in params}
    if "description" in params:
        changed["description"] = params["description"] or None
    if "disabled" in params:
        changed["status"] = "disabled" if params["disabled"] else "enabled"
    if "metadata" in params:
        changed["metadata"] = merged(endpoint["metadata"], params["metadata"])
    return store.put(endpoint | changed)


def delete(id: str, params: Params) -> Object:
    _found(id)
    return store.put({"id": id, "object": KIND, "deleted": True})


def _found(id: str) -> Object:
    endpoint = store.get(KIND, id)
    if endpoint is None or endpoint.get("deleted"):
        raise missing("webhook endpoint", id)
    return endpoint


def _check(params: Params, known: set[str]) -> None:
    unknown = set(params) - known - {"expand"}
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} of a webhook endpoint")
    if "url" in params and not _URL.fullmatch(params["url"]):
        raise invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
            param="url",
            code="url_invalid",
        )
    if params.get("enabled_events") == []:
        raise invalid("Invalid array", param="enabled_events")
