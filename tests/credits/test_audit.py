"""The audit finds every kind of fault, planted behind the back of the rules."""

from datetime import timedelta

import pytest
from django.db import connection

from credits import ledger
from credits.audit import INVARIANTS, audit

pytestmark = [pytest.mark.django_db, pytest.mark.corrupts_the_books]

FAULTS = {
    "balance and debt are the sums of the entries": [
        "UPDATE credits_wallet SET balance = balance + 1",
        "UPDATE credits_wallet SET owed = owed + 1",
        "UPDATE credits_wallet SET overspent = overspent - 1 WHERE overspent > 0",
        "UPDATE credits_entry SET owed = owed + 1 WHERE kind = 'spend' AND owed > 0",
        "UPDATE credits_entry SET amount = amount - 1, owed = owed - 1 WHERE kind = 'spend_repaid'",
    ],
    "balance is what the lots have left, and what is held": [
        "UPDATE credits_lot SET remaining = remaining - 1 WHERE remaining > 0",
        "UPDATE credits_wallet SET held = held - 1 WHERE held > 0",
    ],
    "each entry's balance follows from the one before": [
        "UPDATE credits_entry SET balance = balance + 1 WHERE kind = 'spend'",
    ],
    "an incoming entry has its lots, an outgoing one its draws": [
        "DELETE FROM credits_draw WHERE entry_id IN"
        " (SELECT id FROM credits_entry WHERE kind = 'spend')",
        "UPDATE credits_entry SET amount = amount + 1, balance = balance + 1"
        " WHERE kind = 'purchase'",
    ],
    "a lot has left what was not drawn, and its cost went along": [
        "UPDATE credits_draw SET amount = amount - 1 WHERE amount > 1",
        "UPDATE credits_draw SET paid = paid + 1",
    ],
    "a hold has drawn its amount": [
        "UPDATE credits_hold SET amount = amount + 1",
        "DELETE FROM credits_holddraw",
    ],
    "what is held of a lot is what open holds drew on it": [
        "UPDATE credits_hold SET status = 'released', closed_at = now() WHERE status = 'open'",
    ],
    "a captured hold has spent no more than its amount": [
        "UPDATE credits_hold SET entry_id = (SELECT min(id) FROM credits_entry)"
        " WHERE status = 'captured'",
    ],
    "a lot counts as revoked what clawbacks took and restorals left": [
        "UPDATE credits_lot SET revoked = revoked + 1 WHERE revoked > 0",
    ],
    "who owes has no paid credits to spend": [
        "UPDATE credits_wallet SET owed = owed + 1",
    ],
    "what left for escrow is on its way or has arrived": [
        "DELETE FROM credits_transfer WHERE to_wallet_id IS NULL",
        "UPDATE credits_transfer SET to_wallet_id = NULL, to_entry_id = NULL",
    ],
    "what came out of escrow is a part of the lot that it was given of": [
        "UPDATE credits_lot SET origin_lot_id = NULL, origin_wallet_id = NULL",
        "UPDATE credits_lot SET priority = 51 WHERE origin_lot_id IS NOT NULL",
        "UPDATE credits_lot SET origin_lot_id = id, origin_wallet_id = wallet_id",
    ],
    "no more of a lot is given than there was": [
        "UPDATE credits_lot SET remaining = 200, amount = 200 WHERE origin_lot_id IS NOT NULL",
    ],
    "everything belongs to an entry": [
        "UPDATE credits_lot SET entry_id = 0",
        "UPDATE credits_draw SET lot_id = lot_id + 1000",
        "DELETE FROM credits_wallet",
    ],
    "the house has given what the wallets have": [
        "UPDATE credits_wallet SET balance = balance + 1",
    ],
    "escrow has what is on its way": [
        "UPDATE credits_transfer SET amount = amount + 1 WHERE to_wallet_id IS NULL",
    ],
    "what is booked can't be changed": [
        "ALTER TABLE credits_entry DISABLE TRIGGER credits_entry_append_only",
        "DROP TRIGGER credits_draw_no_truncate ON credits_draw",
    ],
}


@pytest.fixture
def wallets(wallet, other_user):
    other = ledger.wallet_of(other_user)
    ledger.grant(wallet, 100, key="g1", kind="purchase", paid=95)
    ledger.grant(wallet, 50, key="g2", kind="promotion", category="promotional")
    ledger.spend(wallet, 70, key="s")
    ledger.revoke(wallet, 10, of="g1", key="r", kind="refund")
    ledger.capture(ledger.hold(wallet, 5, key="h1", expires_in=timedelta(hours=1)), 3)
    ledger.hold(wallet, 7, key="h2", expires_in=timedelta(hours=1))
    ledger.receive(other, ledger.send(wallet, 4, key="t1"), key="t1")
    ledger.send(wallet, 6, key="t2")
    ledger.spend(other, 10, key="s", owe_up_to=6)
    ledger.grant(other, 2, key="g", kind="purchase", paid=2)
    return wallet, other


def test_every_invariant_has_its_fault():
    assert sorted(FAULTS) == sorted(INVARIANTS)


@pytest.mark.parametrize(
    ("invariant", "fault"),
    [(invariant, fault) for invariant, faults in FAULTS.items() for fault in faults],
)
def test_planted_faults_are_found(wallets, invariant, fault):
    assert audit() == []
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if "TRIGGER" not in fault:
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(fault)
        cursor.execute("SET LOCAL session_replication_role = origin")
    found = [violation for violation in audit() if violation.invariant == invariant]
    assert found
    assert all(violation.detail for violation in found)
    if invariant != "what is booked can't be changed" and found[0].wallet_id is not None:
        assert {violation.wallet_id for violation in found} <= {one.pk for one in wallets}
