"""Plans as they stand at Stripe, and orders that nobody paid."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from billing import stripe_api, subscriptions
from billing.abandoned import close_abandoned
from billing.fulfilment import Quarantined
from billing.models import Purchase, Subscription
from billing.reconcile.run import Run, is_ours, listed, supply
from billing.stripe_api import Clock, StripeRefused


def compare_plans(run: Run) -> None:
    """The plans that live at Stripe, those that began and ended in this time, and those here."""
    client = stripe_api.client().v1.subscriptions
    known_there: set[str] = set()
    for page in chain(
        stripe_api.pages(client.list), listed(run, "plans", client.list, status="canceled")
    ):
        ours = {one["id"]: one for one in page if is_ours(one.get("metadata"))}
        known_there |= ours.keys()
        known = Subscription.objects.in_bulk(list(ours), field_name="stripe_id")
        for subscription_id, found in ours.items():
            _compare_plan(run, known.get(subscription_id), found)
    living = Subscription.objects.filter(status__in=Subscription.LIVE)
    for plan in living.exclude(stripe_id__in=known_there):
        retrieve = partial(client.retrieve, plan.stripe_id)
        try:
            found = stripe_api.call(retrieve, Clock()).to_dict(for_json=True)
        except StripeRefused as error:
            if not stripe_api.is_missing(error):
                raise
            run.differ("no_such_plan", plan.stripe_id, plan.status, user_id=plan.user_id)
        else:
            _compare_plan(run, plan, found)
    run.read["plans"] = len(known_there)


def _compare_plan(run: Run, plan: Subscription | None, found: Mapping[str, Any]) -> None:
    if not _agrees(plan, found):
        is_over = found["status"] == "canceled"
        event_type = f"customer.subscription.{'deleted' if is_over else 'updated'}"
        supply(run, "plans", event_type, found)


def _agrees(plan: Subscription | None, found: Mapping[str, Any]) -> bool:
    try:
        state = subscriptions.state_of(found)
    except Quarantined:
        return False
    return all(getattr(plan, name, None) == value for name, value in state.items())


def close_orders(run: Run) -> None:
    def counted(purchases: Sequence[Purchase]) -> Iterator[Purchase]:
        run.read["orders"] = len(purchases)
        for number, purchase in enumerate(purchases):
            run.watch("orders", number / len(purchases))
            yield purchase

    run.mended["orders"] = close_abandoned(counted)
