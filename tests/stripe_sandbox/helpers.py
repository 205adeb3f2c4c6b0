"""What the tests of the stand-in share: its client, orders, and the passing of time."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import stripe

from tests.sandbox import Sandbox

KEY = "sk_" + "test_" + "of_the_tests"


def client(sandbox: Sandbox, key: str = KEY) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": sandbox.base_url},
        stripe_version=stripe.api_version,
        max_network_retries=0,
    )


def order(mode: str = "payment", amount: int = 500, **fields: Any) -> Any:
    """Parameters of a Checkout Session."""
    price: dict[str, Any] = {
        "currency": "usd",
        "unit_amount": amount,
        "product_data": {"name": "500 credits"},
    }
    if mode == "subscription":
        price["recurring"] = {"interval": "month"}
    return {
        "mode": mode,
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": "https://shop.example/done?session={CHECKOUT_SESSION_ID}",
        **fields,
    }


def subscribe(sandbox: Sandbox, **fields: Any) -> tuple[str, str]:
    """A paid subscription, and its customer."""
    made = client(sandbox).v1
    customer = made.customers.create({"email": "ada@example.com"})
    session = made.checkout.sessions.create(order("subscription", customer=customer.id, **fields))
    return sandbox.pay(session.id)["subscription"], customer.id


def until(is_so: Callable[[], Any], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def in_state(sandbox: Sandbox, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Look into the file that keeps everything, or make time pass in it."""
    with closing(sqlite3.connect(sandbox.state, timeout=10)) as state, state:
        return state.execute(statement, values).fetchall()


def set_field(sandbox: Sandbox, id: str, name: str, value: Any) -> None:
    in_state(
        sandbox, f"UPDATE object SET body = json_set(body, '$.{name}', ?) WHERE id = ?", value, id
    )


def counts(sandbox: Sandbox) -> dict[str, int]:
    """How many of everything there is: a refusal leaves it as it was."""
    return dict(in_state(sandbox, "SELECT type, count(*) FROM object GROUP BY type"))


def error_of(raised: stripe.StripeError) -> tuple[int | None, str | None, str | None, str | None]:
    """Status, type, code and parameter of a refusal."""
    error = (raised.json_body or {}).get("error", {})
    return raised.http_status, error.get("type"), error.get("code"), error.get("param")
