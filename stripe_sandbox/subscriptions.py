"""Subscriptions, their months and their invoices."""

import calendar
import time
from datetime import UTC, datetime
from typing import Any

from stripe_sandbox import events, payments, settings, shapes, store
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.payments import Card
from stripe_sandbox.store import Object


def start(session: Object, card: Card) -> tuple[Object, Object]:
    """The subscription that a Checkout Session sells, its first month paid."""
    item = session["_line_items"][0]
    price = _price(item["price_data"])
    now = int(time.time())
    subscription_id = store.new_id("sub")
    subscription: Object = {
        "id": subscription_id,
        "object": "subscription",
        "automatic_tax": {"enabled": False, "disabled_reason": None, "liability": None},
        "billing_cycle_anchor": now,
        "billing_mode": {"type": "flexible"},
        "billing_schedules": [],
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": _details(None),
        "collection_method": "charge_automatically",
        "created": now,
        "currency": price["currency"],
        "customer": session["customer"],
        "description": session["_subscription_data"].get("description"),
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [
                {
                    "id": store.new_id("si"),
                    "object": "subscription_item",
                    "created": now,
                    "current_period_start": now,
                    "current_period_end": next_month(now, now),
                    "discounts": [],
                    "metadata": {},
                    "price": price,
                    "quantity": item["quantity"],
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
        "_card": card.shown(),
    }
    invoice = _bill(subscription, "subscription_create", (now, now))
    events.emit("customer.subscription.created", subscription)
    return subscription, invoice


def _details(reason: str | None) -> Object:
    return {"comment": None, "feedback": None, "reason": reason}


def _price(data: Object) -> Object:
    now = int(time.time())
    product = store.put(
        {
            "id": store.new_id("prod"),
            "object": "product",
            "active": True,
            "created": now,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": {},
            "name": data["product_data"]["name"],
            "type": "service",
            "updated": now,
        }
    )
    recurring = data["recurring"]
    return store.put(
        {
            "id": store.new_id("price"),
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "created": now,
            "currency": data["currency"].lower(),
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


def _bill(subscription: Object, reason: str, period: tuple[int, int]) -> Object:
    """A paid invoice for the subscription's present month; `period` is what went before."""
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
        email=(store.get("customer", subscription["customer"]) or {}).get("email"),
    )
    now = int(time.time())
    invoice_id = store.new_id("in")
    details = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    invoice: Object = {
        "id": invoice_id,
        "object": "invoice",
        "amount_due": amount,
        "amount_overpaid": 0,
        "amount_paid": amount,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": False,
        "automatic_tax": {"enabled": False, "disabled_reason": None, "liability": None},
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "default_tax_rates": [],
        "discounts": [],
        "hosted_invoice_url": f"{settings.ORIGIN}/i/{invoice_id}",
        "invoice_pdf": f"{settings.ORIGIN}/i/{invoice_id}",
        "issuer": {"type": "self"},
        "lines": {
            "object": "list",
            "data": [
                {
                    "id": store.new_id("il"),
                    "object": "line_item",
                    "amount": amount,
                    "currency": subscription["currency"],
                    "description": _product_name(item["price"]),
                    "discountable": True,
                    "discounts": [],
                    "livemode": False,
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
                    "subtotal": amount,
                }
            ],
            "has_more": False,
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": False,
        "metadata": {},
        "number": f"SANDBOX-{store.count('invoice') + 1:04}",
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": details,
        },
        "payment_settings": {"default_mandate": None},
        "period_start": period[0],
        "period_end": period[1],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "paid",
        "status_transitions": {"finalized_at": now, "paid_at": now},
        "subtotal": amount,
        "total": amount,
    }
    unpaid = invoice | {
        "amount_paid": 0,
        "amount_remaining": amount,
        "attempt_count": 0,
        "attempted": False,
        "status_transitions": {"finalized_at": None, "paid_at": None},
    }
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
            "status_transitions": {"canceled_at": None, "paid_at": now},
        }
    )
    subscription["latest_invoice"] = invoice_id
    store.put(subscription)
    events.emit("invoice.created", unpaid | {"status": "draft", "number": None})
    unpaid["status_transitions"] = {"finalized_at": now, "paid_at": None}
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
        return end(subscription, at=subscription["cancel_at"])
    last_invoice = subscription["latest_invoice"]
    item = subscription["items"]["data"][0]
    before = {name: item[name] for name in ("current_period_start", "current_period_end")}
    item["current_period_start"] = before["current_period_end"]
    item["current_period_end"] = next_month(
        before["current_period_end"], subscription["billing_cycle_anchor"]
    )
    _bill(
        subscription,
        "subscription_cycle",
        (before["current_period_start"], before["current_period_end"]),
    )
    events.emit(
        "customer.subscription.updated",
        subscription,
        previous={"items": {"data": [item | before]}, "latest_invoice": last_invoice},
    )
    return subscription


def end(subscription: Object, *, at: int | None = None) -> Object:
    """End a subscription, now or as the time comes at which it was to end."""
    now = int(time.time())
    subscription |= {"status": "canceled", "ended_at": at or now}
    subscription["canceled_at"] = subscription["canceled_at"] or now
    subscription["cancellation_details"] = _details("cancellation_requested")
    events.emit("customer.subscription.deleted", store.put(subscription))
    return subscription


def update(id: str, params: Params) -> Object:
    """Cancel at the period's end, resume, or new metadata; other changes are a 501."""
    unknown = set(params) - {"cancel_at_period_end", "metadata", "expand"}
    if unknown:
        raise unsupported(f"changing {', '.join(sorted(unknown))} of a subscription")
    subscription = _found(id)
    if subscription["status"] == "canceled":
        raise invalid("A canceled subscription can only update its cancellation_details.")
    changed: dict[str, Any] = {}
    if (
        params.get("cancel_at_period_end", subscription["cancel_at_period_end"])
        != (subscription["cancel_at_period_end"])
    ):
        ends = params["cancel_at_period_end"]
        changed = {
            "cancel_at": subscription["items"]["data"][0]["current_period_end"] if ends else None,
            "cancel_at_period_end": ends,
            "canceled_at": int(time.time()) if ends else None,
            "cancellation_details": _details("cancellation_requested" if ends else None),
        }
    if "metadata" in params:
        changed["metadata"] = merged(subscription["metadata"], params["metadata"])
    before = {name: subscription[name] for name in changed if subscription[name] != changed[name]}
    if before:
        subscription |= changed
        events.emit("customer.subscription.updated", store.put(subscription), previous=before)
    return subscription


def cancel(id: str, params: Params) -> Object:
    unknown = set(params) - {"expand"}
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} when a subscription is canceled")
    subscription = _found(id)
    if subscription["status"] == "canceled":
        raise missing("subscription", id)
    return end(subscription)


def _found(id: str) -> Object:
    subscription = store.get("subscription", id)
    if subscription is None:
        raise missing("subscription", id)
    return subscription


def payments_of(invoice_id: str) -> Object:
    """How an invoice was paid, as an answer has it when asked to."""
    data = [
        shapes.public(payment)
        for payment in store.all_of("invoice_payment")
        if payment["invoice"] == invoice_id
    ]
    url = f"/v1/invoice_payments?invoice={invoice_id}"
    return {"object": "list", "data": data, "has_more": False, "url": url}
