"""The one address of a user, where staff have a hand in it."""

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.db import transaction
from django.http import HttpRequest

from accounts.models import User


def is_confirmed(user: User) -> bool:
    """Whether the user has shown that an address is theirs; nobody can sign in before."""
    return EmailAddress.objects.filter(user=user, verified=True).exists()


@transaction.atomic
def confirm(address: EmailAddress) -> bool:
    """Take an address as confirmed; it becomes the user's only one. False if others have it."""
    user = address.user
    others = User.objects.exclude(pk=user.pk).filter(email__iexact=address.email)
    if others.exists() or not address.set_verified():
        return False
    EmailAddress.objects.filter(user=user).exclude(pk=address.pk).delete()
    address.set_as_primary()
    return True


def moved(request: HttpRequest, user: User, *, was: str) -> None:
    """After a superuser gave the user another address: it is to be confirmed, the old one told."""
    with transaction.atomic():
        EmailAddress.objects.filter(user=user).delete()
        EmailAddress.objects.create(user=user, email=user.email.lower(), primary=True)
    get_adapter().send_notification_mail(
        "account/email/email_changed",
        user,
        {"from_email": was, "to_email": user.email},
        email=was,
    )
