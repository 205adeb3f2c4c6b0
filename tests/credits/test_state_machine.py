"""The ledger against a plain model of it (`model.py`), by random sequences of all its verbs."""

import os
import secrets
from datetime import timedelta
from inspect import signature

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.models import User
from credits import errors, ledger, statement
from credits.audit import audit
from credits.models import Entry, Hold, Lot, Transfer, Wallet
from tests.credits import model

# Mostly new ones; now and then one that has booked something.
KEYS = st.integers(0, 150).map(lambda number: f"key:{number}")
AMOUNTS = st.integers(1, 80)
WALLETS = st.integers(0, 2)
CATEGORIES = st.sampled_from(["paid", "promotional"])
HOURS = st.sampled_from([1, 5, 24, 240])
LONG = os.environ.get("LEDGER_FUZZ") == "long"


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        first = User.objects.count()
        self.users = [
            User.objects.create_user(f"machine{first + number}@example.com") for number in range(3)
        ]
        self.wallets = [ledger.wallet_of(user) for user in self.users]
        self.world = model.World([model.Wallet(number) for number in range(3)])
        self.start = timezone.now()
        self.hour = 0
        self.grants = 0
        self.holds: list[tuple[int, str, Hold]] = []
        self.transfers: list[Transfer] = []

    @property
    def models(self):
        return self.world.wallets

    def teardown(self):
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    def both(self, number, key, inputs, real, modelled):
        """Do it in the ledger and in the model; they agree on the outcome."""
        wallet = self.models[number]
        known = wallet.booked.get(key) if key is not None else None
        if known is not None:
            if known == inputs:
                count = Entry.objects.count()
                answer = real()
                assert Entry.objects.count() == count
                return answer, False
            with pytest.raises(errors.KeyReused):
                real()
            return None, False
        if len(signature(modelled).parameters) == 1:
            after, _, expected = self.world.do(number, self.hour, lambda world, own: modelled(own))
        else:
            after, _, expected = self.world.do(number, self.hour, modelled)
        if expected is not None:
            with pytest.raises(type(expected)) as refused:
                real()
            assert vars(refused.value) == vars(expected)
            return None, False
        answer = real()
        if key is not None:
            after.wallets[number].booked[key] = inputs
        self.world = after
        return answer, True

    @rule(hours=HOURS)
    def time_passes(self, hours):
        # All times of the ledger move back instead.
        self.hour += hours
        self.start -= timedelta(hours=hours)
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE credits_lot SET expires_at = expires_at - interval '{hours} hours'"
            )
            cursor.execute(
                f"""UPDATE credits_hold SET expires_at = expires_at - interval '{hours} hours',
                    created_at = created_at - interval '{hours} hours'"""
            )

    @rule(
        number=WALLETS,
        key=KEYS,
        amount=st.integers(50, 300),
        category=CATEGORIES,
        priority=st.sampled_from([50, 10]),
        hours=st.one_of(st.none(), HOURS, st.just("never")),
        cents=st.integers(0, 500),
    )
    def grant(self, number, key, amount, category, priority, hours, cents):
        paid = cents if category == "paid" else 0
        expires_at, default = None, {"paid": model.FOREVER, "promotional": self.hour + 90 * 24}
        if hours == "never":
            expires_at, expires = ledger.NEVER, model.FOREVER
        elif hours is None:
            expires = default[category]
        else:
            expires = self.hour + hours
            expires_at = self.start + timedelta(hours=expires)
        self.grants += 1
        moment = self.grants if expires_at is None and expires != model.FOREVER else 0
        known = self.models[number].booked.get(key)
        # The shop's default, and never, are no part of what a key stands for.
        explicit = expires if isinstance(hours, int) else None
        inputs = ("grant", amount, category, priority, paid, explicit)
        if known and known[:5] == inputs[:5]:
            inputs = known if explicit is None else inputs
            if explicit is not None and known[5] is None and known != inputs:
                return  # the default may be the very hour
        self.both(
            number,
            key,
            inputs,
            lambda: ledger.grant(
                self.wallets[number],
                amount,
                key=key,
                kind="purchase",
                category=category,
                priority=priority,
                expires_at=expires_at,
                paid=paid,
            ),
            lambda wallet: wallet.grant(key, amount, category, priority, expires, moment),
        )

    @rule(number=WALLETS, key=KEYS, amount=AMOUNTS, limit=st.sampled_from([0, 0, 20, 100]))
    def spend(self, number, key, amount, limit=0):
        self.both(
            number,
            key,
            ("spend", amount),
            lambda: ledger.spend(self.wallets[number], amount, key=key, owe_up_to=limit),
            lambda wallet: wallet.take(amount, limit),
        )

    @rule(number=WALLETS, key=KEYS, amount=st.integers(-80, 80).filter(bool))
    def adjust(self, number, key, amount):
        def up(wallet):
            wallet.grant(key, amount, "promotional", 50, model.FOREVER)
            del wallet.granted[key]

        self.both(
            number,
            key,
            ("adjust", amount),
            lambda: ledger.adjust(self.wallets[number], amount, key=key, note="", actor=None),
            up if amount > 0 else lambda wallet: wallet.take(-amount),
        )

    def some_grant(self, data, number):
        return data.draw(st.sampled_from(["none", *self.models[number].granted]))

    @rule(number=WALLETS, key=KEYS, amount=AMOUNTS, data=st.data())
    def revoke(self, number, key, amount, data):
        of = self.some_grant(data, number)
        if of == "none" and key in self.models[number].booked:
            return  # refused for either reason
        self.both(
            number,
            key,
            ("revoke", amount, of),
            lambda: ledger.revoke(self.wallets[number], amount, of=of, key=key, kind="refund"),
            lambda world, wallet: wallet.revoke(amount, of, world, self.hour),
        )

    # By chance alone debts are few and large; the small ones are where rules break.
    @rule(number=WALLETS, key=KEYS, held=st.integers(0, 9), owed=st.integers(1, 9), data=st.data())
    def owe(self, number, key, held, owed, data):
        """Spend all but what a hold keeps, claw back a little, and capture less than is held."""
        now = self.models[number].at(self.hour)
        room = {of: now.lots[lot].amount - now.lots[lot].revoked for of, lot in now.granted.items()}
        if max(room.values(), default=0) < owed:
            return
        if held and now.available >= held:
            self.hold(number, f"{key}:held", held, 2)
        if left := self.models[number].at(self.hour).available:
            self.spend(number, f"{key}:spent", left)
        of = data.draw(st.sampled_from([of for of in room if room[of] >= owed]))
        self.both(
            number,
            f"{key}:owed",
            ("revoke", owed, of),
            lambda: ledger.revoke(
                self.wallets[number], owed, of=of, key=f"{key}:owed", kind="refund"
            ),
            lambda world, wallet: wallet.revoke(owed, of, world, self.hour),
        )
        if held > 1 and (number, f"h{key}:held") in [hold[:2] for hold in self.holds]:
            hold = next(hold for *names, hold in self.holds if names == [number, f"h{key}:held"])
            self.both(
                number,
                None,
                (),
                lambda: ledger.capture(hold, 1),
                lambda wallet: wallet.capture(f"h{key}:held", 1, self.hour),
            )

    @rule(number=WALLETS, key=KEYS, amount=AMOUNTS, data=st.data())
    def restore(self, number, key, amount, data):
        of = self.some_grant(data, number)
        if of == "none" and key in self.models[number].booked:
            return
        self.both(
            number,
            key,
            ("restore", amount, of),
            lambda: ledger.restore(self.wallets[number], amount, of=of, key=key),
            lambda wallet: wallet.restore(amount, of, self.hour),
        )

    @rule(number=WALLETS, key=KEYS, amount=AMOUNTS, hours=st.integers(1, 24))
    def hold(self, number, key, amount, hours):
        key = f"h{key}"  # holds have keys of their own
        answer, is_new = self.both(
            number,
            key,
            ("hold", amount, hours),
            lambda: ledger.hold(
                self.wallets[number], amount, key=key, expires_in=timedelta(hours=hours)
            ),
            lambda wallet: wallet.hold(key, amount, self.hour + hours),
        )
        if is_new:
            self.holds.append((number, key, answer))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), amount=AMOUNTS)
    def capture(self, data, amount):
        number, key, hold = data.draw(st.sampled_from(self.holds))
        self.both(
            number,
            None,
            (),
            lambda: ledger.capture(hold, amount),
            lambda wallet: wallet.capture(key, amount, self.hour),
        )

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def release(self, data):
        number, key, hold = data.draw(st.sampled_from(self.holds))
        before = self.models[number].holds[key]
        if before.status in {"released", "lapsed"}:
            ledger.release(hold)  # changes nothing, settles nothing
            return
        self.both(
            number,
            None,
            (),
            lambda: ledger.release(hold),
            lambda wallet: wallet.release(key, self.hour),
        )

    def on_its_way(self, number, key, inputs, real, modelled):
        answer, is_new = self.both(
            number,
            key,
            inputs,
            real,
            lambda world, wallet: world.transfers.append(modelled(wallet)),
        )
        if is_new:
            self.transfers.append(answer)

    @rule(number=WALLETS, key=KEYS, amount=AMOUNTS)
    def send(self, number, key, amount):
        self.on_its_way(
            number,
            key,
            ("send", amount),
            lambda: ledger.send(self.wallets[number], amount, key=key),
            lambda wallet: wallet.send(amount),
        )

    @rule(number=WALLETS, key=KEYS, amount=AMOUNTS, is_one=st.booleans(), data=st.data())
    def give(self, number, key, amount, is_one, data):
        """Send only what was bought, or only of one grant."""
        of = self.some_grant(data, number) if is_one else None
        if of == "none":
            return
        only = ledger.Giftable(of=of)
        self.on_its_way(
            number,
            key,
            ("send", amount),
            lambda: ledger.send(self.wallets[number], amount, key=key, only=only),
            lambda wallet: wallet.give(amount, of),
        )

    @precondition(lambda self: self.transfers)
    @rule(data=st.data(), number=WALLETS)
    def receive(self, data, number):
        index = data.draw(st.integers(0, len(self.transfers) - 1))
        key = f"transfer:{index}"
        arrived = self.world.transfers[index].arrived
        if arrived is not None and key not in self.models[number].booked:
            with pytest.raises(errors.TransferArrived):
                ledger.receive(self.wallets[number], self.transfers[index], key=key)
            return
        self.both(
            number,
            key,
            ("receive",),
            lambda: ledger.receive(self.wallets[number], self.transfers[index], key=key),
            lambda world, wallet: wallet.receive(world.transfers[index], self.hour),
        )

    # By chance alone a refund rarely meets what was given of its purchase, and is rarely short.
    @precondition(lambda self: any(wallet.granted for wallet in self.models))
    @rule(key=KEYS, claims=st.booleans(), spent=st.integers(0, 20), data=st.data())
    def refund_what_was_given(self, key, claims, spent, data):
        number = data.draw(st.sampled_from([w.me for w in self.models if w.granted]))
        of = data.draw(st.sampled_from([*self.models[number].granted]))
        now = self.models[number].at(self.hour)
        lot = now.lots[now.granted[of]]
        room = lot.amount - lot.revoked
        if not lot.remaining or now.owed or not room:
            return
        given = data.draw(st.integers(1, lot.remaining))
        only = ledger.Giftable(of=of)
        before = len(self.transfers)
        self.on_its_way(
            number,
            f"{key}:given",
            ("send", given),
            lambda: ledger.send(self.wallets[number], given, key=f"{key}:given", only=only),
            lambda wallet: wallet.give(given, of),
        )
        if claims and len(self.transfers) > before:
            taker = (number + data.draw(st.integers(1, 2))) % 3
            self.both(
                taker,
                f"transfer:{before}",
                ("receive",),
                lambda: ledger.receive(
                    self.wallets[taker], self.transfers[before], key=f"transfer:{before}"
                ),
                lambda world, wallet: wallet.receive(world.transfers[before], self.hour),
            )
            if spent:
                self.spend(taker, f"{key}:taker", spent)
        back = data.draw(st.integers(1, room))
        self.both(
            number,
            f"{key}:back",
            ("revoke", back, of),
            lambda: ledger.revoke(
                self.wallets[number], back, of=of, key=f"{key}:back", kind="refund"
            ),
            lambda world, wallet: wallet.revoke(back, of, world, self.hour),
        )

    @rule()
    def expire_due(self):
        ledger.expire_due()
        for wallet in self.models:
            wallet.settle(self.hour)

    @invariant()
    def agrees(self):
        for user, wallet, modelled in zip(self.users, self.wallets, self.models, strict=True):
            now = modelled.at(self.hour)
            assert ledger.standing(user) == ledger.Standing(
                now.available + now.held, now.held, now.owed
            )
            assert ledger.balance_of(user) == now.available
            self.parts_agree(user, now)
            row = Wallet.objects.get(pk=wallet.pk)
            assert (row.owed, row.overspent) == (modelled.owed, modelled.overspent)
            assert Entry.objects.filter(wallet=wallet).count() == modelled.entries
            lots = Lot.objects.filter(wallet=wallet).order_by("id")
            assert list(lots.values_list("amount", "remaining", "revoked")) == [
                (lot.amount, lot.remaining, lot.revoked) for lot in modelled.lots
            ]
        assert audit() == []

    def parts_agree(self, user, now):
        standing, parts = statement.spendable(user)
        assert standing == ledger.Standing(now.available + now.held, now.held, now.owed)
        assert sum(part.credits for part in parts) == now.available
        modelled = now.parts
        assert [part[1:] for part in parts] == [part[2:] for part in modelled]
        for part, (expires, moment, *_) in zip(parts, modelled, strict=True):
            if expires == model.FOREVER:
                assert part.expires_at is None
            elif not moment:
                assert part.expires_at == self.start + timedelta(hours=expires)


# In parts, so that no transaction of the database lives through all of them.
@pytest.mark.django_db
@pytest.mark.parametrize("part", range(25) if LONG else [None])
def test_the_ledger_agrees_with_its_model(part):
    machine = type("Machine", (LedgerMachine,), {})
    if part is not None:
        machine = seed(secrets.randbits(64))(machine)  # the test run seeds every part alike
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25 if LONG else 16,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
