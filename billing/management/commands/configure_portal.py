from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import portal
from billing.stripe_api import StripeRefused, StripeUnavailable


class Command(BaseCommand):
    help = (
        "Create or update the configuration of Stripe's customer portal: invoices, cards, and "
        "cancelling at the period's end. Run it again after an update of this site."
    )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            configuration_id, is_new = portal.configure()
        except StripeUnavailable as error:
            raise CommandError(
                f"Stripe doesn't answer ({error}). Run this again in a minute; it makes no second "
                "configuration."
            ) from error
        except StripeRefused as error:
            raise CommandError(
                f"Stripe refused it ({error}). STRIPE_SECRET_KEY must be allowed to write customer "
                "portal configurations; Stripe's request log names what is missing."
            ) from error
        done = "Created" if is_new else "Updated"
        self.stdout.write(f"{done} portal configuration {configuration_id}, which the portal uses.")
