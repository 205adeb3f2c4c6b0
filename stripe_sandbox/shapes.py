"""Stripe's objects in full: the SDK's classes say which fields an answer has."""

import functools
import inspect
import typing
from typing import Any

import stripe

from stripe_sandbox.store import Object

KINDS: dict[str, type[stripe.StripeObject]] = {
    kind.OBJECT_NAME: kind
    for kind in (
        stripe.BalanceTransaction,
        stripe.Charge,
        stripe.Customer,
        stripe.Dispute,
        stripe.Event,
        stripe.Invoice,
        stripe.InvoiceItem,
        stripe.InvoiceLineItem,
        stripe.InvoicePayment,
        stripe.LineItem,
        stripe.PaymentIntent,
        stripe.PaymentMethod,
        stripe.Price,
        stripe.Product,
        stripe.Refund,
        stripe.SetupIntent,
        stripe.Subscription,
        stripe.SubscriptionItem,
        stripe.TaxId,
        stripe.WebhookEndpoint,
        stripe.billing_portal.Configuration,
        stripe.billing_portal.Session,
        stripe.checkout.Session,
    )
}

_NOT_EVEN_NULL = {"account", "context", "deleted", "previous_attributes", "secret"}
_AS_IT_IS = {"metadata", "previous_attributes"}


def public(found: Object) -> Object:
    """What the API shows of an object: none of our own notes, and a null where Stripe has one."""
    shown = {name: value for name, value in found.items() if not name.startswith("_")}
    return typing.cast(Object, shown if shown.get("deleted") else _completed(shown, None))


def _completed(value: Any, hint: Any) -> Any:
    if isinstance(value, list):
        return [_completed(item, _item_of(hint)) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("object")
    kind: Any = KINDS.get(name) if isinstance(name, str) else None
    kind = kind or _class_of(hint)
    hints = fields(kind)
    return _nulls(kind) | {
        name: item if name in _AS_IT_IS else _completed(item, hints.get(name))
        for name, item in value.items()
    }


@functools.cache
def fields(kind: Any) -> dict[str, Any]:
    """What a class of the SDK declares; nothing for any other class."""
    if kind is None or not issubclass(kind, stripe.StripeObject):
        return {}
    return {
        name: hint for name, hint in kind.__annotations__.items() if "ClassVar" not in str(hint)
    }


@functools.cache
def _nulls(kind: Any) -> dict[str, None]:
    return {name: None for name, hint in fields(kind).items() if _may_be_null(name, hint)}


def _may_be_null(name: str, hint: Any) -> bool:
    # Lists such as a session's line items are left out unless they are asked for.
    is_list = any(typing.get_origin(part) is stripe.ListObject for part in _parts(hint))
    return type(None) in typing.get_args(hint) and not is_list and name not in _NOT_EVEN_NULL


@functools.cache
def _item_of(hint: Any) -> Any:
    lists = (part for part in _parts(hint) if typing.get_origin(part) is list)
    return next((typing.get_args(part)[0] for part in lists), None)


@functools.cache
def _class_of(hint: Any) -> Any:
    return next((part for part in _parts(hint) if inspect.isclass(part)), None)


def _parts(hint: Any) -> tuple[Any, ...]:
    """A type, and what it is a union of."""
    return (hint, *typing.get_args(hint)) if hint is not None else ()
