"""What refunds and disputes take back of what a charge bought, and what comes back after all.

Events only say that something has changed about a charge. How it stands is asked of Stripe, and
credits follow to that: so order and repeats can't matter, and refund and dispute together never
take more than the charge brought.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts import preferences
from billing import giving, mails, stripe_api, topup
from billing.fulfilment import Quarantined, buyer_of
from billing.models import Charge, Dispute, Event, Purchase, Refund
from billing.promotions import BONUS
from billing.stripe_api import Clock
from billing.stripe_objects import (
    NotOurs,
    mapping,
    our_metadata,
    sale_of,
    stripe_id,
    uuid_of,
)
from billing.templatetags.money import money
from credits import ledger
from credits.models import CLAWBACKS, Account, Entry, Kind, Lot


class NotGrantedYet(Exception):
    """The charge is ours and its credits aren't booked: Stripe shall tell again later."""


@dataclass(frozen=True)
class Fetched:
    """A charge with its disputes and refunds, as they were at Stripe no earlier than `at`.

    `payment` is what its purchase goes by at Stripe: the payment intent or, where it paid an
    invoice, the subscription. `metadata` is the sale's. Amounts are in minor units.
    """

    at: datetime
    charge: Mapping[str, Any]
    payment: str
    invoice: str | None
    metadata: Mapping[str, Any]
    disputes: Sequence[Mapping[str, Any]]
    refunds: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> str:
        return str(self.charge["id"])

    @property
    def intent(self) -> str:
        return str(stripe_id(self.charge["payment_intent"]))

    @property
    def amount(self) -> int:
        return int(self.charge["amount"])

    @property
    def refunded(self) -> int:
        return int(self.charge["amount_refunded"])

    @property
    def withdrawn(self) -> int:
        return sum(withdrawn_by(dispute) for dispute in self.disputes)

    @property
    def returned(self) -> int:
        """What went back to the buyer, by whichever way; at most all of it."""
        return min(self.refunded + self.withdrawn, self.amount)


def fetch_charge(payload: Mapping[str, Any], clock: Clock | None = None) -> Fetched:
    """Ask Stripe how the charge stands that a refund, a dispute or a charge's event is about.

    Raises `NotOurs`, `StripeUnavailable`, `StripeRefused`.
    """
    charge_id = payload["id"] if payload.get("object") == "charge" else payload.get("charge")
    charge_id = stripe_id(charge_id)
    if charge_id is None:
        raise NotOurs("It is about no charge.")
    clock = clock or Clock()
    client = stripe_api.client().v1
    at = stripe_api.database_time()
    charge = stripe_api.call(lambda: client.charges.retrieve(charge_id), clock).to_dict()
    intent_id = stripe_id(charge.get("payment_intent"))
    if intent_id is None:
        raise NotOurs("The charge was for no payment intent.")
    # Of a payment that took several tries, the failed ones are charges as well.
    if charge["status"] != "succeeded":
        raise NotOurs("The charge took no money.")
    payment, invoice_id, metadata = _sale_of(intent_id, clock)
    of_charge: Any = {"charge": charge_id, "limit": 100}
    disputes = stripe_api.call(lambda: client.disputes.list(of_charge), clock).to_dict()["data"]
    refunds = stripe_api.call(lambda: client.refunds.list(of_charge), clock).to_dict()["data"]
    return Fetched(at, charge, payment, invoice_id, metadata, disputes, refunds)


def _sale_of(intent_id: str, clock: Clock) -> tuple[str, str | None, Mapping[str, Any]]:
    """What a payment goes by in `Purchase`, the invoice that it paid, and the sale's metadata."""
    client = stripe_api.client().v1
    intent = stripe_api.call(lambda: client.payment_intents.retrieve(intent_id), clock).to_dict()
    try:
        return intent_id, None, our_metadata(intent.get("metadata"))
    except NotOurs:
        pass
    # The payments of invoices carry no metadata; their invoice does.
    payments = stripe_api.call(
        lambda: client.invoice_payments.list(
            {"payment": {"type": "payment_intent", "payment_intent": intent_id}}
        ),
        clock,
    ).to_dict()["data"]
    if not payments:
        raise NotOurs("The payment is neither marked as ours nor an invoice's.")
    invoice_id = str(stripe_id(payments[0]["invoice"]))
    invoice = stripe_api.call(lambda: client.invoices.retrieve(invoice_id), clock).to_dict()
    payment, metadata = sale_of(invoice)
    return str(payment), invoice_id, our_metadata(metadata)


def withdrawn_by(dispute: Mapping[str, Any]) -> int:
    """What a dispute holds back now: all that it is over, or nothing.

    Its own movements of money tell, not its status: an inquiry has none, a dispute that was opened
    or won may not have its yet, and Stripe adds statuses. They may be in another currency than the
    charge (that of the payout), so that only their signs count
    (docs/decisions/0012-dispute-money-by-its-movements.md).
    """
    signs = [move["amount"] > 0 for move in dispute["balance_transactions"] if move["amount"]]
    is_held_back = signs.count(False) > signs.count(True)
    return int(dispute["amount"]) if is_held_back else 0


def settle_charge(fetched: Fetched) -> None:
    """Take back, or give back, credits until they stand as the charge does.

    Call it in a transaction, as often as you like, with charges fetched in any order.
    Raises `NotOurs`, `NotGrantedYet`, `Quarantined`.
    """
    # Locked before the wallet, as everywhere: two events of one charge settle one after the other.
    purchase = purchase_of(fetched, Purchase.objects.select_for_update())
    grants = grants_of(purchase, entry_key(purchase, fetched.invoice)) if purchase else []
    if purchase is None or not grants:
        raise _not_granted(fetched)
    if fetched.amount <= 0:
        raise Quarantined("The charge is over nothing.", purchase)
    before = _known(fetched, purchase, grants[0].key)
    if before.fetched_at > fetched.at:
        return  # what is known is newer
    Charge.objects.filter(pk=before.pk).update(
        amount=fetched.amount,
        refunded=fetched.refunded,
        withdrawn=fetched.withdrawn,
        fetched_at=fetched.at,
    )
    _record_refunds(fetched, purchase)
    _record_disputes(fetched, before)
    with preferences.read_by(purchase.user):
        kind, note, back = _what_happened(before, fetched)
    steps = [_settle(grant, fetched, kind, note) for grant in grants]
    _tell(purchase, kind, back, grants[0], [step for step in steps if step is not None])
    if back > 0:
        topup.suspend_after_return(purchase.user)


def purchase_of(fetched: Fetched, among: QuerySet[Purchase]) -> Purchase | None:
    """The purchase that the charge paid for, if it is here. Raises `NotOurs`."""
    purchase_id = uuid_of(fetched.metadata.get("purchase_id"))
    named = among.filter(pk=purchase_id).first() if purchase_id else None
    purchase = named or among.filter(stripe_payment_id=fetched.payment).first()
    # A page that was paid twice: the second payment granted nothing, and takes nothing with it.
    if purchase is not None and purchase.stripe_payment_id not in (None, fetched.payment):
        raise NotOurs("Another payment has paid for this purchase.")
    return purchase


def entry_key(purchase: Purchase, invoice_id: str | None) -> str:
    """The key of the entry that a payment of a purchase brings."""
    return f"invoice:{invoice_id}" if invoice_id else f"purchase:{purchase.pk}"


def grants_of(purchase: Purchase, key: str) -> list[Entry]:
    """What was booked for a payment: the credits that it bought and, if any, their bonus."""
    entries = Entry.objects.filter(
        wallet__user_id=purchase.user_id, key__in=[key, key + BONUS], account=Account.ISSUED
    ).select_related("wallet")
    grants = sorted(entries, key=lambda entry: len(entry.key))
    return grants if grants and grants[0].key == key else []


def _not_granted(fetched: Fetched) -> Exception:
    # Neither will come by itself where its own event waits for staff, or nobody is known to buy.
    if (
        Event.objects.filter(
            status__in=[Event.Status.QUARANTINED, Event.Status.SETTLED],
            type__regex=r"^(checkout|invoice|payment_intent)\.",
            payload__contains=f'"{fetched.invoice or fetched.intent}"',
        ).exists()
    ):  # fmt: skip
        return Quarantined("Nothing was granted for the payment: its own event is in quarantine.")
    buyer_of(fetched.metadata, stripe_id(fetched.charge.get("customer")))
    return NotGrantedYet(f"What {fetched.invoice or fetched.intent} paid for is not booked yet.")


def _known(fetched: Fetched, purchase: Purchase, key: str) -> Charge:
    """The charge as it was known so far; new ones begin with nothing returned."""
    charge, _is_new = Charge.objects.get_or_create(
        stripe_id=fetched.id,
        defaults={
            "purchase": purchase,
            "entry_key": key,
            "amount": fetched.amount,
            "fetched_at": fetched.at,
        },
    )
    if Charge.objects.filter(purchase=purchase, entry_key=key).exclude(pk=charge.pk).exists():
        raise Quarantined("Several charges have paid for the same credits.", purchase)
    return charge


def _record_refunds(fetched: Fetched, purchase: Purchase) -> None:
    """What became of refunds that staff asked for, by the id that we sent along."""
    for refund in fetched.refunds:
        ours = uuid_of((refund.get("metadata") or {}).get("refund_id"))
        if ours is not None:
            Refund.objects.filter(pk=ours, purchase=purchase).update(
                stripe_id=refund["id"], status=str(refund.get("status"))
            )


def _record_disputes(fetched: Fetched, charge: Charge) -> None:
    """What staff have to know of each: by when to answer, and how it went."""
    for dispute in fetched.disputes:
        Dispute.objects.update_or_create(
            stripe_id=dispute["id"],
            defaults={
                "charge": charge,
                "amount": int(dispute["amount"]),
                "status": str(dispute["status"])[:30],
                "reason": str(dispute.get("reason") or "")[:60],
                "answer_by": _time(mapping(dispute.get("evidence_details")).get("due_by")),
                "created_at": _time(dispute.get("created")),
            },
        )


def _time(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds else None


def _what_happened(before: Charge, now: Fetched) -> tuple[Kind, str, int]:
    """Why credits move, in a word and for the customer, and how much money went back for it."""
    back = now.returned - min(before.refunded + before.withdrawn, now.amount)
    by_refund = now.refunded != before.refunded or now.withdrawn == before.withdrawn
    if back > 0:
        words = _("Refund of %(money)s") if by_refund else _("Payment of %(money)s disputed")
    elif by_refund:
        words = _("A refund of %(money)s did not arrive")
    else:
        words = _("The dispute over %(money)s has ended")
    note = words % {"money": money(abs(back))} if back else ""
    return Kind.REFUND if by_refund else Kind.DISPUTE, note, back


def _settle(grant: Entry, fetched: Fetched, kind: Kind, note: str) -> Entry | None:
    """Move one grant's credits to where the charge stands; the entry, if any had to move."""
    revoked = Lot.objects.get(wallet=grant.wallet, entry_id=grant.pk).revoked
    target = share(grant.amount, fetched.returned, fetched.amount)
    if target == revoked:
        return None
    # Under the purchase's lock, so that the next number is nobody else's.
    steps = Entry.objects.filter(
        wallet=grant.wallet, kind__in=[*CLAWBACKS, Kind.RESTORAL], about_id=grant.pk
    )
    suffix = BONUS if grant.key.endswith(BONUS) else ""
    key = f"charge:{fetched.id}:{steps.count() + 1}{suffix}"
    if target > revoked:
        entry = ledger.revoke(
            grant.wallet,
            target - revoked,
            of=grant.key,
            key=key,
            kind=kind,
            note=note,
            recall_note=giving.recall_note(kind),
        )
        giving.tell_recalled(entry)
        return entry
    return ledger.restore(grant.wallet, revoked - target, of=grant.key, key=key, note=note)


def _tell(purchase: Purchase, kind: Kind, back: int, grant: Entry, steps: list[Entry]) -> None:
    # What was owed from then on was taken as well.
    left = sum(step.owed - step.amount for step in steps)
    if left > 0:
        mails.tell(
            purchase.user,
            kind.value,
            steps[0].key,
            credits=left,
            owed=sum(step.owed for step in steps),
            money=back,
            purchased_at=grant.created_at.isoformat(),
        )
    elif left < 0:
        returned = "restored" if kind == Kind.REFUND else "dispute_won"
        mails.tell(purchase.user, returned, steps[0].key, credits=-left)


def share(credits: int, returned: int, charged: int) -> int:
    """The credits that go with a part of the money, rounded down; all of them with all of it."""
    return credits * min(returned, charged) // charged
