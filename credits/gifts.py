"""Gifts between users: from a balance, or of what was just bought, to an email address.

Whoever signs in with that address, confirmed, and has the link of the mail gets them; until then
the sender may cancel, and what nobody claims returns (docs/decisions/0032-gifts.md). What is told
to whom is `billing.giving`'s.

Locked in this order, by all: the user, the wallets by `ledger.lock`, the gift. Claiming and
cancelling lock the sender's wallet both, so that one of them is first, and so does a clawback.
"""

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import closing
from accounts.models import User
from credits import errors, ledger
from credits.models import Gift, Transfer

LONGEST_MESSAGE: Final = 500
DAY: Final = timedelta(days=1)
"""How long what one has sent counts against what one may send."""

FORGET_UNPAID_AFTER: Final = timedelta(days=60)
"""Longer than any payment takes."""

COUNTED: Final = [
    status for status in Gift.Status if status not in (Gift.Status.ORDERED, Gift.Status.KEPT)
]


class GiftRefused(Exception):
    """Nothing was written."""


class BadAddress(GiftRefused):
    """It is no email address."""


class OwnAddress(GiftRefused):
    """One can't give to oneself."""


class BadMessage(GiftRefused):
    """Longer than `LONGEST_MESSAGE`, or not plain text."""


class NotVerified(GiftRefused):
    """The sender has not confirmed an email address, which the site asks for."""


class TooManyGifts(GiftRefused):
    """The sender has sent as many within a day as one may."""


class TooMuchToday(GiftRefused):
    """More credits within a day than one may send; `left` can still be sent."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} credits may still be sent today.")
        self.left = left


class RequestIdReused(GiftRefused):
    """The request id belongs to a gift with other contents."""


class UnknownGift(GiftRefused):
    """No gift has this link."""


class NotForThem(GiftRefused):
    """The gift is for an address that is not one of the user's, or is not confirmed."""


class GiftGone(GiftRefused):
    """It is not there to be claimed or cancelled any more: `gift` says why."""

    def __init__(self, gift: Gift) -> None:
        super().__init__(str(gift))
        self.gift = gift


# --- Sending ------------------------------------------------------------------------------------


def send_gift(
    sender: User,
    recipient: str,
    credits: int,
    *,
    message: str = "",
    request_id: uuid.UUID,
    but: Sequence[str] = (),
) -> tuple[Gift, str | None]:
    """Send credits of the sender's balance to an email address.

    Only what may be given away, and not what the grants with the keys `but` brought. Answers the
    gift and what its link ends with, which is told this once: None where the same request has sent
    it before. Raises `GiftRefused`, `AccountClosing` and what `ledger.send` does.
    """
    with transaction.atomic():
        closing.check_open(sender)
        wallet = ledger.wallet_of(sender)
        ledger.lock([wallet])  # so that what was sent today can be counted
        address, message = check_address(sender, recipient), check_message(message)
        earlier = Gift.objects.filter(sender=sender, request_id=request_id).first()
        if earlier is not None:
            if (earlier.recipient, earlier.credits, earlier.message) != (address, credits, message):
                raise RequestIdReused
            return earlier, None
        _check_verified(sender)
        gift = Gift(
            sender=sender,
            wallet=wallet,
            recipient=address,
            credits=credits,
            message=message,
            request_id=request_id,
        )
        _check_caps(gift)
        token = _send(gift, giftable_terms(but))
        gift.save(force_insert=True)
    return gift, token


def check_address(sender: User, recipient: str) -> str:
    """The address as gifts keep it. Raises `BadAddress`, `OwnAddress`."""
    address = recipient.strip().lower()
    try:
        validate_email(address)
    except ValidationError:
        raise BadAddress from None
    if len(address) > 254 or "\0" in address:
        raise BadAddress
    own = {sender.email, *EmailAddress.objects.filter(user=sender).values_list("email", flat=True)}
    if _mailbox(address) in {_mailbox(email) for email in own}:
        raise OwnAddress
    return address


def _mailbox(address: str) -> str:
    """The address without what follows a plus, which mostly leads to the same mailbox."""
    name, _at, host = address.lower().rpartition("@")
    return f"{name.partition('+')[0]}@{host}"


def check_message(message: str) -> str:
    """The message with its lines as Unix has them. Raises `BadMessage`."""
    text = "\n".join(message.strip().splitlines())
    if len(text) > LONGEST_MESSAGE or any(
        char != "\n" and not (char.isprintable() or char == "\t") for char in text
    ):
        raise BadMessage
    return text


def _check_verified(sender: User) -> None:
    if settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory":
        return
    if not EmailAddress.objects.filter(user=sender, verified=True).exists():
        raise NotVerified


def giftable_terms(but: Sequence[str] = ()) -> ledger.Giftable:
    """What the site lets one give away."""
    return ledger.Giftable(
        age=timedelta(days=settings.GIFTS_AFTER_DAYS),
        regift=settings.GIFTS_MAY_BE_GIVEN_ON,
        but=but,
    )


def left_today(sender: User) -> tuple[int, int]:
    """How many gifts, and how many credits, the sender may still send."""
    sent = Gift.objects.filter(
        sender=sender,
        created_at__gt=timezone.now() - DAY,
        status__in=COUNTED,
        request_id__isnull=False,  # what was bought for somebody has none
    ).aggregate(gifts=Count("pk"), credits=Sum("credits"))
    return (
        max(0, settings.GIFTS_PER_DAY - sent["gifts"]),
        max(0, settings.GIFTS_CREDITS_PER_DAY - (sent["credits"] or 0)),
    )


def _check_caps(gift: Gift) -> None:
    # Under the lock of the sender's wallet: what others send at this moment comes before or after.
    gifts, credits = left_today(gift.sender)
    if not gifts:
        raise TooManyGifts
    if gift.credits > credits:
        raise TooMuchToday(credits)


def _send(gift: Gift, only: ledger.Giftable) -> str:
    transfer = ledger.send(
        gift.wallet, gift.credits, key=f"gift:{gift.pk}", note=_note(gift), only=only
    )
    token = secrets.token_urlsafe(32)
    gift.entry_id = transfer.entry_id
    _open(gift, token)
    return token


def _open(gift: Gift, token: str) -> None:
    gift.token_hash = _hash(token)
    gift.status = Gift.Status.OPEN
    gift.expires_at = timezone.now() + timedelta(days=settings.GIFTS_RETURN_AFTER_DAYS)


def _note(gift: Gift) -> str:
    # By its number: what is booked can't be erased, and an address may have to be.
    return _("Gift %(number)s") % {"number": gift.number}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# --- Bought for somebody ------------------------------------------------------------------------


def order_gift(sender: User, recipient: str, credits: int, message: str) -> Gift:
    """Write down for whom an order is; `send_ordered` sends it. Raises `GiftRefused`."""
    address, message = check_address(sender, recipient), check_message(message)
    _check_verified(sender)
    return Gift.objects.create(
        sender=sender,
        wallet=ledger.wallet_of(sender),
        recipient=address,
        credits=credits,
        message=message,
        status=Gift.Status.ORDERED,
    )


def send_ordered(gift: Gift, *, of: str) -> str | None:
    """Send what was ordered out of what its payment brought, the grant with the key `of`.

    Call it in the transaction of the grant. Answers what the gift's link ends with; None where it
    was sent before, or can't be: then its credits stay where they are (`KEPT`).
    """
    ledger.lock([gift.wallet])
    gift = _locked(gift.pk)
    if gift.status != Gift.Status.ORDERED:
        return None
    try:
        if gift.sender.closed_at is not None:
            raise GiftRefused
        check_address(gift.sender, gift.recipient)
        token = _send(gift, ledger.Giftable(of=of))
    except (GiftRefused, errors.LedgerError):
        gift.status, gift.closed_at = Gift.Status.KEPT, timezone.now()
        gift.save()
        return None
    gift.created_at = timezone.now()
    gift.save()
    return token


def forget_unpaid() -> None:
    """Erase whom an order was for that was not paid in time."""
    Gift.objects.filter(
        status=Gift.Status.ORDERED, created_at__lt=timezone.now() - FORGET_UNPAID_AFTER
    ).exclude(recipient="").update(recipient="", message="")


# --- To many at once --------------------------------------------------------------------------


@dataclass(frozen=True)
class Parcel:
    """Credits on their way, by `transfer`, for whoever has an address."""

    recipient: str
    transfer: Transfer


def make_many(sender: User, parcels: Sequence[Parcel]) -> list[tuple[Gift, str]]:
    """Have what `ledger.deliver` has sent to nobody yet claimed by whom it is for.

    Call it in the transaction that sends. Neither caps nor the age of credits count: they were
    bought for this. Answers the gifts, each with what its link ends with; one that was made before
    keeps the link that was told then.
    """
    sent = []
    for parcel in parcels:
        token, transfer = secrets.token_urlsafe(32), parcel.transfer
        gift = Gift(
            id=uuid.uuid5(uuid.NAMESPACE_URL, f"{transfer.wallet_id}:{transfer.entry_id}"),
            sender=sender,
            wallet_id=transfer.wallet_id,
            recipient=parcel.recipient,
            credits=transfer.amount,
            entry_id=transfer.entry_id,
        )
        _open(gift, token)
        sent.append((gift, token))
    Gift.objects.bulk_create([gift for gift, _token in sent], ignore_conflicts=True)
    return sent


# --- What becomes of it -------------------------------------------------------------------------


def gift_of(token: str) -> Gift:
    """The gift that a link leads to. Raises `UnknownGift`."""
    gift = Gift.objects.select_related("sender").filter(token_hash=_hash(token)).first()
    if gift is None:
        raise UnknownGift
    return gift


def is_for(gift: Gift, user: User) -> bool:
    """Whether the gift's address is one that the user has confirmed."""
    # Not `iexact`, which compares capitals: those of some letters are those of others.
    confirmed = EmailAddress.objects.filter(user=user, verified=True)
    return confirmed.annotate(address=Lower("email")).filter(address=gift.recipient).exists()


def claim_gift(user: User, token: str) -> Gift:
    """Move a gift into the user's wallet; again, it answers the same.

    Raises `UnknownGift`, `NotForThem`, `GiftGone`, `AccountClosing`.
    """
    found = gift_of(token)
    with transaction.atomic():
        closing.check_open(user)
        wallet = ledger.wallet_of(user)
        ledger.lock([wallet, found.wallet])
        gift = _locked(found.pk)
        if gift.claimed_by_id == user.pk:
            return gift
        if user.pk == gift.sender_id or not is_for(gift, user):
            raise NotForThem
        if not gift.is_open or is_over(gift):
            raise GiftGone(gift)
        try:
            ledger.receive(wallet, _transfer(gift), key=f"gift:{gift.pk}", note=_note(gift))
        except errors.TransferArrived:
            raise GiftGone(gift) from None
        gift.status, gift.claimed_by, gift.closed_at = Gift.Status.CLAIMED, user, timezone.now()
        gift.save()
    return gift


def cancel_gift(gift: Gift, *, by: User | None = None, reason: str = "") -> Gift:
    """Take a gift back that nobody has claimed; again, it answers the same.

    `by` is staff, for a reason. Raises `GiftGone`.
    """
    return _return(gift, Gift.Status.CANCELLED, by, reason)


def due() -> list[uuid.UUID]:
    """The gifts that nobody has claimed in time."""
    open_gifts = Gift.objects.filter(status=Gift.Status.OPEN, expires_at__lte=Now())
    return list(open_gifts.order_by("expires_at").values_list("pk", flat=True)[:500])


def return_due(pk: uuid.UUID) -> Gift | None:
    """Return a gift whose time is up; None where something was faster."""
    try:
        return _return(Gift.objects.get(pk=pk), Gift.Status.RETURNED, None, "")
    except GiftGone:
        return None


def _return(gift: Gift, status: Gift.Status, by: User | None, reason: str) -> Gift:
    with transaction.atomic():
        ledger.lock([gift.wallet])
        gift = _locked(gift.pk)
        if gift.status == status == Gift.Status.CANCELLED:
            return gift
        if not gift.is_open or (status == Gift.Status.RETURNED and not is_over(gift)):
            raise GiftGone(gift)
        try:
            ledger.receive(
                gift.wallet, _transfer(gift), key=f"gift:{gift.pk}:back", note=_note(gift), actor=by
            )
        except errors.TransferArrived:
            status = Gift.Status.RETURNED  # a clawback has it back, and all of it had expired
        gift.status, gift.closed_at = status, timezone.now()
        gift.cancelled_by, gift.reason = by, reason
        gift.save()
    return gift


def _locked(pk: uuid.UUID) -> Gift:
    return (
        Gift.objects.select_for_update(of=("self",))
        .select_related("sender", "wallet__user", "claimed_by")
        .get(pk=pk)
    )


def is_over(gift: Gift) -> bool:
    return gift.expires_at is not None and gift.expires_at <= timezone.now()


def _transfer(gift: Gift) -> Transfer:
    return Transfer.objects.get(wallet=gift.wallet_id, entry_id=gift.entry_id or 0)


def mark_recalled(found: Iterable[ledger.Recalled]) -> list[tuple[Gift, int, bool]]:
    """Note on the gifts what a clawback has fetched back of them, in its transaction.

    Answers each gift, how many credits, and whether it had been claimed.
    """
    credits: dict[tuple[int, int], int] = {}
    for one in found:
        place = (one.transfer.wallet_id, one.transfer.entry_id)
        credits[place] = credits.get(place, 0) + one.credits
    marked = []
    for (wallet_id, entry_id), amount in sorted(credits.items()):
        pk = Gift.objects.filter(wallet=wallet_id, entry_id=entry_id).values_list("pk", flat=True)
        if not pk:
            continue  # sent by other means than a gift
        gift = _locked(pk[0])
        was_claimed = gift.claimed_by_id is not None
        gift.status = Gift.Status.RECALLED
        gift.recalled = min(gift.credits, gift.recalled + amount)
        gift.closed_at = gift.closed_at or timezone.now()
        gift.save()
        marked.append((gift, amount, was_claimed))
    return marked


# --- Lists, and closing an account --------------------------------------------------------------


def sent_by(user: User) -> QuerySet[Gift]:
    """Latest first; an order that was not paid is no gift."""
    sent = Gift.objects.filter(sender=user).exclude(status=Gift.Status.ORDERED)
    return sent.order_by("-created_at")


def received_by(user: User) -> QuerySet[Gift]:
    return (
        Gift.objects.filter(claimed_by=user)
        .select_related("sender__organisation")
        .order_by("-closed_at")
    )


def forget(user: User) -> None:
    """Erase from gifts who a closed account was, and what was written to it or by it."""
    Gift.objects.filter(sender=user).update(message="", recipient="")
    Gift.objects.filter(claimed_by=user).update(message="", recipient="")


def masked(address: str) -> str:
    """An address that its owner knows by this and nobody else does."""
    name, _at, host = address.rpartition("@")
    first, _dot, end = host.rpartition(".")
    return f"{name[:1]}•••@{first[:1]}•••.{end}"


def open_of(user: User) -> QuerySet[Gift]:
    return Gift.objects.filter(sender=user, status=Gift.Status.OPEN).order_by("created_at")
