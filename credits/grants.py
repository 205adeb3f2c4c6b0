"""What sales brought, looked up in bulk: for who compares the ledger with the till."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from django.db import connection

from credits.models import Entry, Kind

SOLD: Final = [Kind.PURCHASE.value, Kind.RENEWAL.value]
BATCH: Final = 1000


class Grant(NamedTuple):
    """An entry that a sale brought. `amount` and `revoked` are credits, `paid` is cents."""

    user_id: int
    key: str
    amount: int
    paid: int
    revoked: int


def find_grants(user_ids: Collection[int], keys: Collection[str]) -> list[Grant]:
    """The grants with any of these keys in any of these users' wallets."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT wallet.user_id, entry.key, entry.amount, lot.paid, lot.revoked
            FROM credits_wallet AS wallet
                JOIN credits_entry AS entry ON entry.wallet_id = wallet.id
                JOIN credits_lot AS lot
                    ON lot.wallet_id = entry.wallet_id AND lot.entry_id = entry.id
            WHERE wallet.user_id = ANY(%s) AND entry.key = ANY(%s)""",
            [list(user_ids), list(keys)],
        )
        return [Grant(*row) for row in cursor.fetchall()]


def sold_since(time: datetime) -> Iterator[list[tuple[int, str]]]:
    """Users and keys of all grants that sales brought since then, oldest first, in batches."""
    # Ids are in the order of times, nearly; so the entries before are not looked through.
    before = Entry.objects.filter(created_at__lt=time).order_by("-id").values_list("id", flat=True)
    last = before.first() or 0
    while True:
        rows = list(
            Entry.objects.filter(id__gt=last, kind__in=SOLD)
            .order_by("id")
            .values_list("id", "wallet__user_id", "key")[:BATCH]
        )
        if not rows:
            return
        yield [(user_id, key) for _, user_id, key in rows]
        last = rows[-1][0]
