"""Configurations of the customer portal: what a customer may do there.

Taken is what the portal's page here can do (`portal`): see invoices, change the card, cancel at the
period's end. The rest is a 501 when it is switched on.
"""

import time
from typing import Any

from stripe_sandbox import store
from stripe_sandbox.errors import ApiError, invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

KIND = "billing_portal.configuration"
_PROFILE = ("headline", "privacy_policy_url", "terms_of_service_url")
_OFF = {"enabled": False}

DEFAULT: dict[str, Any] = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": []},
        "enabled": True,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {
        "duration": {"interval_options": [], "type": "interval_options"},
        "enabled": False,
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": None,
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}
"""What the portal does without a configuration."""

NOTHING: dict[str, Any] = {
    name: feature | _OFF | ({"mode": "at_period_end"} if name == "subscription_cancel" else {})
    for name, feature in DEFAULT.items()
}


def create(params: Params) -> Object:
    """Make a configuration; features that it doesn't name are off."""
    _check(params)
    now = int(time.time())
    return store.put(
        {
            "id": store.new_id("bpc"),
            "object": KIND,
            "active": True,
            "application": None,
            "business_profile": _profile({}, params),
            "created": now,
            "default_return_url": params.get("default_return_url") or None,
            "features": _features(NOTHING, params["features"]),
            "is_default": False,
            "livemode": False,
            "login_page": {"enabled": False, "url": None},
            "metadata": merged({}, params.get("metadata", "")),
            "name": params.get("name") or None,
            "updated": now,
        }
    )


def retrieve(id: str, params: Params) -> Object:
    return found(id, param="id", status=404)


def update(id: str, params: Params) -> Object:
    _check(params)
    known = found(id, param="id", status=404)
    changed: Params = {"updated": int(time.time())}
    if "active" in params:
        changed["active"] = params["active"]
    if "business_profile" in params:
        changed["business_profile"] = _profile(known["business_profile"], params)
    for name in ("default_return_url", "name"):
        if name in params:
            changed[name] = params[name] or None
    if "features" in params:
        changed["features"] = _features(known["features"], params["features"])
    if "metadata" in params:
        changed["metadata"] = merged(known["metadata"], params["metadata"])
    return store.put(known | changed)


def usable(id: str) -> Object:
    """A configuration that a session asks for."""
    configuration = found(id, param="configuration", status=400)
    if not configuration["active"]:
        raise invalid("This configuration is not active.", param="configuration")
    return configuration


def features_of(id: str) -> dict[str, Any]:
    """What the portal's page may do: by the session's configuration, or the default."""
    configuration = store.get(KIND, id)
    features: dict[str, Any] = configuration["features"] if configuration else DEFAULT
    return features


def found(id: str, *, param: str, status: int) -> Object:
    configuration = store.get(KIND, id)
    if configuration is None:
        raise missing("configuration", id, param=param, status=status)
    return configuration


def _profile(known: Params, params: Params) -> Params:
    told = {name: known.get(name) for name in _PROFILE} | params.get("business_profile", {})
    return {name: value or None for name, value in told.items()}


def _features(known: dict[str, Any], told: Params) -> dict[str, Any]:
    return {name: feature | told.get(name, {}) for name, feature in known.items()}


def _check(params: Params) -> None:
    if params.get("login_page", _OFF)["enabled"]:
        raise unsupported("login pages of the portal")
    features = params.get("features", {})
    for name in ("customer_update", "subscription_pause", "subscription_update"):
        if features.get(name, _OFF).get("enabled"):
            raise unsupported(f"{name} in the portal")
    cancel = features.get("subscription_cancel", {})
    if cancel.get("mode") == "immediately":
        raise unsupported("immediate cancellation in the portal")
    if cancel.get("cancellation_reason", _OFF)["enabled"]:
        raise unsupported("cancellation reasons in the portal")
    url = params.get("default_return_url")
    if url and not url.startswith(("http://", "https://")):
        raise _bad_url("default_return_url")
    for name in ("privacy_policy_url", "terms_of_service_url"):
        url = params.get("business_profile", {}).get(name)
        if url and not url.startswith("https://"):
            raise _bad_url(f"business_profile[{name}]")


def _bad_url(param: str) -> ApiError:
    return invalid("Not a valid URL", param=param, code="url_invalid")
