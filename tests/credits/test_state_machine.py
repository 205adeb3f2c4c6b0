"""The ledger against a plain model of it, by random sequences of its verbs."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from accounts.models import User
from credits import ledger
from credits.models import Entry, Lot

KEYS = st.integers(0, 12).map(lambda number: f"key:{number}")
AMOUNTS = st.integers(1, 1000)
DAYS = st.sampled_from([None, 1, 30])


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.count = User.objects.count()
        self.user = User.objects.create_user(f"machine{self.count}@example.com")
        self.wallet = ledger.wallet_of(self.user)
        self.start = timezone.now() + timedelta(days=1)
        self.booked = {}  # key -> inputs
        self.lots = []  # [order of spending, remaining]

    def book(self, key, inputs, amount, verb, order=None):
        if key in self.booked and self.booked[key] != inputs:
            with pytest.raises(ledger.KeyReused):
                verb()
        elif key in self.booked:
            verb()
        elif amount < 0 and -amount > self.balance:
            with pytest.raises(ledger.InsufficientCredits) as refused:
                verb()
            assert (refused.value.available, refused.value.needed) == (self.balance, -amount)
        else:
            assert verb().balance == self.balance + amount
            self.booked[key] = inputs
            if amount > 0:
                self.lots.append([order, amount])
            else:
                self.draw(-amount)

    def draw(self, amount):
        for lot in sorted(self.lots, key=lambda lot: lot[0]):
            part = min(amount, lot[1])
            lot[1] -= part
            amount -= part

    @property
    def balance(self):
        return sum(remaining for _, remaining in self.lots)

    @rule(key=KEYS, amount=AMOUNTS, category=st.sampled_from(["paid", "promotional"]), days=DAYS)
    def grant(self, key, amount, category, days):
        expires_at = None if days is None else self.start + timedelta(days=days)
        self.book(
            key,
            ("promotion", amount, category, days),
            amount,
            lambda: ledger.grant(
                self.wallet,
                amount,
                key=key,
                kind="promotion",
                category=category,
                expires_at=expires_at,
            ),
            order=(days or 10**6, category == "paid", len(self.lots)),
        )

    @rule(key=KEYS, amount=AMOUNTS)
    def spend(self, key, amount):
        self.book(
            key, ("spend", -amount), -amount, lambda: ledger.spend(self.wallet, amount, key=key)
        )

    @rule(key=KEYS, amount=st.integers(-1000, 1000).filter(bool))
    def adjust(self, key, amount):
        self.book(
            key,
            ("adjustment", amount),
            amount,
            lambda: ledger.adjust(self.wallet, amount, key=key, note="", actor=None),
            order=(10**6, False, len(self.lots)),
        )

    @invariant()
    def agrees(self):
        assert ledger.balance_of(self.user) == self.balance
        assert Entry.objects.filter(wallet=self.wallet).count() == len(self.booked)
        lots = Lot.objects.filter(wallet=self.wallet).order_by("id")
        assert list(lots.values_list("remaining", flat=True)) == [left for _, left in self.lots]
        assert ledger.audit() == []


class TestLedger(TestCase):
    def test_the_ledger_agrees_with_its_model(self):
        run_state_machine_as_test(
            LedgerMachine,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
