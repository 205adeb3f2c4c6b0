"""What credits cost."""

from typing import Annotated

from ninja import Router
from pydantic import BeforeValidator, Field

from api.admission import ProgramRequest
from api.fields import Input
from api.operations import operation
from api.prices import Quote
from api.reading import Asked, number_in_query
from billing import pricing
from billing.models import MAX_CREDITS, MIN_CREDITS

router = Router(tags=["Prices"])


class QuoteAsked(Input):
    credits: Annotated[
        Annotated[int, Field(ge=MIN_CREDITS, le=MAX_CREDITS)],
        BeforeValidator(number_in_query),
        Field(description="How many credits to buy."),
    ]


@router.get(
    "/quote", operation_id="get_quote", summary="Get a price", **operation(Quote, "invalid_request")
)
def quote(request: ProgramRequest, asked: Annotated[QuoteAsked, Asked(...)]) -> Quote:
    """What an order of so many credits costs, as the shop's page says it."""
    return Quote.model_validate(pricing.quote(asked.credits).as_dict())
