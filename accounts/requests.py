from django.http import HttpRequest

from accounts.models import User


class SignedInRequest(HttpRequest):
    """A request that a sign-in check has let through, for the types of what follows."""

    user: User
