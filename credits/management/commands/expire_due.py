import json
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from credits import errors, ledger


class Command(BaseCommand):
    help = "Book credits that have expired and free holds that have lapsed. Run it from cron."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object, for machines")

    def handle(self, *args: object, **options: Any) -> None:
        bar = partial(tqdm, desc="Expiring", unit="wallet", leave=False, disable=None)
        try:
            wallets = ledger.expire_due(progress=bar)
        except errors.LedgerError as error:
            # What was done before it is booked; the next run goes on.
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"wallets": wallets}))
        else:
            self.stdout.write(f"Booked what has expired or lapsed in {wallets:,} wallets.")
