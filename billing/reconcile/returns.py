"""What went back: refunds and disputes, compared by the charge that they are about."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from billing import clawback, stripe_api
from billing.models import Charge
from billing.promotions import BONUS
from billing.reconcile.run import Run, listed, supply
from billing.stripe_objects import NotOurs
from credits.grants import find_grants


def compare_refunds(run: Run) -> None:
    request = stripe_api.client().v1.refunds.list
    for page in listed(run, "refunds", request, expand=["data.charge"]):
        told = {}
        for refund in page:
            charge = refund.get("charge")
            if charge:
                # As an event has it: an id, and nothing of the card.
                found = {**refund, "charge": charge["id"]}
                told[charge["id"]] = (found, {"refunded": charge["amount_refunded"]})
        _compare_charges(run, "refunds", told)


def compare_disputes(run: Run) -> None:
    for page in listed(run, "disputes", stripe_api.client().v1.disputes.list):
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
    keys = {f"{charge.entry_key}{end}" for charge in charges for end in ("", BONUS)}
    grants = {
        (grant.user_id, grant.key): grant
        for grant in find_grants({charge.purchase.user_id for charge in charges}, keys)
    }
    found = {}
    for charge in charges:
        returned = charge.refunded + charge.withdrawn
        owner, key = charge.purchase.user_id, charge.entry_key
        brought = [grants.get((owner, f"{key}{end}")) for end in ("", BONUS)]
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
    if supply(run, step, event_type, found) and not _stands(clawback.fetch_charge(found)):
        run.differ("not_taken_back", fetched.id)


def _stands(fetched: clawback.Fetched) -> bool:
    charge = Charge.objects.filter(stripe_id=fetched.id).select_related("purchase").first()
    if charge is None:
        return not (fetched.refunded or fetched.withdrawn)
    here = (charge.amount, charge.refunded, charge.withdrawn)
    there = (fetched.amount, fetched.refunded, fetched.withdrawn)
    return here == there and _revoked([charge])[charge.stripe_id]
