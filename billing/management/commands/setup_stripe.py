from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing import webhook_endpoint
from billing.stripe_api import API_VERSION, StripeRefused, StripeUnavailable

ROLL = """\
To replace it without losing an event:
  1. Delete it at Stripe (Developers, Webhooks), or give it another address for a while.
  2. Run manage.py setup_stripe and set STRIPE_WEBHOOK_SECRET=<new>,<old>; restart.
  3. When nothing signed with the old secret comes any more, take it out of the list.
Only the secret is to change? Stripe's dashboard rolls it; then it is steps 2 and 3."""


class Command(BaseCommand):
    help = (
        "Create the webhook endpoint at Stripe, with the events and the API version that this site "
        "uses, and print its secret. --check compares an existing one, --update mends its events."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        either = parser.add_mutually_exclusive_group()
        either.add_argument(
            "--check", action="store_true", help="tell what is off; exits 1 if anything is"
        )
        either.add_argument("--update", action="store_true", help="set its events and switch it on")

    def handle(self, *args: object, **options: Any) -> None:
        url = webhook_endpoint.url()
        if not webhook_endpoint.can_be_reached():
            raise CommandError(
                f"Stripe can't reach {url}: an endpoint needs a public https address, which "
                f"BASE_URL has to name. On this machine run\n  stripe listen --forward-to {url}\n"
                "and set STRIPE_WEBHOOK_SECRET to the secret that it prints."
            )
        try:
            if options["check"]:
                self._check()
            elif options["update"]:
                self._update()
            else:
                self._create()
        except StripeUnavailable as error:
            raise CommandError(
                f"Stripe doesn't answer ({error}). Try again in a minute."
            ) from error
        except StripeRefused as error:
            raise CommandError(
                f"Stripe refused it ({error}). STRIPE_SECRET_KEY must be allowed to write webhook "
                "endpoints, with --check to read them; Stripe's request log names what is missing."
            ) from error

    def _create(self) -> None:
        try:
            endpoint_id, secret = webhook_endpoint.create()
        except webhook_endpoint.EndpointExists as error:
            raise CommandError(
                f"{error.id} is there for {webhook_endpoint.url()} already, and a second one would "
                "send each event twice. manage.py setup_stripe --check tells whether it is right, "
                f"--update mends its events.\n{ROLL}"
            ) from error
        self.stdout.write(
            f"Created endpoint {endpoint_id} for {webhook_endpoint.url()}.\n\n"
            f"  STRIPE_WEBHOOK_SECRET={secret}\n\n"
            "Put this line into the site's environment and restart it. Stripe shows the secret "
            "never again by this way;\nwhile an older endpoint still sends, list both: "
            "STRIPE_WEBHOOK_SECRET=<new>,<old>"
        )

    def _update(self) -> None:
        try:
            endpoint_id = webhook_endpoint.update()
        except webhook_endpoint.NoEndpoint as error:
            raise CommandError(
                f"There is no endpoint for {webhook_endpoint.url()}. manage.py setup_stripe makes "
                "one."
            ) from error
        self.stdout.write(f"Endpoint {endpoint_id} is switched on and has the events of this site.")
        self._check()

    def _check(self) -> None:
        problems = webhook_endpoint.check()
        for subject, problem in problems:
            self.stdout.write(f"{subject:12} {problem}")
        if not problems:
            mode = "live" if settings.STRIPE_LIVEMODE else "test"
            self.stdout.write(
                f"All as it should be: {webhook_endpoint.url()} gets the events of this site, "
                f"API version {API_VERSION}, {mode} mode."
            )
            return
        advice = "manage.py setup_stripe --update mends events and status."
        if any(subject == "API version" for subject, _ in problems):
            advice += f"\nStripe can't change an endpoint's API version; make a new one.\n{ROLL}"
        raise CommandError(f"{len(problems)} {'is' if len(problems) == 1 else 'are'} off. {advice}")
