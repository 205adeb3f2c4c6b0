"""Nobody gets into an organisation's account, whichever way in they try."""

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts.models import Organisation
from tests.organisations import found, somebody

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    return found(somebody("ada"))


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/accounts/login/", {"login": "{}", "password": "Correct horse 9"}),
        ("/accounts/login/code/", {"email": "{}"}),
        ("/accounts/password/reset/", {"email": "{}"}),
    ],
)
def test_its_address_is_as_unknown_as_any(acme, path, form):
    subjects = []
    for address in (acme.account.email, "nobody@example.com"):
        client = Client()
        client.post(path, {name: value.format(address) for name, value in form.items()})
        assert "_auth_user_id" not in client.session
        subjects.append([one.subject for one in mail.outbox])
        assert not any("/reset/key/" in one.body for one in mail.outbox)
        mail.outbox.clear()
    assert subjects[0] == subjects[1]


def test_nobody_is_signed_in_as_it_even_by_force(acme):
    client = Client()
    client.force_login(acme.account)
    assert client.get("/dashboard").url.startswith("/accounts/login/")


def test_who_signs_up_with_its_address_does_not_get_it(acme):
    address = acme.account.email
    form = {"email": address, "password1": "Correct horse 9"}
    client = Client()
    client.post("/accounts/signup/", form)
    assert "_auth_user_id" not in client.session
    assert not EmailAddress.objects.filter(email=address).exists()
    acme.account.refresh_from_db()
    assert (acme.account.is_active, acme.account.has_usable_password()) == (False, False)
