"""Reserving credits for work whose cost is not known yet."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Self

from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from ninja import Router
from pydantic import Field

from accounts import keys, organisations
from accounts.models import ApiKey
from api.admission import Party, ProgramRequest, party
from api.answers import ledger_key, once
from api.entries import Entry
from api.fields import (
    ABSENT,
    Credits,
    IdempotencyKey,
    Input,
    Note,
    OrganisationField,
    Output,
    UserField,
)
from api.models import HeldCharge, MemberHold
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
    organisation: OrganisationField = ABSENT


class Capture(Input):
    amount: Credits
    note: Note = ""
    user: UserField = ABSENT
    organisation: OrganisationField = ABSENT


class Release(Input):
    user: UserField = ABSENT
    organisation: OrganisationField = ABSENT


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
        Held, *WRITING, "insufficient_credits", "spending_limit_reached",
        "member_limit_reached", "unknown_user", "unknown_organisation",
        scope=SCOPE, status=201, takes=NewHold,
    ),
)  # fmt: skip
def place(
    request: ProgramRequest, key: IdempotencyKey, body: Annotated[NewHold, Sent(...)]
) -> HttpResponse:
    """Reserve credits before work begins, so that they are there when it is done.

    What is held counts for the key's spending limit, and for the member's where it is an
    organisation's, until it is released or not captured.
    """
    api_key = request.auth

    def do() -> Held:
        about = party(api_key, body.user, body.organisation)
        name, expires_in = ledger_key(api_key, key), timedelta(seconds=body.expires_in)
        # One that the ledger knows and the API has forgotten was counted then.
        is_new = not Hold.objects.filter(wallet__user=about.account, key=name).exists()
        drawn_on = None
        if is_new and about.member is not None:
            drawn_on = organisations.draw(about.member.user, about.account.pk, body.amount)
        begins_on = keys.charge(api_key, body.amount) if is_new else None
        # Not before the sums are locked: the first call makes the wallet.
        wallet = ledger.wallet_of(about.account)
        hold = ledger.hold(wallet, body.amount, key=name, expires_in=expires_in)
        if drawn_on is not None and about.member is not None:
            MemberHold.objects.create(
                hold=hold,
                organisation_id=about.account.pk,
                user=about.member.user,
                day=drawn_on,
                credits=hold.amount,
            )
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
        Spent, *WRITING, "unknown_hold", "unknown_user", "unknown_organisation",
        "hold_captured", "hold_released", "hold_lapsed", "hold_exceeded",
        scope=SCOPE, takes=Capture,
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
        about = party(api_key, body.user, body.organisation)
        hold = _hold_of(api_key, about, hold_id)
        _uncount(hold.pk, about.is_users_own(api_key), spent=body.amount)
        entry = ledger.capture(hold, body.amount, note=body.note, actor=about.actor(api_key))
        return Spent(entry=Entry.of(entry), available=ledger.balance_of(about.account))

    return once(request, key, body, do)


@router.post(
    "/holds/{int:hold_id}/release",
    operation_id="release_hold",
    summary="Release reserved credits",
    **operation(
        Held, *WRITING, "unknown_hold", "unknown_user", "unknown_organisation", "hold_captured",
        scope=SCOPE, takes=Release,
    ),
)  # fmt: skip
def release(
    request: ProgramRequest,
    hold_id: int,
    key: IdempotencyKey,
    body: Annotated[Release, Sent(...)],
) -> HttpResponse:
    """Free what is held. What is free already stays so."""
    api_key = request.auth

    def do() -> Held:
        about = party(api_key, body.user, body.organisation)
        hold = _hold_of(api_key, about, hold_id)
        _uncount(hold.pk, about.is_users_own(api_key))
        return Held.of(ledger.release(hold))

    return once(request, key, body, do)


def _hold_of(api_key: ApiKey, about: Party, hold_id: int) -> Hold:
    """The party's hold. Raises `UnknownHold`.

    What a product has reserved isn't there for the user's own keys: who pays for the work must not
    free the credits before it is paid. Nor is what other members of an organisation have reserved.
    """
    hold = ledger.hold_of(ledger.wallet_of(about.account), hold_id)
    is_theirs = api_key.user_id is None or hold.key.startswith(ledger_key(api_key, ""))
    if about.member is not None:
        drawn = MemberHold.objects.filter(hold=hold_id, user=about.member.user_id)
        is_theirs = is_theirs and drawn.exists()
    if not is_theirs:
        raise UnknownHold("There is no such hold.")
    return hold


# --- The limits -------------------------------------------------------------------------------

# Locked in this order everywhere: what a hold counts for, the member's sum, the key's sum, the
# wallet. So nobody waits in a circle.


def _uncount(hold_id: int, is_users_own: bool = False, *, spent: int = 0) -> None:
    """Of a hold that ends in this transaction, count only what is spent.

    `is_users_own`: no member has placed it.
    """
    if not is_users_own:
        _uncount_for_member(hold_id, spent)
    charge = HeldCharge.objects.filter(hold=hold_id).first()
    if charge is not None and charge.delete()[0]:
        keys.give_back(charge.key_id, charge.begins_on, charge.credits - spent)


def _uncount_for_member(hold_id: int, spent: int) -> None:
    placed = MemberHold.objects.filter(hold=hold_id, is_over=False)
    by = placed.first()
    if by is not None and placed.update(is_over=True):
        organisations.give_back(by.organisation_id, by.user_id, by.day, by.credits - spent)


def uncount_lapsed() -> int:
    """Count no more what holds held whose time is up; answers how many there were."""
    is_over = Q(hold__status__in=[Hold.Status.LAPSED, Hold.Status.RELEASED])
    charges = HeldCharge.objects.filter(is_over).values_list("hold_id")
    members = MemberHold.objects.filter(is_over, is_over=False).values_list("hold_id")
    holds = list(charges.union(members))
    for (hold_id,) in holds:
        with transaction.atomic():
            _uncount(hold_id)
    return len(holds)
