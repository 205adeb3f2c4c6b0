"""Customers."""

import time

from stripe_sandbox import events, store
from stripe_sandbox.errors import missing
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object


def create(params: Params) -> Object:
    customer = store.put(
        {
            "id": store.new_id("cus"),
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": int(time.time()),
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": params.get("description"),
            "email": params.get("email"),
            "invoice_settings": {"default_payment_method": None},
            "livemode": False,
            "metadata": params.get("metadata") or {},
            "name": params.get("name"),
            "phone": params.get("phone"),
        }
    )
    events.emit("customer.created", customer)
    return customer


def retrieve(id: str, params: Params) -> Object:
    customer = store.get("customer", id)
    if customer is None:
        raise missing("customer", id)
    return customer


def update(id: str, params: Params) -> Object:
    customer = alive(id, param="id", status=404)
    for name in ("email", "name", "description", "phone"):
        if name in params:
            customer[name] = params[name] or None
    customer["metadata"] |= params.get("metadata") or {}
    events.emit("customer.updated", store.put(customer))
    return customer


def delete(id: str, params: Params) -> Object:
    customer = alive(id, param="id", status=404)
    events.emit("customer.deleted", customer)
    return store.put({"id": id, "object": "customer", "deleted": True})


def alive(id: str, *, param: str = "customer", status: int = 400) -> Object:
    """A customer that can be used; Stripe says of a deleted one that there is none."""
    customer = store.get("customer", id)
    if customer is None or customer.get("deleted"):
        raise missing("customer", id, param=param, status=status)
    return customer
