"""Calls to Stripe: one client, one clock, and what a failed call means for the next one."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from typing import Any, Final, TypeVar

import stripe
from django.conf import settings
from django.db import connection
from django.db.models import F

from billing.models import Invoice, PlanChange, Purchase, Refund, StripeCustomer

logger = logging.getLogger(__name__)

API_VERSION: Final = "2026-10-28.endive"
CONNECT_TIMEOUT: Final = 2  # seconds
READ_TIMEOUT: Final = 6  # seconds
LAST_CALL_AFTER: Final = 10  # seconds; with the timeouts, an answer comes in under 20
TRIES: Final = 2
PAUSE: Final = 0.3  # seconds between tries
PAGE: Final = 100  # the most that Stripe lists at once

_pool: Final = ThreadPoolExecutor(64, thread_name_prefix="stripe")

T = TypeVar("T")

Keyed = Purchase | StripeCustomer | PlanChange | Refund | Invoice
"""Rows whose id and attempt are an idempotency key."""


class StripeUnavailable(Exception):
    """Stripe didn't answer, or asked to wait. Trying again later, with the same keys, is safe."""


class StripeRefused(Exception):
    """Stripe answered that it won't do this. Trying again as it is won't help."""


class Clock:
    """The time that one request of ours may spend on Stripe, over all its calls."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def is_up(self) -> bool:
        return time.monotonic() - self._start > LAST_CALL_AFTER


def client() -> stripe.StripeClient:
    return _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@functools.lru_cache(maxsize=4)
def _client(key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": base},
        # The SDK repeats a call with the same idempotency key even after an answered 5xx, which
        # Stripe then replays for a day. `call` knows better.
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)),
    )


def database_time() -> datetime:
    """Now, by the clock that all our servers share: what is asked after it is newer than it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]


def call(request: Callable[[], T], clock: Clock) -> T:
    """Make a call that may be repeated freely. Raises `StripeUnavailable`, `StripeRefused`."""
    return _try(request, lambda error: None, clock)


def pages(
    request: Callable[[Any], stripe.ListObject[Any]], **params: Any
) -> Iterator[list[dict[str, Any]]]:
    """All that a list at Stripe has, page by page as plain JSON, newest first.

    Each page has a time of its own. Raises `StripeUnavailable`, `StripeRefused`.
    """
    params["limit"] = PAGE
    while True:
        answer = call(functools.partial(request, dict(params)), Clock())
        found = answer.to_dict(for_json=True)
        if found["data"]:
            yield found["data"]
        if not found["has_more"]:
            return
        params["starting_after"] = found["data"][-1]["id"]


def keyed_call(
    row: Keyed,
    request: Callable[[stripe.RequestOptions], T],
    clock: Clock,
    *,
    step: str = "",
) -> T:
    """Make a call that creates something, under the idempotency key `<row id>:<attempt>`.

    Where one row takes two such calls, the second has a `step` that ends its key.

    Whatever happened to the last try, this one can't create it twice: the key stays the same when
    no answer came, and moves on after an answered 5xx, which Stripe would replay for a day. Raises
    `StripeUnavailable`, `StripeRefused`.
    """

    def move_on(error: stripe.StripeError) -> None:
        if _is_final_for_key(error):
            next_attempt(row)

    end = f":{step}" if step else ""
    return _try(
        lambda: request({"idempotency_key": f"{row.pk}:{row.attempt}{end}"}), move_on, clock
    )


def next_attempt(row: Keyed) -> None:
    """Give the row's next call a new idempotency key; once, however many ask at the same time."""
    type(row)._default_manager.filter(pk=row.pk, attempt=row.attempt).update(
        attempt=F("attempt") + 1
    )
    row.refresh_from_db(fields=["attempt"])


def is_missing_customer(error: StripeRefused) -> bool:
    """Whether Stripe refused because the customer was deleted there."""
    return is_missing(error) and is_about(error, "customer")


def is_missing(error: StripeRefused) -> bool:
    """Whether Stripe refused because what was asked for isn't there."""
    cause = error.__cause__
    return isinstance(cause, stripe.InvalidRequestError) and cause.code == "resource_missing"


def is_about(error: StripeRefused, param: str) -> bool:
    """Whether Stripe refused because of this parameter."""
    cause = error.__cause__
    return isinstance(cause, stripe.InvalidRequestError) and cause.param == param


def is_invalid(error: StripeRefused) -> bool:
    """Whether Stripe refused because of what was asked, and not of who asks."""
    return isinstance(error.__cause__, stripe.InvalidRequestError)


def exists_already(error: StripeRefused) -> bool:
    """Whether Stripe refused to create something because there is one with this id."""
    cause = error.__cause__
    return isinstance(cause, stripe.InvalidRequestError) and cause.code == "resource_already_exists"


def _try(request: Callable[[], T], failed: Callable[[stripe.StripeError], None], clock: Clock) -> T:
    for tries_left in reversed(range(TRIES)):
        if clock.is_up:
            break
        try:
            return _in_time(request)
        except stripe.StripeError as error:
            logger.warning("Stripe: %s", _describe(error))
            failed(error)
            if not _may_help_to_repeat(error):
                raise StripeRefused(_describe(error)) from error
            if not tries_left:
                raise StripeUnavailable(_describe(error)) from error
            time.sleep(PAUSE)
    raise StripeUnavailable("The time for this request is used up.")


def _in_time(request: Callable[[], T]) -> T:
    # The timeouts of the client are for each packet; an answer that drips in has none.
    answer = _pool.submit(request)
    try:
        return answer.result(CONNECT_TIMEOUT + READ_TIMEOUT)
    except FutureTimeoutError:
        answer.cancel()
        words = "The answer takes too long."
        raise stripe.APIConnectionError(words) from None  # type: ignore[no-untyped-call]


def _is_final_for_key(error: stripe.StripeError) -> bool:
    status = error.http_status or 0
    # The same key with other parameters: a deploy changed what we send, say. What the first try
    # may have made is never shown to anyone.
    return status >= 500 or (isinstance(error, stripe.IdempotencyError) and status == 400)


def _may_help_to_repeat(error: stripe.StripeError) -> bool:
    status = error.http_status or 0
    return (
        isinstance(error, stripe.APIConnectionError | stripe.RateLimitError)
        or _is_final_for_key(error)
        or status == 409
        or status < 300
    )


def _describe(error: stripe.StripeError) -> str:
    # Never the whole error: it carries the answer's body.
    return f"{type(error).__name__} {error.http_status or ''} {error.code or ''}".strip()
