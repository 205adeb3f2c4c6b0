"""What a wallet's owner is shown of it: the history, the balance of each day, what expires when.

A wallet's entries are in the order of their times as of their ids, since each is booked under the
wallet's lock. So an entry's id is all that a page needs to know of where it is, new entries move
nothing, and some days are a range of ids that takes two probes of an index to find. No question
here costs more for a wallet that has more entries.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from django.db import connection

from accounts.models import User
from credits.ledger import Standing
from credits.models import ACCOUNT_OF, Account, Kind, Wallet

PAGE_SIZE: Final = 25
EXPORT_BATCH: Final = 2000
"""Lines that are in memory at a time, and that one query asks for."""

EXPIRIES_SHOWN: Final = 4
SHORTEST_PACE: Final = 7
"""Days of history that it takes to say how long the credits last."""

BOUGHT: Final = [Kind.PURCHASE.value, Kind.RENEWAL.value]
RETURNED: Final = [kind for kind, account in ACCOUNT_OF.items() if account == Account.REVOKED]
BUT_SPENT: Final = [kind for kind, account in ACCOUNT_OF.items() if account != Account.SPENT]
"""These have an index: of most wallets they are few entries."""


# --- Asking -----------------------------------------------------------------------------------


class Question(NamedTuple):
    """A query about one wallet, which it calls `(SELECT id FROM wallet)`, and its other values."""

    sql: str
    values: list[Any]


def _ask(owner: Wallet | User, *questions: Question) -> list[list[dict[str, Any]]]:
    """The rows that answer each question, all of one moment; times and days are text in them.

    It takes one round trip, which costs more than most of the answers, and times are read faster
    from JSON.
    """
    wallet = _BY_USER if isinstance(owner, User) else _BY_ID
    answers = ", ".join(
        f"(SELECT coalesce(json_agg(answer), '[]') FROM ({question.sql}) AS answer)"  # noqa: S608 (ours)
        for question in questions
    )
    values = [value for question in questions for value in question.values]
    with connection.cursor() as cursor:
        cursor.execute(f"WITH wallet AS ({wallet}) SELECT {answers}", [owner.pk, *values])
        row: tuple[list[dict[str, Any]], ...] = cursor.fetchone()
        return list(row)


_BY_ID: Final = "SELECT %s::bigint AS id"
_BY_USER: Final = "SELECT id FROM credits_wallet WHERE user_id = %s"


def _array(values: Iterable[object]) -> str:
    """As PostgreSQL reads an array, of kinds, days or times: these need no quotes in it."""
    return f"{{{','.join(map(str, values))}}}"


# --- The history ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter:
    """Entries of these kinds (none named: of all), of whole days in a time zone, both included.

    With `actor`, of these only what this user booked, by id.
    """

    kinds: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    zone: tzinfo = UTC
    actor: int | None = None

    @property
    def is_set(self) -> bool:
        return bool(self.kinds or self.first or self.last)


class Line(NamedTuple):
    """One entry as its owner sees it.

    `balance` is after it; `paid` is in cents, for a purchase; `owed` is what it added to the debt,
    besides `amount`, or took off it.
    """

    id: int
    created_at: datetime
    kind: str
    note: str
    amount: int
    balance: int
    paid: int | None
    returns: int | None = None
    """The entry of the purchase that it takes credits back from, or gives some back to."""
    owed: int = 0


@dataclass(frozen=True)
class Page:
    """Some lines, newest first; `newer` and `older` are the cursors of the pages beside it.

    `is_stray`: there is nothing at this cursor (any more), or no full page of newer entries; the
    newest page is the one to show.
    """

    lines: list[Line]
    newer: int | None = None
    older: int | None = None
    is_stray: bool = False


def history(
    wallet: Wallet, chosen: Filter, *, before: int | None = None, after: int | None = None
) -> Page:
    """A page of the history: the newest entries, or those next to an entry's id."""
    return _page(lines(wallet, chosen, PAGE_SIZE + 1, before=before, after=after), before, after)


def _page(found: list[Line], before: int | None, after: int | None) -> Page:
    """The page of the lines that were found, one more than it has if there are so many."""
    if after is not None:
        found = found[::-1]
        if len(found) <= PAGE_SIZE:
            return Page(found, is_stray=True)
        found = found[1:]
        return Page(found, newer=found[0].id, older=found[-1].id)
    older = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    found = found[:PAGE_SIZE]
    newer = found[0].id if found and before is not None else None
    return Page(found, newer=newer, older=older, is_stray=before is not None and not found)


def export(wallet: Wallet, chosen: Filter) -> Iterator[list[Line]]:
    """The whole history, oldest first, in batches.

    Each is a query of its own, so no transaction and no cursor stays open while somebody downloads:
    that works behind a pooler of connections, and holds up neither vacuum nor a deployment.
    """
    last = 0
    while batch := lines(wallet, chosen, EXPORT_BATCH, after=last):
        yield batch
        last = batch[-1].id


def lines(
    wallet: Wallet,
    chosen: Filter,
    limit: int,
    *,
    before: int | None = None,
    after: int | None = None,
) -> list[Line]:
    """The newest lines, or the next ones before an entry's id, newest first; or those after it,
    oldest first."""
    (rows,) = _ask(wallet, _lines(chosen, limit, before, after))
    return [_line(row) for row in rows]


def _lines(chosen: Filter, limit: int, before: int | None, after: int | None) -> Question:
    # Written as SQL and not through models: to put it together took as long as to run it.
    where, values = _of_days(chosen)
    order = "DESC" if after is None else "ASC"
    if before is not None:
        where, values = f"{where} AND id < %s", [*values, before]
    if after is not None:
        where, values = f"{where} AND id > %s", [*values, after]
    # One query for each kind, in the order of its index, so that the few purchases among a million
    # spends are not looked for one by one.
    kinds = [(f"{where} AND kind = %s", [*values, kind]) for kind in chosen.kinds]
    parts = [
        (_PART.format(where=where, order=order), [*values, limit])
        for where, values in kinds or [(where, values)]
    ]
    statement = _LINES.format(parts=" UNION ALL ".join(part for part, _ in parts), order=order)
    bought = _array(BOUGHT)
    return Question(statement, [bought, bought, *(x for _, part in parts for x in part), limit])


def _line(row: dict[str, Any]) -> Line:
    return Line(**row | {"created_at": datetime.fromisoformat(row["created_at"])})


_PART: Final = """
(SELECT id, created_at, kind, note, amount, balance, about_id, owed FROM credits_entry
WHERE {where} ORDER BY id {order} LIMIT %s)"""

# What was paid is looked up for the lines alone: as a part of the query that finds them it would
# cost so much, by the planner's reckoning, that its choice of an index didn't matter.
_LINES: Final = """
SELECT line.id, line.created_at, line.kind, line.note, line.amount, line.balance,
    CASE WHEN line.kind = ANY (%s) THEN (
        SELECT paid FROM credits_lot AS lot
        WHERE lot.wallet_id = (SELECT id FROM wallet) AND lot.entry_id = line.id) END AS paid,
    CASE WHEN line.about_id IS NOT NULL THEN (
        SELECT id FROM credits_entry AS bought
        WHERE bought.wallet_id = (SELECT id FROM wallet) AND bought.id = line.about_id
            AND kind = ANY (%s)) END AS returns,
    line.owed
FROM (SELECT * FROM ({parts}) AS part ORDER BY id {order} LIMIT %s) AS line
ORDER BY line.id {order}"""


def _of_days(chosen: Filter) -> tuple[str, list[Any]]:
    """The condition that an entry of these days meets, and its values."""
    where = "wallet_id = (SELECT id FROM wallet)"
    values: list[Any] = []
    if chosen.actor is not None:
        where += " AND actor_id = %s"
        values.append(chosen.actor)
    if chosen.first:
        start = _midnight(chosen.first, chosen.zone)
        where += f" AND created_at >= %s AND id >= {_EDGE.format('>=', 'ASC')}"
        values += [start, start]
    if chosen.last and chosen.last < date.max:
        end = _midnight(chosen.last + timedelta(days=1), chosen.zone)
        where += f" AND created_at < %s AND id <= {_EDGE.format('<', 'DESC')}"
        values += [end, end]
    return where, values


_EDGE: Final = """(
    SELECT id FROM credits_entry
    WHERE wallet_id = (SELECT id FROM wallet) AND created_at {0} %s
    ORDER BY created_at {1}, id {1} LIMIT 1)"""


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, zone)


# --- By day -----------------------------------------------------------------------------------


class Day(NamedTuple):
    """`balance` is at the day's end, without what has expired; `paid` is in cents.

    `used` is what left the balance for it: what was owed counts on the day that it is repaid.
    `returned` is what refunds and disputes took back, less what came back after all; it lowers
    neither `bought` nor `paid`, which are of the purchases of that day.
    """

    date: date
    balance: int
    bought: int
    used: int
    paid: int
    returned: int = 0


def daily_balances(wallet: Wallet, days: int, zone: tzinfo = UTC) -> list[Day]:
    """The last `days` days, oldest first, today the last of them."""
    (rows,) = _ask(wallet, _days(days, zone))
    return [_day(row) for row in rows]


def _days(days: int, zone: tzinfo) -> Question:
    today = datetime.now(zone).date()
    # The day before is where the first one begins.
    dates = [today - timedelta(days=age) for age in range(days, -1, -1)]
    ends = [_midnight(day + timedelta(days=1), zone) for day in dates]
    kinds = (BOUGHT, RETURNED, BUT_SPENT)
    return Question(
        """
        SELECT day AS date, balance, bought, used, paid, returned
        FROM credits_days((SELECT id FROM wallet), %s, %s, %s, %s, %s)""",
        [_array(dates), _array(ends), *map(_array, kinds)],
    )


def _day(row: dict[str, Any]) -> Day:
    return Day(**row | {"date": date.fromisoformat(row["date"])})


def days_left(days: list[Day], available: int) -> int | None:
    """How many days the credits last at the pace of these; None where that can't be told."""
    begun = next((index for index, day in enumerate(days) if day.balance or day.used), len(days))
    used = sum(day.used for day in days)
    if len(days) - begun < SHORTEST_PACE or used <= 0:
        return None
    return available * (len(days) - begun) // used


# --- What there is to spend, and what expires -------------------------------------------------


class Part(NamedTuple):
    """So many credits that can be spent until this moment (`None`: for good)."""

    expires_at: datetime | None
    category: str
    credits: int


def spendable(user: User) -> tuple[Standing, list[Part]]:
    """What the user has now, and what of it can be spent until when, soonest first.

    The parts add up to what is available: both are of one moment, without what has expired, booked
    or not.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT now.balance, now.held, now.owed, part.expires_at, part.category, part.credits
            FROM credits_standing(%s) AS now LEFT JOIN credits_spendable(%s) AS part ON true
            ORDER BY part.expires_at, part.category DESC""",
            [user.pk, user.pk],
        )
        rows = cursor.fetchall()
    if not rows:
        return Standing(), []
    return Standing(*rows[0][:3]), [Part(*row[3:]) for row in rows if row[5] is not None]


class Expiry(NamedTuple):
    """So many unspent credits expire at this moment."""

    at: datetime
    credits: int


def expiries(wallet: Wallet) -> tuple[list[Expiry], int]:
    """What expires next, soonest first, and how many credits expire some time after that."""
    (rows,) = _ask(wallet, _expiries())
    return _shown(rows)


def _expiries() -> Question:
    return Question(
        """
        SELECT expires_at AS at, sum(remaining)::bigint AS credits,
            (sum(sum(remaining)) OVER ())::bigint AS all_credits
        FROM credits_lot
        WHERE wallet_id = (SELECT id FROM wallet) AND is_open AND expires_at IS NOT NULL
            AND expires_at > statement_timestamp()
        GROUP BY expires_at ORDER BY expires_at LIMIT %s""",
        [EXPIRIES_SHOWN],
    )


def _shown(rows: list[dict[str, Any]]) -> tuple[list[Expiry], int]:
    shown = [Expiry(datetime.fromisoformat(row["at"]), row["credits"]) for row in rows]
    return shown, (rows[0]["all_credits"] if rows else 0) - sum(one.credits for one in shown)


# --- All of it --------------------------------------------------------------------------------


class Overview(NamedTuple):
    """What `standing`, `history`, `daily_balances` and `expiries` answer, as of one moment."""

    standing: Standing
    page: Page
    days: list[Day]
    expiries: list[Expiry]
    expiring_later: int


def overview(
    user: User,
    chosen: Filter,
    *,
    before: int | None = None,
    after: int | None = None,
    days: int,
    zone: tzinfo = UTC,
) -> Overview | None:
    """A page of the history, the last `days` days and what expires next; None without a wallet."""
    now, found, by_day, expiring = _ask(
        user,
        Question("SELECT balance, held, owed FROM credits_standing(%s)", [user.pk]),
        _lines(chosen, PAGE_SIZE + 1, before, after),
        _days(days, zone),
        _expiries(),
    )
    if not now:
        return None
    return Overview(
        Standing(**now[0]),
        _page([_line(row) for row in found], before, after),
        [_day(row) for row in by_day],
        *_shown(expiring),
    )
