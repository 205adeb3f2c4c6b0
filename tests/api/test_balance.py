from datetime import timedelta

import pytest
from django.utils import timezone

from credits import ledger

pytestmark = pytest.mark.django_db


def test_who_has_nothing_has_nothing(program, user):
    answer = program.get("balance")
    assert answer.status_code == 200
    assert answer.json() == {
        "user": user.pk, "settled": 0, "held": 0, "available": 0, "owed": 0, "lots": [],
    }  # fmt: skip


def test_the_whole_balance(program, rich):
    wallet = ledger.wallet_of(rich)
    soon = timezone.now() + timedelta(days=3)
    for n in range(2):
        ledger.grant(
            wallet, 10, key=f"promotion:{n}", kind="promotion", category="promotional",
            expires_at=soon,
        )  # fmt: skip
    ledger.hold(wallet, 25, key="h", expires_in=timedelta(hours=1))
    answer = program.get("balance").json()
    assert answer == {
        "user": rich.pk,
        "settled": 1020,
        "held": 25,
        "available": 995,
        "owed": 0,
        "lots": [{"expires_at": None, "category": "paid", "credits": 995}],
    }


def test_lots_come_by_expiry_soonest_first(program, rich):
    wallet = ledger.wallet_of(rich)
    now = timezone.now()
    for days, amount in ((30, 7), (3, 5), (30, 1)):
        ledger.grant(
            wallet, amount, key=f"promotion:{days}:{amount}", kind="promotion",
            category="promotional", expires_at=now + timedelta(days=days),
        )  # fmt: skip
    lots = program.get("balance").json()["lots"]
    assert [lot["credits"] for lot in lots] == [5, 8, 1000]
    assert lots[2]["expires_at"] is None
