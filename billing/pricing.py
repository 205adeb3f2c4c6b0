"""What credits cost: tiers, the quote, the minimum charge, and the better deal.

Exact integers throughout. A unit price is a whole number of ten-thousandths of the currency's
major unit (95 is $0.0095); totals are minor units (cents), rounded half up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext as _

from accounts import rows
from billing.models import MAX_CREDITS, MIN_CREDITS, PriceTier

CURRENCY: Final = "usd"


class PricingError(Exception):
    """The price table can't be sold from; the message says what to mend."""


@dataclass(frozen=True)
class Tier:
    """From `min` to `max` credits, each costs `unit_price` ten-thousandths."""

    min: int
    max: int
    unit_price: int

    def price(self, credits: int) -> int:
        """Cents for this many credits, before the minimum charge."""
        return (credits * self.unit_price + 50) // 100


@dataclass(frozen=True)
class BetterDeal:
    """More credits that cost no more."""

    credits: int
    total: int
    saves: int


@dataclass(frozen=True)
class Quote:
    """The price of an order, money in cents."""

    credits: int
    tier: Tier
    discount_percent: int
    list_total: int
    total: int
    minimum_charge: int
    minimum_charge_applied: bool
    better_deal: BetterDeal | None

    @property
    def unit_price(self) -> str:
        return unit_price_text(self.tier.unit_price)

    def as_dict(self) -> dict[str, Any]:
        deal = self.better_deal
        return {
            "credits": self.credits,
            "currency": CURRENCY,
            "unit_price": self.unit_price,
            "discount_percent": self.discount_percent,
            "list_total": self.list_total,
            "total": self.total,
            "minimum_charge": self.minimum_charge,
            "minimum_charge_applied": self.minimum_charge_applied,
            "tier": {"min": self.tier.min, "max": self.tier.max},
            "better_deal": deal
            and {"credits": deal.credits, "total": deal.total, "saves": deal.saves},
        }


def quote(credits: int, tiers: Sequence[Tier] | None = None) -> Quote:
    """Price an order of `MIN_CREDITS` to `MAX_CREDITS` credits."""
    tiers = load_tiers() if tiers is None else tiers
    tier = next(tier for tier in tiers if tier.min <= credits <= tier.max)
    minimum: int = settings.MINIMUM_CHARGE_CENTS
    price = tier.price(credits)
    total = max(price, minimum)
    return Quote(
        credits=credits,
        tier=tier,
        discount_percent=discount_percent(tier, tiers),
        list_total=tiers[0].price(credits),
        total=total,
        minimum_charge=minimum,
        minimum_charge_applied=price < minimum,
        better_deal=_better_deal(credits, total, minimum, tiers),
    )


def load_tiers() -> list[Tier]:
    """The price table. Raises `PricingError` when there is none or it has a gap or a rise."""
    tiers = rows.find(PriceTier, "ORDER BY min_credits", [])
    return tiers_of([(tier.min_credits, tier.unit_price_e4) for tier in tiers])


def tiers_of(starts: Sequence[tuple[int, int]]) -> list[Tier]:
    """Tiers from (first amount, unit price) pairs; each ends where the next begins."""
    if not starts or starts[0][0] != MIN_CREDITS:
        raise PricingError(
            _("The first tier must start at %(min)s credits: smaller amounts would have no price.")
            % {"min": MIN_CREDITS}
        )
    tiers: list[Tier] = []
    for index, (first, unit_price) in enumerate(starts):
        last = starts[index + 1][0] - 1 if index + 1 < len(starts) else MAX_CREDITS
        if last < first:
            raise PricingError(
                _("Tiers must start at different amounts, in rising order; see %(at)s.")
                % {"at": first}
            )
        if unit_price <= 0:
            raise PricingError(_("The price from %(at)s credits must be above 0.") % {"at": first})
        if tiers and unit_price > tiers[-1].unit_price:
            raise PricingError(
                _("A credit must not cost more from %(at)s credits than below.") % {"at": first}
            )
        tiers.append(Tier(first, last, unit_price))
    return tiers


def discount_percent(tier: Tier, tiers: Sequence[Tier]) -> int:
    """How much less than in the first tier a credit costs, in whole percent."""
    base = tiers[0].unit_price
    return (base - tier.unit_price) * 100 // base


def unit_price_text(unit_price: int) -> str:
    return f"{unit_price // 10_000}.{unit_price % 10_000:04}"


def table(tiers: Sequence[Tier], current: Tier | None) -> list[dict[str, Any]]:
    """The tiers as pages list them; `current` is the one of the order."""
    return [
        {
            "min": tier.min,
            "max": tier.max,
            "unit_price": tier.unit_price,
            "discount_percent": discount_percent(tier, tiers),
            "current": tier == current,
        }
        for tier in tiers
    ]


def plan(tiers: Sequence[Tier]) -> dict[str, Any]:
    """What the browser needs to compute the same quotes (`static/js/pricing.js`)."""
    return {
        "currency": CURRENCY,
        "min": MIN_CREDITS,
        "max": MAX_CREDITS,
        "minimum_charge": settings.MINIMUM_CHARGE_CENTS,
        "tiers": [
            {"min": tier.min, "max": tier.max, "unit_price": tier.unit_price} for tier in tiers
        ],
    }


def _better_deal(
    credits: int, total: int, minimum: int, tiers: Sequence[Tier]
) -> BetterDeal | None:
    # Larger amounts cost less only where a tier begins, and the same below the minimum charge.
    offers = [(max(tier.price(tier.min), minimum), tier.min) for tier in tiers]
    for tier in tiers:
        most = min(tier.max, (100 * minimum + 49) // tier.unit_price)
        if most >= tier.min:
            offers.append((minimum, most))
    offers = [offer for offer in offers if offer[1] > credits and offer[0] <= total]
    if not offers:
        return None
    best, amount = min(offers, key=lambda offer: (offer[0], -offer[1]))
    return BetterDeal(amount, best, total - best)
