"""The result of a comparison with Stripe, in words: for the terminal and for staff's page."""

from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models import Reconciliation
from billing.templatetags.money import money

STEPS: Final = {
    "events": gettext_lazy("Events"),
    "sessions": gettext_lazy("Payment pages"),
    "payments": gettext_lazy("Saved cards charged"),
    "invoices": gettext_lazy("Paid invoices"),
    "refunds": gettext_lazy("Refunds"),
    "disputes": gettext_lazy("Disputes"),
    "plans": gettext_lazy("Monthly plans"),
    "orders": gettext_lazy("Orders that wait"),
    "grants": gettext_lazy("Credits sold"),
}

KINDS: Final = {
    "failed": gettext_lazy("Event failed"),
    "received": gettext_lazy("Event not applied"),
    "quarantined": gettext_lazy("Event in quarantine"),
    "not_granted": gettext_lazy("Paid at Stripe, not granted"),
    "not_paid": gettext_lazy("Granted, not paid at Stripe"),
    "money": gettext_lazy("Sold for another amount"),
    "not_taken_back": gettext_lazy("Money went back, credits didn't"),
    "no_such_plan": gettext_lazy("Plan that Stripe doesn't know"),
}


def table(result: Reconciliation) -> list[tuple[str, int, int]]:
    """What was compared, how many of each were read, and how many mended."""
    read, mended = result.counts["read"], result.counts["mended"]
    # Of before a step was there, a result has no count of it.
    return [(str(label), read.get(step, 0), mended.get(step, 0)) for step, label in STEPS.items()]


def sums(result: Reconciliation) -> str:
    """What was paid there and is booked here."""
    counts = result.counts
    values = {name: money(counts[name]) for name in ("paid_at_stripe", "paid_here", "settled")}
    if counts["settled"]:
        words = _(
            "Paid at Stripe %(paid_at_stripe)s, booked here %(paid_here)s, settled by hand"
            " %(settled)s, before tax."
        )
    else:
        words = _("Paid at Stripe %(paid_at_stripe)s, booked here %(paid_here)s, before tax.")
    return words % values


def kind_of(difference: Mapping[str, Any]) -> str:
    return str(KINDS.get(difference["kind"], difference["kind"]))


def detail_of(difference: Mapping[str, Any]) -> str:
    here, there = difference["here"], difference["at_stripe"]
    if difference["kind"] == "money":
        values = {"here": money(int(here)), "there": money(int(there))}
        return _("%(here)s here, %(there)s at Stripe") % values
    return str(here)
