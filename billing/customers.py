"""The one customer that each user has at Stripe, and the portal that it opens."""

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts import closing
from accounts.models import User
from billing import stripe_api
from billing.models import StripeCustomer
from billing.stripe_api import Clock, StripeRefused

T = TypeVar("T")


def portal_url(user: User) -> str:
    """Open a session of Stripe's customer portal and answer its address.

    Raises `AccountClosing`, `StripeUnavailable`, `StripeRefused`.
    """
    clock = Clock()

    def open_portal(customer_id: str) -> str:
        session = stripe_api.call(
            lambda: stripe_api.client().v1.billing_portal.sessions.create(
                {"customer": customer_id, "return_url": settings.BILLING_PORTAL_RETURN_URL}
            ),
            clock,
        )
        return session.url

    return with_customer(user, open_portal, clock)


def with_customer(user: User, use: Callable[[str], T], clock: Clock) -> T:
    """Call `use` with the user's customer id; made where there is none yet.

    One that was deleted at Stripe is made anew, once. Raises `AccountClosing`.
    """
    with transaction.atomic():
        closing.check_open(user)
        customer, _ = StripeCustomer.objects.get_or_create(
            user=user, defaults={"email": user.email}
        )
    try:
        return use(_stripe_id(customer, clock))
    except StripeRefused as error:
        if not stripe_api.is_missing_customer(error):
            raise
    _forget(customer)
    return use(_stripe_id(customer, clock))


def _stripe_id(customer: StripeCustomer, clock: Clock) -> str:
    if customer.stripe_id is None:
        if not customer.email:
            with transaction.atomic():
                closing.check_open(customer.user)
                StripeCustomer.objects.filter(pk=customer.pk, email="").update(
                    email=customer.user.email
                )
            customer.refresh_from_db()
        try:
            created = stripe_api.keyed_call(
                customer,
                lambda options: stripe_api.client().v1.customers.create(
                    {"email": customer.email, "metadata": {"user_id": str(customer.user_id)}},
                    options,
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


def _forget(customer: StripeCustomer) -> None:
    with transaction.atomic():
        # It may have been deleted there because the account is being closed.
        closing.check_open(customer.user)
        # Unless another request has forgotten it, or made a new one, meanwhile.
        StripeCustomer.objects.filter(pk=customer.pk, stripe_id=customer.stripe_id).update(
            stripe_id=None, attempt=F("attempt") + 1, email=customer.user.email
        )
    customer.refresh_from_db()
