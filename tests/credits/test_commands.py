import io
import json
import os
import pty
import subprocess
import sys
import termios
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from credits import errors, ledger
from credits.audit import INVARIANTS
from credits.models import Entry

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parent.parent.parent


def run(*command: str) -> str:
    out = io.StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def break_the_books() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("UPDATE credits_wallet SET balance = balance + 3")


def test_books_that_balance_are_said_in_one_line(wallet):
    ledger.grant(wallet, 100, key="g", kind="purchase")
    assert run("audit_ledger") == (
        f"All {len(INVARIANTS)} invariants hold over 1 wallets and 1 entries.\n"
    )
    assert json.loads(run("audit_ledger", "--json")) == {
        "ok": True,
        "invariants": len(INVARIANTS),
        "wallets": 1,
        "entries": 1,
        "violations": [],
    }


@pytest.mark.corrupts_the_books
def test_each_violation_is_named_with_wallet_and_figures(wallet, capsys):
    ledger.grant(wallet, 100, key="g", kind="purchase")
    break_the_books()
    with pytest.raises(CommandError, match="3 violations") as failed:
        call_command("audit_ledger")
    assert failed.value.returncode == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert (
        f"wallet {wallet.pk}: not so: balance and debt are the sums of the entries:"
        " balance 103, owed 0 and overspent 0, entries 100, 0 and 0"
    ) in lines
    assert any(line.startswith("all wallets: not so: the house has given") for line in lines)

    with pytest.raises(CommandError):
        call_command("audit_ledger", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert {violation["wallet_id"] for violation in answer["violations"]} == {wallet.pk, None}


def test_what_is_due_is_booked(wallet):
    soon = timezone.now() + timedelta(milliseconds=50)
    ledger.grant(wallet, 10, key="g", kind="purchase", expires_at=soon)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.06)")
    assert run("expire_due") == "Booked what has expired or lapsed in 1 wallets.\n"
    assert Entry.objects.filter(kind="expiry", amount=-10).count() == 1
    assert json.loads(run("expire_due", "--json")) == {"wallets": 0}


def test_what_could_not_be_booked_fails(monkeypatch):
    def busy(progress):
        raise errors.LedgerBusy("The wallet is busy.")

    monkeypatch.setattr(ledger, "expire_due", busy)
    with pytest.raises(CommandError, match="busy"):
        run("expire_due")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", ["audit_ledger", "expire_due"])
@pytest.mark.parametrize("has_terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_only(wallet, command, has_terminal):
    soon = timezone.now() + timedelta(milliseconds=50)
    ledger.grant(wallet, 10, key="g", kind="purchase", expires_at=soon)
    database = connection.settings_dict
    host = database["OPTIONS"].get("host") or database["HOST"]
    url = (
        f"postgres://{database['USER']}:{database['PASSWORD']}@/{database['NAME']}"
        f"?host={host}&port={database['PORT'] or 5432}"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    os.set_blocking(ours, False)
    done = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=theirs if has_terminal else subprocess.PIPE,
        check=True,
        text=True,
        timeout=60,
    )
    drawn = os.read(ours, 100_000).decode() if has_terminal else done.stderr
    os.close(theirs)
    os.close(ours)
    assert ("0%|" in drawn) == has_terminal
    assert done.stdout.count("\n") == 1
