"""Every invariant of the ledger, checked over all wallets by the database.

They are checked in one snapshot, so that what is booked meanwhile can't look like a fault, and for
a range of wallets at a time, so that memory stays small and progress can be shown.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction

WALLETS_AT_ONCE: Final = 20_000

Range = tuple[int, int]


@dataclass(frozen=True)
class Violation:
    """An invariant that doesn't hold, where (`None`: over all wallets), and the figures."""

    invariant: str
    wallet_id: int | None
    detail: str


# Each answers (wallet, detail) for what is wrong in the wallets from %(first)s to %(last)s.
_OF_WALLETS: Final[dict[str, str]] = {
    "balance and debt are the sums of the entries": """
        SELECT w.id, format('balance %%s, owed %%s and overspent %%s, entries %%s, %%s and %%s',
                            w.balance, w.owed, w.overspent, coalesce(e.amount, 0),
                            coalesce(e.owed, 0), coalesce(e.overspent, 0))
        FROM credits_wallet w LEFT JOIN (
            SELECT wallet_id, sum(amount) AS amount, sum(owed) AS owed,
                   sum(owed) FILTER (WHERE account = 'spent') AS overspent
            FROM credits_entry
            WHERE wallet_id BETWEEN %(first)s AND %(last)s GROUP BY wallet_id
        ) AS e ON e.wallet_id = w.id
        WHERE w.id BETWEEN %(first)s AND %(last)s
            AND (w.balance, w.owed, w.overspent) IS DISTINCT FROM
                (coalesce(e.amount, 0), coalesce(e.owed, 0), coalesce(e.overspent, 0))""",
    "balance is what the lots have left, and what is held": """
        SELECT w.id, format('balance %%s, lots %%s, held %%s and %%s of lots', w.balance,
                            coalesce(l.remaining, 0), w.held, coalesce(l.held, 0))
        FROM credits_wallet w LEFT JOIN (
            SELECT wallet_id, sum(remaining) AS remaining, sum(held) AS held FROM credits_lot
            WHERE wallet_id BETWEEN %(first)s AND %(last)s GROUP BY wallet_id
        ) AS l ON l.wallet_id = w.id
        WHERE w.id BETWEEN %(first)s AND %(last)s
            AND (w.balance, w.held)
                IS DISTINCT FROM (coalesce(l.remaining, 0) + w.held, coalesce(l.held, 0))""",
    "each entry's balance follows from the one before": """
        SELECT wallet_id,
               format('entry %%s: balance %%s after %%s and %%s', id, balance, before, amount)
        FROM (SELECT wallet_id, id, amount, balance,
                     lag(balance, 1, 0::bigint) OVER (PARTITION BY wallet_id ORDER BY id) AS before
              FROM credits_entry WHERE wallet_id BETWEEN %(first)s AND %(last)s) AS chain
        WHERE balance <> before + amount""",
    "an incoming entry has its lots, an outgoing one its draws": """
        SELECT e.wallet_id, format('entry %%s of %%s: lots of %%s, draws of %%s', e.id, e.amount,
                                   coalesce(l.amount, 0), coalesce(d.amount, 0))
        FROM credits_entry e
            LEFT JOIN (
                SELECT wallet_id, entry_id, sum(amount) AS amount FROM credits_lot
                WHERE wallet_id BETWEEN %(first)s AND %(last)s GROUP BY wallet_id, entry_id
            ) AS l ON l.wallet_id = e.wallet_id AND l.entry_id = e.id
            LEFT JOIN (
                SELECT wallet_id, entry_id, sum(amount) AS amount FROM credits_draw
                WHERE wallet_id BETWEEN %(first)s AND %(last)s GROUP BY wallet_id, entry_id
            ) AS d ON d.wallet_id = e.wallet_id AND d.entry_id = e.id
        WHERE e.wallet_id BETWEEN %(first)s AND %(last)s
            AND (coalesce(l.amount, 0), coalesce(d.amount, 0))
                IS DISTINCT FROM (greatest(e.amount, 0), greatest(-e.amount, 0))""",
    "a lot has left what was not drawn, and its cost went along": """
        SELECT l.wallet_id,
               format('lot %%s of %%s for %%s: drawn %%s for %%s, remaining %%s, held %%s', l.id,
                      l.amount, l.paid, coalesce(d.amount, 0), coalesce(d.paid, 0), l.remaining,
                      l.held)
        FROM credits_lot l LEFT JOIN (
            SELECT wallet_id, lot_id, sum(amount) AS amount, sum(paid) AS paid FROM credits_draw
            WHERE wallet_id BETWEEN %(first)s AND %(last)s GROUP BY wallet_id, lot_id
        ) AS d ON d.wallet_id = l.wallet_id AND d.lot_id = l.id
        WHERE l.wallet_id BETWEEN %(first)s AND %(last)s
            AND (l.amount - coalesce(d.amount, 0) <> l.remaining + l.held
                 OR l.paid - coalesce(d.paid, 0)
                    <> div(l.paid::numeric * (l.remaining + l.held), l.amount))""",
    "a hold has drawn its amount": """
        SELECT h.wallet_id, format('hold %%s of %%s drew %%s', h.id, h.amount,
                                   coalesce(d.amount, 0))
        FROM credits_hold h LEFT JOIN (
            SELECT wallet_id, hold_id, sum(amount) AS amount FROM credits_holddraw
            WHERE wallet_id BETWEEN %(first)s AND %(last)s GROUP BY wallet_id, hold_id
        ) AS d ON d.wallet_id = h.wallet_id AND d.hold_id = h.id
        WHERE h.wallet_id BETWEEN %(first)s AND %(last)s AND h.amount <> coalesce(d.amount, 0)""",
    "what is held of a lot is what open holds drew on it": """
        SELECT l.wallet_id, format('lot %%s: held %%s, holds %%s', l.id, l.held,
                                   coalesce(d.amount, 0))
        FROM credits_lot l LEFT JOIN (
            SELECT d.wallet_id, d.lot_id, sum(d.amount) AS amount
            FROM credits_hold h
                JOIN credits_holddraw d ON d.wallet_id = h.wallet_id AND d.hold_id = h.id
            WHERE h.status = 'open' AND h.wallet_id BETWEEN %(first)s AND %(last)s
            GROUP BY d.wallet_id, d.lot_id
        ) AS d ON d.wallet_id = l.wallet_id AND d.lot_id = l.id
        WHERE l.wallet_id BETWEEN %(first)s AND %(last)s AND l.held <> coalesce(d.amount, 0)""",
    "a captured hold has spent no more than its amount": """
        SELECT h.wallet_id, format('hold %%s of %%s: entry %%s of %%s', h.id, h.amount, e.id,
                                   e.amount)
        FROM credits_hold h
            LEFT JOIN credits_entry e ON e.wallet_id = h.wallet_id AND e.id = h.entry_id
        WHERE h.status = 'captured' AND h.wallet_id BETWEEN %(first)s AND %(last)s
            AND (e.kind = 'spend' AND e.key = 'hold:' || h.id AND -e.amount <= h.amount)
                IS NOT TRUE""",
    "a lot counts as revoked what clawbacks took and restorals left": """
        SELECT l.wallet_id, format('lot %%s: revoked %%s, entries %%s', l.id, l.revoked,
                                   coalesce(e.revoked, 0))
        FROM credits_lot l
            JOIN credits_entry g ON g.wallet_id = l.wallet_id AND g.id = l.entry_id
            LEFT JOIN (
                SELECT wallet_id, about_id, sum(owed - amount) AS revoked FROM credits_entry
                WHERE kind IN ('refund', 'dispute', 'restoral')
                    AND wallet_id BETWEEN %(first)s AND %(last)s
                GROUP BY wallet_id, about_id
            ) AS e ON e.wallet_id = l.wallet_id AND e.about_id = l.entry_id
        WHERE l.wallet_id BETWEEN %(first)s AND %(last)s
            AND l.revoked <> CASE WHEN g.account = 'issued' THEN coalesce(e.revoked, 0) ELSE 0 END
        """,
    "who owes has no paid credits to spend": """
        SELECT w.id, format('owed %%s, lot %%s has %%s', w.owed, l.id, l.remaining)
        FROM credits_wallet w JOIN credits_lot l ON l.wallet_id = w.id
        WHERE w.owed > 0 AND l.is_open AND l.category = 'paid'
            AND (l.expires_at IS NULL OR l.expires_at > statement_timestamp())
            AND w.id BETWEEN %(first)s AND %(last)s""",
    "what left for escrow is on its way or has arrived": """
        SELECT e.wallet_id, format('entry %%s of %%s, transfer of %%s', e.id, e.amount, t.amount)
        FROM credits_entry e LEFT JOIN credits_transfer t
            ON t.wallet_id = e.wallet_id AND t.entry_id = e.id
        WHERE e.kind IN ('gift_sent', 'gift_recalled')
            AND e.wallet_id BETWEEN %(first)s AND %(last)s
            AND -e.amount IS DISTINCT FROM t.amount
        UNION ALL
        SELECT e.wallet_id, format('entry %%s of %%s, transfers of %%s', e.id, e.amount,
                                   sum(t.amount))
        FROM credits_entry e LEFT JOIN credits_transfer t
            ON t.to_wallet_id = e.wallet_id AND t.to_entry_id = e.id
        WHERE e.kind IN ('gift_received', 'gift_returned')
            AND e.wallet_id BETWEEN %(first)s AND %(last)s
        GROUP BY e.wallet_id, e.id, e.amount
        HAVING e.amount IS DISTINCT FROM sum(t.amount)""",
    "what came out of escrow is a part of the lot that it was given of": """
        SELECT l.wallet_id, format('lot %%s of entry %%s: origin %%s of wallet %%s', l.id,
                                   l.entry_id, l.origin_lot_id, l.origin_wallet_id)
        FROM credits_lot l
            JOIN credits_entry e ON e.wallet_id = l.wallet_id AND e.id = l.entry_id
            LEFT JOIN credits_lot o
                ON o.wallet_id = l.origin_wallet_id AND o.id = l.origin_lot_id
        WHERE l.wallet_id BETWEEN %(first)s AND %(last)s
            AND CASE e.account WHEN 'escrow' THEN
                    (o.origin_lot_id IS NULL AND l.amount <= o.amount
                     AND (l.category, l.priority) = (o.category, o.priority)
                     AND l.expires_at IS NOT DISTINCT FROM o.expires_at) IS NOT TRUE
                ELSE l.origin_lot_id IS NOT NULL END""",
    "no more of a lot is given than there was": """
        SELECT o.wallet_id, format('lot %%s of %%s: %%s elsewhere', o.id, o.amount, sum(l.amount))
        FROM credits_lot o JOIN (
            SELECT origin_wallet_id, origin_lot_id, remaining + held AS amount FROM credits_lot
            WHERE origin_wallet_id BETWEEN %(first)s AND %(last)s
        ) AS l ON l.origin_wallet_id = o.wallet_id AND l.origin_lot_id = o.id
        WHERE o.wallet_id BETWEEN %(first)s AND %(last)s
        GROUP BY o.wallet_id, o.id, o.amount, o.remaining, o.held
        HAVING sum(l.amount) + o.remaining + o.held > o.amount""",
    "everything belongs to an entry": """
        SELECT l.wallet_id, format('lot %%s has no entry %%s', l.id, l.entry_id)
        FROM credits_lot l LEFT JOIN credits_entry e
            ON e.wallet_id = l.wallet_id AND e.id = l.entry_id
        WHERE e.id IS NULL AND l.wallet_id BETWEEN %(first)s AND %(last)s
        UNION ALL
        SELECT d.wallet_id, format('a draw of %%s has entry %%s and lot %%s', d.amount, d.entry_id,
                                   d.lot_id)
        FROM credits_draw d
            LEFT JOIN credits_entry e ON e.wallet_id = d.wallet_id AND e.id = d.entry_id
            LEFT JOIN credits_lot l ON l.wallet_id = d.wallet_id AND l.id = d.lot_id
        WHERE (e.id IS NULL OR l.id IS NULL) AND d.wallet_id BETWEEN %(first)s AND %(last)s
        UNION ALL
        SELECT e.wallet_id, format('entry %%s has no wallet', e.id)
        FROM credits_entry e LEFT JOIN credits_wallet w ON w.id = e.wallet_id
        WHERE w.id IS NULL AND e.wallet_id BETWEEN %(first)s AND %(last)s""",
}

# The same over all wallets, which need no range.
_OF_ALL: Final[dict[str, str]] = {
    "the house has given what the wallets have": """
        SELECT NULL, format('wallets have %%s, the accounts gave %%s', wallets, accounts)
        FROM (SELECT coalesce(sum(balance), 0) AS wallets FROM credits_wallet) AS w,
             (SELECT coalesce(sum(balance), 0) AS accounts
              FROM (SELECT account, sum(amount) AS balance FROM credits_entry GROUP BY account)
                AS house) AS h
        WHERE wallets <> accounts""",
    "escrow has what is on its way": """
        SELECT NULL, format('escrow has %%s, on their way are %%s', escrow, open)
        FROM (SELECT coalesce(-sum(amount), 0) AS escrow FROM credits_entry
              WHERE account = 'escrow') AS e,
             (SELECT coalesce(sum(amount), 0) AS open FROM credits_transfer
              WHERE to_wallet_id IS NULL) AS t
        WHERE escrow <> open""",
    "what is booked can't be changed": """
        SELECT NULL, format('%%s has no %%s', name, suffix)
        FROM unnest(ARRAY['credits_entry', 'credits_draw', 'credits_holddraw']) AS name,
             unnest(ARRAY['append_only', 'no_truncate']) AS suffix
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = name::regclass AND tgenabled IN ('O', 'A')
                AND tgname = name || '_' || suffix)""",
}

INVARIANTS: Final = [*_OF_WALLETS, *_OF_ALL]


def audit(progress: Callable[[Sequence[Range]], Iterable[Range]] = iter) -> list[Violation]:
    """Every violated invariant; empty when all is well.

    `progress` may wrap the ranges of wallets, for a bar.
    """
    violations: list[Violation] = []
    with ExitStack() as stack:
        if not connection.in_atomic_block:
            stack.enter_context(transaction.atomic())
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute("SET LOCAL statement_timeout = 0")
        for invariant, query in _OF_ALL.items():
            violations += _check(invariant, query, {})
        for first, last in progress(_ranges()):
            for invariant, query in _OF_WALLETS.items():
                violations += _check(invariant, query, {"first": first, "last": last})
    return violations


def _ranges() -> list[Range]:
    """All ids of wallets, also of wallets that are missing."""
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT least(min(wallet_id), (SELECT min(id) FROM credits_wallet)),
                   greatest(max(wallet_id), (SELECT max(id) FROM credits_wallet))
            FROM credits_entry""")
        first, last = cursor.fetchone()
    if first is None:
        return []
    starts = range(first, last + 1, WALLETS_AT_ONCE)
    return [(start, start + WALLETS_AT_ONCE - 1) for start in starts]


def _check(invariant: str, query: str, values: dict[str, int]) -> list[Violation]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return [Violation(invariant, *row) for row in cursor.fetchall()]
