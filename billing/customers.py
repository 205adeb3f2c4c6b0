"""The one customer that each user has at Stripe, and the portal that it opens."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import translation
from stripe.params import CustomerCreateParams
from stripe.params.billing_portal import SessionCreateParams

from accounts import closing
from accounts.models import User
from billing import stripe_api
from billing.models import PortalConfiguration, StripeCustomer
from billing.stripe_api import Clock, StripeRefused

logger = logging.getLogger(__name__)

T = TypeVar("T")


def portal_url(user: User) -> str:
    """Open a session of Stripe's customer portal and answer its address.

    Raises `AccountClosing`, `StripeUnavailable`, `StripeRefused`.
    """
    clock = Clock()
    ours = PortalConfiguration.objects.filter(livemode=settings.STRIPE_LIVEMODE).first()

    def open_portal(customer_id: str) -> str:
        try:
            return _portal_url(customer_id, ours.stripe_id if ours else None, clock)
        except StripeRefused as error:
            if ours is None or not stripe_api.is_about(error, "configuration"):
                raise
        logger.warning(
            "Stripe doesn't have portal configuration %s any more, so the portal is as its default "
            "is. Run manage.py configure_portal.",
            ours.stripe_id,
        )
        return _portal_url(customer_id, None, clock)

    return with_customer(user, open_portal, clock)


def _portal_url(customer_id: str, configuration_id: str | None, clock: Clock) -> str:
    params: SessionCreateParams = {
        "customer": customer_id,
        "return_url": settings.BILLING_PORTAL_RETURN_URL,
        "locale": cast(Any, translation.get_language()),
    }
    if configuration_id is not None:
        params["configuration"] = configuration_id
    session = stripe_api.call(
        lambda: stripe_api.client().v1.billing_portal.sessions.create(params), clock
    )
    return session.url


def with_customer(user: User, use: Callable[[str], T], clock: Clock) -> T:
    """Call `use` with the user's customer id; made where there is none yet.

    One that was deleted at Stripe is made anew, once. Raises `AccountClosing`.
    """
    with transaction.atomic():
        closing.check_open(user)
        customer, _ = StripeCustomer.objects.get_or_create(user=user, defaults=_details_of(user))
    try:
        return use(_stripe_id(customer, clock))
    except StripeRefused as error:
        if not stripe_api.is_missing_customer(error):
            raise
    _forget(customer)
    return use(_stripe_id(customer, clock))


def _details_of(user: User) -> dict[str, str]:
    """What Stripe shall know of the user: where receipts go, and of an organisation its name."""
    if user.is_organisation:
        return {"email": user.organisation.billing_email, "name": user.organisation.name}
    return {"email": user.email, "name": ""}


def _stripe_id(customer: StripeCustomer, clock: Clock) -> str:
    if customer.stripe_id is None:
        if not customer.email:
            with transaction.atomic():
                closing.check_open(customer.user)
                StripeCustomer.objects.filter(pk=customer.pk, email="").update(
                    **_details_of(customer.user)
                )
            customer.refresh_from_db()
        try:
            created = stripe_api.keyed_call(
                customer,
                lambda options: stripe_api.client().v1.customers.create(
                    _customer_params(customer), options
                ),
                clock,
            )
        except StripeRefused:
            # Nothing was made. The next try is another, with the address as it is then.
            StripeCustomer.objects.filter(
                pk=customer.pk, stripe_id=None, attempt=customer.attempt
            ).update(attempt=F("attempt") + 1, email="")
            raise
        _keep(customer, created.id, clock)
    return customer.stripe_id or ""


def _customer_params(customer: StripeCustomer) -> CustomerCreateParams:
    params: CustomerCreateParams = {
        "email": customer.email,
        "metadata": {"user_id": str(customer.user_id)},
    }
    if customer.name:
        params["name"] = customer.name
    return params


def _keep(customer: StripeCustomer, stripe_id: str, clock: Clock) -> None:
    customer.stripe_id = stripe_id
    try:
        with transaction.atomic():
            closing.check_open(customer.user)
            customer.save(update_fields=["stripe_id"])
    except closing.AccountClosing:
        # Closing has looked for customers before this one was there.
        stripe_api.call(lambda: stripe_api.client().v1.customers.delete(stripe_id), clock)
        raise


def tell_details(user: User) -> None:
    """Have Stripe know the user's details as they are now, where it knows the user.

    Raises `StripeUnavailable`, `StripeRefused`.
    """
    customer = StripeCustomer.objects.filter(user=user, stripe_id__isnull=False).first()
    details = _details_of(user)
    if customer is None or details == {"email": customer.email, "name": customer.name}:
        return
    params = cast(Any, details)
    update = stripe_api.client().v1.customers.update
    stripe_api.call(lambda: update(customer.stripe_id or "", params), Clock())
    StripeCustomer.objects.filter(pk=customer.pk).update(**details)


def _forget(customer: StripeCustomer) -> None:
    with transaction.atomic():
        # It may have been deleted there because the account is being closed.
        closing.check_open(customer.user)
        # Unless another request has forgotten it, or made a new one, meanwhile.
        StripeCustomer.objects.filter(pk=customer.pk, stripe_id=customer.stripe_id).update(
            stripe_id=None, attempt=F("attempt") + 1, **_details_of(customer.user)
        )
    customer.refresh_from_db()
