"""Organisations, as staff look at them."""

import pytest
from django.urls import reverse

from accounts import keys
from accounts.models import Organisation
from credits import ledger
from tests.organisations import found, join, somebody

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    acme = found(somebody("ada"))
    join(acme, somebody("bob"), limit_credits=500, limit_period="month")
    ledger.grant(ledger.wallet_of(acme.account), 1000, key="p", kind="purchase", paid=950)
    return acme


def test_an_organisation_is_listed_with_its_members_and_leads_to_its_credits(admin_client, acme):
    listed = admin_client.get(reverse("admin:accounts_organisation_changelist"), {"q": "acme"})
    assert "Acme Ltd" in listed.content.decode()
    found = admin_client.get(reverse("admin:accounts_organisation_change", args=[acme.pk]))
    page = found.content.decode()
    for words in ("ada@example.com", "bob@example.com", "500", "billing-of-ada@example.com"):
        assert words in page
    customer = reverse("admin:billing_customer_change", args=[acme.pk])
    assert customer in page
    assert 'name="_save"' not in page
    page = admin_client.get(customer).content.decode()
    assert "Acme Ltd" in page
    assert "User and permissions" not in page


def test_the_search_finds_it_by_name(admin_client, acme):
    answer = admin_client.get(reverse("admin:billing_search"), {"q": "Acme"})
    assert answer.url == reverse("admin:billing_customer_change", args=[acme.pk])
    listed = admin_client.get(reverse("admin:billing_customer_changelist"), {"q": "acme"})
    assert acme.account.email in listed.content.decode()


def test_its_account_is_no_user_to_be_changed(admin_client, acme):
    listed = admin_client.get(reverse("admin:accounts_user_changelist")).content.decode()
    assert "ada@example.com" in listed
    assert "organisations.invalid" not in listed
    address = reverse("admin:accounts_user_change", args=[acme.pk])
    assert admin_client.get(address).status_code == 302


def test_a_key_that_staff_revoke_is_told_to_the_owners(admin_client, acme, mailoutbox):
    key, _ = keys.make(made_by=acme.made_by, owner=acme.account, name="Night job", scopes=[])
    admin_client.post(
        reverse("admin:accounts_apikey_changelist"),
        {"action": "revoke", "_selected_action": [key.pk], "reason": "Leaked"},
    )
    (told,) = mailoutbox
    assert told.to == ["ada@example.com"]
    assert "of Acme Ltd" in told.body
