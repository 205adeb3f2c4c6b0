"""Sending what is due, by the worker: several at once, and the one that is slow by itself.

A delivery is claimed before it is sent, in a transaction of its own, so no lock is held while a
receiver takes its time. Whoever dies before the answer is noted leaves one that goes out again,
under the same id.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from standardwebhooks import Webhook

from outgoing import endpoints, transport
from outgoing.models import Delivery, Endpoint
from outgoing.transport import Answer

logger = logging.getLogger(__name__)

ROUND: Final = 3
"""Seconds in which new ones are begun, so that the worker's other jobs have their turn. What has
begun ends within `transport.TIME_LIMIT`."""

LANES: Final = 16
LANES_EACH: Final = 4
"""How many are under way at once: of all, and to one endpoint. To one that fails, one."""

CLAIM: Final = timedelta(minutes=2)
FIRST_PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(hours=6)
LASTS: Final = timedelta(days=3)
"""How long a delivery is tried, and an endpoint may fail before it is switched off."""

REST: Final = timedelta(minutes=1)
"""An endpoint that has failed is left alone for so long, whatever waits for it."""


def send_due() -> int:
    """Send what is due, for the time of a round. Answers how many were delivered."""
    delivered = 0
    ends_at = time.monotonic() + ROUND
    under_way: dict[Future[Answer], Delivery] = {}
    with ThreadPoolExecutor(LANES) as pool:
        while True:
            if time.monotonic() < ends_at:
                for delivery in _claim(under_way.values()):
                    under_way[pool.submit(_send, delivery)] = delivery
            if not under_way:
                return delivered
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                delivered += _note(under_way.pop(future), future.result())


def _claim(under_way: Collection[Delivery]) -> list[Delivery]:
    """What can be begun now, nobody else's for the time of `CLAIM`."""
    busy = Counter(delivery.endpoint_id for delivery in under_way)
    is_awake = Q(rests_until=None) | Q(rests_until__lte=Now())
    claimed: list[Delivery] = []
    # In turns, so that with many endpoints none is always the last.
    for endpoint in Endpoint.objects.filter(is_awake, is_enabled=True).order_by("?"):
        lanes = 1 if endpoint.failing_since else LANES_EACH
        free = min(lanes - busy[endpoint.pk], LANES - len(under_way) - len(claimed))
        if free > 0:
            claimed += _claim_for(endpoint, free)
    return claimed


@transaction.atomic
def _claim_for(endpoint: Endpoint, count: int) -> list[Delivery]:
    due = (
        Delivery.objects.filter(
            endpoint=endpoint, status=Delivery.Status.WAITING, next_at__lte=Now()
        )
        .select_for_update(skip_locked=True, of=("self",))
        .select_related("message")
        .order_by("next_at", "pk")[:count]
    )
    found = list(due)
    # The count tells this claim from a later one, whose answer is not undone by a late one.
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in found]).update(
        tries=F("tries") + 1, next_at=Now() + CLAIM
    )
    for delivery in found:
        delivery.tries += 1
        delivery.endpoint = endpoint
    return found


def _send(delivery: Delivery) -> Answer:
    """In a thread of its own, which has no business with the database."""
    message, endpoint = delivery.message, delivery.endpoint
    now = datetime.now(UTC)
    signatures = [
        Webhook(secret).sign(message.pk, now, message.payload)
        for secret in endpoints.secrets_of(endpoint)
    ]
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.pk,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return transport.post(endpoint.url, message.payload.encode(), headers)


def _note(delivery: Delivery, answer: Answer) -> bool:
    """Put on record what came of a try. Answers whether it was delivered."""
    found = {"code": answer.code, "answer": answer.text, "error": answer.error}
    row = Delivery.objects.filter(
        pk=delivery.pk, status=Delivery.Status.WAITING, tries=delivery.tries
    )
    endpoint = Endpoint.objects.filter(pk=delivery.endpoint_id)
    if answer.is_taken:
        row.update(status=Delivery.Status.DELIVERED, delivered_at=Now(), **found)
        endpoint.exclude(failing_since=None).update(failing_since=None, rests_until=None)
        return True
    ends_at = delivery.since + LASTS
    is_last = timezone.now() >= ends_at
    doublings = min(delivery.tries - 1, 20)  # more would be no time any more
    pause = min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)
    row.update(
        status=Delivery.Status.GIVEN_UP if is_last else Delivery.Status.WAITING,
        next_at=min(timezone.now() + pause, max(ends_at, timezone.now())),
        **found,
    )
    endpoint.update(failing_since=Coalesce("failing_since", Now()), rests_until=Now() + REST)
    _give_up(delivery.endpoint, answer)
    return False


def _give_up(endpoint: Endpoint, answer: Answer) -> None:
    """Switch off an endpoint that is gone or has failed for too long."""
    since = endpoint.failing_since
    if answer.code == HTTPStatus.GONE:
        because = "It answered 410: it is gone."
    # To the minute: its first failure was a moment after the message that is given up now.
    elif since is not None and timezone.now() >= since + LASTS - REST:
        because = f"It failed for {LASTS.days} days."
    else:
        return
    endpoints.switch_off(endpoint, because)
    logger.warning("Webhook endpoint %d is switched off: %s", endpoint.pk, because)
