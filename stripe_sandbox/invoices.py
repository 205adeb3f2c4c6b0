"""Invoices: made for a subscription's month, paid or not, and tried again."""

import time

from stripe_sandbox import events, payments, products, settings, shapes, store
from stripe_sandbox.store import Object

DAY = 24 * 3600

RETRIES = [3 * DAY, 5 * DAY, 7 * DAY]
"""Seconds from each failed try to the next."""

TRIES = 1 + len(RETRIES)

WORDS = {
    "manual": "Payment for Invoice",
    "subscription_create": "Subscription creation",
    "subscription_cycle": "Subscription update",
}
"""What a charge says of why it was made."""


def blank(customer: str, currency: str, reason: str, period: tuple[int, int]) -> Object:
    """A draft over nothing; `period` is what went before it."""
    invoice_id = store.new_id("in")
    return {
        "id": invoice_id,
        "object": "invoice",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {"enabled": False, "disabled_reason": None, "liability": None},
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": int(time.time()),
        "currency": currency,
        "customer": customer,
        "default_tax_rates": [],
        "discounts": [],
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "lines": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": None,
        "payment_settings": {"default_mandate": None},
        "period_start": period[0],
        "period_end": period[1],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {"finalized_at": None, "paid_at": None},
        "subtotal": 0,
        "total": 0,
    }


def open_(subscription: Object, reason: str, period: tuple[int, int]) -> Object:
    """An invoice for the subscription's present month; `period` is what went before it."""
    item = subscription["items"]["data"][0]
    amount = item["price"]["unit_amount"] * item["quantity"]
    invoice = blank(subscription["customer"], subscription["currency"], reason, period)
    invoice |= dict.fromkeys(("amount_due", "amount_remaining", "subtotal", "total"), amount)
    invoice["lines"]["data"].append(_line(subscription, item, amount))
    invoice["parent"] = {
        "type": "subscription_details",
        "quote_details": None,
        "subscription_details": {
            "metadata": subscription["metadata"],
            "subscription": subscription["id"],
        },
    }
    events.emit("invoice.created", store.put(invoice))
    number(invoice)
    events.emit("invoice.finalized", store.put(invoice))
    return invoice


def number(invoice: Object) -> None:
    """Make a draft an invoice: with a number, a page of its own, and nothing to change any more."""
    page = f"{settings.ORIGIN}/i/{invoice['id']}"
    invoice |= {
        "hosted_invoice_url": page,
        "invoice_pdf": page,
        "number": f"SANDBOX-{store.count('invoice'):04}",
        "status": "open",
        "status_transitions": invoice["status_transitions"] | {"finalized_at": int(time.time())},
    }


def _line(subscription: Object, item: Object, amount: int) -> Object:
    return {
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
        "period": {"start": item["current_period_start"], "end": item["current_period_end"]},
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


def charge(invoice: Object, card: Object, *, is_declined: bool, tries: int) -> bool:
    """Try to pay an open invoice with a card; `tries` is what Stripe counts then.

    Answers whether it is paid now. If not it stays open, until the next try if there is one.
    """
    intent = _intent(invoice)
    if intent is None:
        intent = payments.pay(
            card=card,
            is_declined=is_declined,
            amount=invoice["total"],
            currency=invoice["currency"],
            customer=invoice["customer"],
            metadata={},
            description=WORDS[invoice["billing_reason"]],
            email=store.held(invoice["customer"]).get("email"),
        )
        _keep_payment(invoice, intent)
    else:
        payments.pay_again(intent, card=card, is_declined=is_declined)
    invoice |= {"attempt_count": tries, "attempted": True}
    if is_declined:
        _set_failed(invoice)
    else:
        _set_paid(invoice)
    return not is_declined


def _intent(invoice: Object) -> Object | None:
    for payment in store.all_of("invoice_payment", {"invoice": invoice["id"]}):
        return store.held(payment["payment"]["payment_intent"])
    return None


def _keep_payment(invoice: Object, intent: Object) -> None:
    store.put(
        {
            "id": store.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["total"],
            "created": int(time.time()),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )


def _set_failed(invoice: Object) -> None:
    failed = invoice["attempt_count"]
    is_last = failed >= TRIES
    invoice |= {
        "auto_advance": not is_last,
        "next_payment_attempt": None if is_last else int(time.time()) + RETRIES[failed - 1],
    }
    events.emit("invoice.payment_failed", store.put(invoice))


def _set_paid(invoice: Object) -> None:
    now = int(time.time())
    (payment,) = store.all_of("invoice_payment", {"invoice": invoice["id"]})
    payment |= {
        "amount_paid": invoice["total"],
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": now},
    }
    store.put(payment)
    invoice |= {
        "amount_paid": invoice["total"],
        "amount_remaining": 0,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": invoice["status_transitions"] | {"paid_at": now},
    }
    for type in ("invoice.paid", "invoice.payment_succeeded"):
        events.emit(type, store.put(invoice))


def stop_retries(subscription_id: str) -> None:
    """Leave open invoices to whoever pays them on their pages."""
    owed = {"status": "open", "parent.subscription_details.subscription": subscription_id}
    for invoice in store.all_of("invoice", owed):
        store.put(invoice | {"auto_advance": False, "next_payment_attempt": None})


def payments_of(invoice_id: str) -> Object:
    """How an invoice was paid, as an answer has it when asked to."""
    data = [
        shapes.public(payment)
        for payment in store.all_of("invoice_payment", {"invoice": invoice_id})
    ]
    url = f"/v1/invoice_payments?invoice={invoice_id}"
    return {"object": "list", "data": data, "has_more": False, "url": url}
