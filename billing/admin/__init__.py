"""The shop in the admin: customers, what they bought, and what Stripe said about it."""

from billing.admin import (
    customers,
    disputes,
    events,
    keys,
    mails,
    organisations,
    prices,
    purchases,
    reconciliation,
    refunds,
    subscriptions,
)

__all__ = [
    "customers",
    "disputes",
    "events",
    "keys",
    "mails",
    "organisations",
    "prices",
    "purchases",
    "reconciliation",
    "refunds",
    "subscriptions",
]
