"""The one address of an account: how its owner changes it, and what staff can do about it."""

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import mail

from accounts.models import User
from tests.accounts.conftest import PASSWORD

pytestmark = pytest.mark.django_db
PAGE = "/accounts/email/"
LINK = r"http\S+confirm-email/\S+/"
NEW = "ada@new.example"


def addresses(user: User) -> list[tuple[str, bool, bool]]:
    rows = EmailAddress.objects.filter(user=user).order_by("email")
    return list(rows.values_list("email", "verified", "primary"))


@pytest.fixture
def asked(client, member, sign_in):
    """The owner is signed in, and has asked for another address."""
    sign_in()
    response = client.post(PAGE, {"action_add": "", "email": "ADA@new.example"})
    assert response["Location"] == "/accounts/reauthenticate/?next=%2Faccounts%2Femail%2F"
    assert mail.outbox == []
    response = client.post(response["Location"], {"password": PASSWORD})
    assert response["Location"] == PAGE


@pytest.mark.usefixtures("asked")
def test_it_changes_when_the_new_one_is_confirmed_and_the_old_one_is_told(client, member, in_mail):
    assert addresses(member) == [("ada@example.com", True, True), (NEW, False, False)]
    page = client.get(PAGE).content.decode()
    assert f"<strong>{NEW}</strong> takes its place" in page
    assert mail.outbox[-1].to == [NEW]
    assert client.get(in_mail(LINK))["Location"] == "/dashboard"
    assert addresses(member) == [(NEW, True, True)]
    member.refresh_from_db()
    assert member.email == NEW
    assert mail.outbox[-1].to == ["ada@example.com"]
    assert mail.outbox[-1].subject == "[Dynamic Credits] Your email address is changed"
    assert f"from ada@example.com to {NEW}" in mail.outbox[-1].body


@pytest.mark.usefixtures("asked")
def test_until_then_it_can_be_left_as_it_is(client, member, in_mail):
    link = in_mail(LINK)
    response = client.post(PAGE, {"action_remove": "", "email": NEW}, follow=True)
    assert f"{NEW} is removed." in response.content.decode()
    assert "no longer valid" in client.get(link).content.decode()
    assert addresses(member) == [("ada@example.com", True, True)]


@pytest.mark.usefixtures("asked")
def test_the_mail_can_be_had_again(client, settings):
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"confirm_email": None}
    response = client.post(PAGE, {"action_send": "", "email": NEW}, follow=True)
    assert f"A mail to {NEW} is on its way" in response.content.decode()
    assert [message.to for message in mail.outbox] == [[NEW], [NEW]]


@pytest.mark.usefixtures("asked", "mandatory")
def test_whose_address_it_is_is_not_told(client, member, other_user):
    for email in ("eve@example.com", "nobody@example.com"):
        response = client.post(PAGE, {"action_add": "", "email": email}, follow=True)
        assert f"A mail to {email} is on its way" in response.content.decode()
    member.refresh_from_db()
    assert member.email == "ada@example.com"


@pytest.mark.usefixtures("asked")
def test_ones_own_is_not_another(client, member):
    response = client.post(PAGE, {"action_add": "", "email": "ada@example.com"})
    assert "This is your address already." in response.content.decode()


@pytest.mark.usefixtures("asked")
def test_a_second_one_from_before_can_be_removed_and_the_one_in_use_not(client, member):
    EmailAddress.objects.create(user=member, email="old@example.com", verified=True)
    assert "You can sign in with <strong>old@example.com</strong>" in client.get(
        PAGE
    ).content.decode().replace("\n", "")
    client.post(PAGE, {"action_remove": "", "email": "old@example.com"})
    response = client.post(PAGE, {"action_remove": "", "email": "ada@example.com"}, follow=True)
    assert "be removed. Change it to another one instead." in response.content.decode()
    assert ("ada@example.com", True, True) in addresses(member)
    assert "old@example.com" not in str(addresses(member))


def test_one_that_is_not_confirmed_yet_can_be_changed(client, user):
    EmailAddress.objects.create(user=user, email=user.email, primary=True)
    client.force_login(user)
    page = client.get(PAGE).content.decode()
    assert "<strong>ada@example.com</strong> is not confirmed yet" in page


# --- Staff ----------------------------------------------------------------------------------------


@pytest.fixture
def helper(client) -> User:
    """Staff with all rights on users and addresses that can be given, and no superuser."""
    helper = User.objects.create_user("helper@example.com", PASSWORD, is_staff=True)
    apps = ["account", "accounts", "socialaccount", "usersessions"]
    helper.user_permissions.set(Permission.objects.filter(content_type__app_label__in=apps))
    client.force_login(helper)
    return helper


def change_list(model: str) -> str:
    return f"/admin/account/{model}/"


def test_helpers_look_at_addresses_and_change_none(client, helper, member):
    row = EmailAddress.objects.get(user=member)
    base = change_list("emailaddress")
    assert "ada@example.com" in client.get(base, {"q": "ada@"}).content.decode()
    assert client.get(f"{base}{row.pk}/change/").status_code == 200
    form = {"user": helper.pk, "email": "helper@example.com", "verified": "on", "primary": "on"}
    assert client.post(f"{base}{row.pk}/change/", form).status_code == 403
    assert client.post(f"{base}add/", form).status_code == 403
    assert client.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    for action in ("confirm", "make_verified", "delete_selected"):
        client.post(base, {"action": action, "_selected_action": [row.pk], "post": "yes"})
    EmailAddress.objects.filter(pk=row.pk).update(verified=False)
    client.post(base, {"action": "confirm", "_selected_action": [row.pk]})
    assert addresses(member) == [("ada@example.com", False, True)]


@pytest.mark.parametrize(
    "path",
    [
        "socialaccount/socialaccount",
        "socialaccount/socialapp",
        "socialaccount/socialtoken",
        "usersessions/usersession",
    ],
)
def test_other_ways_into_an_account_are_not_in_the_admin(client, staff, path):
    client.force_login(staff)
    assert client.get(f"/admin/{path}/").status_code == 404


def test_helpers_change_no_address_of_a_user_and_no_longer_their_own(client, helper, member):
    for target in (member, helper):
        form = {"email": "mine@example.com", "is_active": "on"}
        client.post(f"/admin/accounts/user/{target.pk}/change/", form)
    assert not User.objects.filter(email="mine@example.com").exists()


def test_helpers_have_the_link_mailed_again(client, helper, user):
    row = EmailAddress.objects.create(user=user, email=user.email, primary=True)
    form = {"action": "send_link", "_selected_action": [row.pk]}
    page = client.post(change_list("emailaddress"), form, follow=True).content.decode()
    assert "The link was mailed to ada@example.com." in page
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "confirm-email/" in message.body
    assert addresses(user) == [("ada@example.com", False, True)]
    assert LogEntry.objects.get().user == helper


def test_and_are_told_when_no_mail_server_answers(client, helper, user, dead_mail_server):
    row = EmailAddress.objects.create(user=user, email=user.email, primary=True)
    form = {"action": "send_link", "_selected_action": [row.pk]}
    page = client.post(change_list("emailaddress"), form, follow=True).content.decode()
    assert "could not be sent" in page
    assert not LogEntry.objects.exists()


def test_a_superuser_confirms_one_on_record(client, staff, user):
    client.force_login(staff)
    row = EmailAddress.objects.create(user=user, email=NEW)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    form = {"action": "confirm", "_selected_action": [row.pk]}
    page = client.post(change_list("emailaddress"), form, follow=True).content.decode()
    assert "Ada@new.example is confirmed." in page
    assert addresses(user) == [(NEW, True, True)]
    user.refresh_from_db()
    assert user.email == NEW
    assert "Confirmed for the owner." in LogEntry.objects.get().change_message


def test_but_none_that_others_have(client, staff, user, other_user):
    client.force_login(staff)
    row = EmailAddress.objects.create(user=user, email=other_user.email)
    form = {"action": "confirm", "_selected_action": [row.pk]}
    page = client.post(change_list("emailaddress"), form, follow=True).content.decode()
    assert "belongs to another account" in page
    assert addresses(user) == [("eve@example.com", False, False)]
    assert not LogEntry.objects.exists()


def test_a_superuser_gives_another_one_that_is_to_be_confirmed(client, staff, member):
    client.force_login(staff)
    form = {"email": "Ada@new.example", "is_active": "on"}
    assert client.post(f"/admin/accounts/user/{member.pk}/change/", form).status_code == 302
    assert addresses(member) == [(NEW, False, True)]
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "Your email address is changed" in message.subject
    assert "Email" in LogEntry.objects.get().get_change_message()
