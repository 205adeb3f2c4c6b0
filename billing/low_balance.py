"""A mail and a webhook when what a user can spend falls below a threshold: once for each time."""

import time
from math import inf
from typing import Final

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import connection, transaction
from django.db.models import Max
from django.urls import reverse

from accounts.models import User
from billing import mails
from billing.models import BalanceAlert
from credits import ledger
from credits.models import Entry
from outgoing import messages
from outgoing.models import EventType

SUGGESTED: Final = 100
"""What the page offers to who has switched the mails off."""

_SIGNER: Final = "billing.low_balance.off"

WHOLE_EVERY: Final = 3600
"""Seconds after which all wallets are looked at, and not only those that were booked on."""

MARGIN: Final = 10_000
"""Entries get their numbers before they are committed: so many of the last are looked at again."""

# Buyers who chose nothing get the shop's default, from when they first have that much: who buys
# less than that, or had less when this came, has not fallen below anything.
_ARM: Final = """
    INSERT INTO billing_balancealert (user_id, is_low)
    SELECT wallet.user_id, false FROM credits_wallet AS wallet
    WHERE wallet.balance - wallet.held >= %(default)s {only}
        AND NOT EXISTS (
            SELECT FROM billing_balancealert AS alert WHERE alert.user_id = wallet.user_id)
        AND EXISTS (
            SELECT FROM billing_purchase AS purchase
            WHERE purchase.user_id = wallet.user_id AND purchase.status = 'paid')
    ON CONFLICT DO NOTHING"""

# The wallet's row finds who may have crossed; only of them is worked out what they can spend. Of
# two workers at once the second waits for the row, and then sees that it has been flipped.
_CROSS: Final = """
    WITH perhaps AS MATERIALIZED (
        SELECT alert.id, coalesce(alert.threshold, %(default)s) AS threshold,
            credits_available(alert.user_id) AS available
        FROM billing_balancealert AS alert JOIN credits_wallet AS wallet USING (user_id)
        WHERE alert.is_low <> (
            wallet.balance - wallet.held < coalesce(alert.threshold, %(default)s)) {only}
    )
    UPDATE billing_balancealert AS alert SET is_low = NOT alert.is_low
    FROM perhaps
    WHERE alert.id = perhaps.id AND alert.is_low <> (perhaps.available < perhaps.threshold)
    RETURNING alert.user_id, alert.is_low, perhaps.available, perhaps.threshold,
        extract(epoch FROM statement_timestamp())::text"""

# A hold is no entry, and there are never many open ones.
_ONLY: Final = """AND wallet.id IN (
        SELECT wallet_id FROM credits_entry WHERE id > %(since)s
        UNION SELECT wallet_id FROM credits_hold WHERE status = 'open')"""


class Watch:
    """`watch`, told by itself where it has looked already: so it costs what was booked since.

    All wallets have their turn at first and every `WHOLE_EVERY` seconds. That finds what brought no
    entry: a hold that was released, a default that has changed.
    """

    def __init__(self) -> None:
        self._newest = 0
        self._whole_at = -inf

    def __call__(self) -> int:
        is_whole = time.monotonic() >= self._whole_at
        newest: int = Entry.objects.aggregate(newest=Max("id", default=0))["newest"]
        fallen = watch(None if is_whole else self._newest - MARGIN)
        self._newest = newest
        if is_whole:
            self._whole_at = time.monotonic() + WHOLE_EVERY
        return fallen


def watch(since: int | None = None) -> int:
    """Write a mail to each user who has fallen below their threshold, and a webhook about them.

    Answers how many have since the last time. Of all users, or those whose wallet has an entry
    after the one with the id `since`, or an open hold. What has expired counts from when it is
    booked: `ledger.expire_due` runs before. Only the alerts that change are locked.
    """
    only = "" if since is None else _ONLY
    values = {"default": settings.LOW_BALANCE_CREDITS, "since": since}
    with transaction.atomic(), connection.cursor() as cursor:
        if settings.LOW_BALANCE_CREDITS:
            cursor.execute(_ARM.format(only=only), values)
        cursor.execute(_CROSS.format(only=only), values)
        fallen = [row for row in cursor.fetchall() if row[1]]
        users = User.objects.in_bulk([row[0] for row in fallen])
        for user_id, _, available, threshold, moment in fallen:
            mails.tell(
                users[user_id],
                "low_balance",
                f"at:{moment}",
                available=available,
                threshold=threshold,
                off=off_path(users[user_id]),
            )
            messages.tell(EventType.LOW, user_id, {"available": available, "threshold": threshold})
    return len(fallen)


def threshold_of(user: User) -> int:
    """Below how many credits the user gets a mail; 0 is never."""
    alert = BalanceAlert.objects.filter(user=user).first()
    if alert is not None and alert.threshold is not None:
        return alert.threshold
    return settings.LOW_BALANCE_CREDITS


def set_threshold(user: User, threshold: int) -> None:
    """Have a mail sent when the user falls below so many credits; 0 is never.

    Who is below already gets none: they see it where they set it.
    """
    is_low = ledger.balance_of(user) < threshold
    BalanceAlert.objects.update_or_create(
        user=user, defaults={"threshold": threshold, "is_low": is_low}
    )


def off_path(user: User) -> str:
    """Where to switch the mails off without signing in: what the mail itself links to."""
    return reverse("alerts_off", args=[Signer(salt=_SIGNER).sign(str(user.pk))])


def user_of(token: str) -> User | None:
    """Whose mails a link of `off_path` is about."""
    try:
        return User.objects.filter(pk=Signer(salt=_SIGNER).unsign(token)).first()
    except BadSignature:
        return None
