"""What credits cost."""

from typing import Annotated

from ninja import Router
from pydantic import BeforeValidator, Field

from api.admission import ProgramRequest
from api.fields import Input, Output
from api.operations import operation
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


class PriceTier(Output):
    min: int = Field(examples=[500])
    max: int = Field(examples=[1999])


class BetterDeal(Output):
    credits: int = Field(examples=[500])
    total: int = Field(description="In cents.", examples=[475])
    saves: int = Field(description="In cents.", examples=[24])


class Quote(Output):
    """A price. Totals are in cents."""

    credits: int = Field(examples=[500])
    currency: str = Field(examples=["usd"])
    unit_price: str = Field(description="Of one credit, in the currency.", examples=["0.0095"])
    discount_percent: int = Field(examples=[5])
    list_total: int = Field(description="Without the discount.", examples=[500])
    total: int = Field(description="What is charged.", examples=[475])
    minimum_charge: int = Field(description="No payment is smaller.", examples=[50])
    minimum_charge_applied: bool = Field(examples=[False])
    tier: PriceTier = Field(description="The amounts with this price of one credit.")
    better_deal: BetterDeal | None = Field(
        description="More credits for no more money; null: there is nothing better."
    )


@router.get(
    "/quote", operation_id="get_quote", summary="Get a price", **operation(Quote, "invalid_request")
)
def quote(request: ProgramRequest, asked: Annotated[QuoteAsked, Asked(...)]) -> Quote:
    """What an order of so many credits costs, as the shop's page says it."""
    return Quote.model_validate(pricing.quote(asked.credits).as_dict())
