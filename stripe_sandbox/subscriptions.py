"""Subscriptions, their months and their invoices."""

import calendar
import math
import time
from datetime import UTC, datetime

from stripe_sandbox import events, payments, products, settings, shapes, store
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.payments import Card
from stripe_sandbox.store import Object


def start(session: Object, card: Card) -> tuple[Object, Object]:
    """The subscription that a Checkout Session sells, its first month paid."""
    item = session["_line_items"][0]
    price = products.price_of(item["price_data"], at="line_items[0][price_data]")
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
                    "description": products.name_of(item["price"]),
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


def advance(id: str) -> Object:
    """A month goes by: the subscription renews and is paid, or ends if it was cancelled."""
    subscription = _found(id)
    if subscription["status"] != "active":
        raise invalid(f"The subscription is {subscription['status']}.")
    item = subscription["items"]["data"][0]
    if (subscription["cancel_at"] or math.inf) <= item["current_period_end"]:
        return end(subscription, at=subscription["cancel_at"])
    last_invoice = subscription["latest_invoice"]
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
    """A new price from the next renewal, the end or its taking back, or metadata; the rest is a
    501."""
    unknown = set(params) - {
        "cancel_at", "cancel_at_period_end", "expand", "items", "metadata", "proration_behavior",
    }  # fmt: skip
    if unknown:
        raise unsupported(f"changing {', '.join(sorted(unknown))} of a subscription")
    subscription = _found(id)
    if subscription["status"] == "canceled":
        raise invalid("A canceled subscription can only update its cancellation_details.")
    proration = params.get("proration_behavior", "create_prorations" if "items" in params else "")
    if proration not in {"", "none"}:
        raise unsupported(f"prorations (proration_behavior={proration})")
    changed = _ending(subscription, params)
    if "metadata" in params:
        changed["metadata"] = merged(subscription["metadata"], params["metadata"])
    if "items" in params:
        changed["items"] = subscription["items"] | {
            "data": [_repriced(subscription, params["items"])]
        }
    before = {name: subscription[name] for name in changed if subscription[name] != changed[name]}
    if "items" in before:
        before["items"] = {"data": before["items"]["data"]}
    if before:
        subscription |= changed
        events.emit("customer.subscription.updated", store.put(subscription), previous=before)
    return subscription


def _ending(subscription: Object, params: Params) -> Object:
    """What a change of the end changes."""
    if {"cancel_at", "cancel_at_period_end"} <= set(params):
        raise invalid(
            "Received both cancel_at and cancel_at_period_end parameters. Please pass in only one."
        )
    period_end = subscription["items"]["data"][0]["current_period_end"]
    was_ending = subscription["cancel_at_period_end"]
    if "cancel_at" in params:
        at = _end_of(params["cancel_at"], period_end)
        if at == subscription["cancel_at"]:
            return {}
        is_at_period_end = False
    elif params.get("cancel_at_period_end", was_ending) != was_ending:
        is_at_period_end = params["cancel_at_period_end"]
        at = period_end if is_at_period_end else None
    else:
        return {}
    return {
        "cancel_at": at,
        "cancel_at_period_end": is_at_period_end,
        "canceled_at": int(time.time()) if at else None,
        "cancellation_details": _details("cancellation_requested" if at else None),
    }


def _end_of(wanted: int | str, period_end: int) -> int | None:
    if wanted == "":
        return None
    if wanted in {"min_period_end", "max_period_end"}:  # of the items, and there is one
        return period_end
    if not isinstance(wanted, int):
        raise unsupported(f"cancel_at={wanted}")
    if wanted <= time.time():
        raise invalid("`cancel_at` must be a timestamp in the future.", param="cancel_at")
    return wanted


def _repriced(subscription: Object, items: list[Object]) -> Object:
    """The subscription's one item at its new price, which the next renewal is the first to sell."""
    if len(items) != 1 or "id" not in items[0]:
        raise unsupported("subscriptions of several items")
    (wanted,) = items
    unknown = set(wanted) - {"id", "price_data", "quantity"}
    if unknown:
        raise unsupported(f"changing {', '.join(sorted(unknown))} of a subscription item")
    item: Object = subscription["items"]["data"][0]
    if wanted["id"] != item["id"]:
        raise invalid(
            f"No such subscription item: '{wanted['id']}'",
            param="items[0][id]",
            code="resource_missing",
        )
    quantity = wanted.get("quantity", 1 if "price_data" in wanted else item["quantity"])
    if quantity < 1:
        raise invalid("This value must be greater than or equal to 1.", param="items[0][quantity]")
    if "price_data" not in wanted:
        return item | {"quantity": quantity}
    data = wanted["price_data"]
    if data["currency"].lower() != subscription["currency"]:
        raise invalid(
            f"The subscription is in {subscription['currency']}: its currency can't change.",
            param="items[0][price_data][currency]",
        )
    price = products.price_of(data, at="items[0][price_data]")
    return item | {"price": price, "quantity": quantity}


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
        shapes.public(payment) for payment in store.all_of("invoice_payment", invoice=invoice_id)
    ]
    url = f"/v1/invoice_payments?invoice={invoice_id}"
    return {"object": "list", "data": data, "has_more": False, "url": url}
