"""Databases full of books, written set-wise; every invariant of the ledger holds in them.

A wallet has some purchases, each a lot, and then spends of one credit, all from the first lot. The
entries of all wallets come in turn, as in life, so those of one wallet are spread over the table.
"""

from dataclasses import dataclass

import psycopg

from bench.clients import address

TABLES = ("credits_entry", "credits_lot", "credits_draw")
LOT = 1_000_000  # credits, that no client can use up


@dataclass(frozen=True)
class Shape:
    """What every wallet has, and what every `busy_every`th one has instead."""

    wallets: int
    purchases: int = 1
    spends: int = 0
    busy_every: int = 0
    busy_spends: int = 0

    @property
    def busy_wallets(self) -> range:
        return range(self.busy_every, self.wallets + 1, self.busy_every)


def make(database: str, *shapes: Shape) -> None:
    """A database with wallets 1, 2, …: first all of the first shape, then of the next."""
    with psycopg.connect(address("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database} TEMPLATE credits")
    with psycopg.connect(address(database), autocommit=True) as connection:
        rebuild = _drop_indexes(connection)
        connection.execute("SET session_replication_role = replica")  # no triggers
        connection.execute("SET synchronous_commit = off")
        connection.execute("""
            CREATE TEMPORARY TABLE shape (
                wallet_id bigint PRIMARY KEY, purchases bigint, entries bigint)""")
        first = 1
        for shape in shapes:
            connection.execute(
                """
                INSERT INTO shape
                SELECT n, %(purchases)s, %(purchases)s + CASE
                    WHEN mod(n, %(busy_every)s) = 0 THEN %(busy_spends)s ELSE %(spends)s END
                FROM generate_series(%(first)s::bigint, %(last)s) AS n""",
                {
                    "first": first,
                    "last": first + shape.wallets - 1,
                    "purchases": shape.purchases,
                    "spends": shape.spends,
                    "busy_every": shape.busy_every or None,
                    "busy_spends": shape.busy_spends,
                },
            )
            first += shape.wallets
        for statement in _FILL:
            connection.execute(statement, {"lot": LOT})
            # The next one joins them, and without their sizes it would loop over millions of rows.
            connection.execute("ANALYZE shape, credits_wallet, credits_entry, credits_lot")
        connection.execute("SET session_replication_role = origin")
        for statement in rebuild:
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


_FILL = (
    """
    INSERT INTO accounts_user (id, email, password, is_superuser, is_staff, is_active)
    SELECT wallet_id, format('%%s@example.com', wallet_id), '', false, false, true FROM shape""",
    """
    INSERT INTO credits_wallet (id, user_id, balance, held, owed)
    SELECT wallet_id, wallet_id, purchases * %(lot)s - (entries - purchases), 0, 0 FROM shape
    ORDER BY wallet_id""",
    """
    INSERT INTO credits_entry
        (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
    SELECT wallet_id, 'purchase', 'issued', %(lot)s, 0, nth * %(lot)s, 'purchase:' || nth, '',
           now() - interval '1 day'
    FROM shape, generate_series(1, purchases) AS nth
    ORDER BY nth, wallet_id""",
    """
    INSERT INTO credits_entry
        (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
    SELECT wallet_id, 'spend', 'spent', -1, 0, purchases * %(lot)s - nth, gen_random_uuid()::text,
           '', now() - interval '1 hour' + nth * interval '1 second'
    FROM shape, generate_series(1, entries - purchases) AS nth
    ORDER BY nth, wallet_id""",
    # Of many lots, each sorts otherwise.
    """
    INSERT INTO credits_lot
        (wallet_id, entry_id, amount, remaining, held, revoked, category, priority, expires_at,
         paid)
    SELECT wallet_id, id, amount, amount - CASE WHEN is_first THEN entries - purchases ELSE 0 END,
           0, 0, CASE WHEN mod(id, 3) = 1 THEN 'promotional' ELSE 'paid' END, 50,
           now() + interval '1 year' + mod(id, 97) * interval '1 day',
           CASE WHEN mod(id, 3) = 1 THEN 0 ELSE 800000 END
    FROM shape JOIN (
        SELECT id, wallet_id, amount, balance = amount AS is_first FROM credits_entry
        WHERE kind = 'purchase') AS purchase USING (wallet_id)
    ORDER BY id""",
    """
    INSERT INTO credits_draw (wallet_id, entry_id, lot_id, amount, paid)
    SELECT e.wallet_id, e.id, l.id, 1,
           credits_cost(l.paid, l.amount, e.balance + 1 - (s.purchases - 1) * %(lot)s, 1)
    FROM credits_entry e
        JOIN shape s ON s.wallet_id = e.wallet_id
        JOIN (SELECT wallet_id, min(id) AS id FROM credits_lot GROUP BY wallet_id) AS f
            ON f.wallet_id = e.wallet_id
        JOIN credits_lot l ON l.wallet_id = f.wallet_id AND l.id = f.id
    WHERE e.kind = 'spend'""",
)


def _drop_indexes(connection: psycopg.Connection) -> list[str]:
    """Answers the statements that bring them, and the foreign keys, back."""
    tables = "ANY(%s::regclass[])"
    keys = connection.execute(
        f"""
        SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)
        FROM pg_constraint WHERE contype IN ('p', 'u', 'f')
            AND (conrelid = {tables} OR confrelid = {tables})
        ORDER BY contype = 'f'""",
        [list(TABLES)] * 2,
    ).fetchall()
    indexes = connection.execute(
        f"""
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
        FROM pg_index WHERE indrelid = {tables}
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)""",
        [list(TABLES)],
    ).fetchall()
    for table, name, _ in reversed(keys):
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    return [
        *(f"ALTER TABLE {table} ADD CONSTRAINT {name} {rest}" for table, name, rest in keys),
        *(definition for _, definition in indexes),
    ]
