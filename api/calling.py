"""Who calls, as the API sees it."""

from datetime import datetime
from typing import Literal

from ninja import Router
from pydantic import Field

from accounts.models import ApiKey
from api.admission import ProgramRequest
from api.fields import Output
from api.operations import operation

router = Router(tags=["Keys"])


class Caller(Output):
    """The key that a call was made with."""

    name: str = Field(examples=["Production"])
    prefix: str = Field(description="How the key begins.", examples=["dcp_x7Qa"])
    kind: Literal["personal", "service"]
    user: int | None = Field(
        description="The id of its owner; null for a service key.", examples=[42]
    )
    scopes: list[ApiKey.Scope] = Field(examples=[["balance:read", "credits:spend"]])
    expires_at: datetime | None = Field(description="null: it doesn't expire.")


@router.get("/ping", operation_id="ping", summary="Check a key", **operation(Caller))
def ping(request: ProgramRequest) -> Caller:
    """Whether the API answers, and what it knows of the key. Does nothing else."""
    key = request.auth
    return Caller(
        name=key.name,
        prefix=key.prefix,
        kind="service" if key.user_id is None else "personal",
        user=key.user_id,
        scopes=[ApiKey.Scope(scope) for scope in key.scopes],
        expires_at=key.expires_at,
    )
