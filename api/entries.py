"""The history of a user's credits."""

from datetime import datetime
from typing import Annotated, Self

from ninja import Router
from pydantic import BeforeValidator, Field, model_validator

from accounts.models import ApiKey
from api.admission import ProgramRequest, party
from api.fields import ABSENT, Id, Output, WhoseCredits
from api.operations import operation
from api.reading import Asked, number_in_query
from credits import ledger, models, statement
from credits.models import Kind
from credits.statement import Filter, Line

router = Router(tags=["Credits"])

EntryId = Annotated[Id, BeforeValidator(number_in_query)]
PageSize = Annotated[Annotated[int, Field(ge=1, le=100)], BeforeValidator(number_in_query)]


class Entry(Output):
    """Credits that came or went. Entries never change, and their ids rise with their times."""

    id: int = Field(examples=[1234])
    created_at: datetime
    kind: Kind = Field(description="Why they moved.", examples=["spend"])
    amount: int = Field(description="Plus is into the wallet.", examples=[-5])
    owed: int = Field(
        description="What was owed besides, or, as a minus, repaid by it.", examples=[0]
    )
    balance: int = Field(description="All credits after it, reserved ones too.", examples=[495])
    note: str = Field(examples=["12 pages translated"])

    @classmethod
    def of(cls, line: Line | models.Entry) -> Self:
        return cls(
            id=line.id,
            created_at=line.created_at,
            kind=Kind(line.kind),
            amount=line.amount,
            owed=line.owed,
            balance=line.balance,
            note=line.note,
        )


class EntriesAsked(WhoseCredits):
    kind: list[Annotated[Kind, Field(strict=False)]] = Field(
        default=[], description="Entries of these kinds only; may stand several times."
    )
    before: EntryId = Field(
        default=ABSENT, description="Entries before this one's id, newest first."
    )
    after: EntryId = Field(
        default=ABSENT,
        description="Entries after this one's id, oldest first: to follow along.",
    )
    limit: PageSize = Field(default=25, description="How many at most.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.before is not None and self.after is not None:
            raise ValueError("before and after exclude each other")
        return self


class Entries(Output):
    entries: list[Entry]
    next: int | None = Field(
        description=(
            "There may be more: what to send as `before` (or `after`, where that was sent) to get "
            "them. null: that was all."
        ),
        examples=[1234],
    )


@router.get(
    "/entries",
    operation_id="list_entries",
    summary="List entries",
    **operation(
        Entries, "invalid_request", "unknown_user", "unknown_organisation",
        scope=ApiKey.Scope.BALANCE_READ,
    ),
)  # fmt: skip
def entries(request: ProgramRequest, asked: Annotated[EntriesAsked, Asked(...)]) -> Entries:
    """The history, newest first, page by page.

    Pages begin at an entry and not at a count, so new entries move nothing. To follow along, ask
    with `after` and the id of the newest entry that you know. Of an organisation, its owners and
    billing members get all entries, and other members those of what they drew themselves.
    """
    about = party(request.auth, asked.user, asked.organisation)
    wallet = ledger.wallet_now(about.account)
    if wallet is None:
        return Entries(entries=[], next=None)
    kinds = tuple(kind.value for kind in Kind if kind in asked.kind)
    chosen = Filter(kinds, actor=about.member.sees_of if about.member else None)
    lines = statement.lines(wallet, chosen, asked.limit + 1, before=asked.before, after=asked.after)
    page = lines[: asked.limit]
    return Entries(
        entries=[Entry.of(line) for line in page],
        next=page[-1].id if len(lines) > len(page) else None,
    )
