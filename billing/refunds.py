"""Staff send money back. Credits follow when Stripe reports that it went (`billing.clawback`).

Money is in minor units (cents). What a refund will do is worked out anew each time it is asked for,
from the payment as it is at Stripe and the lots as they are here. Permissions are the pages' to
check.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from django.contrib.admin.models import ADDITION, LogEntry
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from billing import stripe_api
from billing.clawback import (
    Fetched,
    NotGrantedYet,
    fetch_charge,
    grants_of,
    purchase_of,
    settle_charge,
)
from billing.fulfilment import Quarantined
from billing.models import Purchase, Refund
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import METADATA_TYPE, NotOurs, stripe_id, uuid_of
from billing.templatetags.money import money
from credits import ledger
from credits.errors import LedgerError
from credits.models import Entry, Kind, Lot

ANSWERED_WITHIN: Final = timedelta(minutes=10)
"""Past this Stripe's answer to a refund is lost: staff have to ask again."""

REMEMBERED: Final = timedelta(days=30)
"""For how long a refund that did not get through is brought to staff's attention."""


class Part(models.TextChoices):
    """How much of a payment goes back."""

    ALL = "all", gettext_lazy("Everything that is left of it")
    UNSPENT = "unspent", gettext_lazy("What the unspent credits cost")


class CannotRefund(Exception):
    """Nothing was refunded; the words are for staff."""


@dataclass(frozen=True)
class Payment:
    """What one entry was paid with."""

    entry: Entry
    purchase: Purchase
    fetched: Fetched

    @property
    def method(self) -> str:
        """As people know it: a brand and the last four digits, never more."""
        details: Mapping[str, Any] = self.fetched.charge.get("payment_method_details") or {}
        kind = str(details.get("type") or "")
        known: Mapping[str, Any] = details.get(kind) or {}
        name = str(known.get("bank_name") or known.get("brand") or kind).replace("_", " ")
        name = name[:1].upper() + name[1:]
        last4 = known.get("last4")
        return _("%(name)s ending %(last4)s") % {"name": name, "last4": last4} if last4 else name


@dataclass(frozen=True)
class Outcome:
    """What a refund would do: `credits` leave, of which `spent` are gone already. What was given
    away and is fetched back is not gone.

    Where other credits that were paid for don't make up for those, the customer owes them.
    """

    amount: int
    credits: int
    spent: int
    owed: int
    after: int

    @property
    def made_up(self) -> int:
        """What other credits that were paid for give instead of those that are gone."""
        return self.spent - self.owed

    @property
    def seen(self) -> str:
        """What staff agree to, in a word that goes through a form."""
        return f"{self.amount}:{self.credits}:{self.spent}:{self.owed}"


def find_payment(entry: Entry, clock: Clock) -> Payment:
    """Ask Stripe for the payment behind an entry.

    Raises `CannotRefund`, `StripeUnavailable`, `StripeRefused`.
    """
    client = stripe_api.client().v1
    intent_id = _intent_of(entry, clock)
    intent = stripe_api.call(lambda: client.payment_intents.retrieve(intent_id), clock)
    try:
        fetched = fetch_charge({"object": "payment_intent", "charge": intent.latest_charge}, clock)
        purchase = purchase_of(fetched, Purchase.objects.all())
    except NotOurs as error:
        raise CannotRefund(str(error)) from error
    if purchase is None or purchase.user_id != entry.wallet.user_id:
        raise CannotRefund(_("No purchase of this customer belongs to it."))
    return Payment(entry, purchase, fetched)


def _intent_of(entry: Entry, clock: Clock) -> str:
    what, _colon, id = entry.key.partition(":")
    intent_id = None
    if what == "purchase":
        found = Purchase.objects.filter(pk=id).values_list("stripe_payment_id", flat=True)
        intent_id = found.first()
    elif what == "invoice":
        payments = stripe_api.call(
            lambda: stripe_api.client().v1.invoice_payments.list({"invoice": id, "status": "paid"}),
            clock,
        ).to_dict()["data"]
        intent_id = stripe_id(payments[0]["payment"].get("payment_intent")) if payments else None
    if intent_id is None:
        raise CannotRefund(_("No payment at Stripe belongs to it."))
    return intent_id


def outcome(payment: Payment, part: str) -> Outcome:
    """What refunding this part of a payment would do now. Raises `CannotRefund`.

    It is found out by doing it and undoing it: no second account of what a clawback does.
    """
    fetched = payment.fetched
    if any(_is_charged_back(dispute) for dispute in fetched.disputes):
        raise CannotRefund(
            _("The payment is disputed: its money is at the bank, and can't be refunded as well.")
        )
    left = fetched.amount - fetched.refunded
    if left <= 0:
        raise CannotRefund(_("All of it was refunded before."))
    try:
        with transaction.atomic():
            found = _try(payment, part, left)
            transaction.set_rollback(True)
    except (NotOurs, NotGrantedYet, Quarantined, LedgerError) as error:
        raise CannotRefund(str(error)) from error
    return found


def _is_charged_back(dispute: Mapping[str, Any]) -> bool:
    return dispute["status"] != "won" and not dispute["is_charge_refundable"]


def _try(payment: Payment, part: str, left: int) -> Outcome:
    user, fetched = payment.purchase.user, payment.fetched
    # What Stripe has refunded and not told yet is as good as gone.
    settle_charge(replace(fetched, at=stripe_api.database_time()))
    grants = grants_of(payment.purchase, payment.entry.key)
    lots = [_lot_of(grant) for grant in grants]
    unspent = [_unspent(lot) for lot in lots]
    if part == Part.UNSPENT:
        left = min(left, _unspent_money(lots, unspent, fetched))
        if left <= 0:
            raise CannotRefund(_("What is unspent of it comes to less than a cent."))
    before = ledger.standing(user)
    charge = dict(fetched.charge) | {"amount_refunded": fetched.refunded + left}
    settle_charge(replace(fetched, at=stripe_api.database_time(), charge=charge))
    after = ledger.standing(user)
    owed = after.owed - before.owed
    credits = sum(_lot_of(grant).revoked for grant in grants) - sum(lot.revoked for lot in lots)
    # What the customer's own balance doesn't account for comes back from who was given it.
    given = credits - (before.available - after.available + owed)
    return Outcome(
        amount=left,
        credits=credits,
        spent=max(0, credits - sum(unspent) - given),
        owed=owed,
        after=after.available,
    )


def _lot_of(grant: Entry) -> Lot:
    return Lot.objects.get(wallet=grant.wallet, entry_id=grant.pk)


def _unspent(lot: Lot) -> int:
    """What is there of a grant, and was not claimed before: it may have been given back, too, or
    have been given to somebody and come back."""
    back = Entry.objects.filter(
        wallet=lot.wallet_id, kind=Kind.RESTORAL, about_id=lot.entry_id
    ).values_list("pk", flat=True)
    opened = Lot.objects.filter(wallet=lot.wallet_id, entry_id__in=[lot.entry_id, *back])
    ids = list(opened.values_list("pk", flat=True))
    is_of_it = Q(pk__in=ids) | Q(origin_wallet_id=lot.wallet_id, origin_lot_id__in=ids)
    is_there = Q(expires_at=None) | Q(expires_at__gt=Now())
    lots = Lot.objects.filter(is_of_it, is_there, wallet=lot.wallet_id, is_open=True)
    remaining = lots.aggregate(sum=Coalesce(Sum("remaining"), 0))["sum"]
    return min(int(remaining), lot.amount - lot.revoked)


def _unspent_money(lots: list[Lot], unspent: list[int], fetched: Fetched) -> int:
    """What can go back without claiming more than is unspent.

    A bonus that is spent is made up for by the purchase's credits, never the other way round.
    """
    most = []
    for count in (1, len(lots)):
        kept = sum(lot.revoked for lot in lots[:count]) + sum(unspent[:count])
        most.append(fetched.amount * kept // sum(lot.amount for lot in lots[:count]))
    return min(most) - fetched.returned


def unfinished(entry: Entry) -> Refund | None:
    """A refund of this entry that was asked for and Stripe hasn't answered."""
    return (
        Refund.objects.filter(
            purchase__user_id=entry.wallet.user_id,
            entry_key=entry.key,
            stripe_id=None,
            status="",
        )
        .order_by("created_at")
        .first()
    )


def needing_attention(among: QuerySet[Refund]) -> QuerySet[Refund]:
    """Refunds that Stripe hasn't answered, and of the last month those that didn't get through and
    that no later one has made up for."""
    later = Refund.objects.filter(
        purchase_id=OuterRef("purchase_id"),
        entry_key=OuterRef("entry_key"),
        created_at__gt=OuterRef("created_at"),
    )
    is_unanswered = Q(status="", stripe_id=None, created_at__lt=Now() - ANSWERED_WITHIN)
    is_failed = Q(status__in=Refund.NOT_THROUGH, created_at__gt=Now() - REMEMBERED)
    return among.filter(is_unanswered | is_failed & ~Exists(later))


def refund(
    payment: Payment, amount: int, *, id: uuid.UUID, reason: str, staff: User, clock: Clock
) -> Refund:
    """Send money back. The same `id` is the same refund, however often it is asked for.

    No credits move before Stripe reports it. Raises `CannotRefund`, `StripeUnavailable` (it may
    have been made: ask again with the same id), `StripeRefused`.
    """
    row = _write(payment, amount, id, reason, staff)
    if row.status == Refund.REFUSED:
        raise CannotRefund(_("Stripe has refused this refund before: begin a new one."))
    if row.stripe_id is not None:
        return row
    made = _made_before(row, payment) or _make(row, payment, clock)
    # Its webhook may have been faster, and know more.
    Refund.objects.filter(pk=row.pk, stripe_id=None).update(
        stripe_id=made["id"], status=str(made["status"])
    )
    row.refresh_from_db()
    return row


@transaction.atomic
def _write(payment: Payment, amount: int, id: uuid.UUID, reason: str, staff: User) -> Refund:
    # Locked, so that two people can't both refund what is unspent.
    purchase = Purchase.objects.select_for_update().get(pk=payment.purchase.pk)
    known = Refund.objects.filter(pk=id).first()
    if known is not None:
        if (known.purchase_id, known.entry_key) != (purchase.pk, payment.entry.key):
            raise CannotRefund(_("This form has refunded something else before."))
        return known
    if unfinished(payment.entry) is not None:
        raise CannotRefund(_("Another refund of it waits for Stripe's answer."))
    made = Refund.objects.filter(purchase=purchase, entry_key=payment.entry.key)
    seen = {found["id"] for found in payment.fetched.refunds}
    if set(made.exclude(stripe_id=None).values_list("stripe_id", flat=True)) - seen:
        raise CannotRefund(_("Another refund of it was made meanwhile: look at it anew."))
    row = Refund.objects.create(
        id=id,
        purchase=purchase,
        entry_key=payment.entry.key,
        amount=amount,
        reason=reason,
        actor=staff,
    )
    LogEntry.objects.log_actions(
        staff.pk,
        Refund.objects.filter(pk=row.pk),
        ADDITION,
        change_message=f"Refund of {money(amount)} to {purchase.user}: {reason}",
        single_object=True,
    )
    return row


def _made_before(row: Refund, payment: Payment) -> Mapping[str, Any] | None:
    # An idempotency key is good for a day, and staff may come back after it.
    for found in payment.fetched.refunds:
        if uuid_of((found.get("metadata") or {}).get("refund_id")) == row.pk:
            return found
    return None


def _make(row: Refund, payment: Payment, clock: Clock) -> Mapping[str, Any]:
    try:
        return stripe_api.keyed_call(
            row,
            lambda options: stripe_api.client().v1.refunds.create(
                {
                    "payment_intent": payment.fetched.intent,
                    "amount": row.amount,
                    "metadata": {
                        "type": METADATA_TYPE,
                        "refund_id": str(row.pk),
                        "purchase_id": str(row.purchase_id),
                    },
                },
                options,
            ),
            clock,
        ).to_dict()
    except StripeRefused:
        Refund.objects.filter(pk=row.pk, stripe_id=None).update(status=Refund.REFUSED)
        raise
