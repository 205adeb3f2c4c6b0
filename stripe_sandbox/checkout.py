"""Checkout Sessions: made over the API, paid on their page."""

import time

from stripe_sandbox import (
    cards,
    customers,
    debits,
    events,
    lists,
    payments,
    products,
    settings,
    store,
    subscriptions,
)
from stripe_sandbox.debits import Account
from stripe_sandbox.errors import ApiError, invalid, missing, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.payments import Card
from stripe_sandbox.store import Object

SHORTEST, LONGEST = 30 * 60, 24 * 3600
"""Seconds that a session can be paid."""

MINIMUM = {"usd": 50}
"""The least that can be charged, in minor units."""

MAXIMUM = 99_999_999

SUPPORTED = {
    "allowed_payment_method_types", "cancel_url", "client_reference_id", "currency", "customer",
    "customer_email", "customer_update", "expand", "expires_at", "line_items", "locale", "metadata",
    "mode", "payment_intent_data", "setup_intent_data", "success_url", "subscription_data",
    "ui_mode",
}  # fmt: skip


OWN_DATA = {
    "payment": "payment_intent_data", "setup": "setup_intent_data",
    "subscription": "subscription_data",
}  # fmt: skip
"""What each mode can say about what it makes."""


def create(params: Params) -> Object:
    _check(params)
    customer = customers.alive(params["customer"]) if "customer" in params else None
    mode = params.get("mode", "payment")
    items = params.get("line_items") or []
    total, currency = (None, "usd") if mode == "setup" else _total(items, mode)
    now = int(time.time())
    session_id = store.new_id("cs_test")
    return store.put(
        {
            "id": session_id,
            "object": "checkout.session",
            "amount_subtotal": total,
            "amount_total": total,
            "automatic_tax": {"enabled": False, "liability": None, "status": None},
            "cancel_url": params.get("cancel_url"),
            "client_reference_id": params.get("client_reference_id"),
            "created": now,
            "currency": currency,
            "custom_fields": [],
            "custom_text": {},
            "customer": customer["id"] if customer else None,
            "customer_email": params.get("customer_email"),
            "expires_at": params.get("expires_at", now + LONGEST),
            "livemode": False,
            "locale": params.get("locale"),
            "metadata": merged({}, params.get("metadata", "")),
            "mode": mode,
            "payment_intent": None,
            "payment_method_types": ["card", debits.TYPE] if mode == "payment" else ["card"],
            "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
            "setup_intent": None,
            "shipping_options": [],
            "status": "open",
            "subscription": None,
            "success_url": params["success_url"],
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "ui_mode": "hosted_page",
            "url": f"{settings.ORIGIN}/c/pay/{session_id}",
            "_line_items": items,
            "_setup_intent_data": params.get("setup_intent_data") or {},
            "_payment_intent_data": params.get("payment_intent_data") or {},
            "_subscription_data": params.get("subscription_data") or {},
        }
    )


def _check(params: Params) -> None:
    unknown = set(params) - SUPPORTED
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} in Checkout")
    mode = params.get("mode", "payment")
    if params.get("allowed_payment_method_types", ["card"]) != ["card"]:
        raise unsupported("the choice of ways to pay, but for cards alone")
    if mode == "setup":
        _check_setup(params)
    elif "currency" in params:
        raise unsupported("a currency beside that of the line items")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise unsupported(f"the ui_mode {params['ui_mode']}")
    if not params.get("success_url"):
        raise invalid(
            "Missing required param: success_url.", param="success_url", code="parameter_missing"
        )
    for name in ("success_url", "cancel_url"):
        if not params.get(name, "https://").startswith(("https://", "http://")):
            raise invalid("Not a valid URL", param=name, code="url_invalid")
    for own, data in OWN_DATA.items():
        if data in params and mode != own:
            raise invalid(f"You can not pass `{data}` in `{mode}` mode.", param=data)
        unknown = set(params.get(data) or {}) - {"description", "metadata"}
        if unknown:
            raise unsupported(f"{', '.join(sorted(unknown))} in {data}")
    if "customer" in params and "customer_email" in params:
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    customers.check_email(params.get("customer_email"), "customer_email")
    _check_expiry(params)


def _check_setup(params: Params) -> None:
    if "line_items" in params:
        raise invalid("You can not pass `line_items` in `setup` mode.", param="line_items")
    if "currency" not in params and "allowed_payment_method_types" not in params:
        raise invalid(
            "You must provide `currency` or `allowed_payment_method_types` in `setup` mode.",
            param="currency",
            code="parameter_missing",
        )
    if params.get("currency", "usd").lower() != "usd":
        raise unsupported(f"the currency {params['currency']}")
    if "customer" not in params:
        raise unsupported("saving a card for nobody")


def _check_expiry(params: Params) -> None:
    lifetime = params.get("expires_at", time.time() + LONGEST) - time.time()
    if lifetime < SHORTEST:
        raise invalid(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session "
            "creation.",
            param="expires_at",
        )
    if lifetime > LONGEST:
        raise invalid(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            param="expires_at",
        )


def _total(items: list[Object], mode: str) -> tuple[int, str]:
    if not items:
        raise invalid(
            "Missing required param: line_items.", param="line_items", code="parameter_missing"
        )
    for number, item in enumerate(items):
        _check_item(item, mode, f"line_items[{number}]")
    if mode == "subscription" and len(items) > 1:
        raise unsupported("subscriptions of several items")
    currencies = {item["price_data"]["currency"].lower() for item in items}
    if len(currencies) > 1:
        raise invalid("All line items must have the same currency.", param="line_items")
    currency = currencies.pop()
    if currency not in MINIMUM:
        raise unsupported(f"the currency {currency}")
    total = sum(amount_of(item) for item in items)
    if total < MINIMUM[currency]:
        raise _bad_total("at least", MINIMUM[currency], currency, "amount_too_small")
    if total > MAXIMUM:
        raise _bad_total("no more than", MAXIMUM, currency, "amount_too_large")
    return total, currency


def _check_item(item: Object, mode: str, at: str) -> None:
    data = item.get("price_data")
    if data is None:
        raise unsupported("line items without price_data")
    if "unit_amount" not in data or "product_data" not in data:
        raise unsupported("price_data without unit_amount and product_data")
    if "quantity" not in item:
        raise invalid(
            f"Quantity is required. Add `quantity` to `{at}`",
            param=f"{at}[quantity]",
            code="parameter_missing",
        )
    for name, value, least in (
        ("quantity", item["quantity"], 1),
        ("price_data][unit_amount", data["unit_amount"], 0),
    ):
        if value < least:
            raise invalid(
                f"This value must be greater than or equal to {least}.", param=f"{at}[{name}]"
            )
    if (mode == "subscription") != ("recurring" in data):
        raise invalid(
            "You must provide recurring prices in `subscription` mode, and only there.",
            param=f"{at}[price_data]",
        )
    if "recurring" in data:
        products.check_monthly(data["recurring"])


def _bad_total(bound: str, amount: int, currency: str, code: str) -> ApiError:
    return invalid(
        f"The Checkout Session's total amount due must add up to {bound} "
        f"${amount / 100:,.2f} {currency}",
        code=code,
    )


def amount_of(item: Object) -> int:
    return int(item["price_data"]["unit_amount"] * item["quantity"])


def line_items(id: str, params: Params) -> Object:
    session = found(id)
    data = [
        {
            "id": f"li_{number}_{id}",
            "object": "item",
            "amount_discount": 0,
            "amount_subtotal": amount_of(item),
            "amount_tax": 0,
            "amount_total": amount_of(item),
            "currency": session["currency"],
            "description": item["price_data"]["product_data"]["name"],
            "quantity": item["quantity"],
        }
        for number, item in enumerate(session["_line_items"])
    ]
    url = f"/v1/checkout/sessions/{id}/line_items"
    return lists.page(data, params, kind="line_item", url=url)


def expire(id: str, params: Params) -> Object:
    session = found(id)
    if session["status"] != "open":
        raise invalid(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of {session['status']}."
        )
    return _expire(session)


def expire_due() -> None:
    """Expire every open session whose time is up."""
    with store.transaction():
        for session in store.open_sessions_until(time.time()):
            _expire(session)


def found(id: str) -> Object:
    """A session; one whose time is up expires when it is looked at, if not before."""
    session = store.get("checkout.session", id)
    if session is None:
        raise missing("checkout.session", id, param="session")
    if session["status"] == "open" and session["expires_at"] <= time.time():
        _expire(session)
    return session


def _expire(session: Object) -> Object:
    session |= {"status": "expired", "url": None}
    events.emit("checkout.session.expired", store.put(session))
    return session


def pay(id: str, method: Card | Account, email: str | None = None) -> Object:
    """Pay with a card, or order a debit of a bank account, which is paid only when it succeeds.

    Paying what is complete changes nothing. Raises `payments.Declined`.
    """
    session = found(id)
    if session["status"] != "open":
        return session
    if session["customer"]:
        customers.alive(session["customer"])
    if session["mode"] == "setup":
        return _set_up(session, method)
    is_monthly = session["mode"] == "subscription"
    if isinstance(method, Card):
        payments.check(method)
    elif is_monthly:
        raise unsupported("subscriptions paid from a bank account")
    else:
        debits.check(method)
    email = email_of(session) or email
    if session["customer"] is None and is_monthly:
        session["customer"] = customers.create({"email": email})["id"]
    session |= {
        "customer_details": {"email": email, "name": method.name or None, "tax_exempt": "none"},
        "payment_status": "paid" if isinstance(method, Card) else "unpaid",
        "status": "complete",
        "url": None,
    }
    if is_monthly and isinstance(method, Card):
        subscription, invoice = subscriptions.start(session, method)
        session |= {"subscription": subscription["id"], "invoice": invoice["id"]}
    else:
        session["payment_intent"] = _begin(session, method, email)["id"]
    events.emit("checkout.session.completed", store.put(session))
    return session


def _set_up(session: Object, method: Card | Account) -> Object:
    if not isinstance(method, Card):
        raise unsupported("saving a bank account")
    metadata = session["_setup_intent_data"].get("metadata") or {}
    setup = cards.set_up(method, session["customer"], metadata)
    session |= {"setup_intent": setup["id"], "status": "complete", "url": None}
    events.emit("checkout.session.completed", store.put(session))
    return session


def _begin(session: Object, method: Card | Account, email: str | None) -> Object:
    terms = {
        "amount": session["amount_total"],
        "currency": session["currency"],
        "customer": session["customer"],
        "metadata": session["_payment_intent_data"].get("metadata") or {},
        "description": session["_payment_intent_data"].get("description"),
        "email": email,
    }
    if isinstance(method, Card):
        return payments.pay(card=method.shown(), **terms)
    return debits.start(method, **terms)


def settle(id: str, *, is_paid: bool) -> Object:
    """What a bank debit comes to in the end."""
    session = found(id)
    intent = store.get("payment_intent", session["payment_intent"] or "")
    if intent is None or intent["status"] != "processing":
        raise invalid(f"The session {id} doesn't wait for a bank.")
    if is_paid:
        debits.succeed(intent)
        session["payment_status"] = "paid"
        events.emit("checkout.session.async_payment_succeeded", store.put(session))
    else:
        debits.fail(intent)
        events.emit("checkout.session.async_payment_failed", session)
    return session


def email_of(session: Object) -> str | None:
    customer = store.get("customer", session["customer"]) if session["customer"] else None
    email: str | None = (customer or {}).get("email") or session["customer_email"]
    return email


def return_url(session: Object) -> str:
    address: str = session["success_url"]
    return address.replace("{CHECKOUT_SESSION_ID}", session["id"])
