"""The programs in docs/api.md and README.md run as they stand, even when answers get lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from accounts.models import User
from billing.models import Purchase
from credits import ledger
from credits.models import Entry, Hold
from tests.api.unreliable import unreliable
from tests.docs.examples import program
from tests.usage.shop import make_meter
from usage.models import Event

pytestmark = pytest.mark.django_db(transaction=True)

FAULTS = ("lost", "503", "429")


@pytest.fixture
def customer(user: User) -> User:
    """Ada with 1,000 credits, and a meter to report to."""
    ledger.grant(ledger.wallet_of(user), 1000, key="purchase:1", kind="purchase", paid=950)
    make_meter(bands=[(0, 2, 1000)])
    return user


def run(site: str, token: str, *command: str) -> str:
    """Run it with what the document says that the environment holds; answers what it prints."""
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "SITE": site, "API_KEY": token, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(user: User) -> None:
    """It has spent 5, captured 12 of 20, reported two events, opened a payment page: each once."""
    entries = Entry.objects.filter(wallet__user=user).exclude(kind="purchase").order_by("id")
    assert [(entry.amount, entry.note) for entry in entries][:2] == [
        (-5, "12 pages translated"),
        (-12, "30 pages translated"),
    ]
    assert [hold.status for hold in Hold.objects.all()] == [Hold.Status.CAPTURED]
    assert sorted(Event.objects.values_list("quantity", flat=True)) == [800, 1500]
    assert ledger.balance_of(user) == 1000 - 5 - 12 - 4  # 2,300 tokens, 2 credits per 1,000
    purchase = Purchase.objects.get()
    assert (purchase.user, purchase.credits, purchase.total) == (user, 500, 475)


def sold() -> list[str]:
    """What the programs print of it."""
    return [f"to pay at {Purchase.objects.get().stripe_session_url}", "it is pending"]


def test_curl(site_url, customer, make_key):
    # Not left out where there is none: the document would be unproven without anybody's knowing.
    assert shutil.which("curl"), "Install curl: the examples in docs/api.md are run with it."
    token = make_key(customer)[1]
    with unreliable(site_url, "503") as (site, came):
        told = run(
            site, token, "bash", "-euo", "pipefail", "-c", program("docs/api.md", "curl", "sh")
        )
    assert '"settled": 1000' in told
    assert told.rstrip().endswith("}")
    assert f'"id": "{Purchase.objects.get().pk}", "status": "pending"' in told
    check(customer)
    assert came == {"job-8812": 2}


def test_curl_in_the_readme(site_url, customer, make_key):
    assert shutil.which("curl"), "Install curl: the example in README.md is run with it."
    command = program("README.md", "Use it from your product", "sh")
    for _ in range(2):
        told = run(site_url, make_key(customer)[1], "bash", "-c", command)
        assert '"available": 995' in told
    assert ledger.balance_of(customer) == 995


def test_python(site_url, customer, make_key):
    text = program("docs/api.md", "Python", "python")
    with unreliable(site_url, *FAULTS) as (site, came):
        told = run(site, make_key(customer)[1], sys.executable, "-W", "error", "-c", text)
    assert told.splitlines() == [
        *("available: 1000", "left: 995", "spent: 12"),
        *("job-9814 recorded", "job-9815 recorded"),
        *sold(),
    ]
    check(customer)
    assert came == {"job-9812": len(FAULTS) + 1}


def test_typescript(site_url, customer, make_key, tmp_path: Path):
    text = tmp_path / "example.mts"
    text.write_text(program("docs/api.md", "TypeScript", "ts"))
    node = os.environ["PLAYWRIGHT_NODEJS_PATH"]
    with unreliable(site_url, *FAULTS) as (site, came):
        told = run(site, make_key(customer)[1], node, str(text))
    assert told.splitlines() == [
        *("available: 1000", "left: 995", "spent: 12"),
        *("job-7814 recorded", "job-7815 recorded"),
        *sold(),
    ]
    check(customer)
    assert came == {"job-7812": len(FAULTS) + 1}


@pytest.mark.parametrize("language", ["python", "typescript"])
def test_who_has_too_few_credits_is_told_how_many_there_are(
    site_url, user, make_key, tmp_path, language
):
    """And the program ends at the next thing that can't be done without."""
    token = make_key(user)[1]
    if language == "python":
        command = (sys.executable, "-c", program("docs/api.md", "Python", "python"))
    else:
        text = tmp_path / "example.mts"
        text.write_text(program("docs/api.md", "TypeScript", "ts"))
        command = (os.environ["PLAYWRIGHT_NODEJS_PATH"], str(text))
    with pytest.raises(AssertionError, match="needed: 5 available: 0"):
        run(site_url, token, *command)
    assert not Entry.objects.exists()
