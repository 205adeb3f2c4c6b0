"""Subscriptions: begun, changed and ended."""

import calendar
import time
from datetime import UTC, datetime

from stripe_sandbox import events, invoices, payments, products, store
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
        "default_payment_method": payments.keep(card, session["customer"])["id"],
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
        "_card_declines": False,
    }
    invoice = invoices.open_(subscription, "subscription_create", (now, now))
    invoices.charge(invoice, subscription["_card"], is_declined=False, tries=1)
    subscription["latest_invoice"] = invoice["id"]
    events.emit("customer.subscription.created", store.put(subscription))
    return subscription, invoice


def _details(reason: str | None) -> Object:
    return {"comment": None, "feedback": None, "reason": reason}


def next_month(at: int, anchor: int) -> int:
    """A calendar month later, on the anchor's day where the month has one."""
    moment, day = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(anchor, UTC).day
    year, month = moment.year + moment.month // 12, moment.month % 12 + 1
    last = calendar.monthrange(year, month)[1]
    return int(moment.replace(year=year, month=month, day=min(day, last)).timestamp())


def end(
    subscription: Object, *, at: int | None = None, reason: str = "cancellation_requested"
) -> Object:
    """End a subscription, now or as the time comes at which it was to end. Its open invoices can
    still be paid on their pages, but Stripe doesn't try again."""
    now = int(time.time())
    subscription |= {"status": "canceled", "ended_at": at or now}
    subscription["canceled_at"] = subscription["canceled_at"] or now
    subscription["cancellation_details"] = _details(reason)
    invoices.stop_retries(subscription["id"])
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
    subscription = found(id)
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
    kept: int = 1 if "price_data" in wanted else item["quantity"]
    quantity = wanted.get("quantity", kept)
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
    subscription = found(id)
    if subscription["status"] == "canceled":
        raise missing("subscription", id)
    return end(subscription)


def found(id: str) -> Object:
    """Raises Stripe's error when there is no such subscription."""
    subscription = store.get("subscription", id)
    if subscription is None:
        raise missing("subscription", id)
    return subscription
