"""Customers."""

import re
import time

from stripe_sandbox import cards, events, store, subscriptions
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

OWN = ("description", "email", "name", "phone")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def create(params: Params) -> Object:
    _check(params)
    customer = store.put(
        {
            "id": store.new_id("cus"),
            "object": "customer",
            "balance": 0,
            "created": int(time.time()),
            "delinquent": False,
            "invoice_settings": {"default_payment_method": None},
            "livemode": False,
            "metadata": merged({}, params.get("metadata", "")),
            "preferred_locales": [],
            "tax_exempt": "none",
            **{name: params.get(name) or None for name in OWN},
        }
    )
    events.emit("customer.created", customer)
    return customer


def update(id: str, params: Params) -> Object:
    _check(params)
    customer = alive(id, param="id", status=404)
    changed = {name: params[name] or None for name in OWN if name in params}
    if "metadata" in params:
        changed["metadata"] = merged(customer["metadata"], params["metadata"])
    before = {name: customer[name] for name in changed if customer[name] != changed[name]}
    if before:
        events.emit("customer.updated", store.put(customer | changed), previous=before)
    return customer | changed


def _check(params: Params) -> None:
    unknown = set(params) - set(OWN) - {"metadata", "expand"}
    if unknown:
        raise unsupported(f"a customer's {', '.join(sorted(unknown))}")
    check_email(params.get("email"), "email")


def check_email(email: str | None, param: str) -> None:
    if email and not _EMAIL.fullmatch(email):
        raise invalid(f"Invalid email address: {email}", param=param, code="email_invalid")


def delete(id: str, params: Params) -> Object:
    """Delete a customer, which ends what they subscribe to at once."""
    customer = alive(id, param="id", status=404)
    for subscription in store.all_of("subscription", {"customer": id}):
        if subscription["status"] != "canceled":
            subscriptions.end(subscription)
    cards.let_go(id)
    events.emit("customer.deleted", customer)
    return store.put({"id": id, "object": "customer", "deleted": True})


def alive(id: str, *, param: str = "customer", status: int = 400) -> Object:
    """A customer that can be used; Stripe says of a deleted one that there is none."""
    customer = store.get("customer", id)
    if customer is None or customer.get("deleted"):
        raise missing("customer", id, param=param, status=status)
    return customer
