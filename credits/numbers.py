"""Whole numbers as the reader's language writes them, and read back."""

import functools
import re
from typing import Final

from django.utils.formats import get_format, number_format
from django.utils.translation import get_language, ngettext

MINUS: Final = "\N{MINUS SIGN}"

_LONGEST: Final = 20
"""Characters: more than any amount takes."""

_SPACES: Final = " '\u00a0\u202f\u2019"
"""What groups thousands and is no decimal sign in any language."""


def number(value: int, language: str | None = None) -> str:
    """A whole number with its thousands grouped: 5,000.

    As Django's `number_format`, in a tenth of the time: a page has a hundred of them. Who writes so
    many names the `language`, which takes longer to ask for than all the rest.
    """
    if -1000 < value < 1000:
        return str(value)
    separator = _separator(language or get_language())
    if separator is None:
        return number_format(value, use_l10n=True, force_grouping=True)
    return f"{value:,}".replace(",", separator)


@functools.cache
def _separator(language: str | None) -> str | None:
    """What stands between groups of three digits; None where a language groups otherwise."""
    if get_format("NUMBER_GROUPING", language, use_l10n=True) != 3:
        return None
    return str(get_format("THOUSAND_SEPARATOR", language, use_l10n=True))


def signed(value: int, language: str | None = None) -> str:
    """A movement with its sign: +5,000."""
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return f"{sign}{number(abs(value), language)}"


def credits_in_words(count: int) -> str:
    """So many credits, as a name of what is sold."""
    words = ngettext("%(count)s credit", "%(count)s credits", count)
    return words % {"count": number(count)}


def parse_credits(text: str) -> int | None:
    """A whole number as people write it, thousands grouped or not: 5000, 5,000, 5 000.

    5.000 is five thousand in German and nothing in English, where it may be meant as five: no text
    is one number in one language and another in another. Decimals are no whole numbers, not even
    5,0. `parseCredits` in `static/js/pricing.js` reads the same.
    """
    text = text.strip()
    group = re.escape(_SPACES + get_format("THOUSAND_SEPARATOR", use_l10n=True))
    grouped = rf"[1-9][0-9]{{0,2}}([{group}])[0-9]{{3}}(\1[0-9]{{3}})*"
    if len(text) > _LONGEST or not re.fullmatch(rf"[0-9]+|{grouped}", text):
        return None
    return int(re.sub("[^0-9]", "", text))


def in_digits(text: str) -> str:
    """The number that a text is, in plain digits: the same in every language, so fit for a link.

    What is no number stays as it was typed.
    """
    credits = parse_credits(text)
    return text if credits is None else str(credits)
