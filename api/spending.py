"""Spending credits."""

from typing import Annotated, Final

from django.db import DatabaseError
from django.http import HttpResponse
from ninja import Router
from pydantic import Field

from accounts import keys, limits, organisations
from accounts.models import ApiKey
from api.admission import ProgramRequest, naming, party
from api.answers import answer_of, fingerprint_of, response_of, scope_of
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
from api.operations import WRITING, operation
from api.reading import Sent
from api.refusals import refusal
from credits import ledger

router = Router(tags=["Credits"])

UNKNOWN_USER: Final = "AP001"
LIMIT_REACHED: Final = "AP002"
UNKNOWN_ORGANISATION: Final = "AP003"
MEMBER_LIMIT_REACHED: Final = "AP004"


class Spend(Input):
    amount: Credits
    note: Note = ""
    user: UserField = ABSENT
    organisation: OrganisationField = ABSENT


class Spent(Output):
    entry: Entry
    available: int = Field(description="What can be spent after it.", examples=[475])


@router.post(
    "/spend",
    operation_id="spend",
    summary="Spend credits",
    **operation(
        Spent, *WRITING, "insufficient_credits", "spending_limit_reached",
        "member_limit_reached", "unknown_user", "unknown_organisation",
        scope=ApiKey.Scope.CREDITS_SPEND, status=201, takes=Spend,
    ),
)  # fmt: skip
def spend(
    request: ProgramRequest, key: IdempotencyKey, body: Annotated[Spend, Sent(...)]
) -> HttpResponse:
    """Take credits for what a user has used, all of them or none."""
    api_key, fingerprint = request.auth, fingerprint_of(request, body)
    begins_on, today = keys.period_of(api_key), limits.today()
    values = [
        scope_of(api_key),
        key,
        fingerprint,
        *naming(api_key, body.user),
        body.amount,
        body.note,
        api_key.pk,
        api_key.limit_credits,
        begins_on,
        body.organisation,
        today,
    ]
    try:
        row = ledger.run(_SPEND, values, body.amount)
    except DatabaseError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state == UNKNOWN_USER:
            raise refusal("unknown_user", field="user") from None
        if state == LIMIT_REACHED and begins_on is not None:
            raise keys.limit_reached(api_key, begins_on) from None
        if state == UNKNOWN_ORGANISATION:
            raise refusal("unknown_organisation", field="organisation") from None
        if state == MEMBER_LIMIT_REACHED:
            member = party(api_key, body.user, body.organisation).member
            if member is not None:
                raise organisations.limit_reached(member, today) from None
        raise
    return response_of(answer_of(row), fingerprint)


_SPEND: Final = "SELECT * FROM api_spend(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
