"""Handing out what an organisation has bought for many, by the worker, a chunk at a time.

A chunk is one transaction: credits, gifts, mails and the lines that tell of them. So a worker that
ends in the middle leaves a chunk undone, and the next one does it; and each line's credits are
booked under a key of its own, once.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Lower, Now
from django.utils import translation
from django.utils.translation import gettext as _

from accounts.models import User
from billing import giving, mails
from billing.models import BulkLine, BulkPurchase, Purchase
from credits import errors, gifts, ledger
from credits.models import Wallet

logger = logging.getLogger(__name__)

CHUNK: Final = 100
"""Lines in one transaction."""

CHUNKS: Final = 10
"""At most so many a round, so that the worker's other jobs have their turn."""

FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)

Reason = BulkLine.Reason
Status = BulkLine.Status


@dataclass(frozen=True)
class Sending:
    """A line on its way into a wallet or, where that is None, to whoever claims it."""

    line: BulkLine
    wallet: Wallet | None


def begin(purchase: Purchase) -> None:
    """Have what a purchase has granted handed out, if it was bought for that.

    Call it in the transaction of the grant, as often as you like.
    """
    BulkPurchase.objects.filter(purchase=purchase, status=BulkPurchase.Status.ORDERED).update(
        status=BulkPurchase.Status.DELIVERING, due_at=Now()
    )


def retry(chosen: QuerySet[BulkPurchase]) -> int:
    """Have those that were put off go on at once; answers how many."""
    waiting = chosen.filter(status=BulkPurchase.Status.DELIVERING)
    return waiting.update(due_at=Now(), tries=0, error="")


def deliver_due() -> int:
    """Hand out what is due, some chunks at most. Answers the number of lines."""
    done = 0
    for _chunk in range(CHUNKS):
        count = _deliver_next()
        if count is None:
            break
        done += count
    return done


def _deliver_next() -> int | None:
    """The next chunk of the bulk purchase that is due the longest; None where none is."""
    bulk = None
    try:
        with transaction.atomic():
            bulk = (
                BulkPurchase.objects.select_for_update(skip_locked=True, of=("self",))
                .select_related("organisation__account__organisation", "invoice")
                .filter(status=BulkPurchase.Status.DELIVERING, due_at__lte=Now())
                .order_by("due_at", "pk")
                .first()
            )
            return None if bulk is None else _deliver_chunk(bulk)
    except Exception as error:
        if bulk is None:
            raise
        _put_off(bulk, error)
        return 0


def _put_off(bulk: BulkPurchase, error: Exception) -> None:
    """It is tried again later, and others have their turn meanwhile."""
    tries = bulk.tries + 1
    logger.exception("Bulk purchase %s was put off at try %d", bulk.pk, tries)
    BulkPurchase.objects.filter(pk=bulk.pk).update(
        tries=tries,
        due_at=Now() + min(FIRST_PAUSE * 2 ** min(bulk.tries, 10), LONGEST_PAUSE),
        error=f"{type(error).__name__}: {error}".replace("\0", "")[:500],
    )


def _deliver_chunk(bulk: BulkPurchase) -> int:
    """Deal with the next lines of a bulk purchase that is locked. Answers how many."""
    lines = list(bulk.lines.filter(status=Status.WAITING).order_by("number")[:CHUNK])
    users, account = _users_of(lines), bulk.organisation.account
    wallets = ledger.wallets_of({*users.values(), account.pk})
    sender = wallets[account.pk]
    sender.user = account
    sendings = [
        Sending(line, wallets[users[line.pk]] if line.pk in users else None)
        for line in lines
        if line.pk in users or line.email
    ]
    refused = {line.pk: Reason.NO_USER for line in lines if line.pk not in users and not line.email}
    refused |= _send_all_or_each(bulk, sender, sendings)
    for line in lines:
        line.reason = refused.get(line.pk, "")
        line.status = Status.NOT_SENT if line.reason else Status.SENT
    BulkLine.objects.bulk_update(lines, ["status", "reason"])
    _go_on(bulk, is_last=len(lines) < CHUNK)
    return len(lines)


def _users_of(lines: Sequence[BulkLine]) -> dict[int, int]:
    """Who has an account among the lines' recipients: users' ids by the lines'.

    They are locked, so that none of them is closed before the credits are there.
    """
    addresses = {line.email for line in lines if line.email}
    confirmed = EmailAddress.objects.annotate(address=Lower("email")).filter(
        address__in=addresses, verified=True
    )
    user_of = dict(confirmed.values_list("address", "user"))
    named = {line.pk: line.user_id or user_of.get(line.email) for line in lines}
    there = User.objects.select_for_update(no_key=True).filter(
        pk__in=set(named.values()), closing_at=None, closed_at=None, is_organisation=False
    )
    open_ids = set(there.order_by("pk").values_list("pk", flat=True))
    return {pk: user_id for pk, user_id in named.items() if user_id in open_ids}


def _send_all_or_each(
    bulk: BulkPurchase, sender: Wallet, sendings: Sequence[Sending]
) -> dict[int, Reason]:
    """Send them together, or, where too little is left for all, each that there is enough for.

    What was bought is less than its lines where money of it went back meanwhile, or the
    organisation has spent some of it. Answers why which lines were not sent.
    """
    if not sendings:
        return {}
    try:
        _send(bulk, sender, sendings)
    except (errors.NotGiftable, errors.CreditsOwed):
        pass
    else:
        return {}
    # What was locked for all of them is not any more: once more, in the one order for it.
    ledger.lock([sender, *(one.wallet for one in sendings if one.wallet)])
    refused = {}
    for one in sendings:
        try:
            _send(bulk, sender, [one])
        except errors.NotGiftable:
            refused[one.line.pk] = Reason.NO_CREDITS
        except errors.CreditsOwed:
            refused[one.line.pk] = Reason.OWED
    return refused


def _send(bulk: BulkPurchase, sender: Wallet, sendings: Sequence[Sending]) -> None:
    # In the order of the list whichever way they go: by another one the organisation's history
    # would tell who has an account.
    transfers = ledger.deliver(
        sender,
        [
            ledger.Line(one.wallet.pk if one.wallet else None, one.line.credits, one.line.key)
            for one in sendings
        ],
        of=bulk.grant_key,
        note=_note(bulk),
    )
    told, parcels = [], []
    for one, transfer in zip(sendings, transfers, strict=True):
        if one.wallet is None:
            parcels.append(gifts.Parcel(one.line.email, transfer))
        else:
            context = {"credits": one.line.credits, "sender": bulk.organisation.name}
            told.append((User(pk=one.wallet.user_id), one.line.key, context))
    if told:
        mails.tell_each("bulk_received", told)
    if parcels:
        giving.hand_out(sender.user, parcels)


def _note(bulk: BulkPurchase) -> str:
    """What the organisation and the recipients read in their histories."""
    # By its number: what is booked can't be erased, and an organisation's name may have to be. Of
    # people whose languages differ, so in the shop's.
    with translation.override(settings.LANGUAGE_CODE):
        return _("Bulk purchase %(number)s") % {"number": bulk.number}


def _go_on(bulk: BulkPurchase, *, is_last: bool) -> None:
    """What was dealt with is; the rest is due after the others that are due now."""
    changed: dict[str, Any] = {"due_at": Now(), "tries": 0, "error": ""}
    if is_last:
        changed |= {"status": BulkPurchase.Status.DONE, "done_at": Now()}
    BulkPurchase.objects.filter(pk=bulk.pk).update(**changed)
