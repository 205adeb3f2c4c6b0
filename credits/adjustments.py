"""Adjustments by staff: booked at once up to a limit, beyond it by a second person's approval.

All amounts are whole credits. Each verb is one transaction, and writes what it did to the admin's
log in the same one: what is asked for, booked or decided twice is on record once. Permissions are
the pages' to check.
"""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import models, transaction
from django.db.models import Func, QuerySet, Sum
from django.db.models.functions import Abs, Coalesce, Now
from django.utils.translation import gettext as _

from accounts.models import User
from credits import errors, ledger
from credits.models import Adjustment, Entry, Kind, Wallet

Status = Adjustment.Status

WINDOW: Final = timedelta(hours=24)
"""The limit counts what was adjusted within the last 24 hours."""


class OwnAdjustment(errors.LedgerError):
    """Nobody decides on what they asked for, or on their own balance."""


class NotTheirs(errors.LedgerError):
    """Only who asked can withdraw."""


class AlreadyDecided(errors.LedgerError):
    """It was decided otherwise before: approved, rejected or withdrawn."""


class NoReason(errors.LedgerError):
    """To reject takes a reason."""


def booked_or_asked(user: User, key: str) -> Entry | Adjustment | None:
    """What came of an adjustment with this key: its entry, else the request for it."""
    entry = Entry.objects.filter(wallet__user=user, kind=Kind.ADJUSTMENT, key=key).first()
    return entry or Adjustment.objects.filter(user=user, key=key).first()


def is_over_limit(user: User, amount: int, staff: User) -> bool:
    """Whether this much more on the user's balance takes a second person, as things stand."""
    sizes = Entry.objects.filter(
        wallet__user=user,
        kind=Kind.ADJUSTMENT,
        actor=staff,
        created_at__gt=Func(function="statement_timestamp", output_field=models.DateTimeField())
        - WINDOW,
    ).aggregate(sum=Coalesce(Sum(Abs("amount")), 0))
    return abs(amount) + int(sizes["sum"]) > settings.ADJUSTMENT_LIMIT


@transaction.atomic
def adjust(user: User, amount: int, *, key: str, reason: str, staff: User) -> Entry | Adjustment:
    """Book an adjustment, or ask for it where it is over the staff member's limit.

    The limit counts what they have adjusted on this balance within 24 hours and this amount, plus
    and minus alike. The same key answers what came of it the first time. Raises `KeyReused` for
    another amount, and what `ledger.adjust` raises, above all `InsufficientCredits`.
    """
    wallet = ledger.wallet_of(user)
    # Two at once would otherwise both stay under the limit.
    Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
    known = booked_or_asked(user, key)
    if known is not None:
        if known.amount != amount:
            raise errors.KeyReused(_("This form has adjusted another amount before."))
        return known
    if not is_over_limit(user, amount, staff):
        entry = ledger.adjust(wallet, amount, key=key, note=reason, actor=staff)
        _log(staff, Wallet.objects.filter(pk=wallet.pk), CHANGE, f"{amount:+}: {reason}")
        return entry
    available = ledger.balance_of(user)
    if available + amount < 0:
        raise errors.InsufficientCredits(available, -amount)
    adjustment = Adjustment.objects.create(
        user=user, amount=amount, reason=reason, key=key, asked_by=staff
    )
    _log(staff, _one(adjustment), ADDITION, f"Asked for {amount:+}: {reason}")
    return adjustment


@transaction.atomic
def approve(adjustment: Adjustment, *, staff: User) -> Entry:
    """Book what was asked for, in the name of who asked; approving again answers the same entry.

    Raises `OwnAdjustment`, `AlreadyDecided`, and what `ledger.adjust` raises: it waits on then.
    """
    adjustment = _locked(adjustment)
    _check_second_person(adjustment, staff)
    wallet = ledger.wallet_of(adjustment.user)
    is_new = adjustment.status == Status.WAITING
    if not is_new and adjustment.status != Status.APPROVED:
        raise _decided(adjustment)
    entry = ledger.adjust(
        wallet,
        adjustment.amount,
        key=adjustment.key,
        note=adjustment.reason,
        actor=adjustment.asked_by,
    )
    if is_new:
        _decide(adjustment, Status.APPROVED, staff)
        message = f"{adjustment.amount:+}: {adjustment.reason} (asked by {adjustment.asked_by})"
        _log(staff, _one(adjustment), CHANGE, f"Approved {message}")
        _log(staff, Wallet.objects.filter(pk=wallet.pk), CHANGE, message)
    return entry


@transaction.atomic
def reject(adjustment: Adjustment, *, staff: User, answer: str) -> Adjustment:
    """Refuse what was asked for. Raises `OwnAdjustment`, `NoReason`, `AlreadyDecided`."""
    adjustment = _locked(adjustment)
    _check_second_person(adjustment, staff)
    if not answer.strip():
        raise NoReason(_("Say why it is rejected."))
    if adjustment.status == Status.REJECTED:
        return adjustment
    if adjustment.status != Status.WAITING:
        raise _decided(adjustment)
    _decide(adjustment, Status.REJECTED, staff, answer)
    _log(staff, _one(adjustment), CHANGE, f"Rejected {adjustment.amount:+}: {answer}")
    return adjustment


@transaction.atomic
def withdraw(adjustment: Adjustment, *, staff: User) -> Adjustment:
    """Take back what one has asked for oneself. Raises `NotTheirs`, `AlreadyDecided`."""
    adjustment = _locked(adjustment)
    if adjustment.asked_by != staff:
        raise NotTheirs(_("Only who asked can withdraw it."))
    if adjustment.status == Status.WITHDRAWN:
        return adjustment
    if adjustment.status != Status.WAITING:
        raise _decided(adjustment)
    _decide(adjustment, Status.WITHDRAWN, staff)
    _log(staff, _one(adjustment), CHANGE, f"Withdrew {adjustment.amount:+}")
    return adjustment


def _locked(adjustment: Adjustment) -> Adjustment:
    return (
        Adjustment.objects.select_for_update(of=("self",), no_key=True)
        .select_related("user", "asked_by")
        .get(pk=adjustment.pk)
    )


def _check_second_person(adjustment: Adjustment, staff: User) -> None:
    if staff == adjustment.asked_by:
        raise OwnAdjustment(_("You have asked for it yourself: somebody else has to decide."))
    if staff == adjustment.user:
        raise OwnAdjustment(_("It is your own balance: somebody else has to decide."))


def _decided(adjustment: Adjustment) -> AlreadyDecided:
    return AlreadyDecided(
        _("It was decided before: %(status)s.") % {"status": adjustment.get_status_display()}
    )


def _decide(adjustment: Adjustment, status: str, staff: User, answer: str = "") -> None:
    adjustment.status = status
    adjustment.decided_by = staff
    adjustment.decided_at = Now()
    adjustment.answer = answer
    adjustment.save(update_fields=["status", "decided_by", "decided_at", "answer"])
    adjustment.refresh_from_db(fields=["decided_at"])


def _one(adjustment: Adjustment) -> QuerySet[Adjustment]:
    return Adjustment.objects.filter(pk=adjustment.pk)


def _log(staff: User, what: QuerySet[Adjustment] | QuerySet[Wallet], flag: int, words: str) -> None:
    LogEntry.objects.log_actions(staff.pk, what, flag, change_message=words, single_object=True)
