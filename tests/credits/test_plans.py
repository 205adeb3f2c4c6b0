"""A wallet that has much is no slower than others, whatever PostgreSQL knows about the tables."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction

from accounts.models import User
from credits import ledger
from credits.models import Wallet

pytestmark = pytest.mark.django_db

MANY = 3_000
MINUTE = timedelta(minutes=1)


@pytest.fixture
def busy(wallet):
    """A wallet with as many entries and lots as there are wallets, the others having one each.

    The statistics are from before it got them, as in the minutes after a customer's first rush.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        others = User.objects.bulk_create(User(email=f"{n}@example.com") for n in range(MANY))
        Wallet.objects.bulk_create(Wallet(user=other) for other in others)
        _buy(cursor, "wallet.id <> %s", wallet.pk, 1)
        cursor.execute("ANALYZE credits_wallet, credits_entry, credits_lot")
        _buy(cursor, "wallet.id = %s", wallet.pk, MANY)
        Wallet.objects.filter(pk=wallet.pk).update(balance=10 * MANY)
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        yield wallet
        transaction.set_rollback(True)  # no books: the balances of the entries are made up


def _buy(cursor, which: str, wallet: int, times: int) -> None:
    cursor.execute(
        f"""
        WITH entry AS (
            INSERT INTO credits_entry
                (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
            SELECT wallet.id, 'purchase', 'issued', 10, 0, 10, gen_random_uuid(), '', now()
            FROM credits_wallet AS wallet, generate_series(1, %s) WHERE {which}
            RETURNING id, wallet_id)
        INSERT INTO credits_lot
            (wallet_id, entry_id, category, priority, amount, remaining, held, paid, revoked)
        SELECT wallet_id, id, 'paid', 50, 10, 10, 0, 10, 0 FROM entry""",
        [times, wallet],
    )


@pytest.mark.parametrize(
    "verb",
    [
        "credits_take({wallet}, 'spend', 'spent', 1, '{key}', '', NULL)",
        "credits_take({wallet}, 'spend', 'spent', 25, '{key}', '', NULL)",
        "credits_grant({wallet}, 'purchase', 'issued', 5, '{key}', '', NULL, 'paid',"
        " 50::smallint, NULL, NULL, 0)",
        "credits_revoke({wallet}, 'refund', 20, '{key}', 'bought', '', NULL)",
        "credits_give({wallet}, 20, '{key}', '', NULL, 'bought', NULL, NULL, NULL)",
        "credits_place_hold({wallet}, 15, '{key}', 600)",
        "credits_release({wallet}, {hold})",
        "credits_capture({wallet}, {hold}, 5, '', NULL)",
    ],
)
def test_a_verb_reads_a_handful_of_pages(busy, verb):
    ledger.grant(busy, 100, key="bought", kind="purchase", paid=95)
    holds = [ledger.hold(busy, 15, key=key, expires_in=MINUTE) for key in ("first", "second")]
    first, second = (
        verb.format(wallet=busy.pk, key=f"key {hold.pk}", hold=hold.pk) for hold in holds
    )
    pages_of(first)  # which reads the catalogue as well
    assert 0 < pages_of(second) < 250


def pages_of(call: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT {call}")
        answer = cursor.fetchone()[0]
    plan = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
