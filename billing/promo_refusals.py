"""How a code is refused: in words, and for how long after too many that were no good.

What is wrong, over, used up or somebody else's is refused alike. Only what comes to that counts as
a guess; a code that is good costs nothing, however often it is looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from allauth.core.internal import ratelimit as limits  # the public one lets every GET through
from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.requests import SignedInRequest
from billing.api import Refusal
from billing.promotions import CodeRefused, Reason
from credits.numbers import number

GUESSES: Final = {"promo_code": "10/h/user,30/h/ip"}
"""An address may be an office's; a code has to be guessed by somebody who is signed in."""

UNUSABLE: Final = "promo_code_unusable"


def code_refusal(error: CodeRefused) -> Refusal:
    """Why a code brings nothing with this order."""
    codes = {
        Reason.UNUSABLE: (
            UNUSABLE,
            _(
                "This code can't be used. Check its spelling, or buy without it: nothing was "
                "charged."
            ),
        ),
        Reason.USED: (
            "promo_code_used",
            _("You have used this code already. Buy without it: nothing was charged."),
        ),
        Reason.MINIMUM: (
            "promo_code_minimum",
            ngettext(
                "This code is for orders of %(count)s credit or more. Buy more, or without it: "
                "nothing was charged.",
                "This code is for orders of %(count)s credits or more. Buy more, or without it: "
                "nothing was charged.",
                error.minimum,
            )
            % {"count": number(error.minimum)},
        ),
        Reason.FIRST: (
            "promo_code_first_purchase",
            _("This code is for a first purchase. Buy without it: nothing was charged."),
        ),
        Reason.IS_VOUCHER: (
            "promo_code_is_voucher",
            _("This is a voucher: it brings credits without a purchase. Nothing was charged."),
        ),
        Reason.IS_BONUS: (
            "voucher_is_promo_code",
            _("This is a promo code: it brings more credits with a purchase. Nothing was added."),
        ),
    }
    code, words = codes[error.reason]
    if error.reason != Reason.IS_VOUCHER:
        return Refusal(400, code, words, field="promo_code")
    url = f"{settings.BASE_URL}{reverse('redeem')}"
    return Refusal(400, code, words, field="promo_code", url=url)


def voucher_refusal(error: CodeRefused) -> Refusal:
    """Why a voucher brings nothing: the same, but that there is no purchase."""
    words = {
        Reason.UNUSABLE: _("This code can't be used. Check its spelling: nothing was added."),
        Reason.USED: _("You have redeemed this voucher already: its credits are in your history."),
    }
    refusal = code_refusal(error)
    if error.reason not in words:
        return refusal
    code = str(refusal.body["code"])
    return Refusal(400, code, words[error.reason], field="promo_code")


@contextmanager
def guessing(request: SignedInRequest, promo_code: str) -> Iterator[None]:
    """Count the code that is tried inside where it is refused as no good. Raises `Refusal` (429).

    It counts first, so that many at once are no more tries than one after the other.
    """
    if not promo_code:
        yield
        return
    counted = limits.consume(
        request,
        app="billing",
        action="promo_code",
        config=GUESSES,
        user=request.user,
        limit_get=True,
    )
    if counted is None:
        raise Refusal(
            429,
            "too_many_codes",
            _(
                "Too many codes were tried from here. Try again in an hour, or buy without one: "
                "nothing was charged."
            ),
            field="promo_code",
            headers={"Retry-After": "3600"},
        )
    try:
        yield
    except Refusal as refusal:
        if refusal.body["code"] != UNUSABLE:
            counted.rollback()
        raise
    except Exception:
        counted.rollback()
        raise
    counted.rollback()
