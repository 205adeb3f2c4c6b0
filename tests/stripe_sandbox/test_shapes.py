"""What the stand-in answers fits the classes of the installed SDK: nothing that Stripe always
tells is missing, and nothing is made up."""

import inspect
import typing
from typing import Any

import pytest
import stripe

from stripe_sandbox.shapes import KINDS, fields
from tests.stripe_sandbox.helpers import order, subscribe

ONLY_WHEN_ASKED_FOR = {"line_items", "payments", "refunds", "sources", "subscriptions", "tax_ids"}
ONLY_WHEN_IT_IS_SO = {"account", "context", "deleted", "previous_attributes", "secret"}
LEFT_OUT = ONLY_WHEN_ASKED_FOR | ONLY_WHEN_IT_IS_SO | {"plan"}  # an older word for a price


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_answer_fits_its_class(sandbox, api, receiver, kind):
    session = api.v1.checkout.sessions.create(order())
    sandbox.refund(sandbox.pay(session.id)["id"], 100)
    sandbox.dispute(session.id)
    sandbox.pay_by_bank(api.v1.checkout.sessions.create(order()).id)
    bounced = api.v1.checkout.sessions.create(order())
    sandbox.bounce(sandbox.pay_by_bank(bounced.id)["id"])
    subscription, customer = subscribe(sandbox)
    api.v1.products.create({"id": "credits_750", "name": "750 credits"})
    sandbox.fail_renewals(subscription)
    sandbox.advance(subscription)
    api.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
    setup = {"mode": "setup", "currency": "usd", "success_url": "https://shop.example"}
    sandbox.pay(api.v1.checkout.sessions.create({**setup, "customer": customer}).id)
    api.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "DE123456789"})
    drafted = api.v1.invoices.create(
        {"customer": customer, "collection_method": "send_invoice", "days_until_due": 30}
    )
    api.v1.invoice_items.create({"customer": customer, "invoice": drafted.id, "amount": 500})
    api.v1.billing_portal.sessions.create({"customer": customer})
    api.v1.billing_portal.configurations.create(
        {"features": {"invoice_history": {"enabled": True}}}
    )
    api.v1.webhook_endpoints.create(
        {"url": "https://shop.example/webhook", "enabled_events": ["invoice.paid"]}
    )

    found = {
        "balance_transaction": lambda: sandbox.objects("dispute")[0]["balance_transactions"],
        "item": lambda: api.v1.checkout.sessions.line_items.list(session.id).to_dict()["data"],
        "line_item": lambda: sandbox.objects("invoice")[0]["lines"]["data"],
        "subscription_item": lambda: sandbox.objects("subscription")[0]["items"]["data"],
    }.get(kind, lambda: sandbox.objects(kind))()
    assert found
    for each in found:
        assert list(misfits(each, None, kind)) == []


def misfits(value: Any, hint: Any, at: str) -> typing.Iterator[str]:
    if isinstance(value, list):
        items = [part for part in parts(hint) if typing.get_origin(part) is list]
        for item in value:
            yield from misfits(item, typing.get_args(items[0])[0] if items else None, f"{at}[]")
    elif isinstance(value, dict):
        kind = class_of(value, hint)
        known = fields(kind) if kind else {}
        for name, item in value.items():
            if known and name not in known:
                yield f"{at}.{name} is made up"
            if name not in {"metadata", "previous_attributes"}:
                yield from misfits(item, known.get(name), f"{at}.{name}")
        for name in known.keys() - value.keys() - LEFT_OUT:
            yield f"{at}.{name} is missing"
    elif hint is not None and not fits(value, hint):
        yield f"{at} is {value!r}"


def class_of(value: dict[str, Any], hint: Any) -> Any:
    name = value.get("object")
    known = KINDS.get(name) if isinstance(name, str) else None
    classes = (part for part in parts(hint) if inspect.isclass(part))
    return known or next((c for c in classes if issubclass(c, stripe.StripeObject)), None)


def parts(hint: Any) -> tuple[Any, ...]:
    return (hint, *typing.get_args(hint))


def fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is typing.Union:
        arguments = typing.get_args(hint)
        literals = [a for a in arguments if typing.get_origin(a) is typing.Literal]
        # The SDK lets any string through beside the names it knows.
        arguments = tuple(a for a in arguments if not (literals and a is str))
        return any(fits(value, argument) for argument in arguments)
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if hint in {int, str, bool, float, type(None)}:
        return type(value) is hint
    return value is not None  # a reference, or a type that is looked into where it stands


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "customer.colour is made up"),
        ({"created": "today"}, "customer.created is 'today'"),
        ({"id": None}, "customer.id is None"),
        ({"tax_exempt": "maybe"}, "customer.tax_exempt is 'maybe'"),
        ({"address": {"city": "Turin"}}, "customer.address.country is missing"),
    ],
)
def test_a_misfit_would_be_found(sandbox, api, change, words):
    customer = api.v1.customers.create().to_dict()
    assert words in list(misfits(customer | change, None, "customer"))
