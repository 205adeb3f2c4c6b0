"""API keys: what programs sign in with.

A key is 256 random bits after a few letters that say what it is. Only its SHA-256 is kept: there is
nothing to guess from it, so no slow hash is needed (docs/decisions/0024-keys-for-programs.md).
"""

import hashlib
import math
import secrets
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import closing, limits
from accounts.models import ApiKey, ApiKeySpending, User

BEGINNINGS: Final = {ApiKey.Kind.PERSONAL: "dcp_", ApiKey.Kind.SERVICE: "dcs_"}
BURST: Final = 10
"""Seconds that a key may be ahead of its pace: a sixth of a minute's requests at once."""

MOST_OPEN: Final = 25
"""How many open keys a user may have."""

_RANDOM_BYTES: Final = 32
_SHOWN: Final = 4
"""How many of the random characters are kept, to tell keys apart."""


class KeyRefused(Exception):
    """The key opens nothing. `code` is what the API answers."""

    code = "invalid_api_key"


class KeyExpired(KeyRefused):
    code = "expired_api_key"


class KeyRevoked(KeyRefused):
    code = "revoked_api_key"


class TooFast(Exception):
    """The key's requests come faster than it may; `wait` is in whole seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"Again in {wait} s.")
        self.wait = wait


class TooManyKeys(Exception):
    """The user has `MOST_OPEN` keys. None was made."""


class MadeBefore(Exception):
    """The form has made its key already, and that was shown then. None was made now."""


class LimitReached(limits.LimitReached):
    """The key's limit."""


@transaction.atomic
def make(
    *,
    made_by: User,
    name: str,
    scopes: Iterable[str],
    owner: User | None,
    expires_at: datetime | None = None,
    limit_credits: int | None = None,
    limit_period: str = "",
    requests_per_minute: int | None = None,
    request_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    """A new key, and its text, which is not kept. Without `owner` it acts for any user.

    `request_id` is of the form that asks, which makes one key however often it is sent. Raises
    `MadeBefore`, `TooManyKeys`, `AccountClosing`.
    """
    # Whoever comes second waits here for the first, so that both of the next two are exact.
    closing.check_open(owner or made_by)
    if request_id and ApiKey.objects.filter(made_by=made_by, request_id=request_id).exists():
        raise MadeBefore
    if owner is not None and open_keys(owner).count() >= MOST_OPEN:
        raise TooManyKeys
    kind = ApiKey.Kind.SERVICE if owner is None else ApiKey.Kind.PERSONAL
    token = BEGINNINGS[kind] + secrets.token_urlsafe(_RANDOM_BYTES)
    key = ApiKey.objects.create(
        kind=kind,
        user=owner,
        made_by=made_by,
        name=name,
        prefix=token[: len(BEGINNINGS[kind]) + _SHOWN],
        digest=_digest(token),
        scopes=sorted(scopes),
        expires_at=expires_at,
        limit_credits=limit_credits,
        limit_period=limit_period,
        requests_per_minute=requests_per_minute,
        request_id=request_id,
    )
    return key, token


def open_keys(user: User) -> QuerySet[ApiKey]:
    """The user's keys that are neither revoked nor expired."""
    is_current = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(is_current, user=user, revoked_at=None)


def revoke(key: ApiKey) -> bool:
    """From now on it opens nothing; what is under way may end. False if it was revoked before."""
    found = ApiKey.objects.filter(pk=key.pk, revoked_at=None)
    is_new = found.update(revoked_at=timezone.now()) == 1
    key.refresh_from_db(fields=["revoked_at"])
    return is_new


def admit(token: str) -> ApiKey:
    """The key of a request, which is counted. Raises `KeyRefused`, `TooFast`.

    A key that opens nothing is told apart from an unknown one only to who holds it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ADMIT, [_digest(token), settings.API_REQUESTS_PER_MINUTE, BURST])
        row = cursor.fetchone()
    if row is None:
        raise KeyRefused
    *values, is_open, wait = row
    key = ApiKey.from_db(connection.alias, _NAMES, values)
    if key.revoked_at is not None:
        raise KeyRevoked
    if key.expires_at is not None and key.expires_at <= timezone.now():
        raise KeyExpired
    if not is_open:
        raise KeyRefused
    if wait:
        raise TooFast(math.ceil(wait))
    return key


def charge(key: ApiKey, credits: int) -> date | None:
    """Count credits against the key's limit, in the transaction that spends or holds them.

    Answers the day on which the period began, for `give_back`; None without a limit. Of requests at
    once the second waits for the first, so the limit is exact. Raises `LimitReached`.
    """
    begins_on = period_of(key)
    if begins_on is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT accounts_charge(%s, %s, %s, %s)",
            [key.pk, begins_on, credits, key.limit_credits],
        )
        if cursor.fetchone() == (True,):
            return begins_on
    raise limit_reached(key, begins_on)


def period_of(key: ApiKey) -> date | None:
    """The day on which the present period of the key's limit began; None without a limit."""
    if key.limit_credits is None:
        return None
    return limits.begin_of(key.limit_period, limits.today())


def limit_reached(key: ApiKey, begins_on: date) -> LimitReached:
    spending = ApiKeySpending.objects.filter(key=key, begins_on=begins_on).first()
    return LimitReached(
        key.limit_credits or 0,
        spending.credits if spending else 0,
        limits.resets_at(key, begins_on),
    )


def give_back(key_id: int, begins_on: date, credits: int) -> None:
    """Count no more what was held in that period and neither spent nor kept."""
    ApiKeySpending.objects.filter(key=key_id, begins_on=begins_on).update(
        credits=models.F("credits") - credits
    )


def spent(found: Sequence[ApiKey]) -> dict[int, int]:
    """Credits that each of the keys with a limit has spent, or holds, in this period; by its id."""
    today = limits.today()
    begins = {
        key.pk: limits.begin_of(key.limit_period, today) for key in found if key.limit_credits
    }
    rows = ApiKeySpending.objects.filter(key__in=begins, begins_on__in=set(begins.values()))
    return dict.fromkeys(begins, 0) | {
        row.key_id: row.credits for row in rows if row.begins_on == begins[row.key_id]
    }


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_FIELDS: Final = ApiKey._meta.concrete_fields
_NAMES: Final = [field.attname for field in _FIELDS]
_ADMIT: Final = (
    f"SELECT {', '.join(f'(key).{field.column}' for field in _FIELDS)}, is_open, wait "  # noqa: S608 (ours)
    "FROM accounts_admit(%s, %s, make_interval(secs => %s))"
)
