"""An organisation to test with."""

import uuid
from typing import Any

from allauth.account.models import EmailAddress

from accounts import organisations
from accounts.models import Membership, Organisation, Role, User


def somebody(name: str) -> User:
    """Whose address is confirmed."""
    user = User.objects.create_user(f"{name}@example.com")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def found(owner: User, name: str = "Acme Ltd") -> Organisation:
    return organisations.found(
        owner, name=name, billing_email=f"billing-of-{owner.email}", request_id=uuid.uuid4()
    )


def join(
    organisation: Organisation, user: User, role: str = Role.MEMBER, **limit: Any
) -> Membership:
    """Without an invitation."""
    return Membership.objects.create(organisation=organisation, user=user, role=role, **limit)
