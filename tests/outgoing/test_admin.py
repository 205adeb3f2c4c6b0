"""Webhooks in the admin: who makes endpoints, sees their secrets, and sends again."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import User
from billing.admin.attention import matters
from credits import ledger
from outgoing import endpoints, messages, sending
from outgoing.models import Delivery, Endpoint, EventType, Message
from tests.second_step import StaffClient

pytestmark = pytest.mark.django_db
ENDPOINTS = "/admin/outgoing/endpoint/"
MESSAGES = "/admin/outgoing/message/"
FORM = {"url": "https://product.example/hooks", "description": "The product", "is_enabled": "on"}


@pytest.fixture(autouse=True)
def _names_lead_outside(monkeypatch):
    monkeypatch.setattr("outgoing.transport.filter_host", lambda *_, **__: "93.184.215.14")


@pytest.fixture
def endpoint(staff) -> Endpoint:
    return endpoints.make(url="https://product.example/hooks", made_by=staff)


def helper(*permissions: str) -> StaffClient:
    user = User.objects.create(email="helper@example.com", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = StaffClient()
    client.force_login(user)
    return client


def secret_in(page) -> list[str]:
    return re.findall(r'data-copy="(whsec_[^"]+)"', page.content.decode())


def test_an_endpoint_is_made_and_its_secret_shown_on_record(admin_client, staff):
    page = admin_client.post(
        f"{ENDPOINTS}add/", FORM | {"events": ["credits.low", "credits.spent"]}, follow=True
    )
    endpoint = Endpoint.objects.get()
    assert page.redirect_chain == [(f"{ENDPOINTS}{endpoint.pk}/secret/", 302)]
    assert (endpoint.url, endpoint.events) == (FORM["url"], ["credits.low", "credits.spent"])
    assert (endpoint.made_by, endpoint.is_enabled) == (staff, True)
    assert endpoint.secret.startswith("whsec_")
    assert endpoint.secret not in page.content.decode()  # not before it is asked for
    shown = admin_client.post(f"{ENDPOINTS}{endpoint.pk}/secret/", {"show": "1"})
    assert secret_in(shown) == [endpoint.secret]
    assert "no-store" in shown["Cache-Control"]
    assert "Looked at the secret." in [one.change_message for one in LogEntry.objects.all()]


def test_a_secret_is_rolled_with_both_for_a_day(admin_client, endpoint):
    old = endpoint.secret
    page = admin_client.post(f"{ENDPOINTS}{endpoint.pk}/secret/", {"roll": "1"})
    endpoint.refresh_from_db()
    assert endpoint.secret != old
    assert secret_in(page) == [endpoint.secret, old]
    assert timedelta(hours=23) < endpoint.old_secret_until - timezone.now() < timedelta(hours=25)
    assert LogEntry.objects.get().change_message == "Rolled the secret."
    assert 'name="roll"' not in page.content.decode()


@pytest.mark.parametrize(
    "url", ["http://product.example/", "https://a@b.example/", "ftp://x.example", "nothing"]
)
def test_a_wrong_address_is_refused(admin_client, url):
    page = admin_client.post(f"{ENDPOINTS}add/", FORM | {"url": url})
    assert page.status_code == 200
    assert page.context["adminform"].form.errors.keys() == {"url"}
    assert Endpoint.objects.count() == 0


def test_a_private_address_is_refused_unless_the_setting_allows_it(
    admin_client, settings, monkeypatch
):
    monkeypatch.undo()
    for address in ("https://127.0.0.1/", "https://localhost/", "https://[::ffff:10.0.0.1]/"):
        page = admin_client.post(f"{ENDPOINTS}add/", FORM | {"url": address})
        assert page.context["adminform"].form.errors == {"url": ["It leads to a private network."]}
    assert Endpoint.objects.count() == 0
    settings.OUTGOING_PRIVATE_ADDRESSES = True
    admin_client.post(f"{ENDPOINTS}add/", FORM | {"url": "http://127.0.0.1:9000/hooks"})
    assert Endpoint.objects.get().url == "http://127.0.0.1:9000/hooks"


def test_switching_on_begins_anew_and_keeps_the_rest(admin_client, endpoint):
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=4))
    endpoints.switch_off(endpoint, "It failed for 3 days.")
    page = admin_client.get(f"{ENDPOINTS}{endpoint.pk}/change/").content.decode()
    assert "It failed for 3 days." in page
    assert endpoint.secret not in page
    admin_client.post(f"{ENDPOINTS}{endpoint.pk}/change/", FORM)
    found = Endpoint.objects.get()
    assert (found.is_enabled, found.off_because, found.failing_since) == (True, "", None)
    assert (found.secret, found.description) == (endpoint.secret, "The product")
    admin_client.post(f"{ENDPOINTS}{endpoint.pk}/change/", FORM | {"is_enabled": ""})
    assert Endpoint.objects.get().is_enabled is False


def test_an_endpoint_is_never_deleted(admin_client, endpoint):
    assert admin_client.post(f"{ENDPOINTS}{endpoint.pk}/delete/").status_code == 403
    admin_client.post(
        ENDPOINTS, {"action": "delete_selected", "_selected_action": [endpoint.pk], "post": "yes"}
    )
    assert Endpoint.objects.count() == 1


def test_an_id_that_the_admin_would_read_otherwise_leads_to_its_page(admin_client, endpoint):
    Message.objects.create(pk="msg_5f2c3a", type="credits.low", payload="{}")
    page = admin_client.post(f"{MESSAGES}msg_5f2c3a/again/", follow=True)
    assert page.redirect_chain == [(f"{MESSAGES}{quote('msg_5f2c3a')}/change/", 302)]
    assert page.status_code == 200
    assert quote("msg_5f2c3a") != "msg_5f2c3a"


def test_a_test_is_sent_and_its_way_can_be_seen(admin_client, receiver, endpoint):
    Endpoint.objects.update(url=receiver.url)
    receiver.answers, receiver.body = [500], b"<b>not today</b>"
    page = admin_client.post(f"{ENDPOINTS}{endpoint.pk}/test/", follow=True)
    message = Message.objects.get()
    assert page.redirect_chain == [(f"{MESSAGES}{quote(message.pk)}/change/", 302)]
    sending.send_due()
    text = admin_client.get(f"{MESSAGES}{quote(message.pk)}/change/").content.decode()
    assert "&lt;b&gt;not today&lt;/b&gt;" in text
    assert "&quot;type&quot;: &quot;endpoint.test&quot;" in text
    admin_client.post(f"{MESSAGES}{message.pk}/again/")
    Endpoint.objects.update(rests_until=None)
    assert sending.send_due() == 1
    assert receiver.ids == [message.pk] * 2


def test_messages_are_found_and_sent_again(admin_client, endpoint, user, wallet):
    ledger.grant(wallet, 500, key="g", kind="purchase")
    messages.tell(EventType.LOW, user.pk, {})
    granted = Message.objects.get(type="credits.granted")
    Delivery.objects.filter(message=granted).update(status="given_up")

    def found(query: str) -> list[str]:
        page = admin_client.get(f"{MESSAGES}?{query}")
        assert page.status_code == 200
        return [message.type for message in page.context["cl"].result_list]

    assert found("") == ["credits.low", "credits.granted"]
    assert found("state=given_up") == found("type=credits.granted") == ["credits.granted"]
    assert found(f"q={granted.pk}") == ["credits.granted"]
    assert found("q=ada@example.com") == found(f"endpoint={endpoint.pk}") == found("")
    assert found("endpoint=0") == []
    admin_client.post(MESSAGES, {"action": "send_again", "_selected_action": [granted.pk]})
    assert {one.status for one in Delivery.objects.all()} == {"waiting"}
    assert LogEntry.objects.get().change_message == "Sent again"
    endpoints.switch_off(endpoint)
    page = admin_client.post(f"{MESSAGES}{granted.pk}/again/", follow=True)
    assert "Nothing is sent: the endpoints are off." in page.content.decode()


def test_who_may_only_look_changes_and_learns_nothing(endpoint, user):
    client = helper("view_endpoint", "view_message")
    messages.tell(EventType.LOW, user.pk, {})
    message = Message.objects.get()
    Delivery.objects.update(status="given_up")
    assert client.get(f"{ENDPOINTS}{endpoint.pk}/change/").status_code == 200
    assert client.get(f"{MESSAGES}{quote(message.pk)}/change/").status_code == 200
    for address in (
        f"{ENDPOINTS}add/", f"{ENDPOINTS}{endpoint.pk}/secret/", f"{ENDPOINTS}{endpoint.pk}/test/",
        f"{ENDPOINTS}{endpoint.pk}/change/", f"{MESSAGES}{message.pk}/again/",
    ):  # fmt: skip
        answer = client.post(address, FORM | {"roll": "1"})
        assert (answer.status_code, endpoint.secret in answer.content.decode()) == (403, False)
    assert client.get(f"{ENDPOINTS}{endpoint.pk}/secret/").status_code == 403
    client.post(MESSAGES, {"action": "send_again", "_selected_action": [message.pk]})
    assert (Message.objects.count(), Delivery.objects.get().status) == (1, "given_up")
    assert Endpoint.objects.get().secret == endpoint.secret


def test_each_right_opens_its_door(endpoint, user):
    messages.tell(EventType.LOW, user.pk, {})
    Delivery.objects.update(status="given_up")
    client = helper("view_message", "resend_message", "view_endpoint", "change_endpoint")
    assert client.post(f"{MESSAGES}{Message.objects.get().pk}/again/").status_code == 302
    assert Delivery.objects.get().status == "waiting"
    assert secret_in(client.post(f"{ENDPOINTS}{endpoint.pk}/secret/")) == [endpoint.secret]
    assert client.get(f"{ENDPOINTS}add/").status_code == 403


def test_customers_see_nothing_of_it(client, endpoint, user):
    client.force_login(user)
    for address in (ENDPOINTS, MESSAGES, f"{ENDPOINTS}{endpoint.pk}/secret/"):
        assert client.get(address).status_code == 302
        assert client.post(address).status_code == 302


def test_what_was_given_up_waits_for_staff(staff, endpoint, user, admin_client):
    def told() -> list[tuple[str, int, bool]]:
        found = matters(staff)
        return [(one.title, one.count, one.is_urgent) for one in found if "ebhook" in one.title]

    assert told() == []
    messages.tell(EventType.LOW, user.pk, {})
    Delivery.objects.update(status="given_up")
    assert told() == [("Webhooks that could not be delivered", 1, False)]
    endpoints.switch_off(endpoint)
    assert len(told()) == 1  # by staff themselves
    endpoints.switch_on(endpoint)
    endpoints.switch_off(endpoint, "It answered 410: it is gone.")
    assert told() == [
        ("Webhook endpoint that was switched off", 0, True),
        ("Webhooks that could not be delivered", 1, False),
    ]
    for matter in matters(staff):
        assert admin_client.get(matter.address).status_code == 200
    Delivery.objects.update(since=timezone.now() - timedelta(days=31))
    assert len(told()) == 1
