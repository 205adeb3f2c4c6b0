"""What waits for staff, urgent things first: each with a count, a sentence and the rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, Max, Min, Q, Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from billing import mails, refunds
from billing.models import Dispute, Event, Purchase, Reconciliation, Refund
from billing.templatetags.money import money
from credits.admin.cells import to_the_second
from credits.models import Adjustment, Lot
from credits.numbers import number
from outgoing.models import Delivery, Endpoint

STALLED: Final = timedelta(minutes=10)
"""What the worker or a webhook does within seconds waits no longer than that."""

COMPARED_WITHIN: Final = timedelta(days=3)
"""Money and credits are to be compared at least as often as Stripe's repeats of an event last."""

SOON: Final = timedelta(days=3)
"""A dispute that has to be answered by then is urgent."""

REMEMBERED: Final = timedelta(days=30)
"""Mails and webhooks that were given up before are not brought up any more."""


@dataclass(frozen=True)
class Matter:
    """Something to do. `is_urgent`: money or customers wait for it."""

    title: str
    count: int
    text: str
    address: str
    is_urgent: bool = False


def matters(user: User | AnonymousUser) -> list[Matter]:
    """What waits and this user may look at: urgent things first, in the order of this module."""
    found = [
        matter
        for permissions, look in _LOOKS
        if any(user.has_perm(permission) for permission in permissions)
        for matter in look(user)
    ]
    return sorted(found, key=lambda matter: not matter.is_urgent)


def _list(model: str, **filters: str) -> str:
    address = reverse(f"admin:{model}_changelist")
    return f"{address}?{urlencode(filters)}" if filters else address


def _worker(user: User | AnonymousUser) -> Iterator[Matter]:
    before = timezone.now() - STALLED
    late = mails.waiting().filter(due_at__lt=before).aggregate(n=Count("pk"), first=Min("due_at"))
    # The worker books within a minute what has expired.
    expired = Lot.objects.filter(is_open=True, expires_at__lt=before)
    since = late["first"] or expired.aggregate(first=Min("expires_at"))["first"]
    if since is None:
        return
    yield Matter(
        _("Worker"),
        late["n"],
        _(
            "It has not done what was due %(age)s ago: is “manage.py worker” running, and does the "
            "mail server answer?"
        )
        % {"age": timesince(since)},
        _list("billing_mail", state="waiting"),
        is_urgent=True,
    )


def _disputes(user: User | AnonymousUser) -> Iterator[Matter]:
    found = Dispute.objects.filter(status__in=Dispute.TO_ANSWER).aggregate(
        n=Count("pk"), sum=Sum("amount"), first=Min("answer_by")
    )
    if not found["n"]:
        return
    words = {"count": number(found["n"]), "money": money(found["sum"])}
    if found["first"]:
        text = ngettext(
            "%(money)s: answer it at Stripe by %(time)s, or it is lost.",
            "%(money)s together: answer the first at Stripe by %(time)s, or it is lost.",
            found["n"],
        )
        words["time"] = to_the_second(found["first"])
    else:
        text = _("%(money)s: answer at Stripe in time, or the money is lost.")
    yield Matter(
        _("Disputes to answer"),
        found["n"],
        text % words,
        _list("billing_dispute", attention="yes"),
        is_urgent=found["first"] is None or found["first"] < timezone.now() + SOON,
    )


def _events(user: User | AnonymousUser) -> Iterator[Matter]:
    status = Event.Status
    before = timezone.now() - STALLED
    rows = (
        Event.objects.filter(
            Q(status__in=(status.FAILED, status.QUARANTINED))
            | Q(status=status.RECEIVED, created_at__lt=before)
        )
        .values("status")
        .annotate(n=Count("pk"), first=Min("created_at"))
        .order_by()
    )
    found = {row["status"]: row for row in rows}
    texts = {
        status.FAILED: (
            _("Events that failed"),
            _("The oldest is from %(age)s ago. Stripe sends them again for three days."),
        ),
        status.RECEIVED: (
            _("Events that were not applied"),
            _("The oldest is from %(age)s ago: the site stopped while at them. Replay them."),
        ),
        status.QUARANTINED: (
            _("Events in quarantine"),
            _("The oldest is from %(age)s ago. Money and order don't match: replay or settle."),
        ),
    }
    for name, (title, text) in texts.items():
        if name not in found:
            continue
        filters = {"status__exact": str(name)}
        if name == status.RECEIVED:
            filters["created_at__lt"] = before.isoformat(timespec="seconds")
        yield Matter(
            title,
            found[name]["n"],
            text % {"age": timesince(found[name]["first"])},
            _list("billing_event", **filters),
            is_urgent=True,
        )


def _purchases(user: User | AnonymousUser) -> Iterator[Matter]:
    found = Purchase.objects.filter(status="review").aggregate(
        n=Count("pk"), sum=Sum("total"), first=Min("created_at")
    )
    if found["n"]:
        yield Matter(
            _("Purchases in review"),
            found["n"],
            _("Buyers wait for %(money)s worth of credits, the first one for %(age)s.")
            % {"money": money(found["sum"]), "age": timesince(found["first"])},
            _list("billing_purchase", status__exact="review"),
            is_urgent=True,
        )


def _refunds(user: User | AnonymousUser) -> Iterator[Matter]:
    found = refunds.needing_attention(Refund.objects.all()).aggregate(
        n=Count("pk"), sum=Sum("amount")
    )
    if found["n"]:
        yield Matter(
            _("Refunds that did not get through"),
            found["n"],
            _("%(money)s have not reached their customers: open them and send them again.")
            % {"money": money(found["sum"])},
            _list("billing_refund", attention="yes"),
            is_urgent=True,
        )


def _reconciliation(user: User | AnonymousUser) -> Iterator[Matter]:
    latest = Reconciliation.objects.aggregate(
        pk=Max("pk", filter=Q(finished_at__isnull=False)), started=Max("started_at")
    )
    last = Reconciliation.objects.defer("differences").filter(pk=latest["pk"]).first()
    if last is None or last.finished_at is None:
        yield Matter(
            _("Comparison with Stripe"),
            0,
            _("There has been none yet: cron should run “manage.py reconcile_stripe”."),
            _list("billing_reconciliation"),
        )
        return
    age = timesince(last.finished_at)
    if differences := last.counts["differences"]:
        yield Matter(
            _("Money and credits differ"),
            differences,
            _("Found by the comparison with Stripe of %(age)s ago.") % {"age": age},
            reverse("admin:billing_reconciliation_change", args=[last.pk]),
            is_urgent=True,
        )
    if last.finished_at < timezone.now() - COMPARED_WITHIN:
        yield Matter(
            _("Comparison with Stripe"),
            0,
            _("The last one that finished is %(age)s old: does cron run it?") % {"age": age},
            _list("billing_reconciliation"),
        )


def _adjustments(user: User | AnonymousUser) -> Iterator[Matter]:
    waiting = Adjustment.objects.filter(status=Adjustment.Status.WAITING)
    others = ~Q(asked_by=user.pk) & ~Q(user=user.pk)
    found = waiting.aggregate(
        others=Count("pk", filter=others),
        first=Min("asked_at", filter=others),
        mine=Count("pk", filter=Q(asked_by=user.pk)),
    )
    if found["others"] and user.has_perm("credits.approve_adjustment"):
        yield Matter(
            _("Adjustments for you to decide"),
            found["others"],
            _("Colleagues wait for a second person, the first one for %(age)s.")
            % {"age": timesince(found["first"])},
            _list("credits_adjustment", status__exact="waiting", asker="others"),
        )
    if found["mine"]:
        yield Matter(
            _("Adjustments that you have asked for"),
            found["mine"],
            _("Somebody else decides; you can withdraw them."),
            _list("credits_adjustment", status__exact="waiting", asker="me"),
        )


def _mails(user: User | AnonymousUser) -> Iterator[Matter]:
    since = (timezone.now() - REMEMBERED).replace(microsecond=0)
    count = mails.given_up().filter(created_at__gte=since).count()
    if count:
        yield Matter(
            _("Mails that could not be sent"),
            count,
            _("Tried for three days and given up. Their pages say why; they can be sent again."),
            _list("billing_mail", state="given_up", created_at__gte=since.isoformat()),
        )


def _endpoints(user: User | AnonymousUser) -> Iterator[Matter]:
    ended = Endpoint.objects.filter(is_enabled=False).exclude(off_because="").order_by("pk")
    for endpoint in ended:
        yield Matter(
            _("Webhook endpoint that was switched off"),
            0,
            _("%(endpoint)s gets nothing any more: %(why)s")
            % {"endpoint": endpoint, "why": endpoint.off_because},
            reverse("admin:outgoing_endpoint_change", args=[endpoint.pk]),
            is_urgent=True,
        )


def _webhooks(user: User | AnonymousUser) -> Iterator[Matter]:
    since = timezone.now() - REMEMBERED
    count = Delivery.objects.filter(status=Delivery.Status.GIVEN_UP, since__gte=since).count()
    if count:
        yield Matter(
            _("Webhooks that could not be delivered"),
            count,
            _("Tried for three days and given up. Their pages say why; they can be sent again."),
            _list("outgoing_message", state="given_up"),
        )


_Look = Callable[[User | AnonymousUser], Iterator[Matter]]

_LOOKS: Final[list[tuple[tuple[str, ...], _Look]]] = [
    (("billing.view_mail",), _worker),
    (("billing.view_dispute",), _disputes),
    (("billing.view_event",), _events),
    (("billing.view_purchase",), _purchases),
    (("billing.view_refund",), _refunds),
    (("billing.view_reconciliation",), _reconciliation),
    (
        (
            "credits.adjust_wallet",
            "credits.approve_adjustment",
            "credits.view_adjustment",
        ),
        _adjustments,
    ),
    (("billing.view_mail",), _mails),
    (("outgoing.view_endpoint",), _endpoints),
    (("outgoing.view_message",), _webhooks),
]
"""What each may be seen with, and in which order. Each is one query or two."""
