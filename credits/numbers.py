"""Whole numbers as the reader's language writes them, and read back."""

import re
from collections.abc import Mapping
from typing import Final

from django.conf import settings
from django.utils.formats import get_format, number_format
from django.utils.translation import ngettext

MINUS: Final = "\N{MINUS SIGN}"

_LONGEST: Final = 20
"""Characters: more than any amount takes."""

_SPACES: Final = " '\u00a0\u202f\u2019"
"""What groups thousands and is no decimal sign in any language."""


def number(value: int) -> str:
    """A whole number with its thousands grouped: 5,000."""
    return number_format(value, use_l10n=True, force_grouping=True)


def signed(value: int) -> str:
    """A movement with its sign: +5,000."""
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return f"{sign}{number(abs(value))}"


def credits_in_words(count: int) -> str:
    """So many credits, as a name of what is sold."""
    words = ngettext("%(count)s credit", "%(count)s credits", count)
    return words % {"count": number(count)}


def parse_credits(text: str, language: str | None = None) -> int | None:
    """A whole number as people write it, thousands grouped or not: 5000, 5,000, 5 000.

    `language` is that of the page that it was typed on, else the active one. 5.000 is five thousand
    in German and nothing in English, where it may be meant as five: so no text is one number in
    one language and another in another. Decimals are no whole numbers, not even 5,0.
    `parseCredits` in `static/js/pricing.js` reads the same.
    """
    text = text.strip()
    group = re.escape(_SPACES + get_format("THOUSAND_SEPARATOR", language, use_l10n=True))
    grouped = rf"[1-9][0-9]{{0,2}}([{group}])[0-9]{{3}}(\1[0-9]{{3}})*"
    if len(text) > _LONGEST or not re.fullmatch(rf"[0-9]+|{grouped}", text):
        return None
    return int(re.sub("[^0-9]", "", text))


def typed_credits(form: Mapping[str, str], field: str = "credits") -> str:
    """What a form's amount field says: in plain digits if it is a number where it was typed.

    The form's hidden `language` says where. Plain digits are the same number everywhere, so a page
    may be shown in another language, or linked to, with them.
    """
    text, language = form.get(field, ""), form.get("language", "")
    is_known = language in dict(settings.LANGUAGES)
    credits = parse_credits(text, language if is_known else None)
    return text if credits is None else str(credits)
