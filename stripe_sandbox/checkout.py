"""Checkout Sessions: made over the API, paid on their page."""

import time

from stripe_sandbox import customers, events, payments, settings, store, subscriptions
from stripe_sandbox.errors import invalid, missing, unsupported
from stripe_sandbox.params import Params
from stripe_sandbox.store import Object

LIFETIME = 24 * 3600
MINIMUM = {"usd": 50}
"""The least that can be charged, in minor units."""

SUPPORTED = {
    "cancel_url", "client_reference_id", "customer", "customer_email", "customer_update", "expand",
    "expires_at", "line_items", "locale", "metadata", "mode", "payment_intent_data", "success_url",
    "subscription_data", "ui_mode",
}  # fmt: skip


def create(params: Params) -> Object:
    unknown = set(params) - SUPPORTED
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} in Checkout")
    mode = params.get("mode", "payment")
    if mode not in {"payment", "subscription"}:
        raise unsupported(f"the mode {mode}")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise unsupported(f"the ui_mode {params['ui_mode']}")
    if not params.get("success_url"):
        raise invalid(
            "Missing required param: success_url.", param="success_url", code="parameter_missing"
        )
    if mode == "payment" and "subscription_data" in params:
        raise invalid(
            "You can not pass `subscription_data` in `payment` mode.", param="subscription_data"
        )
    if mode == "subscription" and "payment_intent_data" in params:
        raise invalid(
            "You can not pass `payment_intent_data` in `subscription` mode.",
            param="payment_intent_data",
        )
    customer = customers.alive(params["customer"]) if "customer" in params else None
    items = params.get("line_items") or []
    total, currency = _total(items, mode)
    now = int(time.time())
    session_id = store.new_id("cs_test")
    return store.put(
        {
            "id": session_id,
            "object": "checkout.session",
            "amount_subtotal": total,
            "amount_total": total,
            "automatic_tax": {"enabled": False, "status": None},
            "cancel_url": params.get("cancel_url"),
            "client_reference_id": params.get("client_reference_id"),
            "created": now,
            "currency": currency,
            "customer": customer["id"] if customer else None,
            "customer_details": None,
            "customer_email": params.get("customer_email"),
            "expires_at": params.get("expires_at", now + LIFETIME),
            "invoice": None,
            "livemode": False,
            "locale": params.get("locale"),
            "metadata": params.get("metadata") or {},
            "mode": mode,
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "subscription": None,
            "success_url": params["success_url"],
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "ui_mode": "hosted_page",
            "url": f"{settings.ORIGIN}/c/pay/{session_id}",
            "_line_items": items,
            "_payment_intent_data": params.get("payment_intent_data") or {},
            "_subscription_data": params.get("subscription_data") or {},
        }
    )


def _total(items: list[Object], mode: str) -> tuple[int, str]:
    if not items:
        raise invalid("Missing required param: line_items.", param="line_items")
    total, currencies = 0, set()
    for number, item in enumerate(items):
        at = f"line_items[{number}]"
        data = item.get("price_data")
        if data is None:
            raise unsupported("line items without price_data")
        if "unit_amount" not in data or "product_data" not in data:
            raise unsupported("price_data without unit_amount and product_data")
        if (mode == "subscription") != ("recurring" in data):
            raise invalid(
                "You must provide recurring prices in `subscription` mode, and only there.",
                param=f"{at}[price_data]",
            )
        if mode == "subscription" and (
            data["recurring"]["interval"] != "month"
            or data["recurring"].get("interval_count", 1) != 1
        ):
            raise unsupported("intervals other than a month")
        if data["unit_amount"] < 0:
            raise invalid(
                "This value must be greater than or equal to 0.",
                param=f"{at}[price_data][unit_amount]",
            )
        total += data["unit_amount"] * item.get("quantity", 1)
        currencies.add(data["currency"].lower())
    if mode == "subscription" and len(items) > 1:
        raise unsupported("subscriptions of several items")
    if len(currencies) > 1:
        raise invalid("All line items must have the same currency.", param="line_items")
    currency = currencies.pop()
    if currency not in MINIMUM:
        raise unsupported(f"the currency {currency}")
    if total < MINIMUM[currency]:
        raise invalid(
            "The Checkout Session's total amount due must add up to at least "
            f"${MINIMUM[currency] / 100:.2f} {currency}",
            code="amount_too_small",
        )
    return total, currency


def retrieve(id: str, params: Params) -> Object:
    return public(found(id))


def line_items(id: str, params: Params) -> Object:
    session = found(id)
    data = [
        {
            "id": f"li_{number}_{id}",
            "object": "item",
            "amount_subtotal": item["price_data"]["unit_amount"] * item.get("quantity", 1),
            "amount_total": item["price_data"]["unit_amount"] * item.get("quantity", 1),
            "currency": session["currency"],
            "description": item["price_data"]["product_data"]["name"],
            "quantity": item.get("quantity", 1),
        }
        for number, item in enumerate(session["_line_items"])
    ]
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "url": f"/v1/checkout/sessions/{id}/line_items",
    }


def expire(id: str, params: Params) -> Object:
    session = found(id)
    if session["status"] != "open":
        raise invalid(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of {session['status']}."
        )
    return public(_expire(session))


def found(id: str) -> Object:
    """A session; one whose time is up expires when it is looked at."""
    session = store.get("checkout.session", id)
    if session is None:
        raise missing("checkout.session", id, param="session")
    if session["status"] == "open" and session["expires_at"] <= time.time():
        _expire(session)
    return session


def _expire(session: Object) -> Object:
    session |= {"status": "expired", "url": None}
    events.emit("checkout.session.expired", public(store.put(session)))
    return session


def pay(id: str, number: str) -> Object:
    """Pay with a card number. Paying what is paid changes nothing. Raises `payments.Declined`."""
    session = found(id)
    if session["status"] != "open":
        return session
    card = payments.card_of(number)
    customer_id = session["customer"]
    if customer_id is None:
        customer_id = customers.create({"email": session["customer_email"]})["id"]
    session |= {
        "customer": customer_id,
        "customer_details": {"email": email_of(session)},
        "payment_status": "paid",
        "status": "complete",
        "url": None,
    }
    if session["mode"] == "subscription":
        subscription, invoice = subscriptions.start(session, card)
        session |= {"subscription": subscription["id"], "invoice": invoice["id"]}
    else:
        intent = payments.pay(
            amount=session["amount_total"],
            currency=session["currency"],
            customer=customer_id,
            card=card,
            metadata=session["_payment_intent_data"].get("metadata") or {},
        )
        session["payment_intent"] = intent["id"]
    events.emit("checkout.session.completed", public(store.put(session)))
    return session


def email_of(session: Object) -> str | None:
    customer = store.get("customer", session["customer"]) if session["customer"] else None
    email: str | None = (customer or {}).get("email") or session["customer_email"]
    return email


def return_url(session: Object) -> str:
    address: str = session["success_url"]
    return address.replace("{CHECKOUT_SESSION_ID}", session["id"])


def public(session: Object) -> Object:
    """What the API shows of it."""
    return {name: value for name, value in session.items() if not name.startswith("_")}
