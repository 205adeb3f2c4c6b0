"""Turning two-step sign-in off for somebody who has lost phone, key and codes."""

from allauth.account.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.preferences import read_by
from accounts.requests import SignedInRequest


def remove_all(user: User) -> int:
    """Remove apps, passkeys and recovery codes; answers how many there were."""
    count, _ = Authenticator.objects.filter(user=user).delete()
    return count


def by_staff(user: User, request: SignedInRequest) -> None:
    """The same, on record; and the owner is told, in case that it was somebody else who asked."""
    with transaction.atomic():
        if not remove_all(user):
            return  # by the same button, pressed twice
        LogEntry.objects.log_actions(
            request.user.pk,
            User.objects.filter(pk=user.pk),
            CHANGE,
            change_message="Turned two-step sign-in off",
            single_object=True,
        )
    with read_by(user):
        context = {"timestamp": timezone.now()}
        get_adapter(request).send_mail("mfa/email/removed_by_staff", user.email, context)
