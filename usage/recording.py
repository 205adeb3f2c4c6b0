"""Recording usage: an event, its price and its charge, in one transaction.

An event counts in the month (UTC) of the time at which something was used, by that month's price
list. It is charged what the month costs with it, less what the month was charged already: so the
order of events doesn't matter to what a month costs in the end, and fractions of a credit are
carried until the month is over (docs/decisions/0026-prices-of-usage.md).

Locks are taken in this order, by everybody: the month, the API key's spending, the wallet.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from accounts import keys, preferences
from accounts.models import ApiKey, User
from credits import ledger
from credits.errors import LedgerBusy
from credits.models import MAX_CREDITS, Entry
from credits.numbers import number
from usage.models import EVENT_KEY, METER_CODE, Event, Meter, Tariff
from usage.prices import MAX_UNITS, PriceList

LATEST: Final = timedelta(days=35)
"""How long after its time an event is still taken: a month, and a long weekend."""

EARLIEST: Final = timedelta(minutes=5)
"""How far ahead of ours another clock may be."""

MOST_AT_ONCE: Final = 1000
"""Events that one request may report."""

_TIMES: Final = "\N{MULTIPLICATION SIGN}"


# --- What is refused: whatever is raised, nothing was recorded and nothing charged --------------


class UsageError(Exception):
    """Nothing was recorded and nothing charged. `code` is what the API answers."""

    code: str


class UnknownMeter(UsageError):
    """No meter has this code."""

    code = "unknown_meter"


class InactiveMeter(UsageError):
    """The meter takes no usage (any more)."""

    code = "inactive_meter"


class NoPriceList(UsageError):
    """The meter has no price list for the month of the event."""

    code = "no_price_list"


class QuantityRefused(UsageError):
    """Not a whole number from 1 on, or the month would pass 2^53 - 1 units or credits."""

    code = "invalid_quantity"


class BadKey(UsageError):
    """An event's key is 1 to 128 visible ASCII characters."""

    code = "invalid_idempotency_key"


class TooLate(UsageError):
    """It was used more than `LATEST` ago."""

    code = "too_late"


class TooEarly(UsageError):
    """It will be used more than `EARLIEST` from now."""

    code = "too_early"


class EventReused(UsageError):
    """The key has recorded something else of this user's."""

    code = "idempotency_key_reused"


# --- What is recorded -------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """The event, with the month's units after it and what it was charged, and the charge's entry.

    `entry` is None where nothing was charged. A duplicate is answered as it was recorded first.
    """

    event: Event
    entry: Entry | None
    is_duplicate: bool = False


def record(
    user: User,
    meter_code: str,
    quantity: int,
    *,
    key: str,
    at: datetime | None = None,
    actor: User | None = None,
    api_key: ApiKey | None = None,
) -> Recorded:
    """Record that so many units were used, and charge for them.

    The same key of this user, with the same meter, quantity and, where it is named, time, answers
    what was recorded first. `api_key` is whose spending limit counts the charge; what is reported
    with the user's own names other events than what the shop reports, so that no customer can take
    the name of one that is to be charged.

    Raises what is above, `InsufficientCredits` and `LimitReached`; `LedgerBusy` when others are at
    this month or wallet for too long.
    """
    if type(quantity) is not int or not 1 <= quantity <= MAX_UNITS:
        raise QuantityRefused("A quantity is a whole number from 1 to 2^53 - 1.")
    if not isinstance(key, str) or not EVENT_KEY.fullmatch(key):
        raise BadKey("A key has 1 to 128 visible ASCII characters.")
    by_customer = api_key is not None and api_key.user_id is not None
    report = _Report(meter_code, quantity, key, at, by_customer)
    try:
        with transaction.atomic():
            return _record(user, report, actor, api_key)
    except UsageError:
        # What was recorded stays so, however late or inactive it would be now.
        known = Event.objects.filter(user=user, by_customer=by_customer, key=key)
        earlier = known.select_related("meter").first()
        if earlier is None or not _is_same(earlier, report):
            raise
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) in _PASSING:
            raise LedgerBusy("The month is busy. Try again in a moment.") from error
        raise
    entry = None
    if earlier.charged:
        entry = Entry.objects.get(wallet__user=user, key=_entry_key(earlier.pk))
    return Recorded(earlier, entry, is_duplicate=True)


@dataclass(frozen=True)
class _Report:
    """What was said to have been used; `at` is None for now."""

    meter: str
    quantity: int
    key: str
    at: datetime | None
    by_customer: bool


_PASSING: Final = {"55P03", "40P01"}
"""A lock that is not to be had in time, a deadlock."""


def _is_same(earlier: Event, report: _Report) -> bool:
    return (
        earlier.meter.code == report.meter
        and earlier.quantity == report.quantity
        and report.at in (None, earlier.at)
    )


def _record(user: User, report: _Report, actor: User | None, api_key: ApiKey | None) -> Recorded:
    at = _time_of(report)
    meter = meter_of(report.meter)
    if not meter.is_active:
        raise InactiveMeter("This meter takes no usage.")
    month = at.date().replace(day=1)
    tariff_id, prices = _prices_of(meter.pk, month)
    month_id, units, charged = _count(user, meter, month, tariff_id, report.quantity)
    price = prices.price(units)
    if price > MAX_CREDITS:
        raise QuantityRefused("The month would cost more than 2^53 - 1 credits.")
    # By volume a month can cost less than before; then the next units are free until it catches up.
    event = Event(
        user=user,
        meter=meter,
        key=report.key,
        by_customer=report.by_customer,
        quantity=report.quantity,
        at=at,
        units=units,
        charged=max(0, price - charged),
        api_key=api_key,
    )
    _write(event, month_id)
    return Recorded(event, _charge(event, actor, api_key) if event.charged else None)


def meter_of(code: str) -> Meter:
    """The meter that programs call so. Raises `UnknownMeter`."""
    is_code = isinstance(code, str) and METER_CODE.fullmatch(code)
    meter = Meter.objects.filter(code=code).first() if is_code else None
    if meter is None:
        raise UnknownMeter("There is no such meter.")
    return meter


def _time_of(report: _Report) -> datetime:
    now = timezone.now()
    at = report.at or now
    # Compared before it is moved to UTC: the first and last days there are can't be.
    if at < now - LATEST:
        raise TooLate(f"Usage is taken for {LATEST.days} days.")
    if at > now + EARLIEST:
        raise TooEarly("This time is in the future.")
    return at.astimezone(UTC)


@lru_cache(maxsize=1000)
def _prices_of(meter_id: int, month: date) -> tuple[int, PriceList]:
    """The price list of a month, which may be remembered: once it is used, it never changes, and no
    other can take its place (`usage/sql/0001_rules.sql`)."""
    lists = Tariff.objects.filter(meter=meter_id, begins_on__lte=month).order_by("-begins_on")
    tariff = lists.first()
    if tariff is None:
        raise NoPriceList(f"This meter has no price list for {month:%Y-%m}.")
    return tariff.pk, tariff.price_list()


def _count(
    user: User, meter: Meter, month: date, tariff_id: int, quantity: int
) -> tuple[int, int, int]:
    """Add to the month, whose row is then ours alone: its id, units, and what it was charged."""
    values: dict[str, Any] = {
        "user": user.pk,
        "meter": meter.pk,
        "month": month,
        "tariff": tariff_id,
        "units": quantity,
        "most": MAX_UNITS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        row: tuple[int, int, int] | None = cursor.fetchone()
    if row is None:
        raise QuantityRefused("The month would have more than 2^53 - 1 units.")
    return row


def _write(event: Event, month_id: int) -> None:
    """Write the event, once, and what it adds to its day and month."""
    values: dict[str, Any] = {
        "month": month_id,
        "user": event.user_id,
        "meter": event.meter_id,
        "key": event.key,
        "by_customer": event.by_customer,
        "quantity": event.quantity,
        "at": event.at,
        "day": event.at.date(),
        "units": event.units,
        "charged": event.charged,
        "api_key": event.api_key_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, values)
        row = cursor.fetchone()
    if row is None:
        raise EventReused("This key has recorded another event.")
    event.pk, event.created_at = row


def _charge(event: Event, actor: User | None, api_key: ApiKey | None) -> Entry:
    if api_key is not None:
        keys.charge(api_key, event.charged)
    with preferences.read_by(event.user):
        note = f"{event.meter.name} {_TIMES} {number(event.quantity)}"
    return ledger.spend(
        ledger.wallet_of(event.user),
        event.charged,
        key=_entry_key(event.pk),
        note=note,
        actor=actor,
        owe_up_to=event.meter.owe_limit,
    )


def _entry_key(event_id: int) -> str:
    return f"usage:{event_id}"


_COUNT: Final = """
    INSERT INTO usage_month AS month (user_id, meter_id, begins_on, tariff_id, units, charged)
    VALUES (%(user)s, %(meter)s, %(month)s, %(tariff)s, %(units)s, 0)
    ON CONFLICT (user_id, begins_on, meter_id) DO UPDATE SET units = month.units + excluded.units
        WHERE month.units + excluded.units <= %(most)s
    RETURNING id, units, charged"""
_WRITE: Final = """
    WITH event AS (
        INSERT INTO usage_event
            (user_id, meter_id, key, by_customer, quantity, at, units, charged, api_key_id,
             created_at)
        VALUES (%(user)s, %(meter)s, %(key)s, %(by_customer)s, %(quantity)s, %(at)s, %(units)s,
                %(charged)s, %(api_key)s, statement_timestamp())
        ON CONFLICT (user_id, by_customer, key) DO NOTHING
        RETURNING id, created_at
    ), day AS (
        INSERT INTO usage_day AS day (user_id, meter_id, date, units, charged)
        SELECT %(user)s, %(meter)s, %(day)s, %(quantity)s, %(charged)s FROM event
        ON CONFLICT (user_id, meter_id, date) DO UPDATE
            SET units = day.units + excluded.units, charged = day.charged + excluded.charged
    ), month AS (
        UPDATE usage_month SET charged = charged + %(charged)s
        WHERE id = %(month)s AND %(charged)s > 0 AND EXISTS (SELECT FROM event)
    )
    SELECT id, created_at FROM event"""
