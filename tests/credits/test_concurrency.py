"""Threads on a real PostgreSQL."""

import random

import pytest

from accounts.models import User
from credits import errors, ledger
from credits.models import Entry, Wallet

pytestmark = pytest.mark.django_db(transaction=True)


def test_parallel_spends_stop_at_zero(wallet, at_once):
    ledger.grant(wallet, 1000, key="g", kind="purchase")

    def spend(index: int) -> int:
        spent = 0
        for step in range(10):
            try:
                ledger.spend(wallet, 10, key=f"s:{index}:{step}")
            except errors.InsufficientCredits:
                continue
            spent += 1
        return spent

    answers = at_once(20, spend)

    assert sum(answers) == 100
    assert ledger.balance_of(wallet.user) == 0
    assert Entry.objects.filter(kind="spend").count() == 100


def test_one_key_at_once_is_one_entry(wallet, at_once):
    answers = at_once(
        32, lambda index: ledger.grant(wallet, 7, key="k", kind="purchase", paid=7).pk
    )

    assert len(set(answers)) == 1
    assert ledger.balance_of(wallet.user) == 7


def test_the_first_wallet_is_made_once(user, at_once):
    answers = at_once(16, lambda index: ledger.wallet_of(user).pk)
    assert len(set(answers)) == 1
    assert Wallet.objects.count() == 1


def test_wallets_do_not_wait_for_each_other_for_ever(at_once):
    wallets = [
        ledger.wallet_of(User.objects.create_user(f"u{number}@example.com")) for number in range(3)
    ]
    for wallet in wallets:
        ledger.grant(wallet, 10_000, key="g", kind="purchase")

    def mix(index: int) -> str:
        chance = random.Random(index)
        for step in range(30):
            wallet = chance.choice(wallets)
            if chance.random() < 0.5:
                ledger.spend(wallet, chance.randint(1, 9), key=f"{index}:{step}")
            else:
                ledger.adjust(
                    wallet, chance.randint(1, 9), key=f"{index}:{step}", note="", actor=None
                )
        return "done"

    assert at_once(12, mix) == ["done"] * 12
    assert Entry.objects.count() == 3 + 12 * 30
