"""From a list to an order: a draft to look at, and the purchase that pays for it.

A draft is a bulk purchase without a `Purchase`. It is ordered once: its id is the `request_id` of
its purchase, which is the organisation's account's and is paid like any other.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Lower, Now

from accounts import closing
from accounts.models import Organisation, User
from billing import checkout
from billing.bulk.lines import BadLines, Line, Problem
from billing.checkout import RequestIdReused
from billing.models import BulkLine, BulkPurchase, Invoice, Mode, Purchase
from credits import ledger

DRAFTS_KEPT: Final = timedelta(days=7)
"""Then a list that was not ordered goes, with the addresses on it."""

MOST_DRAFTS: Final = 50
"""How many lists of an organisation may wait to be ordered."""


class TooManyDrafts(Exception):
    """The organisation has `MOST_DRAFTS` lists that were not ordered."""


class OwesCredits(Exception):
    """The organisation owes credits, which would be taken from what it buys for others."""

    def __init__(self, owed: int) -> None:
        super().__init__(f"{owed} credits are owed.")
        self.owed = owed


@transaction.atomic
def draft(
    organisation: Organisation,
    lines: Sequence[Line],
    *,
    by: User | None,
    id: uuid.UUID | None = None,
) -> BulkPurchase:
    """Keep a list to look at. The same `id` answers the same one, of the same lines.

    Raises `BadLines` for users that there are not, `RequestIdReused`, `AccountClosing`.
    """
    closing.check_open(organisation.account)
    if id is not None:
        known = BulkPurchase.objects.filter(pk=id).first()
        if known is not None:
            return _same(known, organisation, lines)
    check_users(lines)
    bulk = BulkPurchase.objects.create(
        id=id or uuid.uuid4(),
        organisation=organisation,
        made_by=by,
        credits=sum(line.credits for line in lines),
        lines_count=len(lines),
    )
    BulkLine.objects.bulk_create(
        BulkLine(
            bulk=bulk,
            number=line.number,
            email=line.email,
            user_id=line.user_id,
            credits=line.credits,
        )
        for line in lines
    )
    return bulk


def check_room(organisation: Organisation) -> None:
    """Raise `TooManyDrafts` unless another list may wait to be ordered."""
    drafts = BulkPurchase.objects.filter(status=BulkPurchase.Status.DRAFT)
    if drafts.filter(organisation=organisation).count() >= MOST_DRAFTS:
        raise TooManyDrafts


def _same(known: BulkPurchase, organisation: Organisation, lines: Sequence[Line]) -> BulkPurchase:
    of_it = known.lines.order_by("number").values_list("number", "credits", "email", "user")
    # What it names once it is sent is more than what was asked for.
    told = {(number, credits, email or user) for number, credits, email, user in of_it}
    asked = {(line.number, line.credits, line.email or line.user_id) for line in lines}
    if known.organisation_id != organisation.pk or told != asked:
        raise RequestIdReused
    return known


def check_users(lines: Sequence[Line]) -> None:
    """Raise `BadLines` where one names a user that there is not."""
    named = {line.user_id for line in lines if line.user_id is not None}
    found = set(
        User.objects.filter(pk__in=named, closed_at=None, is_organisation=False).values_list(
            "pk", flat=True
        )
    )
    problems = [
        Problem(line.number, "user", "There is no such user.")
        for line in lines
        if line.user_id is not None and line.user_id not in found
    ]
    if problems:
        raise BadLines(problems)


def order(bulk: BulkPurchase, *, expected_total: int | None, po_number: str = "") -> Purchase:
    """Place the order, which charges nothing yet; once, however often it is asked for.

    Call it in a transaction. `expected_total` is what the buyer saw, in cents. Raises
    `PriceChanged`, `RequestIdReused`, `OwesCredits`, `AccountClosing`.
    """
    account = bulk.organisation.account
    # The account first, as closing it does.
    closing.check_open(account)
    bulk = BulkPurchase.objects.select_for_update().get(pk=bulk.pk)
    owed = ledger.standing(account).owed
    if bulk.is_draft and owed:
        raise OwesCredits(owed)
    order = checkout.Order(bulk.credits, Mode.PAYMENT, bulk.pk, expected_total)
    purchase = checkout.place_order(account, order)
    if bulk.is_draft:
        bulk.purchase = purchase
        bulk.status = BulkPurchase.Status.ORDERED
        bulk.po_number = po_number
        bulk.save(update_fields=["purchase", "status", "po_number"])
    return purchase


def pay_by_card(bulk: BulkPurchase, *, expected_total: int | None) -> str:
    """Order it and open a payment page; answers its address.

    Raises what `order` does, and `StripeUnavailable`, `StripeRefused`: nothing is charged then.
    """
    with transaction.atomic():
        purchase = order(bulk, expected_total=expected_total)
        if Invoice.objects.filter(bulk=bulk.pk).exists():
            raise RequestIdReused  # it was ordered to be paid by invoice
    return checkout.payment_page(purchase)


def forget_recipient(user: User) -> None:
    """Take the user's addresses off all lists, in the transaction that closes the account.

    Also all others off the lists of an organisation whose account it is.
    """
    addresses = EmailAddress.objects.filter(user=user).annotate(address=Lower("email"))
    known = {user.email.lower(), *addresses.values_list("address", flat=True)}
    is_theirs = Q(email__in=known) | Q(bulk__organisation=user.pk)
    BulkLine.objects.filter(is_theirs).exclude(email="").update(email="")
    BulkPurchase.objects.filter(organisation=user.pk).update(po_number="")


def forget_drafts() -> int:
    """Lists that nobody ordered go; answers how many did."""
    old = BulkPurchase.objects.filter(
        status=BulkPurchase.Status.DRAFT, created_at__lt=Now() - DRAFTS_KEPT
    )
    return old.delete()[1].get("billing.BulkPurchase", 0)
