"""One comparison under way: what it has read, mended and found to differ."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from billing import stripe_api, webhooks
from billing.models import Event
from billing.stripe_objects import NotOurs, our_metadata

EARLIER: Final = {
    "sessions": timedelta(days=15),
    "payments": timedelta(days=15),
    "invoices": timedelta(days=62),
    "refunds": timedelta(days=35),
    "disputes": timedelta(days=120),
}
"""How long things at Stripe may have begun before something about them changes: a bank debit takes
up to two weeks, an invoice is tried for two months, a refund fails within one, a dispute is decided
within four."""

Watch = Callable[[str, float], None]
"""Told the step that is under way, and which part of it is done, 0 to 1."""


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


def listed(run: Run, step: str, request: Callable[..., Any], **params: Any) -> Iterator[Any]:
    """The pages of what began at Stripe since the run's time, or so much earlier."""
    first = run.since - EARLIER.get(step, timedelta(0))
    for page in stripe_api.pages(request, created={"gte": int(first.timestamp())}, **params):
        run.read[step] += len(page)
        yield page
        age = run.start.timestamp() - page[-1]["created"]
        run.watch(step, min(age / (run.start - first).total_seconds(), 1))


def supply(run: Run, step: str, type: str, found: Mapping[str, Any]) -> bool:
    """Do what was missed about an object; answers whether that is done now."""
    event = webhooks.supply(type, found)
    is_done = event is not None and event.status == Event.Status.DONE
    run.mended[step] += is_done
    return is_done


def is_ours(metadata: Any) -> bool:
    try:
        our_metadata(metadata)
    except NotOurs:
        return False
    return True
