"""A price as it is answered, and as it comes with a refusal."""

from typing import Any, Final

from pydantic import BaseModel, Field


class PriceTier(BaseModel, frozen=True):
    min: int = Field(examples=[500])
    max: int = Field(examples=[1999])


class BetterDeal(BaseModel, frozen=True):
    credits: int = Field(examples=[500])
    total: int = Field(description="In cents.", examples=[475])
    saves: int = Field(description="In cents.", examples=[24])


class Quote(BaseModel, frozen=True):
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


A_QUOTE: Final[dict[str, Any]] = {
    "credits": 500,
    "currency": "usd",
    "unit_price": "0.0095",
    "discount_percent": 5,
    "list_total": 500,
    "total": 475,
    "minimum_charge": 50,
    "minimum_charge_applied": False,
    "tier": {"min": 500, "max": 1999},
    "better_deal": None,
}
