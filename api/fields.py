"""What fields of requests and answers may hold."""

from typing import Annotated, Any, Final

from ninja.params.models import Header
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from api.reading import number_in_query
from credits.models import MAX_CREDITS

Id = Annotated[int, Field(strict=True, ge=1, le=MAX_CREDITS)]
Email = Annotated[
    str, Field(strict=True, max_length=254, pattern=r"^[^\x00-\x20@]+@[^\x00-\x20@]+$")
]


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

ABSENT: Any = None
"""What a field is that was left out. null is none of the values that may be sent."""

UserField = Annotated[Named, Field(description=OF_WHOM, examples=["ada@example.com"])]
UserParameter = Annotated[Named, BeforeValidator(number_in_query), Field(description=OF_WHOM)]

OF_WHICH: Final = (
    "An organisation by id, whose credits it is about. The user has to be a member of it."
)
OrganisationField = Annotated[Id, Field(description=OF_WHICH, examples=[57])]
OrganisationParameter = Annotated[Id, BeforeValidator(number_in_query), Field(description=OF_WHICH)]

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
Cents = Annotated[int, Field(strict=True, ge=1, le=MAX_CREDITS)]
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
UNIQUE_NAME: Final = r"^[\x21-\x7e]{1,128}$"
IdempotencyKey = Annotated[
    str,
    Header(
        ...,
        alias="Idempotency-Key",
        pattern=UNIQUE_NAME,
        description=(
            "A name of your own for this request, such as a UUID: 1 to 128 visible ASCII "
            "characters. Made again under it, the request is answered as the first time and done "
            "no second time."
        ),
    ),
]


class Input(BaseModel):
    """What a client sends: the documented fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Output(BaseModel):
    model_config = ConfigDict(frozen=True)


class Whose(Input):
    """A query string that may say whom it is about."""

    user: UserParameter = ABSENT


class WhoseCredits(Whose):
    """A query string about credits, which may be an organisation's."""

    organisation: OrganisationParameter = ABSENT
