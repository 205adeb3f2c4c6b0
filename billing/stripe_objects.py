"""Reading what Stripe sends: events carry plain JSON, and not all of it is ours."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

METADATA_TYPE: Final = "dynamic_credits"
"""Marks what is ours at Stripe; an account may sell other things as well."""


class NotOurs(Exception):
    """Something else that the same Stripe account sells."""


def our_metadata(metadata: Any) -> Mapping[str, Any]:
    if not isinstance(metadata, Mapping) or metadata.get("type") != METADATA_TYPE:
        raise NotOurs("It is not marked as a sale of credits.")
    return metadata


def stripe_id(value: Any) -> str | None:
    """The id of something that Stripe gives as an id or, expanded, as an object."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def subscription_of(invoice: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The id and the metadata of the subscription that an invoice is for, or (None, None).

    Since 2025-03-31 they are under `parent`; endpoints of older API versions send them on the
    invoice.
    """
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    details = parent or invoice.get("subscription_details") or {}
    found = stripe_id(parent.get("subscription") or invoice.get("subscription"))
    return found, details.get("metadata")


def product_sold(invoice: Mapping[str, Any]) -> str | None:
    """The product whose month a subscription's invoice sells; prorations are left out.

    Endpoints of API versions before 2025-03-31 send the price itself, the oldest a plan.
    """
    for line in (invoice.get("lines") or {}).get("data") or []:
        details = (line.get("parent") or {}).get("subscription_item_details") or line
        if details.get("proration"):
            continue
        price = (line.get("pricing") or {}).get("price_details") or line.get("price")
        product = stripe_id((price or line.get("plan") or {}).get("product"))
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
