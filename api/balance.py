"""What a user has."""

from datetime import datetime
from typing import Annotated

from ninja import Router
from pydantic import Field

from accounts.models import ApiKey
from api.admission import ProgramRequest, party
from api.fields import Output, WhoseCredits
from api.operations import operation
from api.reading import Asked
from credits import statement
from credits.models import Category

router = Router(tags=["Credits"])


class Lot(Output):
    """Credits that can be spent until the same moment."""

    expires_at: datetime | None = Field(description="null: they don't expire.")
    category: Category = Field(description="Paid for, or given.", examples=["promotional"])
    credits: int = Field(examples=[120])


class Balance(Output):
    """What a user has at this moment, without what has expired."""

    user: int = Field(description="The user's id, or the organisation's.", examples=[42])
    settled: int = Field(description="All credits, reserved ones too.", examples=[500])
    held: int = Field(description="Credits that holds have reserved.", examples=[20])
    available: int = Field(description="What can be spent now: settled - held.", examples=[480])
    owed: int = Field(
        description="What refunds or usage could not take. The next credits repay it.",
        examples=[0],
    )
    lots: list[Lot] = Field(description="The available credits by when they expire, soonest first.")


@router.get(
    "/balance",
    operation_id="get_balance",
    summary="Get a balance",
    **operation(
        Balance, "invalid_request", "unknown_user", "unknown_organisation",
        scope=ApiKey.Scope.BALANCE_READ,
    ),
)  # fmt: skip
def balance(request: ProgramRequest, asked: Annotated[WhoseCredits, Asked(...)]) -> Balance:
    """What a user or an organisation has, what of it is reserved, and when it expires."""
    owner = party(request.auth, asked.user, asked.organisation).account
    standing, parts = statement.spendable(owner)
    return Balance(
        user=owner.pk,
        settled=standing.balance,
        held=standing.held,
        available=standing.available,
        owed=standing.owed,
        lots=[Lot.model_validate(part, from_attributes=True) for part in parts],
    )
