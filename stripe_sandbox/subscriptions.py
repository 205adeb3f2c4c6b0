"""Subscriptions, their months and their invoices."""

import calendar
import time
from datetime import UTC, datetime
from typing import Any

from stripe_sandbox import events, payments, settings, store
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object


def start(session: Object, card: Object) -> tuple[Object, Object]:
    """The subscription that a Checkout Session sells, its first month paid."""
    item = session["_line_items"][0]
    price = _price(item["price_data"])
    now = int(time.time())
    subscription_id = store.new_id("sub")
    subscription: Object = {
        "id": subscription_id,
        "object": "subscription",
        "billing_cycle_anchor": now,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": price["currency"],
        "customer": session["customer"],
        "default_payment_method": None,
        "ended_at": None,
        "items": {
            "object": "list",
            "data": [
                {
                    "id": store.new_id("si"),
                    "object": "subscription_item",
                    "created": now,
                    "current_period_start": now,
                    "current_period_end": next_month(now, now),
                    "metadata": {},
                    "price": price,
                    "quantity": item.get("quantity", 1),
                    "subscription": subscription_id,
                }
            ],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={subscription_id}",
        },
        "latest_invoice": None,
        "livemode": False,
        "metadata": session["_subscription_data"].get("metadata") or {},
        "start_date": now,
        "status": "active",
        "trial_end": None,
        "_card": card,
    }
    invoice = _bill(subscription, "subscription_create")
    events.emit("customer.subscription.created", public(subscription))
    return subscription, invoice


def _price(data: Object) -> Object:
    product = store.put(
        {
            "id": store.new_id("prod"),
            "object": "product",
            "active": True,
            "created": int(time.time()),
            "livemode": False,
            "metadata": {},
            "name": data["product_data"]["name"],
        }
    )
    recurring = data["recurring"]
    return store.put(
        {
            "id": store.new_id("price"),
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "created": int(time.time()),
            "currency": data["currency"],
            "livemode": False,
            "metadata": {},
            "product": product["id"],
            "recurring": {
                "interval": recurring["interval"],
                "interval_count": recurring.get("interval_count", 1),
                "usage_type": "licensed",
            },
            "type": "recurring",
            "unit_amount": data["unit_amount"],
            "unit_amount_decimal": str(data["unit_amount"]),
        }
    )


def next_month(at: int, anchor: int) -> int:
    """A calendar month later, on the anchor's day where the month has one."""
    moment, day = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(anchor, UTC).day
    year, month = moment.year + moment.month // 12, moment.month % 12 + 1
    last = calendar.monthrange(year, month)[1]
    return int(moment.replace(year=year, month=month, day=min(day, last)).timestamp())


def _bill(subscription: Object, reason: str) -> Object:
    """A paid invoice for the subscription's present month."""
    item = subscription["items"]["data"][0]
    amount = item["price"]["unit_amount"] * item["quantity"]
    intent = payments.pay(
        amount=amount,
        currency=subscription["currency"],
        customer=subscription["customer"],
        card=subscription["_card"],
        metadata={},
        description="Subscription creation"
        if reason == "subscription_create"
        else "Subscription update",
    )
    now = int(time.time())
    invoice_id = store.new_id("in")
    details = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    invoice: Object = {
        "id": invoice_id,
        "object": "invoice",
        "amount_due": amount,
        "amount_paid": amount,
        "amount_remaining": 0,
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": False,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "hosted_invoice_url": f"{settings.ORIGIN}/i/{invoice_id}",
        "invoice_pdf": f"{settings.ORIGIN}/i/{invoice_id}",
        "lines": {
            "object": "list",
            "data": [
                {
                    "id": store.new_id("il"),
                    "object": "line_item",
                    "amount": amount,
                    "currency": subscription["currency"],
                    "description": _product_name(item["price"]),
                    "metadata": subscription["metadata"],
                    "parent": {
                        "type": "subscription_item_details",
                        "subscription_item_details": {
                            "subscription": subscription["id"],
                            "subscription_item": item["id"],
                            "proration": False,
                        },
                    },
                    "period": {
                        "start": item["current_period_start"],
                        "end": item["current_period_end"],
                    },
                    "pricing": {
                        "type": "price_details",
                        "price_details": {
                            "price": item["price"]["id"],
                            "product": item["price"]["product"],
                        },
                    },
                    "quantity": item["quantity"],
                }
            ],
            "has_more": False,
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": False,
        "metadata": {},
        "number": f"SANDBOX-{len(store.all_of('invoice')) + 1:04}",
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": details,
        },
        "period_start": item["current_period_start"],
        "period_end": item["current_period_end"],
        "starting_balance": 0,
        "status": "paid",
        "status_transitions": {"finalized_at": now, "paid_at": now},
        "subtotal": amount,
        "total": amount,
    }
    unpaid = invoice | {"amount_paid": 0, "amount_remaining": amount}
    store.put(invoice)
    store.put(
        {
            "id": store.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": amount,
            "amount_requested": amount,
            "created": now,
            "currency": invoice["currency"],
            "invoice": invoice_id,
            "is_default": True,
            "livemode": False,
            "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
            "status": "paid",
        }
    )
    subscription["latest_invoice"] = invoice_id
    store.put(subscription)
    events.emit("invoice.created", unpaid | {"status": "draft"})
    events.emit("invoice.finalized", unpaid | {"status": "open"})
    events.emit("invoice.paid", invoice)
    events.emit("invoice.payment_succeeded", invoice)
    return invoice


def _product_name(price: Object) -> str:
    product = store.get("product", price["product"])
    return product["name"] if product else ""


def advance(id: str) -> Object:
    """A month goes by: the subscription renews and is paid, or ends if it was cancelled."""
    subscription = _found(id)
    if subscription["status"] != "active":
        raise invalid(f"The subscription is {subscription['status']}.")
    if subscription["cancel_at_period_end"]:
        return _end(subscription)
    item = subscription["items"]["data"][0]
    before = {name: item[name] for name in ("current_period_start", "current_period_end")}
    item["current_period_start"] = before["current_period_end"]
    item["current_period_end"] = next_month(
        before["current_period_end"], subscription["billing_cycle_anchor"]
    )
    _bill(subscription, "subscription_cycle")
    events.emit(
        "customer.subscription.updated",
        public(subscription),
        previous={"items": {"data": [item | before]}},
    )
    return public(subscription)


def _end(subscription: Object) -> Object:
    now = int(time.time())
    subscription |= {"status": "canceled", "ended_at": now}
    subscription["canceled_at"] = subscription["canceled_at"] or now
    events.emit("customer.subscription.deleted", public(store.put(subscription)))
    return public(subscription)


def retrieve(id: str, params: Params) -> Object:
    return public(_found(id))


def update(id: str, params: Params) -> Object:
    """Cancel at the period's end, resume, or new metadata; other changes are a 501."""
    unknown = set(params) - {"cancel_at_period_end", "metadata", "expand"}
    if unknown:
        raise unsupported(f"changing {', '.join(sorted(unknown))} of a subscription")
    subscription = _found(id)
    if subscription["status"] == "canceled":
        raise invalid("A canceled subscription can only update its cancellation_details.")
    before: dict[str, Any] = {}
    if "cancel_at_period_end" in params:
        ends = params["cancel_at_period_end"]
        for name in ("cancel_at_period_end", "cancel_at", "canceled_at"):
            before[name] = subscription[name]
        item = subscription["items"]["data"][0]
        subscription |= {
            "cancel_at_period_end": ends,
            "cancel_at": item["current_period_end"] if ends else None,
            "canceled_at": int(time.time()) if ends else None,
        }
    if params.get("metadata"):
        before["metadata"] = dict(subscription["metadata"])
        subscription["metadata"] |= params["metadata"]
    events.emit("customer.subscription.updated", public(store.put(subscription)), previous=before)
    return public(subscription)


def cancel(id: str, params: Params) -> Object:
    subscription = _found(id)
    if subscription["status"] == "canceled":
        raise missing("subscription", id)
    return _end(subscription)


def _found(id: str) -> Object:
    subscription = store.get("subscription", id)
    if subscription is None:
        raise missing("subscription", id)
    return subscription


def public(subscription: Object) -> Object:
    """What the API shows of it: not the card that pays it."""
    return {name: value for name, value in subscription.items() if not name.startswith("_")}


def retrieve_invoice(id: str, params: Params) -> Object:
    invoice = store.get("invoice", id)
    if invoice is None:
        raise missing("invoice", id)
    return invoice
