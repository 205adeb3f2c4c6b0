"""The shop in the admin: customers, what they bought, and what Stripe said about it."""

from billing.admin import (
    customers,
    disputes,
    events,
    keys,
    mails,
    prices,
    promotions,
    purchases,
    reconciliation,
    refunds,
    subscriptions,
    topups,
)

__all__ = [
    "customers",
    "disputes",
    "events",
    "keys",
    "mails",
    "prices",
    "promotions",
    "purchases",
    "reconciliation",
    "refunds",
    "subscriptions",
    "topups",
]
