"""What fields of requests and answers may hold."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from api.reading import number_in_query
from credits.models import MAX_CREDITS

Id = Annotated[int, Field(strict=True, ge=1, le=MAX_CREDITS)]
Email = Annotated[str, Field(strict=True, max_length=254, pattern=r"^[^\s\x00@]+@[^\s\x00@]+$")]


def _kind_of_name(value: Any) -> str:
    return "an-id" if isinstance(value, int) else "an-email"


Named = Annotated[
    Annotated[Id, Tag("an-id")] | Annotated[Email, Tag("an-email")], Discriminator(_kind_of_name)
]
"""A user, by id or email."""

OF_WHOM: Final = (
    "The user by id or email. A service key's calls have to name one; a personal key's may leave "
    "it out, for its owner."
)

UserField = Annotated[Named | None, Field(description=OF_WHOM, examples=["ada@example.com"])]
UserParameter = Annotated[UserField, BeforeValidator(number_in_query)]

Credits = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        le=MAX_CREDITS,
        description='Whole credits: 5, and neither 5.0 nor "5".',
        examples=[5],
    ),
]
Note = Annotated[
    str,
    Field(
        strict=True,
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="What it was for. Your customer reads it in the history.",
        examples=["12 pages translated"],
    ),
]


class Input(BaseModel):
    """What a client sends: the documented fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Output(BaseModel):
    model_config = ConfigDict(frozen=True)


class Whose(Input):
    """A query string that may say whom it is about."""

    user: UserParameter = None
