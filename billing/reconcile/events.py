"""Events that never arrived, and those that wait for somebody."""

import heapq
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from django.db.models import Q

from billing import stripe_api, webhooks
from billing.models import Event, StripeCustomer
from billing.reconcile.run import Run, listed

TYPES_AT_ONCE: Final = 20  # the most that a list of events takes
KEPT_AT_ONCE: Final = 100
OF_PAYMENTS: Final = "payment_"
"""Most of these are payment pages', told by their sessions; what saved cards have paid is compared
by itself, and what they have not the worker asks about. A card that is gone fails when it is
charged."""


def compare_events(run: Run) -> None:
    """Keep the events that never arrived, then apply all that is open, the oldest first."""
    events = _events(run)
    while some := list(islice(events, KEPT_AT_ONCE)):
        ids = [event["id"] for event in some]
        known = set(Event.objects.filter(stripe_id__in=ids).values_list("stripe_id", flat=True))
        for event in some:
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


def _events(run: Run) -> Iterator[dict[str, Any]]:
    """Those that we handle, as several lists of Stripe's: the newest first of them all."""
    types = sorted(name for name in webhooks.HANDLERS if not name.startswith(OF_PAYMENTS))
    lists = [
        _listed(run, types[first : first + TYPES_AT_ONCE])
        for first in range(0, len(types), TYPES_AT_ONCE)
    ]
    return heapq.merge(*lists, key=lambda event: int(event["created"]), reverse=True)


def _listed(run: Run, types: list[str]) -> Iterator[dict[str, Any]]:
    for page in listed(run, "events", stripe_api.client().v1.events.list, types=types):
        yield from page


def _applied(run: Run, event_id: int) -> bool:
    event = Event.objects.get(pk=event_id)
    webhooks.attempt(event)
    event.refresh_from_db()
    run.mended["events"] += event.status == Event.Status.DONE
    return event.status != Event.Status.FAILED


def list_open(run: Run) -> None:
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
