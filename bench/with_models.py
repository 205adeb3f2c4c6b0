"""Spending as one would write it first, with Django's models: the yardstick, not the product.

The same effect on the same tables, in one transaction with the wallet locked.
"""

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from credits.errors import InsufficientCredits, KeyReused
from credits.models import Account, Draw, Entry, Kind, Wallet


@transaction.atomic
def spend(wallet_id: int, amount: int, *, key: str) -> Entry:
    wallet = Wallet.objects.select_for_update().get(pk=wallet_id)
    booked = Entry.objects.filter(wallet=wallet, key=key).first()
    if booked:
        if (booked.kind, booked.amount) != (Kind.SPEND, -amount):
            raise KeyReused(key)
        return booked
    if wallet.balance - wallet.held < amount:
        raise InsufficientCredits(available=wallet.balance - wallet.held, needed=amount)
    wallet.balance -= amount
    wallet.save(update_fields=["balance"])
    entry = Entry.objects.create(
        wallet=wallet,
        kind=Kind.SPEND,
        account=Account.SPENT,
        amount=-amount,
        balance=wallet.balance,
        key=key,
    )
    lots = wallet.lots.filter(
        Q(expires_at=None) | Q(expires_at__gt=timezone.now()), is_open=True
    ).order_by("priority", F("expires_at").asc(nulls_last=True), "-category", "id")
    for lot in lots:
        part = min(amount, lot.remaining)
        undrawn = lot.remaining + lot.held
        Draw.objects.create(
            wallet=wallet,
            entry_id=entry.pk,
            lot_id=lot.pk,
            amount=part,
            paid=lot.paid * undrawn // lot.amount - lot.paid * (undrawn - part) // lot.amount,
        )
        # By the wallet as well: the index begins with it.
        wallet.lots.filter(pk=lot.pk).update(remaining=F("remaining") - part)
        amount -= part
        if amount == 0:
            break
    return entry
