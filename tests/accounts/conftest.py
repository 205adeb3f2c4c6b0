import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from accounts.models import User

PASSWORD = "correct horse battery"


@pytest.fixture
def mandatory(settings):
    """Addresses are confirmed first, as in production."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"


@pytest.fixture
def member(db) -> User:
    """Someone with a password and a confirmed address."""
    member = User.objects.create_user("ada@example.com", PASSWORD)
    EmailAddress.objects.create(user=member, email=member.email, verified=True, primary=True)
    return member


@pytest.fixture
def sign_in(client) -> Callable[..., object]:
    def sign_in(email="ada@example.com", password=PASSWORD, query="", client=client, **extra):
        form = {"login": email, "password": password}
        return client.post(f"/accounts/login/{query}", form, **extra)

    return sign_in


@pytest.fixture
def in_mail() -> Callable[[str], str]:
    """What the last mail has that looks like this; of an address what follows the host."""

    def in_mail(pattern: str) -> str:
        found = re.search(pattern, mail.outbox[-1].body)
        assert found, mail.outbox[-1].body
        return urlsplit(found[0]).path

    return in_mail


@pytest.fixture
def dead_mail_server(settings):
    """An address where nothing listens."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.EMAIL_HOST, settings.EMAIL_PORT = free.getsockname()
