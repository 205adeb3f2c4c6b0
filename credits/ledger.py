"""The verbs of the ledger: the only code that writes wallets, entries, lots and draws.

All amounts are whole credits; `paid` is in minor currency units (cents). Each verb is one short
database transaction of its own, or part of the caller's; it locks exactly one wallet and books
exactly one entry. The rules are enforced in the database (`credits/sql/`), so that no other writer
can break them either.

Every verb takes a `key`, the business fact that it books (`purchase:<id>`, `invoice:<id>`). The
same key with the same inputs answers the entry booked the first time; with other inputs it raises
`KeyReused`. `note` and `actor` describe an entry and are not compared.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import DatabaseError, connection, transaction

from accounts.models import User
from credits.models import ACCOUNT_OF, Account, Category, Entry, Kind, Wallet

MAX_CREDITS: Final = 2**53 - 1
"""The largest balance: JavaScript reads every integer up to here exactly."""


class LedgerError(Exception):
    """Nothing was written."""


class InvalidAmount(LedgerError):
    """Not a whole number of credits that this verb can book."""


class InvalidKey(LedgerError):
    """A key is 1 to 200 characters."""


class InvalidTerms(LedgerError):
    """A kind, category or price that doesn't belong to this verb."""


class UnknownWallet(LedgerError):
    """There is no such wallet."""


class KeyReused(LedgerError):
    """The key has booked something else in this wallet."""


class InsufficientCredits(LedgerError):
    """The wallet has fewer credits than needed."""

    def __init__(self, available: int, needed: int) -> None:
        super().__init__(f"{needed} credits are needed and {available} are available.")
        self.available = available
        self.needed = needed


def wallet_of(user: User) -> Wallet:
    """The user's wallet, made at the first call."""
    wallet, _ = Wallet.objects.get_or_create(user=user)
    return wallet


def balance_of(user: User) -> int:
    """Credits the user can spend now; a user without a wallet has 0."""
    wallet = Wallet.objects.filter(user=user).only("balance", "held").first()
    return wallet.available if wallet else 0


def grant(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    kind: str,
    category: str = Category.PAID,
    paid: int = 0,
    expires_at: datetime | None = None,
    note: str = "",
    actor: User | None = None,
) -> Entry:
    """Issue credits into a wallet as a lot of their own.

    `paid` is what was paid for them, in minor currency units.
    """
    if ACCOUNT_OF.get(kind) != Account.ISSUED or category not in Category.values:
        raise InvalidTerms(f"{kind!r}, {category!r} can't be granted.")
    if type(paid) is not int or not 0 <= paid <= MAX_CREDITS:
        raise InvalidTerms(f"{paid!r} is no price.")
    if paid and category != Category.PAID:
        raise InvalidTerms("Promotional credits have no price.")
    return _post(
        wallet,
        kind,
        _positive(amount),
        key,
        note,
        actor,
        category=category,
        expires_at=expires_at,
        paid=paid,
    )


def spend(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    note: str = "",
    actor: User | None = None,
) -> Entry:
    """Take credits out of a wallet. Raises `InsufficientCredits`."""
    return _post(wallet, Kind.SPEND, -_positive(amount), key, note, actor)


def adjust(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    note: str,
    actor: User | None,
) -> Entry:
    """Correct a balance up (plus, as promotional credits) or down (minus).

    `note` is the reason, shown to the customer. Raises `InsufficientCredits`: a correction never
    takes more than there is.
    """
    _positive(abs(amount) if type(amount) is int else amount)
    return _post(wallet, Kind.ADJUSTMENT, amount, key, note, actor, category=Category.PROMOTIONAL)


def _positive(amount: int) -> int:
    # `type`, not `isinstance`: True is an int to Python and a mistake to a ledger.
    if type(amount) is not int or not 0 < amount <= MAX_CREDITS:
        raise InvalidAmount(f"{amount!r} is not a whole number of credits from 1 to 2^53 - 1.")
    return amount


def _post(
    wallet: Wallet,
    kind: str,
    amount: int,
    key: str,
    note: str,
    actor: User | None,
    *,
    category: str = Category.PAID,
    expires_at: datetime | None = None,
    paid: int = 0,
) -> Entry:
    if not isinstance(key, str) or not 0 < len(key) <= 200 or "\0" in key:
        raise InvalidKey(f"{key!r} is no key: it takes 1 to 200 characters.")
    try:
        # A savepoint inside the caller's transaction, so that a refusal leaves it usable.
        with transaction.atomic():
            (entry,) = Entry.objects.raw(
                "SELECT * FROM credits_post(%s, %s, %s, %s, %s, %s, %s, %s, 50::smallint, %s, %s)",
                [
                    wallet.pk,
                    str(kind),
                    str(ACCOUNT_OF[kind]),
                    amount,
                    key,
                    note,
                    actor.pk if actor else None,
                    str(category),
                    expires_at,
                    paid,
                ],
            )
    except DatabaseError as error:
        raise (_refusal(error, wallet, amount, key) or error) from error
    return entry


def _refusal(error: DatabaseError, wallet: Wallet, amount: int, key: str) -> LedgerError | None:
    cause = error.__cause__
    match getattr(cause, "sqlstate", None):
        case "CR001":
            return UnknownWallet(f"There is no wallet {wallet.pk}.")
        case "CR002":
            return KeyReused(f"The key {key!r} has booked something else in this wallet.")
        case "CR003":
            available = int(getattr(cause, "diag").message_detail)  # noqa: B009 (untyped cause)
            return InsufficientCredits(available=available, needed=-amount)
        case "CR004":
            return InvalidAmount("The balance would pass 2^53 - 1 credits.")
    return None


@dataclass(frozen=True)
class Violation:
    """An invariant that doesn't hold, and where."""

    invariant: str
    wallet_id: int
    detail: str


_INVARIANTS: Final[dict[str, str]] = {
    "balance is the sum of the entries": """
        SELECT w.id, format('balance %s, entries %s', w.balance, coalesce(sum(e.amount), 0))
        FROM credits_wallet w LEFT JOIN credits_entry e ON e.wallet_id = w.id
        GROUP BY w.id HAVING w.balance <> coalesce(sum(e.amount), 0)""",
    "balance is what the lots have left, and what is held": """
        SELECT w.id, format('balance %s, lots %s, held %s', w.balance,
                            coalesce(sum(l.remaining), 0), w.held)
        FROM credits_wallet w LEFT JOIN credits_lot l ON l.wallet_id = w.id
        GROUP BY w.id HAVING w.balance <> coalesce(sum(l.remaining), 0) + w.held""",
    "each entry's balance follows from the one before": """
        SELECT wallet_id,
               format('entry %s: balance %s after %s and %s', id, balance, before, amount)
        FROM (SELECT wallet_id, id, amount, balance,
                     coalesce(lag(balance) OVER (PARTITION BY wallet_id ORDER BY id), 0) AS before
              FROM credits_entry) AS chain
        WHERE balance <> before + amount""",
    "every incoming entry has its lot": """
        SELECT e.wallet_id, format('entry %s of %s has a lot of %s', e.id, e.amount, l.amount)
        FROM credits_entry e LEFT JOIN credits_lot l ON l.wallet_id = e.wallet_id AND l.id = e.id
        WHERE e.amount > 0 AND l.amount IS DISTINCT FROM e.amount
           OR e.amount < 0 AND l.id IS NOT NULL""",
    "an outgoing entry draws its amount from lots": """
        SELECT e.wallet_id, format('entry %s of %s drew %s', e.id, e.amount,
                                   coalesce(sum(d.amount), 0))
        FROM credits_entry e
            LEFT JOIN credits_draw d ON d.wallet_id = e.wallet_id AND d.entry_id = e.id
        GROUP BY e.wallet_id, e.id
        HAVING coalesce(sum(d.amount), 0) <> greatest(-e.amount, 0)""",
    "a lot has left what was not drawn": """
        SELECT l.wallet_id, format('lot %s of %s: drawn %s, remaining %s', l.id, l.amount,
                                   coalesce(sum(d.amount), 0), l.remaining)
        FROM credits_lot l
            LEFT JOIN credits_draw d ON d.wallet_id = l.wallet_id AND d.lot_id = l.id
        GROUP BY l.wallet_id, l.id
        HAVING l.amount - coalesce(sum(d.amount), 0) <> l.remaining""",
}


def audit() -> list[Violation]:
    """Every violated invariant, each checked over all wallets at once. Empty when all is well."""
    violations = []
    with connection.cursor() as cursor:
        for invariant, query in _INVARIANTS.items():
            cursor.execute(query)
            violations += [Violation(invariant, *row) for row in cursor.fetchall()]
    return violations
