"""What nobody shall read: neither in the admin, nor in logs, nor where a failure is told.

Of an event staff see a card's brand and last four digits, a person's email address, and nothing
that opens a door. That is applied where an event is shown. It is kept as it came: what Stripe said
is the evidence, and is applied anew when it is replayed
(docs/decisions/0015-events-are-kept-whole-and-shown-redacted.md).
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from django.conf import settings

HIDDEN: Final = "***"
SHORTEST: Final = 5
"""A shorter password isn't looked for: it would blot out ordinary words."""

MEANS: Final = {
    "ach_debit",
    "bank_account",
    "card",
    "card_present",
    "default_source",
    "last_payment_error",
    "link",
    "payment_method",
    "payment_method_data",
    "payment_method_details",
    "paypal",
    "sepa_debit",
    "source",
    "us_bank_account",
}
SHOWN_OF_MEANS: Final = {
    "bank_name",
    "brand",
    "code",
    "created",
    "decline_code",
    "id",
    "last4",
    "object",
    "type",
}

PEOPLE: Final = {
    "billing_details",
    "customer_details",
    "customer_shipping",
    "evidence",
    "owner",
    "shipping",
    "shipping_details",
}
SHOWN_OF_PEOPLE: Final = {"email"}

SECRET: Final = re.compile(
    r"(^|_)(secret|url|token|fingerprint|mandate|address|phone|ip|tax_ids)(_|$)"
    r"|^customer_name$|^hosted_|_pdf$|^network_transaction_id$|^authorization_code$"
)
"""Names of what lets its holder in (client secrets, addresses of payment pages and receipts), and
of what is nobody's business. Ids stay, by which staff find things."""

DEPTH: Final = 40
"""Deeper than anything that Stripe sends."""

_STRIPES: Final = re.compile(
    r"\b[srpo]k_(?:live|test)_\w+|\bwhsec_[\w+/=]+|\b[a-z]{2,10}_\w+_secret_\w+", re.ASCII
)
_API_KEY: Final = re.compile(r"dc[ps]_[\w-]{5,}", re.ASCII)
"""Longer than what is kept of it to tell keys apart, which may be read."""

_QUOTES: Final = r"(?:['\"\s]|&#x27;|&quot;)*"
_AUTHORIZATION: Final = re.compile(
    # The scheme is taken as a whole or not at all: Python before 3.11.5 gets `?+` wrong.
    rf"(authorization{_QUOTES}[:=]{_QUOTES}(?=((?:\w+\s+)?))\2|\bbearer\s+)[\w.~+/=-]{{4,}}",
    re.ASCII | re.IGNORECASE,
)
_CARD: Final = re.compile(r"(?<![\w.-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])", re.ASCII)


def redacted(value: Any, name: str = "", shown: Set[str] | None = None, depth: int = DEPTH) -> Any:
    """A copy of what an event says, with `***` for what isn't shown."""
    if value is None or isinstance(value, bool):
        return value
    if SECRET.search(name) or not depth:
        return HIDDEN
    if name in MEANS:
        shown = SHOWN_OF_MEANS
    elif name in PEOPLE:
        shown = SHOWN_OF_PEOPLE
    if isinstance(value, Mapping):
        return {key: redacted(item, str(key), shown, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, name, shown, depth - 1) for item in value]
    # A means of payment may also be named by its id alone.
    if shown is not None and name not in shown and name not in MEANS:
        return HIDDEN
    return without_secrets(value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """The text without the secrets of our settings, without keys, and without card numbers but for
    their last four digits."""
    for secret in _secrets():
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return _CARD.sub(_masked, without_keys(text))


def without_keys(text: str) -> str:
    """The text without what looks like a key: API keys, whatever follows `Authorization`, and keys
    and client secrets of Stripe's."""
    text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", _API_KEY.sub(HIDDEN, text))
    return _STRIPES.sub(HIDDEN, text)


def _secrets() -> Iterator[str]:
    yield settings.SECRET_KEY
    yield settings.STRIPE_SECRET_KEY
    yield from settings.STRIPE_WEBHOOK_SECRETS
    for database in settings.DATABASES.values():
        yield str(database.get("PASSWORD") or "")
    yield str(settings.EMAIL_HOST_PASSWORD or "")


def _masked(found: re.Match[str]) -> str:
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    # The check digit of payment cards (Luhn): other long numbers stay.
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    is_card = (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    return f"{HIDDEN}{found[0][-4:]}" if is_card else found[0]
