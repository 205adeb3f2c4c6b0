"""Staff see what customers have agreed to, change nothing of it, and can turn it off."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission

from accounts.models import User
from billing.models import Mail, TopUp, TopUpConsent

pytestmark = pytest.mark.django_db

LIST = "/admin/billing/topup/"


@pytest.fixture
def row(user) -> TopUp:
    row = TopUp.objects.create(
        user=user, payment_method_id="pm_1", card_brand="visa", card_last4="4242"
    )
    row.consent = TopUpConsent.objects.create(
        top_up=row, threshold=200, credits=500, total=475, cap=2000, text="I agree to all of it."
    )
    row.status = "on"
    row.save()
    return row


def turn_off(client, row: TopUp):
    form = {"action": "turn_off", "_selected_action": [row.pk]}
    return client.post(LIST, form, follow=True)


def test_what_was_agreed_to_is_shown_and_read_only(admin_client, row, user):
    page = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()
    for shown in ("I agree to all of it.", "$20.00", "Visa ending 4242", "$4.75"):
        assert shown in page
    assert 'name="consents-0-cap"' not in page
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{row.pk}/change/", {"status": "off"}).status_code == 403
    row.refresh_from_db()
    assert row.status == "on"
    customer = admin_client.get(f"/admin/billing/customer/{user.pk}/change/").content.decode()
    assert f'<a href="{LIST}{row.pk}/change/">On</a>' in customer


def test_staff_turn_it_off_and_its_customer_is_told(admin_client, staff, row):
    assert b"1 automatic top-up was turned off" in turn_off(admin_client, row).content
    row.refresh_from_db()
    assert (row.status, row.reason) == ("suspended", "staff")
    assert list(Mail.objects.values_list("user", "kind")) == [(row.user_id, "top_up_suspended")]
    log = LogEntry.objects.get()
    assert (log.user, log.object_id, log.change_message) == (staff, str(row.pk), "Turned off")
    turn_off(admin_client, row)  # again
    assert (Mail.objects.count(), LogEntry.objects.count()) == (1, 1)


def test_it_takes_the_right(client, row):
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    helper.user_permissions.add(Permission.objects.get(codename="view_topup"))
    client.force_login(helper)
    assert client.get(LIST).status_code == 200
    turn_off(client, row)
    row.refresh_from_db()
    assert (row.status, Mail.objects.count()) == ("on", 0)
