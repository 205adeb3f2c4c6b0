import json
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from credits.audit import INVARIANTS, Violation, audit
from credits.models import Entry, Wallet


class Command(BaseCommand):
    help = "Check every invariant of the ledger. Names each violation and exits 1 if there is any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object, for machines")

    def handle(self, *args: object, **options: Any) -> None:
        # No bar where nobody looks.
        bar = partial(tqdm, desc="Auditing", unit="range", leave=False, disable=None)
        violations = audit(progress=bar)
        checked = {
            "invariants": len(INVARIANTS),
            "wallets": Wallet.objects.count(),
            "entries": Entry.objects.count(),
        }
        if options["json"]:
            found = [vars(violation) for violation in violations]
            self.stdout.write(json.dumps({"ok": not found, **checked, "violations": found}))
        else:
            for violation in violations:
                self.stdout.write(_line(violation))
        if violations:
            raise CommandError(f"{len(violations)} violations of the ledger's invariants.")
        if not options["json"]:
            self.stdout.write(
                "All {invariants} invariants hold over {wallets:,} wallets and {entries:,}"
                " entries.".format(**checked)
            )


def _line(violation: Violation) -> str:
    where = "all wallets" if violation.wallet_id is None else f"wallet {violation.wallet_id}"
    return f"{where}: not so: {violation.invariant}: {violation.detail}"
