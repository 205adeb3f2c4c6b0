"""Money and numbers as the reader's language writes them, and `static/js/pricing.js` too."""

from collections.abc import ItemsView
from typing import Final

from django import template
from django.utils.formats import get_format
from django.utils.translation import pgettext

from credits.numbers import MINUS, number, signed

register = template.Library()

PLURAL_FORMS: Final = {"one": 1, "two": 2, "few": 3, "many": 11, "other": 100}
"""The forms that `Intl.PluralRules` names, each with a number that takes it."""

register.filter(number)
register.filter(signed)


@register.simple_tag
def plural_forms() -> ItemsView[str, int]:
    """For texts whose number changes in the browser: it picks the form."""
    return PLURAL_FORMS.items()


@register.filter
def money(cents: int) -> str:
    """Cents as dollars: 499 is $4.99."""
    sign, cents = (MINUS, -cents) if cents < 0 else ("", cents)
    return f"{sign}{_dollars(cents // 100, f'{cents % 100:02}')}"


@register.filter
def unit_price(price: int) -> str:
    """Ten-thousandths of a dollar: 95 is $0.0095."""
    return _dollars(price // 10_000, f"{price % 10_000:04}")


def _dollars(whole: int, decimals: str) -> str:
    point = get_format("DECIMAL_SEPARATOR", use_l10n=True)
    # Translators: US dollars. The number has its separators already; a space that is no place to
    # break the line is U+00A0.
    pattern = pgettext("money", "${amount}")
    return pattern.format(amount=f"{number(whole)}{point}{decimals}")
