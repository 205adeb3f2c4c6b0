"""Promotions and their codes, as staff would make them."""

from typing import Any

from django.db.models import Count, Q

from billing.models import PromoCode, Promotion, Purchase, Redemption


def promo(code: str = "SUMMER25", *, code_uses: int | None = None, **terms: Any) -> PromoCode:
    """A code for 10% more, unless the terms say otherwise."""
    if not {"percent", "credits"} & terms.keys():
        terms["percent"] = 10
    promotion = Promotion.objects.create(**{"name": code, **terms})
    return PromoCode.objects.create(promotion=promotion, code=code, max_uses=code_uses)


def voucher(code: str = "GIFT500", **terms: Any) -> PromoCode:
    return promo(code, **{"kind": "voucher", "credits": 500, **terms})


def miscounted() -> list[str]:
    """Codes and promotions whose count is not that of their uses, and uses that are kept from
    others by an order that is over."""
    counts = Q(redemptions__status__in=Redemption.COUNTED)
    codes = PromoCode.objects.annotate(real=Count("redemptions", filter=counts))
    found = [f"code {code}: {code.used}, {code.real}" for code in codes if code.used != code.real]
    counts = Q(codes__redemptions__status__in=Redemption.COUNTED)
    all_of = Promotion.objects.annotate(real=Count("codes__redemptions", filter=counts))
    found += [f"promotion {one}: {one.used}, {one.real}" for one in all_of if one.used != one.real]
    over = (Purchase.Status.EXPIRED, Purchase.Status.FAILED)
    left = Redemption.objects.filter(status="reserved", purchase__status__in=over)
    return found + [f"reserved by {use.purchase}" for use in left]
