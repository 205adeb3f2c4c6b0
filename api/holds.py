"""Reserving credits for work whose cost is not known yet."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Self

from django.db import transaction
from django.http import HttpResponse
from ninja import Router
from pydantic import Field

from accounts import keys
from accounts.models import ApiKey, User
from api.admission import ProgramRequest, whose
from api.answers import ledger_key, once
from api.entries import Entry
from api.fields import ABSENT, Credits, IdempotencyKey, Input, Note, Output, UserField
from api.models import HeldCharge
from api.operations import WRITING, operation
from api.reading import Sent
from api.spending import Spent
from credits import ledger
from credits.errors import UnknownHold
from credits.models import Hold

router = Router(tags=["Holds"])

LONGEST: Final = int(ledger.LONGEST_HOLD.total_seconds())
SCOPE: Final = ApiKey.Scope.CREDITS_SPEND


class NewHold(Input):
    amount: Credits
    expires_in: Annotated[
        int,
        Field(
            ge=1,
            le=LONGEST,
            description="Seconds, up to a day. What is held then and not captured is free again.",
            examples=[600],
        ),
    ]
    user: UserField = ABSENT


class Capture(Input):
    amount: Credits
    note: Note = ""
    user: UserField = ABSENT


class Release(Input):
    user: UserField = ABSENT


class Held(Output):
    """Reserved credits. Neither expiry nor refunds reach into them."""

    id: int = Field(examples=[77])
    amount: int = Field(examples=[20])
    status: Hold.Status = Field(
        description="`captured`: spent, in whole or in part. `lapsed`: its time was up.",
        examples=["open"],
    )
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, hold: Hold) -> Self:
        return cls(
            id=hold.pk,
            amount=hold.amount,
            status=Hold.Status(hold.status),
            created_at=hold.created_at,
            expires_at=hold.expires_at,
        )


@router.post(
    "/holds",
    operation_id="place_hold",
    summary="Reserve credits",
    **operation(
        Held, *WRITING, "insufficient_credits", "spending_limit_reached", "unknown_user",
        scope=SCOPE, status=201, takes=NewHold,
    ),
)  # fmt: skip
def place(
    request: ProgramRequest, key: IdempotencyKey, body: Annotated[NewHold, Sent(...)]
) -> HttpResponse:
    """Reserve credits before work begins, so that they are there when it is done.

    What is held counts for the key's spending limit until it is released or not captured.
    """
    api_key = request.auth

    def do() -> Held:
        user = whose(api_key, body.user)
        name, expires_in = ledger_key(api_key, key), timedelta(seconds=body.expires_in)
        # One that the ledger knows and the API has forgotten was counted then.
        is_new = not Hold.objects.filter(wallet__user=user, key=name).exists()
        begins_on = keys.charge(api_key, body.amount) if is_new else None
        # Not before the key's sum is locked: the first call makes the wallet.
        hold = ledger.hold(ledger.wallet_of(user), body.amount, key=name, expires_in=expires_in)
        if begins_on is not None:
            HeldCharge.objects.create(
                hold=hold, key=api_key, begins_on=begins_on, credits=hold.amount
            )
        return Held.of(hold)

    return once(request, key, body, do, status=201)


@router.post(
    "/holds/{int:hold_id}/capture",
    operation_id="capture_hold",
    summary="Spend reserved credits",
    **operation(
        Spent, *WRITING, "unknown_hold", "unknown_user", "hold_captured", "hold_released",
        "hold_lapsed", "hold_exceeded", scope=SCOPE, takes=Capture,
    ),
)  # fmt: skip
def capture(
    request: ProgramRequest,
    hold_id: int,
    key: IdempotencyKey,
    body: Annotated[Capture, Sent(...)],
) -> HttpResponse:
    """Spend up to what is held. The rest is free again at once."""
    api_key = request.auth

    def do() -> Spent:
        user = whose(api_key, body.user)
        hold = _hold_of(api_key, user, hold_id)
        _uncount(hold.pk, spent=body.amount)
        entry = ledger.capture(
            hold, body.amount, note=body.note, actor=user if api_key.user_id else None
        )
        return Spent(entry=Entry.of(entry), available=ledger.balance_of(user))

    return once(request, key, body, do)


@router.post(
    "/holds/{int:hold_id}/release",
    operation_id="release_hold",
    summary="Release reserved credits",
    **operation(
        Held, *WRITING, "unknown_hold", "unknown_user", "hold_captured", scope=SCOPE, takes=Release
    ),
)
def release(
    request: ProgramRequest,
    hold_id: int,
    key: IdempotencyKey,
    body: Annotated[Release, Sent(...)],
) -> HttpResponse:
    """Free what is held. What is free already stays so."""
    api_key = request.auth

    def do() -> Held:
        user = whose(api_key, body.user)
        hold = _hold_of(api_key, user, hold_id)
        _uncount(hold.pk)
        return Held.of(ledger.release(hold))

    return once(request, key, body, do)


def _hold_of(api_key: ApiKey, user: User, hold_id: int) -> Hold:
    """The user's hold. Raises `UnknownHold`.

    What a product has reserved isn't there for the user's own keys: who pays for the work must not
    free the credits before it is paid.
    """
    hold = ledger.hold_of(ledger.wallet_of(user), hold_id)
    if api_key.user_id is not None and not hold.key.startswith(ledger_key(api_key, "")):
        raise UnknownHold("There is no such hold.")
    return hold


# --- The key's limit --------------------------------------------------------------------------

# Locked in this order everywhere: what a hold counts for, the key's sum, the wallet. So nobody
# waits in a circle.


def _uncount(hold_id: int, *, spent: int = 0) -> None:
    """Of a hold that ends in this transaction, count only what is spent."""
    charge = HeldCharge.objects.filter(hold=hold_id).first()
    if charge is not None and charge.delete()[0]:
        keys.give_back(charge.key_id, charge.begins_on, charge.credits - spent)


def uncount_lapsed() -> int:
    """Count no more what holds held whose time is up; answers how many there were."""
    over = HeldCharge.objects.filter(hold__status__in=[Hold.Status.LAPSED, Hold.Status.RELEASED])
    holds = list(over.values_list("hold_id", flat=True))
    for hold_id in holds:
        with transaction.atomic():
            _uncount(hold_id)
    return len(holds)
