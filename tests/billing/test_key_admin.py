"""API keys in the admin: found, slowed down, revoked; service keys made."""

import re
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import keys, preferences
from accounts.models import ApiKey, User
from tests.second_step import StaffClient, add_app, code_of

pytestmark = pytest.mark.django_db
LIST = "/admin/accounts/apikey/"
NEW = f"{LIST}add/"


@pytest.fixture
def key(user: User) -> ApiKey:
    return make(user)


def make(owner: User | None, name: str = "Night job", by: User | None = None) -> ApiKey:
    maker = by or owner
    key, _ = keys.make(made_by=maker, owner=owner, name=name, scopes=["balance:read"])
    return key


def helper(*permissions: str) -> StaffClient:
    """Somebody who works here and may do that."""
    helper, _ = User.objects.get_or_create(email="helper@example.com", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = StaffClient()
    client.force_login(helper)
    return client


@pytest.fixture
def confirmed(staff: User) -> Client:
    """Staff who have just shown the second step once more."""
    secret = add_app(staff)
    client = StaffClient()
    client.force_login(staff)
    client.post("/accounts/2fa/reauthenticate/", {"code": code_of(secret)})
    return client


def form(**fields: Any) -> dict[str, Any]:
    typed = {
        "request_id": str(uuid.uuid4()), "name": "Shop", "scopes": ["credits:spend"],
        "expires_in": "365", "limit_credits": "5,000", "limit_period": "day",
        "requests_per_minute": "6000",
    }  # fmt: skip
    return typed | fields


def revoke(client: Client, *found: ApiKey, reason: str | None = "Seen in a repository") -> Any:
    data = {"action": "revoke", "_selected_action": [one.pk for one in found]}
    return client.post(LIST, data if reason is None else data | {"reason": reason}, follow=True)


def shown(client: Client, query: str) -> list[ApiKey]:
    return list(client.get(f"{LIST}?{query}").context["cl"].queryset)


# --- Looking ------------------------------------------------------------------------------------


def test_keys_are_found_by_name_beginning_owner_and_state(admin_client, staff, user, other_user):
    mine, theirs, service = make(user), make(other_user, "Web"), make(None, "Shop", by=staff)
    gone = make(user, "Gone")
    keys.revoke(gone)
    late = make(user, "Late")
    ApiKey.objects.filter(pk=late.pk).update(expires_at=timezone.now())
    assert shown(admin_client, "q=web") == [theirs]
    assert shown(admin_client, f"q={mine.prefix}") == [mine]
    assert shown(admin_client, "q=eve@") == [theirs]
    assert shown(admin_client, "kind__exact=service") == [service]
    assert shown(admin_client, "state=open") == [service, theirs, mine]
    assert shown(admin_client, "state=expired") == [late]
    assert shown(admin_client, "state=revoked") == [gone]
    customer = admin_client.get(f"/admin/billing/customer/{user.pk}/change/").content.decode()
    assert f"{LIST}?user__id__exact={user.pk}" in customer
    assert shown(admin_client, f"user__id__exact={user.pk}") == [late, gone, mine]


def test_a_key_s_page_tells_all_but_the_key(admin_client, user):
    key, token = keys.make(
        made_by=user, owner=user, name="Shop", scopes=["credits:spend"], limit_credits=5000,
        limit_period="month",
    )  # fmt: skip
    keys.charge(key, 1234)
    shown = admin_client.get(f"{LIST}{key.pk}/change/").content.decode()
    assert "1,234 of 5,000 credits a month" in shown
    assert "Spend and reserve credits" in shown
    assert key.prefix in shown
    for page in (shown, admin_client.get(LIST).content.decode()):
        assert token not in page
        assert bytes(key.digest).hex() not in page


def test_nobody_does_what_they_may_not(key):
    client = helper()
    for url in (LIST, NEW, f"{LIST}{key.pk}/change/", f"{LIST}{key.pk}/delete/"):
        assert client.get(url).status_code == 403
        assert client.post(url, form()).status_code == 403
    client = helper("view_apikey")
    assert client.get(LIST).status_code == 200
    page = client.get(f"{LIST}{key.pk}/change/").content.decode()
    assert 'name="requests_per_minute"' not in page
    assert "Revoke…" not in page
    assert client.get(NEW).status_code == 403
    assert client.post(f"{LIST}{key.pk}/change/", {"requests_per_minute": 1}).status_code == 403
    revoke(client, key)
    key.refresh_from_db()
    assert (key.is_open, key.requests_per_minute) == (True, None)
    assert ApiKey.objects.count() == 1


def test_nobody_deletes_one_or_makes_it_another(admin_client, key, other_user):
    assert admin_client.post(f"{LIST}{key.pk}/delete/", {"post": "yes"}).status_code == 403
    before = ApiKey.objects.values().get()
    sent = {
        "requests_per_minute": "30", "kind": "service", "user": other_user.pk, "digest": "x",
        "prefix": "x", "name": "x", "scopes": "credits:spend", "limit_credits": "1",
        "made_by": other_user.pk, "revoked_at": "", "expires_at_0": "2099-01-01",
    }  # fmt: skip
    assert admin_client.post(f"{LIST}{key.pk}/change/", sent).status_code == 302
    assert ApiKey.objects.values().get() == before | {"requests_per_minute": 30}
    for wrong in ("0", "-1", "x"):
        answer = admin_client.post(f"{LIST}{key.pk}/change/", {"requests_per_minute": wrong})
        assert answer.status_code == 200
    assert ApiKey.objects.get().requests_per_minute == 30


def test_a_key_that_is_revoked_meanwhile_stays_so(admin_client, key, monkeypatch):
    save = ApiKey.save

    def later(self: ApiKey, *args: Any, **options: Any) -> None:
        ApiKey.objects.filter(pk=self.pk).update(revoked_at=timezone.now())
        save(self, *args, **options)

    monkeypatch.setattr(ApiKey, "save", later)
    admin_client.post(f"{LIST}{key.pk}/change/", {"requests_per_minute": "30"})
    key.refresh_from_db()
    assert (key.is_open, key.requests_per_minute) == (False, 30)


# --- Making service keys ------------------------------------------------------------------------


def test_a_service_key_is_shown_once(confirmed, staff):
    sent = form()
    answer = confirmed.post(NEW, sent)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    (token,) = set(re.findall(r"dcs_[\w-]{43}", answer.content.decode()))
    key = keys.admit(token)
    assert (key.kind, key.user, key.made_by, key.name) == ("service", None, staff, "Shop")
    assert (key.scopes, key.limit_credits, key.limit_period) == (["credits:spend"], 5000, "day")
    assert key.requests_per_minute == 6000
    assert key.expires_at is not None
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.object_repr) == (staff, str(key.pk), str(key))
    assert token not in entry.change_message
    assert mail.outbox == []

    again = confirmed.post(NEW, sent, follow=True)
    assert again.redirect_chain == [(LIST, 302)]
    assert "This form has made its key already" in again.content.decode()
    assert token not in again.content.decode()
    assert ApiKey.objects.count() == LogEntry.objects.count() == 1


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"scopes": []}, {"limit_credits": "0.5"}, {"requests_per_minute": "0"},
     {"requests_per_minute": "100001"}, {"expires_in": ""}, {"request_id": ""}],
)  # fmt: skip
def test_what_makes_no_service_key(confirmed, fields):
    answer = confirmed.post(NEW, form(**fields))
    assert answer.status_code == 200
    assert answer.context["form"].errors
    assert not ApiKey.objects.exists()


def test_staff_show_who_they_are_once_more(admin_client):
    for answer in (admin_client.get(NEW), admin_client.post(NEW, form())):
        assert answer["Location"].startswith("/accounts/2fa/reauthenticate/?next=")
    assert not ApiKey.objects.exists()


# --- Revoking -----------------------------------------------------------------------------------


def test_staff_revoke_with_a_reason_and_the_owner_is_told(admin_client, staff, key):
    preferences.choose(key.user, language="de")
    page = admin_client.get(f"{LIST}{key.pk}/change/").content.decode()
    assert '<button type="submit" class="button" name="action" value="revoke">' in page
    for reason in (None, "", " ", "x" * 501):
        asked = revoke(admin_client, key, reason=reason)
        assert f"{key}, ada@example.com" in asked.content.decode()
    key.refresh_from_db()
    assert key.is_open

    assert "1 key is revoked." in revoke(admin_client, key).content.decode()
    key.refresh_from_db()
    assert not key.is_open
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(key.pk))
    assert entry.change_message == "Revoked: Seen in a repository"
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert key.prefix in message.body
    assert "repository" not in message.body
    ((html, _),) = message.alternatives
    assert '<html lang="de">' in html

    assert "0 keys are revoked." in revoke(admin_client, key).content.decode()
    assert LogEntry.objects.count() == len(mail.outbox) == 1


def test_several_at_once_and_service_keys_without_a_mail(admin_client, staff, key, other_user):
    service, spared = make(None, "Shop", by=staff), make(other_user)
    answer = revoke(admin_client, key, service)
    assert "2 keys are revoked." in answer.content.decode()
    assert list(ApiKey.objects.filter(revoked_at=None)) == [spared]
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]
    assert LogEntry.objects.count() == 2
