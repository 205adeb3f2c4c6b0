import re

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from accounts.models import User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


def sign_up(client, email="Ada@Example.com"):
    return client.post("/accounts/signup/", {"email": email, "password1": PASSWORD})


def test_signing_up_signs_in_and_asks_to_confirm(client):
    response = sign_up(client)
    assert (response.status_code, response["Location"]) == (302, "/dashboard")
    assert User.objects.get().email == "ada@example.com"
    assert client.get("/dashboard").status_code == 200
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert message.subject.startswith("[Dynamic Credits] ")


def test_with_mandatory_verification_one_signs_in_after_confirming(client, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    assert sign_up(client)["Location"] == "/accounts/confirm-email/"
    assert client.get("/dashboard").status_code == 302
    (link,) = re.findall(r"http://\S+/confirm-email/\S+/", mail.outbox[0].body)
    client.post(link.replace("http://testserver", ""))
    client.post("/accounts/login/", {"login": "ada@example.com", "password": PASSWORD})
    assert client.get("/dashboard").status_code == 200


def test_an_address_is_taken_whatever_its_case(client):
    User.objects.create_user("ada@example.com", PASSWORD)
    sign_up(client, "ADA@example.com")
    assert User.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email="ADA@EXAMPLE.COM")


def test_signing_in_ignores_case(client):
    User.objects.create_user("ada@example.com", PASSWORD)
    response = client.post("/accounts/login/", {"login": "ADA@example.com", "password": PASSWORD})
    assert response["Location"] == "/dashboard"


def test_the_admin_is_behind_the_same_sign_in(client, user, staff):
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0].startswith("/accounts/login/")
    client.force_login(user)
    assert client.get("/admin/", follow=True).status_code == 403
    client.force_login(staff)
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin").status_code == 302


def test_users_are_made_and_found_in_the_admin(client, staff):
    client.force_login(staff)
    client.post(
        "/admin/accounts/user/add/",
        {
            "email": "new@example.com",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )
    assert User.objects.get(email="new@example.com").check_password(PASSWORD)
    assert b"new@example.com" in client.get("/admin/accounts/user/?q=NEW@").content


@pytest.fixture
def helper(client) -> User:
    """Staff who may add, change and delete users, and nothing else."""
    helper = User.objects.create_user("helper@example.com", PASSWORD, is_staff=True)
    codenames = ["add_user", "change_user", "delete_user", "view_user"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(helper)
    return helper


def test_staff_can_not_give_themselves_more(client, helper):
    form = {
        "email": "helper@example.com",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "user_permissions": [Permission.objects.get(codename="adjust_wallet").pk],
    }
    assert client.post(f"/admin/accounts/user/{helper.pk}/change/", form).status_code == 302
    helper = User.objects.get(pk=helper.pk)
    assert not helper.is_superuser
    assert not helper.has_perm("credits.adjust_wallet")
    assert helper.user_permissions.count() == 4


def test_nor_make_staff_of_others(client, helper, user):
    form = {"email": "ada@new.example", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    assert client.post(f"/admin/accounts/user/{user.pk}/change/", form).status_code == 302
    user.refresh_from_db()
    assert (user.email, user.is_staff, user.is_superuser) == ("ada@example.com", False, False)


def test_nor_act_as_other_staff(client, helper, staff):
    other = User.objects.create_user("approver@example.com", PASSWORD, is_staff=True)
    for target in (staff, other):
        base = f"/admin/accounts/user/{target.pk}"
        form = {"email": "mine@example.com", "is_active": "on"}
        assert client.post(f"{base}/change/", form).status_code == 403
        new = {"password1": "another horse battery", "password2": "another horse battery"}
        assert client.post(f"{base}/password/", new).status_code == 403
        assert client.post(f"{base}/delete/", {"post": "yes"}).status_code == 403
        assert client.get(f"{base}/change/").status_code == 200
    everybody = {
        "action": "delete_selected",
        "_selected_action": [staff.pk, other.pk],
        "post": "yes",
    }
    client.post("/admin/accounts/user/", everybody)
    assert User.objects.filter(pk__in=[staff.pk, other.pk]).count() == 2
    assert User.objects.get(pk=other.pk).check_password(PASSWORD)


def test_superusers_can(client, staff, user):
    client.force_login(staff)
    form = {"email": user.email, "is_active": "on", "is_staff": "on"}
    assert client.post(f"/admin/accounts/user/{user.pk}/change/", form).status_code == 302
    user.refresh_from_db()
    assert user.is_staff


def test_each_part_of_the_admin_has_a_name_of_its_own(client, staff):
    client.force_login(staff)
    names = [app["name"] for app in client.get("/admin/").context["app_list"]]
    assert len(names) == len(set(names))


def test_a_local_administrator_is_made_once(monkeypatch, capsys):
    with pytest.raises(CommandError, match="LOCAL_ADMIN_PASSWORD"):
        call_command("ensure_local_admin")
    monkeypatch.setenv("LOCAL_ADMIN_PASSWORD", PASSWORD)
    call_command("ensure_local_admin")
    call_command("ensure_local_admin")
    admin = User.objects.get()
    assert admin.is_superuser
    assert admin.check_password(PASSWORD)
    assert EmailAddress.objects.get().verified
    assert "admin@example.com" in capsys.readouterr().out
