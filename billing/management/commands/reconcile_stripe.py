import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from billing.models import Reconciliation
from billing.reconcile import AlreadyRunning, reconcile
from billing.reconciliations import STEPS, detail_of, kind_of, sums, table
from billing.stripe_api import StripeRefused, StripeUnavailable

BAR: Final = "{desc:>18} {percentage:3.0f}%|{bar}| {elapsed}"


class Command(BaseCommand):
    help = (
        "Compare Stripe's records with ours and do what was missed. Exits 1 if money and credits"
        " still differ. Safe to run at any time, and again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since", type=_period, default="30d", help="how far back: 36h, 30d (the default)"
        )

    def handle(self, *args: object, **options: Any) -> None:
        steps = list(STEPS)
        # No bar where nobody looks.
        with tqdm(total=len(steps), leave=False, disable=None, bar_format=BAR) as bar:

            def watch(step: str, part: float) -> None:
                bar.set_description(str(STEPS[step]), refresh=False)
                bar.update(steps.index(step) + part - bar.n)

            try:
                result = reconcile(timezone.now() - options["since"], watch)
            except AlreadyRunning:
                raise CommandError(
                    "Another reconciliation is running; this one did nothing."
                ) from None
            except (StripeUnavailable, StripeRefused) as error:
                raise CommandError(
                    f"Stripe gave no answer to go on with ({error}). What was mended stays so;"
                    " run this again later."
                ) from error
        self._tell(result)

    def _tell(self, result: Reconciliation) -> None:
        lines = [
            f"Compared with Stripe since {result.since:%Y-%m-%d %H:%M} UTC.",
            "",
            f"{'':<18}{'read':>10}{'mended':>10}",
            *(f"{name:<18}{read:>10,}{mended:>10,}" for name, read, mended in table(result)),
            "",
            sums(result),
            *(
                f"{kind_of(one)}: {one['about']} {detail_of(one)}".rstrip()
                for one in result.differences
            ),
        ]
        self.stdout.write("\n".join(lines))
        count = result.counts["differences"]
        if count:
            raise CommandError(
                f"{count:,} differences are left. The admin shows them, under Reconciliations."
            )
        self.stdout.write("Money and credits agree.")


def _period(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,3})([hd])", text, re.ASCII)
    if match is None:
        raise ArgumentTypeError(f"{text!r} must look like 36h or 30d")
    number = int(match[1])
    return timedelta(hours=number) if match[2] == "h" else timedelta(days=number)
