"""What refunds and disputes take back of what a charge bought, and what comes back after all.

Events only say that something has changed about a charge. How it stands is asked of Stripe, and
credits follow to that: so order and repeats can't matter, and refund and dispute together never
take more than the charge brought.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing import stripe_api
from billing.fulfilment import Quarantined
from billing.models import Charge, Purchase
from billing.stripe_api import Clock
from billing.stripe_objects import NotOurs, our_metadata, stripe_id, subscription_of, uuid_of
from credits import ledger
from credits.models import Entry, Kind, Lot

WITHDRAWN: Final = {"needs_response", "under_review", "lost"}
"""A dispute's states in which Stripe holds the money back; an inquiry (`warning_…`) moves none."""


class NotGrantedYet(Exception):
    """The charge is ours and its credits aren't booked: Stripe shall tell again later."""


@dataclass(frozen=True)
class Fetched:
    """A charge as it was at Stripe no earlier than `at`; amounts in minor units.

    `grant` is the key of the entry that it paid for.
    """

    at: datetime
    id: str
    grant: str
    purchase_id: str
    amount: int
    refunded: int
    withdrawn: int


def fetch_charge(payload: Mapping[str, Any]) -> Fetched:
    """Ask Stripe how the charge stands that a refund, a dispute or a charge's event is about.

    Raises `NotOurs`, `StripeUnavailable`, `StripeRefused`.
    """
    charge_id = payload["id"] if payload.get("object") == "charge" else payload.get("charge")
    charge_id = stripe_id(charge_id)
    if charge_id is None:
        raise NotOurs("It is about no charge.")
    clock = Clock()
    client = stripe_api.client().v1
    at = stripe_api.database_time()
    charge = stripe_api.call(lambda: client.charges.retrieve(charge_id), clock).to_dict()
    grant, purchase_id = _grant_of(stripe_id(charge.get("payment_intent")), clock)
    disputes = stripe_api.call(
        lambda: client.disputes.list({"charge": charge_id, "limit": 100}), clock
    ).to_dict()["data"]
    return Fetched(
        at=at,
        id=charge_id,
        grant=grant,
        purchase_id=purchase_id,
        amount=charge["amount"],
        refunded=charge["amount_refunded"],
        withdrawn=sum(one["amount"] for one in disputes if one["status"] in WITHDRAWN),
    )


def _grant_of(intent_id: str | None, clock: Clock) -> tuple[str, str]:
    """The key of the entry that a payment was for, and its purchase's id."""
    if intent_id is None:
        raise NotOurs("The charge was for no payment intent.")
    client = stripe_api.client().v1
    intent = stripe_api.call(lambda: client.payment_intents.retrieve(intent_id), clock).to_dict()
    try:
        purchase_id = str(our_metadata(intent.get("metadata")).get("purchase_id"))
        return f"purchase:{purchase_id}", purchase_id
    except NotOurs:
        pass
    # A subscription's payments carry no metadata; their invoice does.
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
    _, metadata = subscription_of(invoice)
    return f"invoice:{invoice_id}", str(our_metadata(metadata).get("purchase_id"))


def settle_charge(fetched: Fetched) -> None:
    """Take back, or give back, credits until they stand as the charge does.

    Call it in a transaction, as often as you like, with charges fetched in any order.
    Raises `NotGrantedYet`, `Quarantined`.
    """
    purchase_id = uuid_of(fetched.purchase_id)
    found = Purchase.objects.select_for_update().filter(pk=purchase_id) if purchase_id else None
    purchase = found.first() if found is not None else None
    wallet = ledger.wallet_of(purchase.user) if purchase else None
    grant = Entry.objects.filter(wallet=wallet, key=fetched.grant).first() if wallet else None
    if purchase is None or wallet is None or grant is None:
        raise NotGrantedYet(f"{fetched.grant} is not booked yet.")
    if fetched.amount <= 0:
        raise Quarantined("The charge is over nothing.", purchase)
    state = {
        "amount": fetched.amount,
        "refunded": fetched.refunded,
        "withdrawn": fetched.withdrawn,
        "fetched_at": fetched.at,
    }
    charge, is_new = Charge.objects.get_or_create(
        stripe_id=fetched.id, defaults={"purchase": purchase, "entry_key": fetched.grant, **state}
    )
    if not is_new:
        if charge.fetched_at > fetched.at:
            return  # what is known is newer
        Charge.objects.filter(pk=charge.pk).update(**state)
    revoked = Lot.objects.get(wallet=wallet, entry_id=grant.pk).revoked
    by_refund = _share(grant.amount, fetched.refunded, fetched.amount)
    target = _share(grant.amount, fetched.refunded + fetched.withdrawn, fetched.amount)
    # Under the purchase's lock, so that the next number is nobody else's.
    number = Entry.objects.filter(wallet=wallet, about_id=grant.pk).count() + 1
    key = f"charge:{fetched.id}:{number}"
    if target > revoked:
        kind = Kind.REFUND if by_refund > revoked else Kind.DISPUTE
        ledger.revoke(wallet, target - revoked, of=grant.key, key=key, kind=kind)
    elif target < revoked:
        ledger.restore(wallet, revoked - target, of=grant.key, key=key)


def _share(credits: int, money: int, charged: int) -> int:
    """The credits that go with a part of the money, rounded down; all of them with all of it."""
    return credits * min(money, charged) // charged


def due(charge: Charge, granted: int) -> int:
    """The credits that should be revoked of what a charge brought, as it is known here."""
    return _share(granted, charge.refunded + charge.withdrawn, charge.amount)
