"""What customers may do in Stripe's portal: this shop's configuration of it, kept at Stripe."""

import uuid
from typing import Any, Final

from django.conf import settings

from billing import stripe_api
from billing.models import PortalConfiguration
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import METADATA_TYPE

FEATURES: Final = {
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {
        "enabled": True,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    # Each plan has a price of its own: there is none to switch to. The dashboard changes amounts.
    "subscription_update": {"enabled": False},
    # A pause would take no money and leave the plan looking active.
    "subscription_pause": {"enabled": False},
    # People are known by the address they sign in with; another one at Stripe would part the two.
    "customer_update": {"enabled": False},
}


def configure() -> tuple[str, bool]:
    """Create or update the portal's configuration; answers its id, and whether it is new.

    Found by what was stored, else by our mark on it at Stripe, so that neither a lost answer nor a
    restored backup makes a second one. Raises `StripeUnavailable`, `StripeRefused`.
    """
    stored = PortalConfiguration.objects.filter(livemode=settings.STRIPE_LIVEMODE).first()
    if stored is not None and _update(stored.stripe_id):
        return stored.stripe_id, False
    marked = _marked()
    is_new = marked is None or not _update(marked)
    configuration_id = _create() if marked is None or is_new else marked
    PortalConfiguration.objects.update_or_create(
        livemode=settings.STRIPE_LIVEMODE, defaults={"stripe_id": configuration_id}
    )
    return configuration_id, is_new


def _wanted() -> dict[str, Any]:
    return {
        "name": "Dynamic Credits",
        "default_return_url": settings.BILLING_PORTAL_RETURN_URL,
        "features": FEATURES,
        "metadata": {"type": METADATA_TYPE},
    }


def _update(configuration_id: str) -> bool:
    """False if there is no such configuration at Stripe."""
    params: Any = {"active": True, **_wanted()}
    try:
        stripe_api.call(
            lambda: stripe_api.client().v1.billing_portal.configurations.update(
                configuration_id, params
            ),
            Clock(),
        )
    except StripeRefused as error:
        if stripe_api.is_missing(error):
            return False
        raise
    return True


def _marked() -> str | None:
    """The id of the configuration at Stripe that is marked as ours."""
    listed = stripe_api.call(
        lambda: list(
            stripe_api.client()
            .v1.billing_portal.configurations.list({"limit": 100})
            .auto_paging_iter()
        ),
        Clock(),
    )
    for each in listed:
        if (each.to_dict().get("metadata") or {}).get("type") == METADATA_TYPE:
            return each.id
    return None


def _create() -> str:
    params: Any = _wanted()
    # The same for each try of this run; the next run finds by its mark what this one made.
    key = f"portal:{uuid.uuid4()}"
    made = stripe_api.call(
        lambda: stripe_api.client().v1.billing_portal.configurations.create(
            params, {"idempotency_key": key}
        ),
        Clock(),
    )
    return made.id
