"""Closing an account: the mark that stops new business, and the erasure of who it was."""

import uuid
from datetime import datetime, timedelta
from typing import Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.models import ApiKey, Session, User

LONGEST: Final = timedelta(minutes=2)
"""No request lives as long: a mark of before is one that a crash has left."""


class AccountClosing(Exception):
    """The account is closed or about to be: nothing new may begin for it."""


class AccountClosed(AccountClosing):
    """The account is closed already."""


class StaffAccount(Exception):
    """Staff are made users like others first: nobody locks the shop and leaves."""


class ClosingInterrupted(Exception):
    """The mark was taken away meanwhile: closing has to begin again."""


def begin(user: User) -> datetime:
    """Mark the account as closing, and answer the mark; one that is closing now keeps its mark.

    Raises `StaffAccount`, `AccountClosed`.
    """
    with transaction.atomic():
        locked = lock(user)
        if locked.closed_at is not None:
            raise AccountClosed
        if locked.is_staff or locked.is_superuser:
            raise StaffAccount
        if locked.closing_at is None or _is_left_over(locked.closing_at):
            locked.closing_at = timezone.now()
            locked.save(update_fields=["closing_at"])
        return locked.closing_at


def give_up(user: User, mark: datetime) -> None:
    """Open the account again for business, unless another request has closed it."""
    User.objects.filter(pk=user.pk, closing_at=mark, closed_at=None).update(closing_at=None)


def check_open(user: User) -> None:
    """In a transaction, hold off closing until its end. Raises `AccountClosing`.

    Whatever is committed with it is there before the mark, so that closing finds it; or is refused.
    """
    locked = lock(user)
    if locked.closed_at is not None:
        raise AccountClosed
    if locked.closing_at is None:
        return
    if not _is_left_over(locked.closing_at):
        raise AccountClosing
    locked.closing_at = None
    locked.save(update_fields=["closing_at"])


def lock(user: User) -> User:
    # Rows that refer to the user may be written meanwhile: webhooks go on granting.
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def _is_left_over(mark: datetime) -> bool:
    return timezone.now() - mark > LONGEST


def erase(user: User, mark: datetime) -> None:
    """Make the locked user nobody: a pseudonym that can't sign in. Call it in a transaction.

    All sessions and API keys end. What staff did to the account stays in the admin's log, without
    its name. Raises `ClosingInterrupted`.
    """
    if user.closing_at != mark:
        raise ClosingInterrupted
    emails = EmailAddress.objects.filter(user=user)
    known = {user.email, *emails.values_list("email", flat=True)}
    pseudonym = f"closed-{uuid.uuid4().hex}@closed.invalid"
    for address in known:
        LogEntry.objects.filter(object_repr__icontains=address).update(object_repr=pseudonym)
    keys = ApiKey.objects.filter(user=user)
    on_record = {"user": [user.pk], "apikey": list(keys.values_list("pk", flat=True))}
    for model, ids in on_record.items():
        LogEntry.objects.filter(
            content_type__app_label="accounts",
            content_type__model=model,
            object_id__in=[str(id) for id in ids],
        ).update(object_repr=pseudonym)
    keys.update(name=pseudonym, revoked_at=Coalesce("revoked_at", Now()))
    emails.delete()
    Authenticator.objects.filter(user=user).delete()
    SocialAccount.objects.filter(user=user).delete()
    Session.objects.filter(user=user).delete()
    UserSession.objects.filter(user=user).delete()
    user.groups.clear()
    user.user_permissions.clear()
    user.email = pseudonym
    user.language = user.time_zone = ""
    user.set_unusable_password()
    user.is_active = False
    user.last_login = None
    user.closed_at = timezone.now()
    user.save()
