"""The endpoint at Stripe that sends us events: making it, and telling what is off about it."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import stripe
from django.conf import settings
from django.urls import reverse

from billing import stripe_api
from billing.stripe_api import API_VERSION, Clock, StripeRefused
from billing.webhooks import HANDLERS

READS: Final[dict[str, Callable[[Any], Any]]] = {
    "customers": lambda v1: v1.customers,
    "Checkout Sessions": lambda v1: v1.checkout.sessions,
    "payment intents": lambda v1: v1.payment_intents,
    "setup intents": lambda v1: v1.setup_intents,
    "charges": lambda v1: v1.charges,
    "refunds": lambda v1: v1.refunds,
    "disputes": lambda v1: v1.disputes,
    "invoices": lambda v1: v1.invoices,
    "invoice payments": lambda v1: v1.invoice_payments,
    "subscriptions": lambda v1: v1.subscriptions,
    "events": lambda v1: v1.events,
    "customer portal configurations": lambda v1: v1.billing_portal.configurations,
}
"""What the code reads at Stripe, by the names of a restricted key's permissions."""


class EndpointExists(Exception):
    """There is an endpoint at our address already."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(endpoint_id)
        self.id = endpoint_id


class NoEndpoint(Exception):
    """There is no endpoint at our address."""


def url() -> str:
    return f"{settings.BASE_URL}{reverse('webhook')}"


def can_be_reached() -> bool:
    """Whether Stripe can post to `url`: not from outside to an address of this machine."""
    host = urlsplit(settings.BASE_URL).hostname
    return settings.PAYMENTS_ARE_SANDBOX or host not in settings.LOOPBACK_HOSTS


def create() -> tuple[str, str]:
    """Make the endpoint; answers its id and the secret, which Stripe never tells again.

    Raises `EndpointExists`, `StripeUnavailable`, `StripeRefused`.
    """
    for endpoint in _at_our_address():
        raise EndpointExists(endpoint["id"])
    params: Any = {
        "url": url(),
        "enabled_events": list(HANDLERS),
        "api_version": API_VERSION,
        "description": "Dynamic Credits",
    }
    key = f"endpoint:{uuid.uuid4()}"  # the same for each try of this run
    made = stripe_api.call(
        lambda: stripe_api.client().v1.webhook_endpoints.create(params, {"idempotency_key": key}),
        Clock(),
    )
    return made.id, str(made.secret)


def update() -> str:
    """Mend the events of the endpoint and switch it on; answers its id.

    Raises `NoEndpoint`, `StripeUnavailable`, `StripeRefused`.
    """
    endpoints = _at_our_address()
    if not endpoints:
        raise NoEndpoint
    endpoint_id = str(endpoints[0]["id"])
    params: Any = {"enabled_events": list(HANDLERS), "disabled": False}
    stripe_api.call(
        lambda: stripe_api.client().v1.webhook_endpoints.update(endpoint_id, params), Clock()
    )
    return endpoint_id


def check() -> list[tuple[str, str]]:
    """What is off about the endpoint and the key: pairs of a subject and a sentence.

    Raises `StripeUnavailable`, `StripeRefused`.
    """
    endpoints = _at_our_address()
    problems = [] if endpoints else [("endpoint", f"There is none for {url()}.")]
    if len(endpoints) > 1:
        ids = ", ".join(endpoint["id"] for endpoint in endpoints)
        problems.append(("endpoint", f"There are {len(endpoints)} for {url()}: {ids}."))
    for endpoint in endpoints:
        problems += _problems(endpoint)
    return problems + [("key", f"It may not read {name}.") for name in READS if not _may_read(name)]


def _at_our_address() -> list[Mapping[str, Any]]:
    listed = stripe_api.call(
        lambda: list(
            stripe_api.client().v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter()
        ),
        Clock(),
    )
    return [found for each in listed if (found := each.to_dict())["url"] == url()]


def _problems(endpoint: Mapping[str, Any]) -> list[tuple[str, str]]:
    found, wanted = set(endpoint["enabled_events"]), set(HANDLERS)
    problems = []
    if endpoint["status"] != "enabled":
        problems.append(("status", f"It is {endpoint['status']}: no event comes."))
    if endpoint["api_version"] != API_VERSION:
        version = endpoint["api_version"] or "the account's default"
        problems.append(("API version", f"It is {version} instead of {API_VERSION}."))
    if "*" in found:
        problems.append(("events", "It sends all there are, and only some are used."))
    else:
        problems += [("events", f"{name} is missing.") for name in sorted(wanted - found)]
        problems += [("events", f"{name} isn't used.") for name in sorted(found - wanted)]
    if endpoint["livemode"] != settings.STRIPE_LIVEMODE:
        problems.append(("mode", "It is of test mode and the key is live, or the reverse."))
    return problems


def _may_read(name: str) -> bool:
    try:
        stripe_api.call(lambda: READS[name](stripe_api.client().v1).list({"limit": 1}), Clock())
    except StripeRefused as error:
        if isinstance(error.__cause__, stripe.PermissionError):
            return False
        raise
    return True
