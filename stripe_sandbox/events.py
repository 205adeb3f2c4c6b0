"""Events: a snapshot of an object at the time something happened to it."""

import copy
import json
import time

import stripe

from stripe_sandbox import shapes, store
from stripe_sandbox.store import Object


def emit(type: str, found: Object, *, previous: Object | None = None) -> Object:
    """Record an event and queue it for delivery. Call it in the transaction of its cause."""
    data: Object = {"object": copy.deepcopy(shapes.public(found))}
    if previous is not None:
        data["previous_attributes"] = previous
    event = store.put(
        {
            "id": store.new_id("evt"),
            "object": "event",
            "api_version": stripe.api_version,
            "created": int(time.time()),
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type,
        }
    )
    store.execute("INSERT INTO delivery (event, due) VALUES (?, ?)", event["id"], time.time())
    return event


def body(event: Object) -> str:
    """The event as it is posted: Stripe indents by two."""
    return json.dumps(event, indent=2)
