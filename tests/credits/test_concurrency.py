"""Threads on a real PostgreSQL."""

import os
import random
import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction

from accounts.models import User
from credits import errors, ledger
from credits.models import Entry, Transfer, Wallet

pytestmark = pytest.mark.django_db(transaction=True)
LONG = os.environ.get("LEDGER_FUZZ") == "long"


@pytest.fixture
def wallets():
    def make(count: int, each: int) -> list[Wallet]:
        made = [
            ledger.wallet_of(User.objects.create_user(f"u{number}@example.com"))
            for number in range(count)
        ]
        for wallet in made:
            ledger.grant(wallet, each, key="g", kind="purchase", paid=each)
        return made

    return make


def test_200_parallel_spends_of_10_from_1000_are_100(wallet, at_once):
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


def test_100_parallel_spends_of_7_from_50_owe_up_to_100_and_no_more(wallet, at_once):
    ledger.grant(wallet, 50, key="g", kind="purchase")

    def spend(index: int) -> int:
        spent = 0
        for step in range(5):
            with suppress(errors.InsufficientCredits):
                entry = ledger.spend(wallet, 7, key=f"s:{index}:{step}", owe_up_to=100)
                spent += entry.owed - entry.amount
        return spent

    answers = at_once(20, spend)

    assert sum(answers) == 21 * 7  # of 150
    assert ledger.standing(wallet.user) == ledger.Standing(balance=0, owed=97)


def test_spending_and_repaying_at_once_lose_nothing(wallet, at_once):
    def mix(index: int) -> tuple[int, int]:
        brought = spent = 0
        for step in range(6):
            if index % 2:
                ledger.grant(wallet, 5, key=f"g:{index}:{step}", kind="purchase", paid=5)
                brought += 5
            else:
                with suppress(errors.InsufficientCredits):
                    ledger.spend(wallet, 11, key=f"s:{index}:{step}", owe_up_to=30)
                    spent += 11
            assert ledger.standing(wallet.user).owed <= 30
        return brought, spent

    answers = at_once(8, mix)

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    brought, spent = (sum(column) for column in zip(*answers, strict=True))
    assert brought == 120
    now = ledger.standing(wallet.user)
    assert now.available - now.owed == brought - spent
    assert 0 in (now.available, now.owed)
    assert now.owed <= 30


def test_one_key_spends_on_debt_once(wallet, at_once):
    answers = at_once(20, lambda index: ledger.spend(wallet, 60, key="k", owe_up_to=100).pk)
    assert answers == [answers[0]] * 20
    assert ledger.standing(wallet.user).owed == 60


def test_one_key_50_times_at_once_is_one_entry_and_50_equal_answers(wallet, at_once):
    answers = at_once(
        50, lambda index: ledger.grant(wallet, 7, key="k", kind="purchase", paid=7).pk
    )
    assert answers == [answers[0]] * 50
    assert ledger.balance_of(wallet.user) == 7

    answers = at_once(
        8, lambda index: ledger.grant(wallet, 8 + index, key="k", kind="purchase", paid=7)
    )
    assert {type(answer) for answer in answers} == {errors.KeyReused}
    assert "booked something else" in str(answers[0])
    assert Entry.objects.count() == 1


def test_the_first_wallet_is_made_once(user, at_once):
    answers = at_once(16, lambda index: ledger.wallet_of(user).pk)
    assert len(set(answers)) == 1
    assert Wallet.objects.count() == 1


def test_a_hold_is_captured_or_released_once(wallet, at_once):
    ledger.grant(wallet, 100, key="g", kind="purchase")
    for number in range(10):
        hold = ledger.hold(wallet, 5, key=f"h{number}", expires_in=timedelta(hours=1))
        verbs = [lambda hold=hold: ledger.capture(hold, 3), lambda hold=hold: ledger.release(hold)]
        at_once(4, lambda index, verbs=verbs: verbs[index % 2]())
    captured = wallet.holds.filter(status="captured").count()
    assert captured + wallet.holds.filter(status="released").count() == 10
    assert ledger.standing(wallet.user) == ledger.Standing(balance=100 - 3 * captured)


def test_a_transfer_arrives_here_or_back_but_once(wallet, other_user, at_once):
    other = ledger.wallet_of(other_user)
    ledger.grant(wallet, 100, key="g", kind="purchase")
    for number in range(10):
        transfer = ledger.send(wallet, 5, key=f"t{number}")
        answers = at_once(
            4,
            lambda index, transfer=transfer: ledger.receive(
                (wallet, other)[index % 2], transfer, key=f"{transfer.entry_id}:{index}"
            ),
        )
        assert (
            sorted(type(answer).__name__ for answer in answers)
            == ["Entry"] + ["TransferArrived"] * 3
        )
    assert ledger.balance_of(wallet.user) + ledger.balance_of(other_user) == 100


def test_clawback_and_spending_at_once_lose_nothing(wallet, at_once):
    ledger.grant(wallet, 100, key="g", kind="purchase", paid=100)

    def mix(index: int) -> int:
        try:
            if index % 2:
                ledger.revoke(wallet, 10, of="g", key=f"r{index}", kind="refund")
            else:
                ledger.spend(wallet, 10, key=f"s{index}")
        except errors.InsufficientCredits:
            return 0
        return 10

    answers = at_once(20, mix)
    now = ledger.standing(wallet.user)
    spent = sum(answers[0::2])
    assert sum(answers[1::2]) == 100
    assert now == ledger.Standing(balance=0, owed=spent)


@pytest.mark.parametrize("count", [2, 10, 1000 if LONG else 100])
def test_gifts_to_and_fro_lose_nothing(wallets, at_once, count):
    all_wallets = wallets(count, 1000)
    steps = 500 if LONG else 25

    def give(index: int) -> str:
        chance = random.Random(index)
        for step in range(steps):
            giver, taker = chance.sample(all_wallets, 2)
            try:
                transfer = ledger.send(giver, chance.randint(1, 99), key=f"{index}:{step}")
            except errors.InsufficientCredits:
                continue
            # Now and then it goes back, and now and then it stays on its way.
            taker = giver if step % 7 == 0 else taker
            if step % 11:
                ledger.receive(taker, transfer, key=f"{index}:{step}:in")
        return "done"

    assert at_once(32, give) == ["done"] * 32
    on_the_way = sum(Transfer.objects.filter(to_wallet=None).values_list("amount", flat=True))
    total = sum(Wallet.objects.values_list("balance", flat=True))
    assert total + on_the_way == count * 1000
    assert on_the_way > 0


def test_readers_never_see_credits_appear_or_vanish(wallets, at_once):
    all_wallets = wallets(8, 1000)
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            with connection.cursor() as cursor:
                # What wallets have, what is on its way, and what was spent: one snapshot.
                cursor.execute("""
                    SELECT (SELECT sum(balance) FROM credits_wallet)
                        + (SELECT coalesce(sum(amount), 0) FROM credits_transfer
                           WHERE to_wallet_id IS NULL)
                        - (SELECT coalesce(sum(amount), 0) FROM credits_entry
                           WHERE account = 'spent')""")
                seen.append(cursor.fetchone()[0])
        connections.close_all()

    def write(index: int) -> str:
        chance = random.Random(index)
        for step in range(8):
            giver, taker = chance.sample(all_wallets, 2)
            transfer = ledger.send(giver, 1, key=f"{index}:{step}")
            ledger.receive(taker, transfer, key=f"{index}:{step}:in")
            ledger.spend(taker, 1, key=f"{index}:{step}:s")
        return "done"

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        assert at_once(64, write) == ["done"] * 64
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert len(seen) > 20
    assert set(seen) == {8000}


def test_a_deadlock_is_tried_again(wallets):
    # Two transactions of callers' own that take two wallets in either order; the ledger's own
    # verbs, beside them, are ended by PostgreSQL as well and come through.
    first, second = wallets(2, 100)
    meet = threading.Barrier(2)
    outcomes: list[str] = []

    def cross() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM credits_wallet WHERE id = %s FOR UPDATE", [second.pk])
            meet.wait(timeout=30)
            cursor.execute("SET LOCAL deadlock_timeout = '10s'")
            cursor.execute("SELECT FROM credits_wallet WHERE id = %s FOR UPDATE", [first.pk])
            outcomes.append("crossed")
        connections.close_all()

    crossing = threading.Thread(target=cross)
    with connection.cursor() as cursor:
        # A trigger makes a spend on the first wallet want the second one as well: no verb does.
        cursor.execute(f"""
            CREATE FUNCTION want_another() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.wallet_id = {first.pk} THEN
                    PERFORM pg_sleep(0.2);
                    PERFORM FROM credits_wallet WHERE id = {second.pk} FOR UPDATE;
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER want_another BEFORE INSERT ON credits_entry
                FOR EACH ROW EXECUTE FUNCTION want_another()""")
    try:
        crossing.start()
        meet.wait(timeout=30)
        entry = ledger.spend(first, 5, key="s")
        crossing.join(timeout=30)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER want_another ON credits_entry; DROP FUNCTION want_another")
    assert entry.amount == -5
    assert outcomes == ["crossed"]
    assert Entry.objects.filter(kind="spend").count() == 1
