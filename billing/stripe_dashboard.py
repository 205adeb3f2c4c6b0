"""Where Stripe's dashboard shows a thing by its id."""

from typing import Final

from django.conf import settings

DASHBOARD: Final = "https://dashboard.stripe.com/"

_PLACES: Final = {
    "cus": "customers",
    "pi": "payments",
    "py": "payments",
    "ch": "payments",
    "in": "invoices",
    "sub": "subscriptions",
    "evt": "events",
    "dp": "disputes",
    "du": "disputes",
}


def address_of(id: str) -> str | None:
    """None for ids without a page of their own, and where the stand-in takes Stripe's place."""
    place = _PLACES.get(id.partition("_")[0])
    if place is None or not id.replace("_", "").isalnum() or settings.PAYMENTS_ARE_SANDBOX:
        return None
    return f"{DASHBOARD}{'' if settings.STRIPE_LIVEMODE else 'test/'}{place}/{id}"
