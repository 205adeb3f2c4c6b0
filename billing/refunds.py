"""Staff send money back. Credits follow when Stripe reports that it went (`billing.clawback`).

Money is in minor units (cents). What a refund will do is worked out anew each time it is asked for,
from the payment as it is at Stripe and the lots as they are here. Permissions are the pages' to
check.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.db import models, transaction
from django.db.models import Q, Sum
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from billing import stripe_api
from billing.clawback import Fetched, fetch_charge, grants_of, purchase_of, share
from billing.models import Purchase, Refund
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import METADATA_TYPE, NotOurs, stripe_id, uuid_of
from billing.templatetags.money import money
from credits import ledger
from credits.models import Category, Entry, Kind, Lot


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
        name = known.get("brand") or known.get("bank_name") or kind.replace("_", " ")
        last4 = known.get("last4")
        return _("%(name)s ending %(last4)s") % {"name": name, "last4": last4} if last4 else name


@dataclass(frozen=True)
class Outcome:
    """What a refund would do: `credits` leave, of which `spent` are gone already.

    Where other credits that were paid for don't make up for those, the customer owes them.
    """

    amount: int
    credits: int
    spent: int
    owed: int
    after: int

    @property
    def seen(self) -> str:
        """What staff agree to, in a word that goes through a form."""
        return f"{self.amount}:{self.credits}:{self.spent}:{self.owed}"


def find_payment(entry: Entry) -> Payment:
    """Ask Stripe for the payment behind an entry.

    Raises `CannotRefund`, `StripeUnavailable`, `StripeRefused`.
    """
    client = stripe_api.client().v1
    clock = Clock()
    intent_id = _intent_of(entry, clock)
    intent = stripe_api.call(lambda: client.payment_intents.retrieve(intent_id), clock)
    try:
        fetched = fetch_charge({"object": "payment_intent", "charge": intent.latest_charge})
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
    """What refunding this part of a payment would do now. Raises `CannotRefund`."""
    fetched = payment.fetched
    if any(_is_charged_back(dispute) for dispute in fetched.disputes):
        raise CannotRefund(
            _("The payment is disputed: its money is at the bank, and can't be refunded as well.")
        )
    left = fetched.amount - fetched.refunded
    if left <= 0:
        raise CannotRefund(_("All of it was refunded before."))
    lots = [_Claim(grant, fetched) for grant in grants_of(payment.purchase, payment.entry.key)]
    if part == Part.UNSPENT:
        left = min(left, _unspent_money(lots, fetched))
        if left <= 0:
            raise CannotRefund(_("None of its credits are unspent."))
    returned = fetched.returned + left
    claims = [share(lot.granted, returned, fetched.amount) - lot.claimed for lot in lots]
    paid_here = _remaining(payment.entry, Q(category=Category.PAID)) - sum(
        lot.under_way for lot in lots
    )
    taken = 0
    for lot, claim in zip(lots, claims, strict=True):
        own = lot.unspent if lot.is_bonus else 0  # the purchase's own are paid ones as well
        found = min(claim, own + max(paid_here, 0))
        taken += found
        paid_here -= max(found - own, 0)
    return Outcome(
        amount=left,
        credits=sum(claims),
        spent=sum(max(claim - lot.unspent, 0) for lot, claim in zip(lots, claims, strict=True)),
        owed=sum(claims) - taken,
        after=ledger.balance_of(payment.purchase.user) - taken,
    )


def _is_charged_back(dispute: Mapping[str, Any]) -> bool:
    return dispute["status"] != "won" and not dispute["is_charge_refundable"]


class _Claim:
    """A grant of the payment: what was claimed of it by what went back, and what is unspent."""

    def __init__(self, grant: Entry, fetched: Fetched) -> None:
        lot = Lot.objects.get(wallet=grant.wallet, entry_id=grant.pk)
        self.granted = grant.amount
        self.is_bonus = lot.category != Category.PAID
        self.claimed = max(lot.revoked, share(grant.amount, fetched.returned, fetched.amount))
        # What Stripe has refunded and not told yet is as good as gone.
        self.under_way = self.claimed - lot.revoked
        own = [grant.pk]
        if not self.is_bonus:
            own += Entry.objects.filter(
                wallet=grant.wallet, kind=Kind.RESTORAL, about_id=grant.pk
            ).values_list("pk", flat=True)
        there = _remaining(grant, Q(entry_id__in=own)) - self.under_way
        self.unspent = max(0, min(there, self.granted - self.claimed))


def _remaining(entry: Entry, which: Q) -> int:
    """Credits in the wallet's lots of this sort that have not expired."""
    is_there = Q(expires_at=None) | Q(expires_at__gt=Now())
    lots = Lot.objects.filter(which, is_there, wallet=entry.wallet, is_open=True)
    return int(lots.aggregate(sum=Coalesce(Sum("remaining"), 0))["sum"])


def _unspent_money(lots: list[_Claim], fetched: Fetched) -> int:
    """What can go back without claiming more than is unspent.

    A bonus that is spent is made up for by the purchase's credits, never the other way round.
    """
    parts = [lots[:1], lots]
    return (
        min(
            fetched.amount
            * sum(lot.claimed + lot.unspent for lot in part)
            // sum(lot.granted for lot in part)
            for part in parts
        )
        - fetched.returned
    )


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


def refund(payment: Payment, amount: int, *, id: uuid.UUID, reason: str, staff: User) -> Refund:
    """Send money back. The same `id` is the same refund, however often it is asked for.

    No credits move before Stripe reports it. Raises `CannotRefund`, `StripeUnavailable` (it may
    have been made: ask again with the same id), `StripeRefused`.
    """
    row = _write(payment, amount, id, reason, staff)
    if row.status == Refund.REFUSED:
        raise CannotRefund(_("Stripe has refused this refund before: begin a new one."))
    if row.stripe_id is not None:
        return row
    made = _made_before(row, payment) or _make(row, payment)
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


def _make(row: Refund, payment: Payment) -> Mapping[str, Any]:
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
            Clock(),
        ).to_dict()
    except StripeRefused:
        Refund.objects.filter(pk=row.pk, stripe_id=None).update(status=Refund.REFUSED)
        raise
