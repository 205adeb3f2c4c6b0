"""What was paid: one-time orders by their sessions, a plan's months by their invoices."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import Q

from billing import stripe_api
from billing.models import Event, Mode, Purchase
from billing.reconcile.run import Run, is_ours, listed, supply
from billing.stripe_objects import ORIGIN, sale_of, stripe_id, uuid_of
from credits.grants import Grant, find_grants


@dataclass(frozen=True)
class Sale:
    """Something paid at Stripe, the event that tells it, and the grant that it should bring."""

    type: str
    object: Mapping[str, Any]
    user_id: int | None
    key: str
    cents: int


def compare_sessions(run: Run) -> None:
    for page in listed(run, "sessions", stripe_api.client().v1.checkout.sessions.list):
        ours = [session for session in page if is_ours(session.get("metadata"))]
        _compare_sales(run, "sessions", partial(_session_sales, ours))
        ids = [session["id"] for session in ours if session["payment_status"] != "paid"]
        pending = Purchase.objects.filter(
            stripe_session_id__in=ids, status=Purchase.Status.PENDING
        ).values_list("stripe_session_id", flat=True)
        for session in ours:
            if session["id"] in pending:
                _close(run, session)


def _session_sales(sessions: list[Any]) -> list[Sale]:
    paid = [session for session in sessions if session["payment_status"] == "paid"]
    known = Purchase.objects.filter(
        Q(stripe_session_id__in=[session["id"] for session in paid])
        | Q(pk__in=_purchase_ids(session["metadata"] for session in paid))
    )
    by_session = {purchase.stripe_session_id: purchase for purchase in known}
    by_id = {str(purchase.pk): purchase for purchase in known}
    sales = []
    for session in paid:
        purchase_id = session["metadata"].get("purchase_id")
        purchase = by_session.get(session["id"]) or by_id.get(purchase_id)
        key = f"purchase:{purchase.pk if purchase else purchase_id}"
        if session["mode"] == Mode.SUBSCRIPTION:
            invoice_id = stripe_id(session.get("invoice"))
            if invoice_id is None:
                continue  # the invoices have it
            key = f"invoice:{invoice_id}"
        sales.append(
            Sale(
                "checkout.session.completed",
                session,
                purchase.user_id if purchase else None,
                key,
                session["amount_subtotal"],
            )
        )
    return sales


def _close(run: Run, session: Mapping[str, Any]) -> None:
    if session["status"] == "expired":
        supply(run, "sessions", "checkout.session.expired", session)
    elif session["payment_status"] == "no_payment_required":
        supply(run, "sessions", "checkout.session.completed", session)


def compare_payments(run: Run) -> None:
    """Charges of saved cards; those of payment pages are told by their sessions."""
    for page in listed(run, "payments", stripe_api.client().v1.payment_intents.list):
        ours = [
            intent
            for intent in page
            if is_ours(intent.get("metadata")) and intent["metadata"].get("origin") == ORIGIN
        ]
        _compare_sales(run, "payments", partial(_payment_sales, ours))


def _payment_sales(intents: list[Any]) -> list[Sale]:
    paid = [intent for intent in intents if intent["status"] == "succeeded"]
    known = Purchase.objects.filter(pk__in=_purchase_ids(intent["metadata"] for intent in paid))
    users = {str(purchase.pk): purchase.user_id for purchase in known}
    return [
        Sale(
            "payment_intent.succeeded",
            intent,
            users.get(intent["metadata"].get("purchase_id")),
            f"purchase:{intent['metadata'].get('purchase_id')}",
            intent["amount_received"],
        )
        for intent in paid
    ]


def compare_invoices(run: Run) -> None:
    for page in listed(run, "invoices", stripe_api.client().v1.invoices.list, status="paid"):
        ours = [invoice for invoice in page if is_ours(sale_of(invoice)[1])]
        _compare_sales(run, "invoices", partial(_invoice_sales, ours))


def _invoice_sales(invoices: list[Any]) -> list[Sale]:
    plans = {invoice["id"]: sale_of(invoice) for invoice in invoices}
    known = Purchase.objects.filter(
        Q(pk__in=_purchase_ids(metadata for _, metadata in plans.values()))
        | Q(stripe_payment_id__in=[subscription for subscription, _ in plans.values()])
    )
    by_id = {str(purchase.pk): purchase for purchase in known}
    by_plan = {purchase.stripe_payment_id: purchase for purchase in known}
    sales = []
    for invoice in invoices:
        subscription, metadata = plans[invoice["id"]]
        purchase = by_id.get(metadata.get("purchase_id")) or by_plan.get(subscription)
        user_id = purchase.user_id if purchase else None
        key = f"invoice:{invoice['id']}"
        sales.append(Sale("invoice.paid", invoice, user_id, key, invoice["subtotal"]))
    return sales


def _purchase_ids(metadata: Iterable[Mapping[str, Any]]) -> list[uuid.UUID]:
    found = (uuid_of(one.get("purchase_id")) for one in metadata)
    return [purchase_id for purchase_id in found if purchase_id]


def _compare_sales(run: Run, step: str, find: Callable[[], list[Sale]]) -> None:
    """Have each sale granted; what it sold for must be what its credits are booked at."""
    sales = find()
    booked = _booked(sales)
    missing = [sale for sale in sales if (sale.user_id, sale.key) not in booked]
    done = {sale.object["id"] for sale in missing if supply(run, step, sale.type, sale.object)}
    if done:
        sales = find()  # with the purchases that were not here
        booked = _booked(sales)
    for sale in sales:
        grant = booked.get((sale.user_id, sale.key))
        if grant is None:
            # Else its event failed or is in quarantine, which counts as such.
            if sale.object["id"] in done:
                run.differ("not_granted", sale.object["id"], user_id=sale.user_id)
        elif grant.paid != sale.cents:
            run.differ(
                "money", sale.object["id"], str(grant.paid), str(sale.cents), user_id=grant.user_id
            )
        if sale.key not in run.seen:  # a plan's first month is told by session and invoice
            run.seen.add(sale.key)
            run.paid_at_stripe += sale.cents
            run.paid_here += grant.paid if grant else 0
            run.settled += sale.cents if grant is None and _is_settled(sale) else 0


def _booked(sales: list[Sale]) -> dict[tuple[int | None, str], Grant]:
    users = {sale.user_id for sale in sales if sale.user_id is not None}
    found = find_grants(users, {sale.key for sale in sales})
    return {(grant.user_id, grant.key): grant for grant in found}


def _is_settled(sale: Sale) -> bool:
    about = Event.objects.filter(object_id=sale.object["id"])
    return about.filter(status=Event.Status.SETTLED).exists()
