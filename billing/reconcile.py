"""Comparing what Stripe knows with what is here, and doing what was missed.

What Stripe lists is compared page by page, each with a few queries. What is missing here becomes an
event of our own and goes through the handlers like Stripe's (`webhooks.supply`), so that running
this twice, or beside deliveries, is as safe as a second delivery. Where all is right, nothing is
written.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, Final

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from billing import clawback, stripe_api, subscriptions, webhooks
from billing.abandoned import close_abandoned
from billing.fulfilment import Quarantined
from billing.models import (
    Charge,
    Event,
    Mode,
    Purchase,
    Reconciliation,
    StripeCustomer,
    Subscription,
)
from billing.stripe_api import Clock, StripeRefused
from billing.stripe_objects import NotOurs, our_metadata, stripe_id, subscription_of, uuid_of
from credits.grants import Grant, find_grants, sold_since

LOCK: Final = 0x5245434F4E  # any number that nobody else locks
TYPES_AT_ONCE: Final = 20  # the most that a list of events takes
DIFFERENCES_KEPT: Final = 1000

EARLIER: Final = {
    "sessions": timedelta(days=15),
    "invoices": timedelta(days=62),
    "refunds": timedelta(days=35),
    "disputes": timedelta(days=120),
}
"""How long things at Stripe may have begun before something about them changes: a bank debit takes
up to two weeks, an invoice is tried for two months, a refund fails within one, a dispute is decided
within four."""

Watch = Callable[[str, float], None]
"""Told the step that is under way, and which part of it is done, 0 to 1."""


class AlreadyRunning(Exception):
    """Another process is reconciling now."""


@dataclass(frozen=True)
class Difference:
    """Money and credits that don't agree, or aren't known to. `about` is Stripe's id of it."""

    kind: str
    about: str
    here: str = ""
    at_stripe: str = ""
    user_id: int | None = None
    event_id: int | None = None


@dataclass
class Run:
    """One comparison under way."""

    since: datetime
    start: datetime
    watch: Watch
    read: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    paid_at_stripe: int = 0
    """Cents, before tax, of the sales that were compared."""
    paid_here: int = 0
    settled: int = 0
    """Cents of those that staff settled without a grant."""
    seen: set[str] = field(default_factory=set)
    """The keys of all that is paid at Stripe: some 100 bytes for each sale."""

    def differ(
        self, kind: str, about: str, here: str = "", at_stripe: str = "", **ids: Any
    ) -> None:
        self.differences.append(Difference(kind, about, here, at_stripe, **ids))


@dataclass(frozen=True)
class Sale:
    """Something paid at Stripe, the event that tells it, and the grant that it should bring."""

    type: str
    object: Mapping[str, Any]
    user_id: int | None
    key: str
    cents: int


def reconcile(since: datetime, watch: Watch = lambda step, part: None) -> Reconciliation:
    """Compare all that happened at Stripe since then, mend what was missed, and keep the result.

    Raises `AlreadyRunning`, `StripeUnavailable`, `StripeRefused`; what was mended before stays so,
    and the result stays unfinished.
    """
    with _alone():
        result = Reconciliation.objects.create(since=since)
        run = Run(since, timezone.now(), watch)
        for step, compare in COMPARISONS.items():
            watch(step, 0)
            compare(run)
        _open_events(run)
        result.counts = {
            "read": {step: run.read[step] for step in COMPARISONS},
            "mended": {step: run.mended[step] for step in COMPARISONS},
            "differences": len(run.differences),
            "paid_at_stripe": run.paid_at_stripe,
            "paid_here": run.paid_here,
            "settled": run.settled,
        }
        result.differences = [asdict(one) for one in run.differences[:DIFFERENCES_KEPT]]
        result.finished_at = timezone.now()
        result.save()
        return result


@contextmanager
def _alone() -> Iterator[None]:
    # Of the session, not of a transaction: Stripe is asked meanwhile.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        (is_ours,) = cursor.fetchone()
    if not is_ours:
        raise AlreadyRunning
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _pages(run: Run, step: str, request: Callable[..., Any], **params: Any) -> Iterator[Any]:
    """The pages of what began at Stripe since the run's time, or so much earlier."""
    first = run.since - EARLIER.get(step, timedelta(0))
    for page in stripe_api.pages(request, created={"gte": int(first.timestamp())}, **params):
        run.read[step] += len(page)
        yield page
        age = run.start.timestamp() - page[-1]["created"]
        run.watch(step, min(age / (run.start - first).total_seconds(), 1))


# --- Events -----------------------------------------------------------------------------------


def _events(run: Run) -> None:
    """Keep the events that never arrived, then apply all that is open, the oldest first."""
    types = sorted(webhooks.HANDLERS)
    request = stripe_api.client().v1.events.list
    for first in range(0, len(types), TYPES_AT_ONCE):
        for page in _pages(run, "events", request, types=types[first : first + TYPES_AT_ONCE]):
            ids = [event["id"] for event in page]
            known = set(Event.objects.filter(stripe_id__in=ids).values_list("stripe_id", flat=True))
            for event in page:
                if event["id"] not in known:
                    webhooks.keep(event, json.dumps(event))
    still_open = (Event.Status.RECEIVED, Event.Status.FAILED)
    # Stripe lists the newest first, so that among those just kept the last one is the oldest.
    ids = list(
        Event.objects.filter(status__in=still_open).order_by("-id").values_list("id", flat=True)
    )
    # Twice: a refund that came before its grant fails at first.
    for _ in range(2):
        ids = [event_id for event_id in ids if not _applied(run, event_id)]


def _applied(run: Run, event_id: int) -> bool:
    event = Event.objects.get(pk=event_id)
    webhooks.attempt(event)
    event.refresh_from_db()
    run.mended["events"] += event.status == Event.Status.DONE
    return event.status != Event.Status.FAILED


def _supply(run: Run, step: str, type: str, found: Mapping[str, Any]) -> bool:
    """Do what was missed about an object; answers whether that is done now."""
    event = webhooks.supply(type, found)
    is_done = event is not None and event.status == Event.Status.DONE
    run.mended[step] += is_done
    return is_done


# --- What was paid ----------------------------------------------------------------------------


def _sessions(run: Run) -> None:
    for page in _pages(run, "sessions", stripe_api.client().v1.checkout.sessions.list):
        ours = [session for session in page if _is_ours(session.get("metadata"))]
        _compare_sales(run, "sessions", partial(_session_sales, ours))
        ids = [session["id"] for session in ours if session["payment_status"] != "paid"]
        pending = Purchase.objects.filter(
            stripe_session_id__in=ids, status=Purchase.Status.PENDING
        ).values_list("stripe_session_id", flat=True)
        for session in ours:
            if session["id"] in pending:
                _close(run, session)


def _is_ours(metadata: Any) -> bool:
    try:
        our_metadata(metadata)
    except NotOurs:
        return False
    return True


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
        _supply(run, "sessions", "checkout.session.expired", session)
    elif session["payment_status"] == "no_payment_required":
        _supply(run, "sessions", "checkout.session.completed", session)


def _invoices(run: Run) -> None:
    for page in _pages(run, "invoices", stripe_api.client().v1.invoices.list, status="paid"):
        ours = [invoice for invoice in page if _is_ours(subscription_of(invoice)[1])]
        _compare_sales(run, "invoices", partial(_invoice_sales, ours))


def _invoice_sales(invoices: list[Any]) -> list[Sale]:
    plans = {invoice["id"]: subscription_of(invoice) for invoice in invoices}
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
    done = {sale.object["id"] for sale in missing if _supply(run, step, sale.type, sale.object)}
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


# --- What went back ---------------------------------------------------------------------------


def _refunds(run: Run) -> None:
    request = stripe_api.client().v1.refunds.list
    for page in _pages(run, "refunds", request, expand=["data.charge"]):
        told = {}
        for refund in page:
            charge = refund.get("charge")
            if charge:
                # As an event has it: an id, and nothing of the card.
                found = {**refund, "charge": charge["id"]}
                told[charge["id"]] = (found, {"refunded": charge["amount_refunded"]})
        _compare_charges(run, "refunds", told)


def _disputes(run: Run) -> None:
    for page in _pages(run, "disputes", stripe_api.client().v1.disputes.list):
        withdrawn: Counter[str] = Counter()
        for dispute in page:
            withdrawn[dispute["charge"]] += clawback.withdrawn_by(dispute)
        told = {
            dispute["charge"]: (dispute, {"withdrawn": withdrawn[dispute["charge"]]})
            for dispute in page
        }
        _compare_charges(run, "disputes", told)


def _compare_charges(
    run: Run, step: str, told: Mapping[str, tuple[Mapping[str, Any], Mapping[str, int]]]
) -> None:
    """Have each charge known as it stands; `told` is what a page says of it, which may be less."""
    known = {
        charge.stripe_id: charge
        for charge in Charge.objects.filter(stripe_id__in=told).select_related("purchase")
    }
    revoked = _revoked(known.values())
    for charge_id, (found, amounts) in told.items():
        charge = known.get(charge_id)
        stands = {name: getattr(charge, name, 0) for name in amounts}
        if stands != amounts or (charge and not revoked[charge_id]):
            _mend_charge(run, step, found)


def _revoked(charges: Iterable[Charge]) -> dict[str, bool]:
    """By charge: whether the credits that it should take back, bonus and all, are taken back."""
    charges = list(charges)
    keys = {f"{charge.entry_key}{end}" for charge in charges for end in ("", clawback.BONUS)}
    grants = {
        (grant.user_id, grant.key): grant
        for grant in find_grants({charge.purchase.user_id for charge in charges}, keys)
    }
    found = {}
    for charge in charges:
        returned = charge.refunded + charge.withdrawn
        owner, key = charge.purchase.user_id, charge.entry_key
        brought = [grants.get((owner, f"{key}{end}")) for end in ("", clawback.BONUS)]
        found[charge.stripe_id] = brought[0] is not None and all(
            grant.revoked == clawback.share(grant.amount, returned, charge.amount)
            for grant in brought
            if grant
        )
    return found


def _mend_charge(run: Run, step: str, found: Mapping[str, Any]) -> None:
    try:
        fetched = clawback.fetch_charge(found)
    except NotOurs:
        return
    if _stands(fetched):
        return
    event_type = "refund.updated" if step == "refunds" else "charge.dispute.closed"
    if _supply(run, step, event_type, found) and not _stands(clawback.fetch_charge(found)):
        run.differ("not_taken_back", fetched.id)


def _stands(fetched: clawback.Fetched) -> bool:
    charge = Charge.objects.filter(stripe_id=fetched.id).select_related("purchase").first()
    if charge is None:
        return not (fetched.refunded or fetched.withdrawn)
    here = (charge.amount, charge.refunded, charge.withdrawn)
    there = (fetched.amount, fetched.refunded, fetched.withdrawn)
    return here == there and _revoked([charge])[charge.stripe_id]


# --- Plans and orders -------------------------------------------------------------------------


def _plans(run: Run) -> None:
    """The plans that live at Stripe, those that began and ended in this time, and those here."""
    client = stripe_api.client().v1.subscriptions
    listed: set[str] = set()
    for page in chain(
        stripe_api.pages(client.list), _pages(run, "plans", client.list, status="canceled")
    ):
        ours = {one["id"]: one for one in page if _is_ours(one.get("metadata"))}
        listed |= ours.keys()
        known = Subscription.objects.in_bulk(list(ours), field_name="stripe_id")
        for subscription_id, found in ours.items():
            _compare_plan(run, known.get(subscription_id), found)
    living = Subscription.objects.filter(status__in=Subscription.LIVE)
    for plan in living.exclude(stripe_id__in=listed):
        retrieve = partial(client.retrieve, plan.stripe_id)
        try:
            found = stripe_api.call(retrieve, Clock()).to_dict(for_json=True)
        except StripeRefused as error:
            if not stripe_api.is_missing(error):
                raise
            run.differ("no_such_plan", plan.stripe_id, plan.status, user_id=plan.user_id)
        else:
            _compare_plan(run, plan, found)
    run.read["plans"] = len(listed)


def _compare_plan(run: Run, plan: Subscription | None, found: Mapping[str, Any]) -> None:
    if not _agrees(plan, found):
        is_over = found["status"] == "canceled"
        event_type = f"customer.subscription.{'deleted' if is_over else 'updated'}"
        _supply(run, "plans", event_type, found)


def _agrees(plan: Subscription | None, found: Mapping[str, Any]) -> bool:
    try:
        state = subscriptions.state_of(found)
    except Quarantined:
        return False
    return all(getattr(plan, name, None) == value for name, value in state.items())


def _orders(run: Run) -> None:
    def counted(purchases: Sequence[Purchase]) -> Iterator[Purchase]:
        run.read["orders"] = len(purchases)
        for number, purchase in enumerate(purchases):
            run.watch("orders", number / len(purchases))
            yield purchase

    run.mended["orders"] = close_abandoned(counted)


# --- What is here and not there ---------------------------------------------------------------


def _grants(run: Run) -> None:
    """Everything granted for a payment must be paid at Stripe."""
    for batch in sold_since(run.since):
        run.read["grants"] += len(batch)
        for user_id, key in batch:
            if key not in run.seen and not _is_paid(user_id, key):
                run.differ("not_paid", key.partition(":")[2], user_id=user_id)


def _is_paid(user_id: int, key: str) -> bool:
    """Ask Stripe about one sale: its session or invoice may have begun long before."""
    client = stripe_api.client().v1
    kind, _, about = key.partition(":")
    request: Callable[[], Any]
    if kind == "invoice":
        name, request = "status", partial(client.invoices.retrieve, about)
    elif kind == "purchase":
        purchase_id = uuid_of(about)
        orders = Purchase.objects.filter(user_id=user_id)
        purchase = orders.filter(pk=purchase_id).first() if purchase_id else None
        if purchase is None or purchase.stripe_session_id is None:
            return False
        request = partial(client.checkout.sessions.retrieve, purchase.stripe_session_id)
        name = "payment_status"
    else:
        return True  # no payment's key
    try:
        found: Any = stripe_api.call(request, Clock())
    except StripeRefused as error:
        if not stripe_api.is_missing(error):
            raise
        return False
    return bool(getattr(found, name) == "paid")


def _open_events(run: Run) -> None:
    """What failed or is in quarantine: money that moved, and nobody has said for what."""
    status = Event.Status
    waiting = Event.objects.filter(
        Q(status__in=(status.FAILED, status.QUARANTINED))
        | Q(status=status.RECEIVED, created_at__lt=run.start)
    ).order_by("id")
    owners = dict(
        StripeCustomer.objects.filter(stripe_id__in=waiting.values("customer_id")).values_list(
            "stripe_id", "user_id"
        )
    )
    for event in waiting.defer("payload").iterator():
        run.differ(
            event.status,
            event.object_id or event.stripe_id,
            event.error[:200],
            user_id=owners.get(event.customer_id),
            event_id=event.pk,
        )


COMPARISONS: Final[dict[str, Callable[[Run], None]]] = {
    "events": _events,
    "sessions": _sessions,
    "invoices": _invoices,
    "refunds": _refunds,
    "disputes": _disputes,
    "plans": _plans,
    "orders": _orders,
    "grants": _grants,
}
