from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts.models import User
from credits import errors, ledger
from credits.models import Draw, Entry, Lot, Wallet

pytestmark = pytest.mark.django_db


def test_a_grant_is_an_entry_and_a_lot(wallet):
    entry = ledger.grant(wallet, 1234, key="purchase:1", kind="purchase", paid=1172, note="Thanks")

    wallet.refresh_from_db()
    assert (wallet.balance, wallet.held, wallet.owed) == (1234, 0, 0)
    assert (entry.amount, entry.balance, entry.kind, entry.account) == (
        1234, 1234, "purchase", "issued",
    )  # fmt: skip
    lot = Lot.objects.get()
    assert (lot.entry_id, lot.amount, lot.remaining, lot.category, lot.paid) == (
        entry.id, 1234, 1234, "paid", 1172,
    )  # fmt: skip


def test_the_same_key_answers_the_first_entry(wallet):
    first = ledger.grant(wallet, 500, key="invoice:in_1", kind="renewal", paid=475, note="A")
    again = ledger.grant(wallet, 500, key="invoice:in_1", kind="renewal", paid=475, note="B")

    assert again == first
    assert again.note == "A"
    assert Entry.objects.count() == 1
    wallet.refresh_from_db()
    assert wallet.balance == 500


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 501},
        {"kind": "renewal"},
        {"paid": 474},
        {"category": "promotional", "paid": 0},
        {"expires_at": timezone.now() + timedelta(days=1)},
        {"priority": 49},
    ],
)
def test_the_same_key_with_other_inputs_is_refused(wallet, other):
    terms = {"amount": 500, "key": "k", "kind": "purchase", "paid": 475}
    ledger.grant(wallet, **terms)

    with pytest.raises(errors.KeyReused):
        ledger.grant(wallet, **terms | other)

    assert Entry.objects.count() == 1


def test_the_same_key_in_two_wallets_is_two_facts(wallet, other_user):
    other = ledger.wallet_of(other_user)
    ledger.grant(wallet, 10, key="k", kind="promotion", category="promotional")
    ledger.grant(other, 20, key="k", kind="promotion", category="promotional")

    assert ledger.balance_of(wallet.user) == 10
    assert ledger.balance_of(other_user) == 20


def test_spending_draws_on_lots_in_order(wallet):
    now = timezone.now()
    lots = {
        "paid, never expires": ledger.grant(wallet, 10, key="1", kind="purchase"),
        "promotional, never expires": ledger.grant(
            wallet,
            10,
            key="2",
            kind="promotion",
            category="promotional",
            expires_at=ledger.NEVER,
        ),
        "expires late": ledger.grant(
            wallet, 10, key="3", kind="purchase", expires_at=now + timedelta(days=9)
        ),
        "expires soon": ledger.grant(
            wallet, 10, key="4", kind="purchase", expires_at=now + timedelta(days=1)
        ),
    }
    entry = ledger.spend(wallet, 35, key="s")

    left = dict(Lot.objects.values_list("entry_id", "remaining"))
    assert {name: left[lot.id] for name, lot in lots.items()} == {
        "expires soon": 0,
        "expires late": 0,
        "promotional, never expires": 0,
        "paid, never expires": 5,
    }
    drawn = Draw.objects.filter(entry_id=entry.id).values_list("amount", flat=True)
    assert sorted(drawn) == [5, 10, 10, 10]


def test_an_expired_lot_is_not_spent(wallet):
    ledger.grant(wallet, 10, key="1", kind="purchase")
    soon = timezone.now() + timedelta(milliseconds=50)
    ledger.grant(wallet, 10, key="2", kind="purchase", expires_at=soon)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.06)")

    with pytest.raises(errors.InsufficientCredits) as refused:
        ledger.spend(wallet, 11, key="s")

    assert (refused.value.available, refused.value.needed) == (10, 11)
    assert ledger.balance_of(wallet.user) == 10
    assert ledger.spend(wallet, 10, key="s").balance == 0
    assert list(Entry.objects.order_by("id").values_list("kind", "amount", "balance")) == [
        ("purchase", 10, 10),
        ("purchase", 10, 20),
        ("expiry", -10, 10),
        ("spend", -10, 0),
    ]


def test_spending_more_than_there_is_writes_nothing(wallet):
    ledger.grant(wallet, 100, key="g", kind="purchase")

    with pytest.raises(errors.InsufficientCredits) as refused:
        ledger.spend(wallet, 101, key="s")

    assert (refused.value.available, refused.value.needed) == (100, 101)
    assert ledger.balance_of(wallet.user) == 100
    assert Entry.objects.count() == 1


@pytest.mark.parametrize("amount", [0, -1, 1.0, True, "5", None, 2**53])
def test_what_is_no_amount_is_refused(wallet, amount):
    ledger.grant(wallet, 100, key="g", kind="purchase")
    for verb in (
        lambda: ledger.grant(wallet, amount, key="k", kind="purchase"),
        lambda: ledger.spend(wallet, amount, key="k"),
    ):
        with pytest.raises(errors.InvalidAmount):
            verb()
    assert Entry.objects.count() == 1


@pytest.mark.parametrize("amount", [0, 1.0, True, "5", None, 2**53, -(2**53)])
def test_what_is_no_adjustment_is_refused(wallet, amount):
    with pytest.raises(errors.InvalidAmount):
        ledger.adjust(wallet, amount, key="k", note="why", actor=None)
    assert Entry.objects.count() == 0


def test_a_balance_stays_exact_for_every_client(wallet):
    ledger.grant(wallet, 2**53 - 1, key="1", kind="purchase")
    with pytest.raises(errors.InvalidAmount):
        ledger.grant(wallet, 1, key="2", kind="purchase")
    assert ledger.balance_of(wallet.user) == 2**53 - 1


@pytest.mark.parametrize("key", ["", "x" * 201, None, 5, "a\0b"])
def test_what_is_no_key_is_refused(wallet, key):
    with pytest.raises(errors.InvalidKey):
        ledger.grant(wallet, 1, key=key, kind="purchase")
    assert Entry.objects.count() == 0


@pytest.mark.parametrize(
    "terms",
    [
        {"kind": "spend"},
        {"kind": "adjustment"},
        {"kind": "nonsense"},
        {"category": "nonsense"},
        {"paid": -1},
        {"paid": 1.5},
        {"paid": 5, "category": "promotional"},
    ],
)
def test_terms_that_make_no_grant_are_refused(wallet, terms):
    with pytest.raises(errors.InvalidTerms):
        ledger.grant(wallet, 1, **{"key": "k", "kind": "purchase"} | terms)
    assert Entry.objects.count() == 0


def test_an_unknown_wallet_is_refused(wallet):
    with pytest.raises(errors.UnknownWallet):
        ledger.grant(Wallet(pk=wallet.pk + 1), 1, key="k", kind="purchase")


def test_a_refusal_leaves_the_callers_transaction_usable(wallet):
    with transaction.atomic():
        ledger.grant(wallet, 5, key="g", kind="purchase")
        with pytest.raises(errors.InsufficientCredits):
            ledger.spend(wallet, 6, key="s")
        ledger.spend(wallet, 5, key="s")
    assert ledger.balance_of(wallet.user) == 0


def test_adjustments_go_both_ways_and_name_who_and_why(wallet, staff):
    up = ledger.adjust(wallet, 250, key="a1", note="Goodwill", actor=staff)
    down = ledger.adjust(wallet, -50, key="a2", note="Typed twice", actor=staff)

    assert (up.amount, up.account, up.actor, up.note) == (250, "adjusted", staff, "Goodwill")
    assert (down.amount, down.balance) == (-50, 200)
    assert Lot.objects.get().category == "promotional"
    with pytest.raises(errors.InsufficientCredits):
        ledger.adjust(wallet, -201, key="a3", note="Too much", actor=staff)


def test_a_user_without_a_wallet_has_nothing(user):
    assert ledger.balance_of(user) == 0
    assert Wallet.objects.count() == 0
    assert ledger.wallet_of(user) == ledger.wallet_of(user)


def test_a_user_with_a_wallet_cannot_be_deleted(wallet):
    with pytest.raises(ProtectedError):
        wallet.user.delete()
    with pytest.raises(IntegrityError), transaction.atomic():
        _delete_behind_django(wallet.user)


def _delete_behind_django(user):
    User.objects.filter(pk=user.pk)._raw_delete("default")
    connection.check_constraints()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credits_entry SET amount = amount + 1, balance = balance + 1",
        "UPDATE credits_entry SET note = 'better'",
        "DELETE FROM credits_entry",
        "TRUNCATE credits_entry CASCADE",
        "UPDATE credits_draw SET amount = 1",
        "DELETE FROM credits_draw",
        "TRUNCATE credits_draw",
        "UPDATE credits_wallet SET balance = -1",
        "UPDATE credits_wallet SET held = 11",
        "UPDATE credits_wallet SET owed = -1",
        "UPDATE credits_lot SET remaining = -1",
        "UPDATE credits_lot SET remaining = amount + 1",
        "UPDATE credits_lot SET revoked = amount + 1",
        "UPDATE credits_lot SET held = amount",
        "INSERT INTO credits_lot (wallet_id, entry_id, amount, remaining, held, revoked, category,"
        " priority, paid)"
        " SELECT wallet_id, entry_id + 99, 1, 1, 0, 0, 'paid', 50, 0 FROM credits_lot",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT wallet_id, 'spend', 'spent', 5, 0, 25, 'k', '' FROM credits_lot",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT wallet_id, 'spend', 'issued', -5, 0, 5, 'k', '' FROM credits_lot",
        "INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key, note)"
        " SELECT wallet_id, 'refund', 'revoked', 0, 0, 10, 'k', '' FROM credits_lot",
    ],
)
def test_the_database_refuses_to_break_the_rules(wallet, statement):
    ledger.grant(wallet, 20, key="g", kind="purchase")
    ledger.spend(wallet, 10, key="s")
    before = list(Entry.objects.values())

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert list(Entry.objects.values()) == before


LEDGER = ["entry", "lot", "draw", "hold", "holddraw"]


def test_keys_begin_with_the_wallet():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conrelid::regclass::text, conname, contype FROM pg_constraint
            WHERE conrelid = ANY(%s::regclass[]) AND contype IN ('p', 'u', 'f')
                AND conname <> 'credits_lot_of_origin'  -- begins with the wallet of the origin
                AND confrelid NOT IN ('accounts_user'::regclass)
                AND conkey[1] <> (SELECT attnum FROM pg_attribute
                                  WHERE attrelid = conrelid AND attname = 'wallet_id')
            UNION ALL
            SELECT indrelid::regclass::text, indexrelid::regclass::text, 'i' FROM pg_index
            WHERE indrelid = ANY(%s::regclass[]) AND indisunique
                AND indkey[0] <> (SELECT attnum FROM pg_attribute
                                  WHERE attrelid = indrelid AND attname = 'wallet_id')""",
            [[f"credits_{name}" for name in LEDGER]] * 2,
        )
        assert cursor.fetchall() == []
        cursor.execute(
            """
            SELECT conrelid::regclass::text, count(*) FILTER (WHERE contype = 'p')
            FROM pg_constraint WHERE conrelid = ANY(%s::regclass[]) GROUP BY 1 ORDER BY 1""",
            [[f"credits_{name}" for name in LEDGER]],
        )
        assert cursor.fetchall() == [(f"credits_{name}", 1) for name in sorted(LEDGER)]
