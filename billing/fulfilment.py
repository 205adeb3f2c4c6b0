"""What was paid becomes credits: once, and exactly as sold.

A month of a plan is sold by its product: an invoice that was drafted before the amount changed
still sells the amount of before, whatever its metadata says.

Everything here runs in the webhook's transaction and may run any number of times, in any order.
"""

import uuid
from collections.abc import Mapping, Set
from typing import Any, Final

from django.utils import timezone

from accounts.models import User
from billing import giving, mails, promotions, topup
from billing.bulk import delivery
from billing.models import (
    MAX_CREDITS,
    MIN_CREDITS,
    Mode,
    PlanChange,
    Purchase,
    StripeCustomer,
    TopUp,
)
from billing.pricing import CURRENCY, quote
from billing.stripe_objects import (
    ORIGIN,
    NotOurs,
    our_metadata,
    product_sold,
    stripe_id,
    uuid_of,
    whole_number,
)
from credits import ledger
from credits.models import Kind

MAX_TOTAL: Final = 99_999_999
"""Minor units: the most that Stripe charges at once."""


class Quarantined(Exception):
    """Money moved for us in a way that must not grant credits by itself; staff have to look."""

    def __init__(self, reason: str, purchase: Purchase | None = None) -> None:
        super().__init__(reason)
        self.purchase = purchase


def fulfil_checkout(session: Mapping[str, Any]) -> None:
    """Grant what a paid Checkout Session bought. Call it in a transaction, as often as you like.

    Grants nothing while the payment is under way (bank debits). Raises `NotOurs`, `Quarantined`.
    """
    metadata = our_metadata(session.get("metadata"))
    purchase = _purchase_of_session(session, metadata)
    if session.get("payment_status") == "no_payment_required":
        raise Quarantined("The session was completed without a payment.", purchase)
    if session.get("payment_status") != "paid":
        if session.get("status") == "complete":
            _wait(purchase)
        return
    if purchase is None:
        purchase = _adopt(
            metadata,
            customer_id=stripe_id(session.get("customer")),
            mode=str(session.get("mode")),
            subtotal=session.get("amount_subtotal"),
            currency=session.get("currency"),
        )
    _check_sale(
        purchase,
        purchase,
        metadata,
        {str(purchase.credits)},
        mode=session.get("mode"),
        subtotal=session.get("amount_subtotal"),
        currency=session.get("currency"),
    )
    session_id = str(session["id"])
    if purchase.stripe_session_id not in (None, session_id):
        raise Quarantined("A second session of the same purchase was paid.", purchase)
    purchase.stripe_session_id = session_id
    if purchase.mode == Mode.SUBSCRIPTION:
        invoice_id = stripe_id(session.get("invoice"))
        if not invoice_id:
            return  # `invoice.paid` tells the same payment
        subscription_id = stripe_id(session.get("subscription"))
        if purchase.stripe_payment_id not in (None, subscription_id):
            raise Quarantined("A second subscription of the same purchase was paid.", purchase)
        _grant(purchase, purchase, f"invoice:{invoice_id}", Kind.PURCHASE)
        _mark_paid(purchase, subscription_id)
    else:
        intent_id = stripe_id(session.get("payment_intent"))
        if purchase.stripe_payment_id not in (None, intent_id):
            raise Quarantined("A second payment of the same purchase was made.", purchase)
        _grant(purchase, purchase, f"purchase:{purchase.pk}", Kind.PURCHASE)
        _mark_paid(purchase, intent_id)
        giving.send_bought(purchase)


def fulfil_intent(intent: Mapping[str, Any]) -> None:
    """Grant what a saved card has paid for, with nobody there. Call it in a transaction, as often
    as you like.

    Payment pages make payment intents as well, which their sessions tell of: `NotOurs`. Raises
    `Quarantined`.
    """
    metadata = our_metadata(intent.get("metadata"))
    if metadata.get("origin") != ORIGIN:
        raise NotOurs("It is told by its payment page.")
    intent_id = stripe_id(intent)
    purchase = _locked(id=uuid_of(metadata.get("purchase_id"))) or _locked(
        stripe_payment_id=intent_id
    )
    sale = {"subtotal": intent.get("amount_received"), "currency": intent.get("currency")}
    is_new = purchase is None
    if purchase is None:
        purchase = _adopt(
            metadata, customer_id=stripe_id(intent.get("customer")), mode=Mode.PAYMENT, **sale
        )
    agreed = {str(purchase.credits)}
    _check_sale(purchase, purchase, metadata, agreed, mode=Mode.PAYMENT, **sale)
    if purchase.stripe_payment_id not in (None, intent_id):
        raise Quarantined("A second payment of the same purchase was made.", purchase)
    _grant(purchase, purchase, f"purchase:{purchase.pk}", Kind.PURCHASE)
    _mark_paid(purchase, intent_id)
    if is_new:
        found = TopUp.objects.filter(user=purchase.user).first()
        Purchase.objects.filter(pk=purchase.pk).update(top_up=found)


def fulfil_invoice(invoice: Mapping[str, Any], subscription_id: str, details: Any) -> None:
    """Grant what a paid invoice of a subscription bought: its first month, or a further one.

    `details` is the subscription's metadata as the invoice tells it. Call it in a transaction, as
    often as you like. Raises `NotOurs`, `Quarantined`.
    """
    metadata = our_metadata(details)
    kind = {
        "subscription_create": Kind.PURCHASE,
        "subscription_cycle": Kind.RENEWAL,
    }.get(str(invoice.get("billing_reason")))
    if kind is None:
        raise NotOurs(f"Invoices for {invoice.get('billing_reason')} grant nothing.")
    purchase = _locked(id=uuid_of(metadata.get("purchase_id"))) or _locked(
        stripe_payment_id=subscription_id
    )
    if not invoice.get("amount_paid"):
        raise Quarantined("The invoice was settled without a payment.", purchase)
    sale = {"subtotal": invoice.get("subtotal"), "currency": invoice.get("currency")}
    if purchase is None:
        purchase = _adopt(
            metadata,
            customer_id=stripe_id(invoice.get("customer")),
            mode=Mode.SUBSCRIPTION,
            **sale,
        )
    changes = {
        change.pk: change
        for change in PlanChange.objects.filter(
            subscription__stripe_id=subscription_id, subscription__user=purchase.user_id
        )
    }
    change_id = PlanChange.id_of(product_sold(invoice))
    if change_id is not None and change_id not in changes:
        raise Quarantined("It sells a monthly amount that was never agreed.", purchase)
    terms = changes[change_id] if change_id else purchase
    agreed = {str(purchase.credits), *(str(change.credits) for change in changes.values())}
    _check_sale(purchase, terms, metadata, agreed, mode=Mode.SUBSCRIPTION, **sale)
    if purchase.stripe_payment_id not in (None, subscription_id):
        raise Quarantined("A second subscription of the same purchase was paid.", purchase)
    invoice_id = stripe_id(invoice.get("id"))
    if invoice_id is None:
        raise Quarantined("The invoice has no id.", purchase)
    _grant(purchase, terms, f"invoice:{invoice_id}", kind)
    _mark_paid(purchase, subscription_id)


def _wait(purchase: Purchase | None) -> None:
    # Events come in any order: what has turned out already stays.
    if purchase is not None and purchase.status == Purchase.Status.PENDING:
        purchase.status = Purchase.Status.SETTLING
        purchase.save(update_fields=["status"])


def expire_checkout(session: Mapping[str, Any]) -> None:
    """Close the purchase of a session that ran out unpaid. Raises `NotOurs`."""
    purchase = _unpaid_purchase_of(session)
    if purchase is not None and purchase.status == Purchase.Status.PENDING:
        purchase.status = Purchase.Status.EXPIRED
        purchase.save(update_fields=["status"])
        promotions.free([purchase.pk])
        if purchase.top_up_id is not None:
            topup.count_failure(purchase)


def fail_checkout(session: Mapping[str, Any]) -> None:
    """Close the purchase of a session whose bank debit failed, days later. Raises `NotOurs`."""
    purchase = _unpaid_purchase_of(session)
    if purchase is None:
        return
    purchase.status = Purchase.Status.FAILED
    purchase.save(update_fields=["status"])
    promotions.free([purchase.pk])
    if purchase.top_up_id is not None:
        topup.count_failure(purchase)
    mails.tell(
        purchase.user,
        "payment_failed",
        f"purchase:{purchase.pk}",
        credits=purchase.credits,
        total=purchase.total,
        mode=purchase.mode,
    )


def _unpaid_purchase_of(session: Mapping[str, Any]) -> Purchase | None:
    purchase = _purchase_of_session(session, our_metadata(session.get("metadata")))
    if (
        purchase is None
        or purchase.status not in Purchase.WAITING
        or purchase.stripe_session_id not in (None, session["id"])
    ):
        return None
    return purchase


def _purchase_of_session(
    session: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Purchase | None:
    payment_id = stripe_id(session.get("subscription")) or stripe_id(session.get("payment_intent"))
    return (
        _locked(stripe_session_id=session["id"])
        or _locked(id=uuid_of(metadata.get("purchase_id")))
        or (_locked(stripe_payment_id=payment_id) if payment_id else None)
    )


def _locked(**lookup: Any) -> Purchase | None:
    # Whether there is a redemption; it is read again where it matters, under this lock.
    orders = Purchase.objects.select_related("redemption").select_for_update(of=("self",))
    return orders.filter(**lookup).first()


def _adopt(
    metadata: Mapping[str, Any],
    *,
    customer_id: str | None,
    mode: str,
    subtotal: Any,
    currency: Any,
) -> Purchase:
    """Record a sale that Stripe knows and we don't: after a restored backup, for example.

    Taken if we know whose it is and it paid at least our price. Raises `Quarantined`.
    """
    user = buyer_of(metadata, customer_id)
    credits = whole_number(metadata.get("credits"))
    if credits is None or not MIN_CREDITS <= credits <= MAX_CREDITS or mode not in Mode.values:
        raise Quarantined("It sells something that we don't.")
    price = quote(credits)
    if (
        type(subtotal) is not int
        or currency != CURRENCY
        or not (price.total <= subtotal <= MAX_TOTAL)
    ):
        raise Quarantined(f"It paid {subtotal} {currency}, and {price.total} {CURRENCY} is due.")
    purchase = Purchase.objects.create(
        id=uuid_of(metadata.get("purchase_id")) or uuid.uuid4(),
        user=user,
        mode=mode,
        credits=credits,
        unit_price_e4=price.tier.unit_price,
        total=subtotal,
        currency=currency,
    )
    code, bonus = metadata.get("promo_code"), whole_number(metadata.get("bonus"))
    if code is not None and not promotions.adopt(purchase, str(code), bonus):
        raise Quarantined(f"It promises a bonus of {bonus} with the code {code}, which isn't so.")
    return purchase


def buyer_of(metadata: Mapping[str, Any], customer_id: str | None) -> User:
    customer = StripeCustomer.objects.filter(stripe_id=customer_id).first() if customer_id else None
    user_id = whole_number(metadata.get("user_id"))
    user = User.objects.filter(pk=user_id).first() if user_id else None
    if customer is not None and user is not None and customer.user_id != user.pk:
        raise Quarantined("Its customer and its user are different people.")
    if customer is not None:
        return customer.user
    if user is None:
        raise Quarantined("There is no such user.")
    return user


def _check_sale(
    purchase: Purchase,
    terms: Purchase | PlanChange,
    metadata: Mapping[str, Any],
    agreed: Set[str],
    *,
    mode: Any,
    subtotal: Any,
    currency: Any,
) -> None:
    """Raises `Quarantined` unless it sold what was agreed, at that price.

    `agreed` are the amounts that its metadata may tell: it is a snapshot of another moment than
    the product, and so may know of another change.
    """
    sold = (str(purchase.user_id), purchase.mode)
    told = (str(metadata.get("user_id")), mode)
    if sold != told or str(metadata.get("credits")) not in agreed:
        raise Quarantined("Its credits, user or mode are not the purchase's.", purchase)
    # The subtotal: taxes and discounts come after it.
    if type(subtotal) is not int or (subtotal, currency) != (terms.total, terms.currency):
        raise Quarantined(
            f"It sold for {subtotal} {currency}, the purchase for {terms.total} {terms.currency}.",
            purchase,
        )


def _grant(purchase: Purchase, terms: Purchase | PlanChange, key: str, kind: Kind) -> None:
    wallet = ledger.wallet_of(purchase.user)
    ledger.grant(wallet, terms.credits, key=key, kind=kind, paid=terms.total)
    if purchase.user.is_organisation:
        delivery.begin(purchase)
    # A plan's further months have none.
    bonus = promotions.grant_bonus(purchase, wallet, key) if kind == Kind.PURCHASE else 0
    if purchase.gift is not None:
        return  # what becomes of it is told by `giving.send_bought`
    told: dict[str, Any] = {"credits": terms.credits, "total": terms.total}
    if purchase.top_up_id is not None:
        mails.tell(purchase.user, "top_up", key, **told)
        return
    if kind == Kind.PURCHASE:
        told |= {"currency": terms.currency, "mode": purchase.mode}
        told |= {"bonus": bonus} if bonus else {}
    mails.tell(purchase.user, kind.value, key, **told)


def _mark_paid(purchase: Purchase, payment_id: str | None) -> None:
    if purchase.top_up_id is not None and not purchase.is_paid:
        topup.count_success(purchase)
    purchase.status = Purchase.Status.PAID
    purchase.paid_at = purchase.paid_at or timezone.now()
    purchase.stripe_payment_id = purchase.stripe_payment_id or payment_id
    purchase.save(update_fields=["status", "paid_at", "stripe_payment_id", "stripe_session_id"])
