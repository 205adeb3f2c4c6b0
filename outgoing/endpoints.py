"""Endpoints and what they are signed with."""

import base64
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from outgoing.models import Endpoint

ROLLING: Final = timedelta(days=1)
"""How long the old secret signs as well after a new one was made."""

_RANDOM_BYTES: Final = 32


def make(*, url: str, made_by: User, description: str = "", events: Iterable[str] = ()) -> Endpoint:
    """A new endpoint, switched on, with a secret of its own."""
    return Endpoint.objects.create(
        url=url,
        description=description,
        events=sorted(events),
        secret=new_secret(),
        made_by=made_by,
    )


def new_secret() -> str:
    """A signing secret in the form that the Standard Webhooks specification gives it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode()}"


def roll(endpoint: Endpoint) -> None:
    """Make a new secret. The one of before signs as well for a day, so that no message is lost."""
    Endpoint.objects.filter(pk=endpoint.pk, secret=endpoint.secret).update(
        secret=new_secret(), old_secret=endpoint.secret, old_secret_until=Now() + ROLLING
    )
    endpoint.refresh_from_db(fields=["secret", "old_secret", "old_secret_until"])


def secrets_of(endpoint: Endpoint) -> list[str]:
    """What a message to it is signed with now, the newest first."""
    return [endpoint.secret, *([endpoint.old_secret] if is_rolling(endpoint) else [])]


def is_rolling(endpoint: Endpoint) -> bool:
    """Whether the secret of before signs as well."""
    until = endpoint.old_secret_until
    return until is not None and until > timezone.now()


def forget_old_secrets() -> None:
    Endpoint.objects.filter(old_secret_until__lte=Now()).update(
        old_secret="", old_secret_until=None
    )


def switch_on(endpoint: Endpoint) -> None:
    """Send again, what waits first; how it failed before counts no more."""
    Endpoint.objects.filter(pk=endpoint.pk).update(
        is_enabled=True, off_because="", failing_since=None, rests_until=None
    )


def switch_off(endpoint: Endpoint, because: str = "") -> None:
    """Send nothing more. `because` is why it was not done by staff, for them to read."""
    Endpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(
        is_enabled=False, off_because=because
    )
