"""Gifts, and who is told of them: each mail is written in the transaction of what it tells.

Mails to whom a gift is for go to its address, which may have no account; so they are rows of the
sender's, with that address until they are sent.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import override

from accounts.models import User
from billing import mails
from billing.models import Charge, Mail, Purchase
from credits import gifts, ledger
from credits.models import Entry, Gift, Kind

UNDER_WAY = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
"""How a dispute stands that may still take the payment back."""


NAMES_RECIPIENT = ("gift_claimed", "gift_returned", "gift_bought")
"""Kinds of mails to the sender that say to whom."""


def disputed(user: User) -> list[str]:
    """The keys of the grants that a dispute is about, whose credits are not to be given away."""
    charges = Charge.objects.filter(disputes__status__in=UNDER_WAY)
    if not settings.GIFTS_MAY_BE_GIVEN_ON:  # else what was given to them may be anybody's
        charges = charges.filter(purchase__user=user)
    return list(charges.values_list("entry_key", flat=True).distinct())


def giftable(user: User) -> int:
    """How many credits the user may give away now."""
    if ledger.standing(user).owed:
        return 0
    return ledger.giftable(ledger.wallet_of(user), gifts.giftable_terms(disputed(user)))


@transaction.atomic
def send(sender: User, recipient: str, credits: int, *, message: str, request_id: UUID) -> Gift:
    """Send a gift, and mail its link. Raises what `gifts.send_gift` does."""
    gift, token = gifts.send_gift(
        sender,
        recipient,
        credits,
        message=message,
        request_id=request_id,
        but=disputed(sender),
    )
    if token is not None:
        _mail_link(gift, token)
    return gift


def send_bought(purchase: Purchase) -> None:
    """Send what a purchase was for, if it was for somebody; call it with the grant.

    What can't be sent stays with the buyer, who is told.
    """
    if purchase.gift is None:
        return
    was = purchase.gift.status
    token = gifts.send_ordered(purchase.gift, of=f"purchase:{purchase.pk}")
    gift = Gift.objects.get(pk=purchase.gift.pk)
    if token is not None:
        _mail_link(gift, token)
    if was == Gift.Status.ORDERED != gift.status:
        mails.tell(
            gift.sender,
            "gift_bought",
            _key(gift),
            credits=gift.credits,
            total=purchase.total,
            to=gift.recipient or "…",
            is_sent=token is not None,
        )


def hand_out(sender: User, parcels: Sequence[gifts.Parcel]) -> None:
    """Make gifts of what was sent to many who have no account, and mail the links."""
    told = []
    for gift, token in gifts.make_many(sender, parcels):
        reader = {"email": gift.recipient, "language": gift.sender.language}
        context = {**reader, "credits": gift.credits, **_link(gift, token)}
        told.append((gift.sender, _key(gift), context))
    mails.tell_each("gift", told)


def _mail_link(gift: Gift, token: str) -> None:
    _tell_recipient(gift, "gift", **_link(gift, token))


def _link(gift: Gift, token: str) -> dict[str, Any]:
    return {
        "sender": gift.sender.known_as,
        "message": gift.message,
        "link": reverse("gift", args=[token]),
        "returns": gift.expires_at.isoformat() if gift.expires_at else "",
    }


@transaction.atomic
def claim(user: User, token: str) -> Gift:
    """Raises what `gifts.claim_gift` does."""
    gift = gifts.claim_gift(user, token)
    if not gift.sender.is_organisation:
        told = {"credits": gift.credits, "to": gift.recipient}
        mails.tell(gift.sender, "gift_claimed", _key(gift), **told)
    return gift


@transaction.atomic
def cancel(gift: Gift, *, by: User | None = None, reason: str = "") -> Gift:
    """Cancel a gift, for its sender or, with a reason, as staff. Raises `gifts.GiftGone`."""
    return _tell_return(gifts.cancel_gift(gift, by=by, reason=reason))


def cancel_all(sender: User) -> None:
    """What is still open goes back, since the account is about to be closed."""
    for gift in gifts.open_of(sender):
        gifts.cancel_gift(gift)
        _tell_recipient(gift, "gift_withdrawn", sender=sender.known_as)


def forget(user: User) -> None:
    """Erase from gifts and mails the address of somebody who is closing the account."""
    keys = [_key(gift) for gift in gifts.received_by(user)]
    for mail in Mail.objects.filter(key__in=keys, kind__in=NAMES_RECIPIENT):
        mail.context["to"] = ""
        mail.save(update_fields=["context"])
    gifts.forget(user)


def return_due() -> int:
    """Return what nobody has claimed in time, and forget orders that nobody paid.

    Answers how many were returned.
    """
    gifts.forget_unpaid()
    returned = 0
    for pk in gifts.due():
        with transaction.atomic():
            gift = gifts.return_due(pk)
            if gift is not None:
                _tell_return(gift)
                returned += 1
    return returned


def _tell_return(gift: Gift) -> Gift:
    _tell_sender(gift, "staff" if gift.cancelled_by_id else gift.status, gift.credits, _key(gift))
    _tell_recipient(gift, "gift_withdrawn", sender=gift.sender.known_as)
    return gift


def _tell_sender(gift: Gift, why: str, credits: int, key: str) -> None:
    if gift.sender.is_organisation:
        return  # its page of the bulk purchase tells, of a thousand at once
    told = {"credits": credits, "to": gift.recipient, "why": why}
    mails.tell(gift.sender, "gift_returned", key, **told)


def recall_note(kind: Kind) -> str:
    """What the history says of credits that a clawback fetches back, on either side."""
    # Of people whose languages differ: the shop's.
    with override(settings.LANGUAGE_CODE):
        if kind == Kind.REFUND:
            return _("The purchase of a gift was refunded")
        return _("The payment of a gift was disputed")


def tell_recalled(clawback: Entry) -> None:
    """Note on gifts what a clawback has fetched back of them, and tell both sides."""
    found = ledger.recalled_by(clawback)
    for gift, credits, was_claimed in gifts.mark_recalled(found):
        key = f"{_key(gift)}:{clawback.pk}"
        _tell_sender(gift, clawback.kind, credits, key)
        if not was_claimed:
            _tell_recipient(gift, "gift_withdrawn", sender=gift.sender.known_as)
    _tell_those_who_had_it(found, clawback)


def _tell_those_who_had_it(found: Iterable[ledger.Recalled], clawback: Entry) -> None:
    credits: dict[User, int] = {}
    for one in found:
        if one.wallet is not None:
            credits[one.wallet.user] = credits.get(one.wallet.user, 0) + one.credits
    for user, amount in credits.items():
        mails.tell(
            user, "gift_recalled", f"recall:{clawback.pk}", credits=amount, why=clawback.kind
        )


def _tell_recipient(gift: Gift, kind: str, **context: Any) -> None:
    reader = _owner_of(gift.recipient) or gift.sender
    mails.tell(
        gift.sender,
        kind,
        _key(gift),
        email=gift.recipient,
        language=reader.language,
        credits=gift.credits,
        **context,
    )


def _owner_of(address: str) -> User | None:
    return User.objects.filter(
        emailaddress__email__iexact=address, emailaddress__verified=True
    ).first()


def _key(gift: Gift) -> str:
    return f"gift:{gift.pk}"
