"""The verbs of the ledger: the only code that writes wallets, entries, lots, draws and holds.

All amounts are whole credits; `paid` is in minor currency units (cents). Each verb is one short
database transaction of its own, or part of the caller's. What they do is written in SQL
(`credits/sql/`, `0002_verbs.sql` and what replaces parts of it) and the rules are enforced in the
database, so that no other writer can break them either.

A verb locks one wallet; `receive`, `deliver` and `revoke`, which are about several, lock all of
them first, in the order of their ids. Who calls several verbs in one transaction that are about
several wallets locks them with `lock` before, and other rows after that: so nobody waits in a
circle.

Every verb that takes a `key` books the business fact that it names (`purchase:<id>`) once: the same
key with the same inputs answers what it booked the first time; with other inputs it raises
`KeyReused`. `note` and `actor` describe an entry and are not compared.

Every verb raises `UnknownWallet`, `InvalidAmount`, `InvalidKey` and `LedgerBusy` where they apply.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, connection, models, transaction

from accounts import rows
from accounts.models import User
from accounts.rows import Row
from credits import errors
from credits.models import (
    ACCOUNT_OF,
    CLAWBACKS,
    MAX_CREDITS,
    Account,
    Category,
    Entry,
    Hold,
    Kind,
    Transfer,
    Wallet,
)

NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""As `expires_at`: the credits don't expire, whatever the shop's default is."""

LONGEST_HOLD: Final = timedelta(hours=24)
MOST_LINES: Final = 100
"""How many lines `deliver` takes at once."""

TRIES: Final = 4
"""How often a booking is tried when the database ends it for a deadlock."""

_RESERVED: Final = ("expiry:", "hold:", "repayment:", "recall:")
"""How keys begin that the ledger makes itself."""


# --- What a wallet has ------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """What a wallet has at this moment, without what has expired, booked or not.

    `held` of the `balance` is reserved; `owed` is what a clawback could not take, or was spent
    without being there.
    """

    balance: int = 0
    held: int = 0
    owed: int = 0

    @property
    def available(self) -> int:
        """Credits that can be spent now."""
        return self.balance - self.held


def wallet_of(user: User) -> Wallet:
    """The user's wallet, made at the first call."""
    wallet, _ = Wallet.objects.get_or_create(user=user)
    return wallet


def wallets_of(user_ids: Iterable[int]) -> dict[int, Wallet]:
    """Many users' wallets by the users' ids, made where there was none."""
    wanted = sorted(set(user_ids))
    Wallet.objects.bulk_create((Wallet(user_id=pk) for pk in wanted), ignore_conflicts=True)
    return {wallet.user_id: wallet for wallet in Wallet.objects.filter(user__in=wanted)}


def wallet_now(user: User) -> Wallet | None:
    """The user's wallet with what it has now, like `standing`, for reading; None without one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT wallet.id, wallet.user_id, now.balance, now.held, now.owed
            FROM credits_wallet AS wallet
                CROSS JOIN LATERAL credits_standing(wallet.user_id) AS now
            WHERE wallet.user_id = %s""",
            [user.pk],
        )
        row = cursor.fetchone()
    names = ["id", "user_id", "balance", "held", "owed"]
    return Wallet.from_db(connection.alias, names, row) if row else None


def balance_of(user: User) -> int:
    """Credits the user can spend now; a user without a wallet has 0."""
    return standing(user).available


def standing(user: User) -> Standing:
    """What the user has now; a user without a wallet has nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM credits_standing(%s)", [user.pk])
        row = cursor.fetchone()
    return Standing(*row) if row else Standing()


# --- Credits in and out -----------------------------------------------------------------------


def grant(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    kind: str,
    category: str = Category.PAID,
    paid: int = 0,
    expires_at: datetime | None = None,
    priority: int = 50,
    note: str = "",
    actor: User | None = None,
) -> Entry:
    """Issue credits into a wallet as a lot of their own.

    `paid` is what was paid for all of them, in minor currency units. Without `expires_at`, the
    shop's default for the category holds (`PAID_CREDITS_DAYS`, `PROMOTIONAL_CREDITS_DAYS`). Lots of
    a lower `priority`, 0 to 100, are spent first. Raises `InvalidTerms`.
    """
    if ACCOUNT_OF.get(kind) != Account.ISSUED or category not in Category.values:
        raise errors.InvalidTerms(f"{kind!r}, {category!r} can't be granted.")
    if type(paid) is not int or not 0 <= paid <= MAX_CREDITS:
        raise errors.InvalidTerms(f"{paid!r} is no price.")
    if paid and category != Category.PAID:
        raise errors.InvalidTerms("Promotional credits have no price.")
    if type(priority) is not int or not 0 <= priority <= 100:
        raise errors.InvalidTerms(f"{priority!r} is no priority from 0 to 100.")
    return _grant(
        wallet, kind, _positive(amount), key, note, actor, category, priority, expires_at, paid
    )


def spend(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    note: str = "",
    actor: User | None = None,
    owe_up_to: int = 0,
) -> Entry:
    """Take credits out of a wallet.

    What is missing is owed, as long as the wallet then owes no more than `owe_up_to` in all; the
    entry's `owed` says how much that is. Raises `InsufficientCredits`, `InvalidTerms`.
    """
    if type(owe_up_to) is not int or not 0 <= owe_up_to <= MAX_CREDITS:
        raise errors.InvalidTerms(f"{owe_up_to!r} is no number of credits that may be owed.")
    return _take(wallet, Kind.SPEND, _positive(amount), key, note, actor, owe_up_to)


def adjust(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    note: str,
    actor: User | None,
) -> Entry:
    """Correct a balance up (plus, as promotional credits that don't expire) or down (minus).

    `note` is the reason, shown to the customer. Raises `InsufficientCredits`: a correction never
    takes more than there is.
    """
    size = _positive(abs(amount) if type(amount) is int else amount)
    if amount < 0:
        return _take(wallet, Kind.ADJUSTMENT, size, key, note, actor, 0)
    return _grant(
        wallet, Kind.ADJUSTMENT, size, key, note, actor, Category.PROMOTIONAL, 50, NEVER, 0
    )


def _grant(
    wallet: Wallet,
    kind: str,
    amount: int,
    key: str,
    note: str,
    actor: User | None,
    category: str,
    priority: int,
    expires_at: datetime | None,
    paid: int,
) -> Entry:
    days = settings.CREDITS_EXPIRE_AFTER_DAYS[category] if expires_at is None else None
    return _call(
        Entry,
        "credits_grant(%s, %s, %s, %s, %s, %s, %s, %s, %s::smallint, %s, %s, %s)",
        [
            wallet.pk,
            str(kind),
            str(ACCOUNT_OF[kind]),
            amount,
            _checked(key),
            note,
            actor and actor.pk,
            str(category),
            priority,
            None if expires_at == NEVER else expires_at,
            timedelta(days=days) if days else None,
            paid,
        ],
        amount,
    )


def _take(
    wallet: Wallet,
    kind: str,
    amount: int,
    key: str,
    note: str,
    actor: User | None,
    owe_up_to: int,
) -> Entry:
    return _call(
        Entry,
        "credits_take(%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            wallet.pk,
            str(kind),
            str(ACCOUNT_OF[kind]),
            amount,
            _checked(key),
            note,
            actor and actor.pk,
            owe_up_to,
        ],
        amount,
    )


# --- Clawback and debt ------------------------------------------------------------------------


def revoke(
    wallet: Wallet,
    amount: int,
    *,
    of: str,
    key: str,
    kind: str,
    note: str = "",
    actor: User | None = None,
    recall_note: str = "",
) -> Entry:
    """Take back credits that the grant with the key `of` brought: a refund, a lost dispute.

    They come from its own lot and what was restored or came back of it; then what was given of it
    is fetched back (`recalled_by` says what, and `recall_note` is on those entries, in others'
    wallets as well); then they come from other paid lots. What isn't there is owed, and the next
    credits in repay it. Raises `InvalidTerms`, `UnknownGrant`, `MoreThanGranted`.
    """
    if kind not in CLAWBACKS:
        raise errors.InvalidTerms(f"{kind!r} takes nothing back.")
    return _call(
        Entry,
        "credits_revoke(%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            wallet.pk,
            str(kind),
            _positive(amount),
            _checked(key),
            of,
            note,
            actor and actor.pk,
            recall_note,
        ],
        amount,
    )


@dataclass(frozen=True)
class Recalled:
    """So many credits of the gift that went by a transfer were fetched back by a clawback.

    From `wallet`, into which it had arrived, or (`None`) from its way there: the gift was not
    claimed, and has come back as a whole.
    """

    credits: int
    transfer: Transfer
    wallet: Wallet | None


def recalled_by(clawback: Entry) -> list[Recalled]:
    """What `revoke` has fetched back for a clawback of what was given, in the order of booking."""
    before = Entry.objects.filter(
        wallet=clawback.wallet_id,
        kind__in=CLAWBACKS,
        about_id=clawback.about_id,
        pk__lt=clawback.pk,
    ).aggregate(last=models.Max("pk"))["last"]
    returns = {
        entry.pk: entry
        for entry in Entry.objects.filter(
            wallet=clawback.wallet_id,
            kind=Kind.GIFT_RETURNED,
            about_id=clawback.about_id,
            pk__gt=before or 0,
            pk__lt=clawback.pk,
        )
    }
    if not returns:
        return []
    ways = Transfer.objects.filter(to_wallet=clawback.wallet_id, to_entry_id__in=returns)
    ways = ways.order_by("to_entry_id")
    # What left a wallet where it had arrived is about the entry that had brought it there.
    taken = {
        entry.pk: entry
        for entry in Entry.objects.filter(
            pk__in=[way.entry_id for way in ways], kind=Kind.GIFT_RECALLED
        )
    }
    gifts = {
        (gift.to_wallet_id, gift.to_entry_id): gift
        for gift in Transfer.objects.filter(
            to_wallet__in={entry.wallet_id for entry in taken.values()},
            to_entry_id__in=[entry.about_id for entry in taken.values()],
        ).select_related("to_wallet__user")
    }
    recalled = []
    for way in ways:
        if (left := taken.get(way.entry_id)) is None:
            recalled.append(Recalled(way.amount, way, None))
        else:
            gift = gifts[left.wallet_id, left.about_id]
            recalled.append(Recalled(way.amount, gift, gift.to_wallet))
    return recalled


def restore(
    wallet: Wallet,
    amount: int,
    *,
    of: str,
    key: str,
    note: str = "",
    actor: User | None = None,
) -> Entry:
    """Undo `revoke`: so many credits of the grant with the key `of` come in again, on its terms.

    Raises `UnknownGrant`, `MoreThanRevoked`.
    """
    return _call(
        Entry,
        "credits_restore(%s, %s, %s, %s, %s, %s)",
        [wallet.pk, _positive(amount), _checked(key), of, note, actor and actor.pk],
        amount,
    )


# --- Holds ------------------------------------------------------------------------------------


def hold(wallet: Wallet, amount: int, *, key: str, expires_in: timedelta) -> Hold:
    """Reserve credits for work whose cost is not known yet, for at most `LONGEST_HOLD`.

    Neither expiry nor clawback reaches into them. Raises `InvalidTerms`, `InsufficientCredits`.
    """
    seconds = int(expires_in.total_seconds())
    if expires_in > LONGEST_HOLD or timedelta(seconds=seconds) != expires_in or seconds < 1:
        raise errors.InvalidTerms("A hold lasts 1 second to 24 hours, in whole seconds.")
    return _call(
        Hold,
        "credits_place_hold(%s, %s, %s, %s)",
        [wallet.pk, _positive(amount), _checked(key), seconds],
        amount,
    )


def hold_of(wallet: Wallet, hold_id: int) -> Hold:
    """The wallet's hold with this id. Raises `UnknownHold`, for those of other wallets as well."""
    hold = Hold.objects.filter(wallet=wallet, pk=hold_id).first()
    if hold is None:
        raise errors.UnknownHold("There is no such hold.")
    return hold


def capture(hold: Hold, amount: int, *, note: str = "", actor: User | None = None) -> Entry:
    """Spend up to what is held; the rest is free again.

    Raises `HoldExceeded`, `HoldCaptured`, `HoldReleased`, `HoldLapsed`, `UnknownHold`.
    """
    return _call(
        Entry,
        "credits_capture(%s, %s, %s, %s, %s)",
        [hold.wallet_id, hold.pk, _positive(amount), note, actor and actor.pk],
        amount,
    )


def release(hold: Hold) -> Hold:
    """Free what is held. What is free already stays so. Raises `HoldCaptured`, `UnknownHold`."""
    return _call(Hold, "credits_release(%s, %s)", [hold.wallet_id, hold.pk])


# --- From wallet to wallet --------------------------------------------------------------------


@dataclass(frozen=True)
class Giftable:
    """Which credits may be given away: paid ones that the owner has bought.

    Bought `age` ago or earlier, and not by the grants with the keys `but`; where `regift`, also
    those that came as a gift. Or exactly what one grant brought, the one with the key `of`.
    """

    age: timedelta = timedelta(0)
    regift: bool = False
    but: Sequence[str] = ()
    of: str | None = None


def giftable(wallet: Wallet, what: Giftable) -> int:
    """How many credits may be given away now, but for what is owed."""
    (credits,) = run(
        "SELECT coalesce(sum(remaining), 0) FROM credits_giftable(%s, %s, %s, %s)",
        [wallet.pk, what.age, what.regift, list(what.but)],
    )
    return int(credits)


def send(
    wallet: Wallet,
    amount: int,
    *,
    key: str,
    note: str = "",
    actor: User | None = None,
    only: Giftable | None = None,
) -> Transfer:
    """Move credits out of a wallet into escrow: any, or only those that may be given away.

    Raises `InsufficientCredits`, or with `only` `NotGiftable` and `UnknownGrant`; `CreditsOwed`.
    """
    values = [wallet.pk, _positive(amount), _checked(key), note, actor and actor.pk]
    function = "credits_send(%s, %s, %s, %s, %s)"
    if only is not None:
        function = "credits_give(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        values += [only.of, only.age, only.regift, list(only.but)]
    entry = _call(Entry, function, values, amount)
    return Transfer.objects.get(wallet_id=entry.wallet_id, entry_id=entry.pk)


def receive(
    wallet: Wallet, transfer: Transfer, *, key: str, note: str = "", actor: User | None = None
) -> Entry:
    """Move credits out of escrow into a wallet: the recipient's, or the sender's, back.

    They come in lots that keep their expiry, category and cost. Raises `TransferArrived`,
    `UnknownTransfer`.
    """
    is_back = wallet.pk == transfer.wallet_id
    kind = Kind.GIFT_RETURNED if is_back else Kind.GIFT_RECEIVED
    return _call(
        Entry,
        "credits_receive(%s, %s, %s, %s, %s, %s, %s)",
        [
            wallet.pk,
            str(kind),
            transfer.wallet_id,
            transfer.entry_id,
            _checked(key),
            note,
            actor and actor.pk,
        ],
    )


@dataclass(frozen=True)
class Line:
    """So many credits for a wallet, or (`None`) for nobody yet, once under the key."""

    wallet_id: int | None
    credits: int
    key: str


def deliver(
    wallet: Wallet, lines: Sequence[Line], *, of: str, note: str = "", actor: User | None = None
) -> list[Transfer]:
    """Move credits of one grant, with the key `of`, to many wallets: each line is a gift received.

    What is for nobody yet stays on its way, to be received like anything sent. All are booked in
    the order of the lines, or nothing is; up to `MOST_LINES` in one statement. A line's key stands
    for it in both wallets, and a line that was delivered before is not delivered again. Answers the
    lines' transfers, in their order. Raises `NotGiftable`, `CreditsOwed`, `UnknownGrant`,
    `InvalidTerms`.
    """
    if not 0 < len(lines) <= MOST_LINES:
        raise errors.InvalidTerms(f"{len(lines)} lines; 1 to {MOST_LINES} are delivered at once.")
    (sent,) = run(
        "SELECT credits_deliver(%s, %s, %s::bigint[], %s, %s, %s, %s)",
        [
            wallet.pk,
            of,
            [line.wallet_id for line in lines],
            [_positive(line.credits) for line in lines],
            [_checked(line.key) for line in lines],
            note,
            actor and actor.pk,
        ],
        sum(line.credits for line in lines),
    )
    made = {
        transfer.entry_id: transfer
        for transfer in Transfer.objects.filter(wallet=wallet, entry_id__in=sent)
    }
    return [made[entry_id] for entry_id in sent]


def lock(wallets: Iterable[Wallet]) -> None:
    """Lock several wallets until the caller's transaction ends, in the one order for that.

    Call it before verbs that are about several wallets, and before locking what belongs to them.
    """
    run("SELECT credits_lock_all(%s)", [[wallet.pk for wallet in wallets]])


# --- What time does ---------------------------------------------------------------------------


def expire_due(progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> int:
    """Book what has expired, and free holds that have lapsed, in wallets that nobody books on.

    Answers the number of wallets. Nothing waits for it: every verb does so first for its own
    wallet, and what is shown never includes it. `progress` may wrap the wallets' ids.
    """
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT wallet_id FROM credits_lot
                WHERE is_open AND expires_at <= statement_timestamp()
            UNION
            SELECT wallet_id FROM credits_hold
                WHERE status = 'open' AND expires_at <= statement_timestamp()
            ORDER BY wallet_id""")
        due = [wallet_id for (wallet_id,) in cursor.fetchall()]
    settled = 0
    for wallet_id in progress(due):
        # Who holds a wallet for so long is not waited for: the next run, or verb, gets there.
        with suppress(errors.LedgerBusy):
            run("SELECT credits_settle_now(%s)", [wallet_id], None)
            settled += 1
    return settled


# --- One call to the database -----------------------------------------------------------------


def _positive(amount: int) -> int:
    # `type`, not `isinstance`: True is an int to Python and a mistake to a ledger.
    if type(amount) is not int:
        raise errors.NotWhole(f"{amount!r} is not a whole number of credits.")
    if amount == 0:
        raise errors.ZeroAmount("0 credits can't be booked.")
    if amount < 0:
        raise errors.NegativeAmount(f"{amount} is negative.")
    if amount > MAX_CREDITS:
        raise errors.AmountTooLarge(f"{amount} is more than 2^53 - 1.")
    return amount


def _checked(key: str) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= 200 or "\0" in key:
        raise errors.InvalidKey(f"{key!r} is no key: it takes 1 to 200 characters.")
    if key.startswith(_RESERVED):
        raise errors.InvalidKey(f"{key!r} begins like the ledger's own keys.")
    return key


def _call(model: type[Row], function: str, values: list[Any], amount: int | None = None) -> Row:
    """Call one of the verbs in SQL, and make a model of the row that it answers."""
    columns = rows.columns(model)
    row = run(f"SELECT {columns} FROM {function}", values, amount)  # noqa: S608 (ours)
    return rows.made_of(model, row)


def run(statement: str, values: list[Any], amount: int | None = None) -> tuple[Any, ...]:
    """One statement that calls verbs in SQL: for functions that do more in the same round trip.

    `amount` is what the refusals name. Raises what the verbs do, and `DatabaseError` for the rest.
    """
    for tries_left in reversed(range(TRIES)):
        # A transaction that has failed can't be tried again from within.
        is_last = connection.in_atomic_block or not tries_left
        try:
            return _execute(statement, values)
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state in _PASSING and not is_last:
                time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 (no secret)
                continue
            refusal = _refusal(state, error, amount)
            if refusal is None:
                raise
            raise refusal from error
    raise AssertionError("unreachable")


def _execute(statement: str, values: list[Any]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            # A savepoint, so that a refusal leaves the caller's transaction usable.
            with transaction.atomic():
                cursor.execute(statement, values)
        else:
            cursor.execute(statement, values)  # a transaction of its own: one round trip
        row: tuple[Any, ...] = cursor.fetchone()
        return row


_PASSING: Final = {"40P01", "40001"}
"""A deadlock, a serialization failure."""

_REFUSALS: Final[dict[str, tuple[type[errors.LedgerError], str]]] = {
    "CR001": (errors.UnknownWallet, "There is no such wallet."),
    "CR002": (errors.KeyReused, "The key has booked something else in this wallet."),
    "CR004": (errors.AmountTooLarge, "The balance would pass 2^53 - 1 credits."),
    "CR005": (errors.InvalidTerms, "These credits would have expired already."),
    "CR006": (errors.UnknownGrant, "No grant has this key."),
    "CR009": (errors.UnknownTransfer, "There is no such transfer."),
    "CR010": (errors.TransferArrived, "The credits are in a wallet already."),
    "CR011": (errors.UnknownHold, "There is no such hold."),
    "CR012": (errors.HoldCaptured, "The hold was captured before."),
    "CR013": (errors.HoldReleased, "The hold was released before."),
    "CR014": (errors.HoldLapsed, "The time of the hold is up."),
    "55P03": (errors.LedgerBusy, "The wallet is busy. Try again in a moment."),
}


def _refusal(
    state: str | None, error: DatabaseError, amount: int | None
) -> errors.LedgerError | None:
    if state is None:
        return None
    if state in _REFUSALS:
        refusal, words = _REFUSALS[state]
        return refusal(words)
    if not state.startswith("CR"):
        return None
    number = int(getattr(error.__cause__, "diag").message_detail)  # noqa: B009 (untyped cause)
    match state:
        case "CR003":
            return errors.InsufficientCredits(available=number, needed=amount or 0)
        case "CR007":
            return errors.MoreThanGranted(number)
        case "CR008":
            return errors.CreditsOwed(number)
        case "CR015":
            return errors.HoldExceeded(number)
        case "CR016":
            return errors.MoreThanRevoked(number)
        case "CR017":
            return errors.NotGiftable(number)
    return None
