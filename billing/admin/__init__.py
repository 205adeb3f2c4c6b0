"""The shop in the admin: customers, what they bought, and what Stripe said about it."""

from billing.admin import (
    bulk,
    customers,
    disputes,
    events,
    gifts,
    keys,
    mails,
    organisations,
    prices,
    promotions,
    purchases,
    reconciliation,
    refunds,
    subscriptions,
    topups,
)

__all__ = [
    "bulk",
    "customers",
    "disputes",
    "events",
    "gifts",
    "keys",
    "mails",
    "organisations",
    "prices",
    "promotions",
    "purchases",
    "reconciliation",
    "refunds",
    "subscriptions",
    "topups",
]
