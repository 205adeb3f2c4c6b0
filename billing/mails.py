"""Mails to users: written with the business fact that they tell, sent after its commit."""

from typing import Any

from accounts.models import User
from billing.models import Mail


def tell(user: User, kind: str, key: str, **context: Any) -> None:
    """Have a mail sent to a user once this transaction is committed.

    `key` names the business fact (`invoice:<id>`); each is told once. `context` is what the mail's
    text needs, as JSON. An account that is closed is told nothing.
    """
    if User.objects.filter(pk=user.pk, closed_at__isnull=False).exists():
        return
    Mail.objects.bulk_create(
        [Mail(user=user, kind=kind, key=key, context=context)], ignore_conflicts=True
    )
