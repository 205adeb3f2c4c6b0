"""Reading what Stripe sends: events carry plain JSON, and not all of it is ours."""

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

METADATA_TYPE: Final = "dynamic_credits"
"""Marks what is ours at Stripe; an account may sell other things as well."""

ORIGIN: Final = "top_up"
"""In the metadata of payment intents that no payment page has made."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


class NotOurs(Exception):
    """Something else that the same Stripe account sells."""


def our_metadata(metadata: Any) -> Mapping[str, Any]:
    if not isinstance(metadata, Mapping) or metadata.get("type") != METADATA_TYPE:
        raise NotOurs("It is not marked as a sale of credits.")
    return metadata


def stripe_id(value: Any) -> str | None:
    """The id of something that Stripe gives as an id or, expanded, as an object.

    None for what is no id of Stripe's: an id becomes part of addresses that we ask for.
    """
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def subscription_of(invoice: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The id and the metadata of the subscription that an invoice is for, or (None, None).

    Since 2025-03-31 they are under `parent`; endpoints of older API versions send them on the
    invoice, and of those before 2022-11-15 the metadata only with the lines.
    """
    parent = mapping(mapping(invoice.get("parent")).get("subscription_details"))
    found = stripe_id(parent.get("subscription") or invoice.get("subscription"))
    details = parent or mapping(invoice.get("subscription_details"))
    if found is None or details.get("metadata") is not None:
        return found, details.get("metadata")
    for line in _lines(invoice):
        if stripe_id(line.get("subscription")) == found:
            return found, line.get("metadata")
    return found, None


def sale_of(invoice: Mapping[str, Any]) -> tuple[str | None, Any]:
    """What an invoice's payment goes by in `Purchase`, and the metadata of what it sells.

    That is its subscription or, where it is for none, the invoice itself.
    """
    subscription_id, metadata = subscription_of(invoice)
    if subscription_id is None:
        return stripe_id(invoice.get("id")), invoice.get("metadata")
    return subscription_id, metadata


def _lines(invoice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    lines = mapping(invoice.get("lines")).get("data")
    return [mapping(line) for line in lines] if isinstance(lines, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """An object inside of what Stripe sent; empty where there is something else or nothing."""
    return value if isinstance(value, Mapping) else {}


def product_sold(invoice: Mapping[str, Any]) -> str | None:
    """The product whose month a subscription's invoice sells; prorations are left out.

    Endpoints of API versions before 2025-03-31 send the price itself, the oldest a plan.
    """
    for line in _lines(invoice):
        details = mapping(mapping(line.get("parent")).get("subscription_item_details")) or line
        if details.get("proration"):
            continue
        price = mapping(mapping(line.get("pricing")).get("price_details"))
        price = price or mapping(line.get("price")) or mapping(line.get("plan"))
        product = stripe_id(price.get("product"))
        if product:
            return product
    return None


def uuid_of(value: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def whole_number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
