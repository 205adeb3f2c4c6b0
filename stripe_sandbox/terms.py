"""Invoices that a customer is sent and has days to pay: drafted, finalized, paid or written off."""

import time

from stripe_sandbox import customers, events, invoices, lists, store
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

DAY = invoices.DAY
MOST_FIELDS, NAME_LENGTH, VALUE_LENGTH = 4, 40, 140


def draft(params: Params) -> Object:
    """An empty invoice that is to be sent; charging a card for one is a 501."""
    unknown = set(params) - {
        "auto_advance", "collection_method", "currency", "custom_fields", "customer",
        "days_until_due", "description", "expand", "footer", "metadata",
        "pending_invoice_items_behavior",
    }  # fmt: skip
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} of an invoice")
    if params.get("collection_method") != "send_invoice":
        raise unsupported("invoices that are charged automatically, but for subscriptions")
    if params.get("pending_invoice_items_behavior", "exclude") != "exclude":
        raise unsupported("invoice items that belong to no invoice")
    customer = customers.alive(params.get("customer", ""))
    if "days_until_due" not in params:
        raise invalid(
            "If invoices are created with `collection_method=send_invoice`, you must provide "
            "either `days_until_due` or `due_date`.",
            param="days_until_due",
        )
    if params["days_until_due"] < 0:
        raise invalid("This value must be greater than or equal to 0.", param="days_until_due")
    now = int(time.time())
    invoice = invoices.blank(customer["id"], params.get("currency", "usd"), "manual", (now, now))
    invoice |= {
        "auto_advance": params.get("auto_advance", False),
        "collection_method": "send_invoice",
        "custom_fields": _fields(params.get("custom_fields") or []),
        "customer_email": customer.get("email"),
        "customer_tax_ids": [],
        "description": params.get("description") or None,
        "due_date": now + params["days_until_due"] * DAY,
        "footer": params.get("footer") or None,
        "metadata": merged({}, params.get("metadata", "")),
        "_days": params["days_until_due"],
    }
    events.emit("invoice.created", store.put(invoice))
    return invoice


def _fields(fields: list[Object]) -> list[Object] | None:
    if len(fields) > MOST_FIELDS:
        raise invalid(f"Array too long: up to {MOST_FIELDS} fields.", param="custom_fields")
    for place, field in enumerate(fields):
        for name, most in (("name", NAME_LENGTH), ("value", VALUE_LENGTH)):
            if not 0 < len(field[name]) <= most:
                raise invalid(
                    f"Invalid string: it takes 1 to {most} characters.",
                    param=f"custom_fields[{place}][{name}]",
                )
    return fields or None


def add_item(params: Params) -> Object:
    """A line of a draft."""
    unknown = set(params) - {
        "amount", "currency", "customer", "description", "expand", "invoice", "metadata",
    }  # fmt: skip
    if unknown or "invoice" not in params or "amount" not in params:
        raise unsupported("invoice items without an amount and an invoice, or with more than those")
    customer = customers.alive(params.get("customer", ""))
    invoice = _in_status(params["invoice"], "draft", param="invoice")
    if invoice["customer"] != customer["id"]:
        raise invalid("The invoice belongs to another customer.", param="invoice")
    currency = params.get("currency") or invoice["currency"]
    if currency.lower() != invoice["currency"]:
        raise invalid(f"The invoice is in {invoice['currency']}.", param="currency")
    amount, now = params["amount"], int(time.time())
    item: Object = {
        "id": store.new_id("ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": invoice["currency"],
        "customer": customer["id"],
        "date": now,
        "description": params.get("description") or None,
        "discountable": True,
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": merged({}, params.get("metadata", "")),
        "period": {"start": now, "end": now},
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
    }
    invoice["lines"]["data"].append(_line(item))
    for name in ("amount_due", "amount_remaining", "subtotal", "total"):
        invoice[name] += amount
    store.put(invoice)
    events.emit("invoiceitem.created", store.put(item))
    return item


def _line(item: Object) -> Object:
    return {
        "id": store.new_id("il"),
        "object": "line_item",
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discountable": True,
        "discounts": [],
        "invoice": item["invoice"],
        "livemode": False,
        "metadata": item["metadata"],
        "parent": {
            "type": "invoice_item_details",
            "invoice_item_details": {"invoice_item": item["id"], "proration": False},
        },
        "period": item["period"],
        "quantity": 1,
        "subtotal": item["amount"],
    }


def finalize(id: str, params: Params) -> Object:
    """Make a draft an invoice that can be paid; its days begin."""
    invoice = _in_status(id, "draft")
    if invoice["total"] <= 0:
        raise unsupported("invoices over nothing")
    now = int(time.time())
    tax_ids = store.all_of("tax_id", {"customer": invoice["customer"]})
    invoices.number(invoice)
    invoice |= {
        "customer_tax_ids": [
            {"type": tax_id["type"], "value": tax_id["value"]} for tax_id in reversed(tax_ids)
        ],
        "due_date": now + invoice["_days"] * DAY,
    }
    events.emit("invoice.finalized", store.put(invoice))
    return invoice


def send(id: str, params: Params) -> Object:
    """Mail it, which nobody does here; a draft is finalized by that."""
    invoice = found(id)
    if invoice["status"] == "draft":
        invoice = finalize(id, {})
    _check_status(invoice, "open", "uncollectible", "paid")
    events.emit("invoice.sent", invoice)
    return invoice


def void(id: str, params: Params) -> Object:
    """As if it had never been: nobody can pay it any more."""
    invoice = _in_status(id, "open", "uncollectible")
    return _close(invoice, "void", "voided_at", "invoice.voided")


def mark_uncollectible(id: str, params: Params) -> Object:
    """Write it off. Who still wants to pay it can."""
    invoice = _in_status(id, "open")
    name = "marked_uncollectible_at"
    return _close(invoice, "uncollectible", name, "invoice.marked_uncollectible")


def _close(invoice: Object, status: str, at: str, type: str) -> Object:
    invoice |= {
        "auto_advance": False,
        "status": status,
        "status_transitions": invoice["status_transitions"] | {at: int(time.time())},
    }
    events.emit(type, store.put(invoice))
    return invoice


def mark_overdue(now: float) -> None:
    """Tell of the invoices whose days are over, once."""
    for invoice in store.all_of("invoice", {"status": "open"}):
        if invoice.get("due_date") and invoice["due_date"] <= now and "_overdue" not in invoice:
            events.emit("invoice.overdue", store.put(invoice | {"_overdue": True}))


def add_tax_id(customer_id: str, params: Params) -> Object:
    """A tax number of a customer, which invoices finalized from then on show."""
    unknown = set(params) - {"expand", "type", "value"}
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} of a tax id")
    customer = customers.alive(customer_id, param="customer", status=404)
    value = params["value"].strip()
    if not 4 <= len(value) <= 30:
        raise invalid(f"Invalid value for {params['type']}.", param="value", code="tax_id_invalid")
    tax_id: Object = {
        "id": store.new_id("txi"),
        "object": "tax_id",
        "created": int(time.time()),
        "country": params["type"][:2].upper(),
        "customer": customer["id"],
        "livemode": False,
        "owner": {"type": "customer", "customer": customer["id"]},
        "type": params["type"],
        "value": value,
        "verification": {"status": "pending", "verified_address": None, "verified_name": None},
    }
    events.emit("customer.tax_id.created", store.put(tax_id))
    return tax_id


def list_tax_ids(customer_id: str, params: Params) -> Object:
    customers.alive(customer_id, param="customer", status=404)
    found = store.all_of("tax_id", {"customer": customer_id})
    url = f"/v1/customers/{customer_id}/tax_ids"
    return lists.page(found, params, kind="tax_id", url=url)


def found(id: str, param: str = "invoice") -> Object:
    """Raises Stripe's error when there is no such invoice."""
    invoice = store.get("invoice", id)
    if invoice is None:
        raise missing("invoice", id, param=param)
    return invoice


def _in_status(id: str, *statuses: str, param: str = "invoice") -> Object:
    invoice = found(id, param)
    _check_status(invoice, *statuses)
    return invoice


def _check_status(invoice: Object, *statuses: str) -> None:
    if invoice["status"] not in statuses:
        raise invalid(f"The invoice is {invoice['status']}: it must be {' or '.join(statuses)}.")
