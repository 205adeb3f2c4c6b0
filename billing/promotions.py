"""Promo codes: more credits with a purchase; and vouchers: credits without one.

Two locks make the limits exact. All that is redeemed by one user happens under the lock of the
user's row (`closing.check_open`), so that what they have redeemed can simply be counted. A use is
taken by adding one to `used` of promotion and code where that is still below the limit, which locks
both rows until the end of the transaction; CHECKs of the database stand behind it.

A use is reserved with the order, kept when it is paid and freed when it won't be. What the buyer
saw is granted, also where a payment comes after all for an order that was taken for dead and whose
use somebody else has had since. A refund takes the bonus back in proportion (`billing.clawback`)
and frees nothing (docs/decisions/0031-promotions.md).
"""

import re
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import closing, preferences
from accounts.models import User
from billing.models import PromoCode, Promotion, Purchase, Redemption
from credits import ledger
from credits.models import Category, Kind, Wallet

BONUS: Final = ":bonus"
"""What the key of a promotional grant ends with that came with a purchase, after the purchase's."""

_LEFT_OUT: Final = re.compile(r"[\s\-\u2010-\u2015]+")
_CODE: Final = re.compile(r"[A-Z0-9]{4,40}")

BATCH: Final = 1000
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: without I, L, O and U, so that nobody reads one for another."""
_LENGTH: Final = 16

Status = Redemption.Status


class Reason(models.TextChoices):
    """Why a code is refused. All but the first are told only of a code that is good otherwise."""

    UNUSABLE = "unusable"
    USED = "used"
    MINIMUM = "minimum"
    FIRST = "first"
    IS_VOUCHER = "is_voucher"
    IS_BONUS = "is_bonus"


class CodeRefused(Exception):
    """Nothing was redeemed. `minimum` are the credits that an order needs, where that is why."""

    def __init__(self, reason: Reason, minimum: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.minimum = reason, minimum


class RedemptionReused(Exception):
    """The id belongs to another redemption."""


class _NoneLeft(Exception):
    """All uses are taken, or the promotion was switched off."""


@dataclass(frozen=True)
class Offer:
    """What a code brings a user: a bonus on an order, or a voucher's credits.

    `in_the_way` are open orders of theirs that have reserved it: one at a time can.
    """

    user: User
    code: PromoCode
    credits: int
    in_the_way: tuple[Purchase, ...]


def normalised(text: str) -> str:
    """A code as it is kept, from how people write it: any case, with spaces and hyphens."""
    return _LEFT_OUT.sub("", text).upper()


# --- What a code would bring ----------------------------------------------------------------------


def offer(user: User, text: str, credits: int) -> Offer:
    """The bonus that a code brings on an order of so many credits. Raises `CodeRefused`.

    Call it under the user's lock where it is to be reserved.
    """
    found = _look_up(user, text)
    promotion = found.code.promotion
    if promotion.kind != Promotion.Kind.BONUS:
        raise CodeRefused(Reason.IS_VOUCHER)
    if promotion.first_purchase_only and found.has_bought:
        raise CodeRefused(Reason.FIRST)
    if credits < (minimum := least_order(promotion)):
        raise CodeRefused(Reason.MINIMUM, minimum)
    rivals = tuple(
        use.purchase
        for use in found.uses
        if _is_waiting(use) and use.purchase is not None and _rivals(use.code.promotion, promotion)
    )
    return Offer(user, found.code, bonus_of(promotion, credits), rivals)


def least_order(promotion: Promotion) -> int:
    """The credits from which on it brings any bonus."""
    least = -(-100 // promotion.percent) if promotion.percent else 0
    return max(least, promotion.min_credits or 0)


def bonus_of(promotion: Promotion, credits: int) -> int:
    """Whole credits, rounded down."""
    if promotion.credits is not None:
        return promotion.credits
    bonus = credits * (promotion.percent or 0) // 100
    return bonus if promotion.max_bonus is None else min(bonus, promotion.max_bonus)


@dataclass(frozen=True)
class _Found:
    code: PromoCode
    uses: list[Redemption]
    has_bought: bool


def _look_up(user: User, text: str) -> _Found:
    """A code that the user can redeem now. Raises `CodeRefused`.

    It asks the same of the database whatever was typed, so that its time tells nothing either.
    """
    typed = normalised(text)
    known = PromoCode.objects.select_related("promotion")
    code = known.filter(code=typed if _CODE.fullmatch(typed) else "").first()
    theirs = Redemption.objects.filter(user=user).exclude(status=Status.FREED)
    uses = list(theirs.select_related("code__promotion", "purchase"))
    has_bought = _bought(user).exists()
    if code is None or not _is_on(code.promotion, timezone.now()):
        raise CodeRefused(Reason.UNUSABLE)
    own = [use for use in uses if use.code.promotion_id == code.promotion_id]
    # An order that is still open makes way for the next one with the same code.
    waiting = [use for use in own if _is_waiting(use)]
    if len(own) - len(waiting) >= code.promotion.max_uses_per_user:
        knows_it = any(use.code_id == code.pk for use in own)
        raise CodeRefused(Reason.USED if knows_it else Reason.UNUSABLE)
    waiting_with_it = [use for use in waiting if use.code_id == code.pk]
    if _is_used_up(code.promotion, len(waiting)) or _is_used_up(code, len(waiting_with_it)):
        raise CodeRefused(Reason.UNUSABLE)
    return _Found(code, uses, has_bought)


def _bought(user: User) -> models.QuerySet[Purchase]:
    """What the user has paid for, refunded or not, or is about to have."""
    under_way = (Purchase.Status.SETTLING, Purchase.Status.REVIEW, Purchase.Status.SETTLED)
    return Purchase.objects.filter(Q(paid_at__isnull=False) | Q(status__in=under_way), user=user)


def _is_on(promotion: Promotion, now: datetime) -> bool:
    return (
        promotion.is_active
        and (promotion.starts_at is None or promotion.starts_at <= now)
        and (promotion.ends_at is None or now < promotion.ends_at)
    )


def _is_waiting(use: Redemption) -> bool:
    return (
        use.status == Status.RESERVED
        and use.purchase is not None
        and use.purchase.status == Purchase.Status.PENDING
    )


def _is_used_up(limited: Promotion | PromoCode, own: int) -> bool:
    return limited.max_uses is not None and limited.used - own >= limited.max_uses


def _rivals(one: Promotion, other: Promotion) -> bool:
    """Whether two open orders can't have both: of first purchases there is one."""
    return one.pk == other.pk or (one.first_purchase_only and other.first_purchase_only)


# --- With an order --------------------------------------------------------------------------------


def reserve(offer: Offer, purchase: Purchase) -> Redemption:
    """Reserve a use for an order in the transaction that writes it, under the user's lock.

    Raises `CodeRefused`: that transaction must not be committed then.
    """
    try:
        _take(offer.code)
    except _NoneLeft:
        raise CodeRefused(Reason.UNUSABLE) from None
    return Redemption.objects.create(
        code=offer.code, user=offer.user, purchase=purchase, credits=offer.credits
    )


def _take(code: PromoCode) -> None:
    """Count a use, which locks promotion and code. Raises `_NoneLeft`."""
    is_left = Q(max_uses=None) | Q(used__lt=F("max_uses"))
    on = Promotion.objects.filter(is_left, pk=code.promotion_id, is_active=True)
    with transaction.atomic():
        for limited in (on, PromoCode.objects.filter(is_left, pk=code.pk)):
            if not limited.update(used=F("used") + 1):
                raise _NoneLeft


def redemption_of(purchase: Purchase) -> Redemption | None:
    return Redemption.objects.filter(purchase=purchase).select_related("code").first()


def is_freed(purchase: Purchase) -> bool:
    """Whether the order's use was freed, so that nobody may be led to its payment page."""
    return Redemption.objects.filter(purchase=purchase, status=Status.FREED).exists()


def free(purchase_ids: Iterable[uuid.UUID]) -> None:
    """Free what orders have reserved that nobody will pay, in the transaction that closes them."""
    reserved = Redemption.objects.filter(purchase__in=list(purchase_ids), status=Status.RESERVED)
    # In one order, so that two who free several don't wait for each other.
    for use in (
        reserved.select_for_update(of=("self",))
        .select_related("code")
        .order_by("code__promotion_id", "code_id")
    ):
        Promotion.objects.filter(pk=use.code.promotion_id).update(used=F("used") - 1)
        PromoCode.objects.filter(pk=use.code_id).update(used=F("used") - 1)
        Redemption.objects.filter(pk=use.pk).update(status=Status.FREED, freed_at=timezone.now())


def adopt(purchase: Purchase, text: str, bonus: int | None) -> bool:
    """Record a use that only Stripe knows; answers whether the code is here and brings that much.

    It has not been counted, so that it is as one that was freed.
    """
    code = PromoCode.objects.select_related("promotion").filter(code=normalised(text)).first()
    if code is None or code.promotion.kind != Promotion.Kind.BONUS:
        return False
    if not bonus or bonus != bonus_of(code.promotion, purchase.credits):
        return False
    Redemption.objects.create(
        code=code, user=purchase.user, purchase=purchase, credits=bonus, status=Status.FREED,
        freed_at=timezone.now(),
    )  # fmt: skip
    return True


def grant_bonus(purchase: Purchase, wallet: Wallet, key: str) -> int:
    """Grant what a paid order's code brings, and keep its use; answers the credits.

    `key` is that of the order's own credits, which are booked already. Call it in their
    transaction, with the purchase locked, as often as you like.
    """
    if getattr(purchase, "redemption", None) is None:
        return 0
    fresh = Redemption.objects.select_related("code__promotion").select_for_update(of=("self",))
    use = fresh.get(purchase=purchase)
    if use.kept_at is None:
        _keep(use, purchase)
    with preferences.read_by(purchase.user):
        note = _("Bonus with the code %(code)s") % {"code": use.code.code}
    _grant(use, wallet, key + BONUS, note)
    return use.credits


def _keep(use: Redemption, purchase: Purchase) -> None:
    others = _bought(purchase.user).exclude(pk=purchase.pk)
    if use.code.promotion.first_purchase_only and others.exists():
        # Ordered as the first one. The buyer saw the bonus, and has it.
        use.note = "Another purchase was paid before this one."
    if use.status == Status.FREED:
        use.note = "Paid when no use of the code was reserved for it any more."
        use.status = Status.BEYOND
        try:
            _take(use.code)
        except _NoneLeft:
            use.note += " None was left."
        else:
            use.status = Status.KEPT
    else:
        use.status = Status.KEPT
    use.kept_at = timezone.now()
    use.save(update_fields=["status", "note", "kept_at"])


def _grant(use: Redemption, wallet: Wallet, key: str, note: str) -> None:
    days = use.code.promotion.expires_after_days
    # From when it was kept, so that a repeat books the same.
    expires_at = use.kept_at + timedelta(days=days) if days and use.kept_at else None
    terms: dict[str, Any] = {"kind": Kind.PROMOTION, "category": Category.PROMOTIONAL}
    ledger.grant(wallet, use.credits, key=key, note=note, expires_at=expires_at, **terms)


# --- Vouchers -------------------------------------------------------------------------------------


@transaction.atomic
def redeem(user: User, text: str, *, request_id: uuid.UUID | None = None) -> Redemption:
    """Grant a voucher's credits. The same `request_id` redeems once and becomes its id.

    Raises `CodeRefused`, `RedemptionReused`, `AccountClosing`; nothing is granted then.
    """
    closing.check_open(user)
    if request_id is not None:
        earlier = Redemption.objects.select_related("code").filter(pk=request_id).first()
        if earlier is not None:
            is_same = earlier.user_id == user.pk and earlier.code.code == normalised(text)
            if not is_same or earlier.purchase_id is not None:
                raise RedemptionReused
            return earlier
    code = _voucher(user, text)
    try:
        _take(code)
    except _NoneLeft:
        raise CodeRefused(Reason.UNUSABLE) from None
    use = Redemption.objects.create(
        id=request_id or uuid.uuid4(),
        code=code,
        user=user,
        credits=code.promotion.credits or 0,
        status=Status.KEPT,
        kept_at=timezone.now(),
    )
    with preferences.read_by(user):
        note = _("Voucher %(code)s") % {"code": code.code}
    _grant(use, ledger.wallet_of(user), f"voucher:{use.pk}", note)
    return use


def _voucher(user: User, text: str) -> PromoCode:
    code = _look_up(user, text).code
    if code.promotion.kind != Promotion.Kind.VOUCHER:
        raise CodeRefused(Reason.IS_BONUS)
    return code


# --- Making codes ---------------------------------------------------------------------------------


class NoCode(Exception):
    """It holds something else than letters A to Z and digits, or too few or many."""


class CodeTaken(Exception):
    """There is such a code."""


def make_code(promotion: Promotion, text: str, max_uses: int | None) -> PromoCode:
    """A code that people choose. Raises `NoCode`, `CodeTaken`."""
    code = normalised(text)
    if not _CODE.fullmatch(code):
        raise NoCode
    made, is_new = PromoCode.objects.get_or_create(
        code=code, defaults={"promotion": promotion, "max_uses": max_uses}
    )
    if not is_new:
        raise CodeTaken
    return made


def make_codes(promotion: Promotion, count: int, max_uses: int | None) -> list[PromoCode]:
    """A batch of codes that nobody guesses: 80 bits each, at most `BATCH` at once."""
    batch = uuid.uuid4()
    return PromoCode.objects.bulk_create(
        PromoCode(promotion=promotion, code=_random(), batch=batch, max_uses=max_uses)
        for _ in range(min(count, BATCH))
    )


def _random() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
