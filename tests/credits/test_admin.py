import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission

from accounts.models import User
from credits import ledger
from credits.models import Entry

pytestmark = pytest.mark.django_db


def url(user: User) -> str:
    return f"/admin/credits/wallet/of/{user.pk}/adjust/"


def form(amount: object, step: str = "confirm", **fields: str) -> dict[str, object]:
    return {"amount": amount, "reason": "Goodwill", "key": str(uuid.uuid4()), step: "1"} | fields


@pytest.fixture
def admin_client(client, staff):
    client.force_login(staff)
    return client


def test_an_adjustment_is_previewed_and_then_booked_once(admin_client, user, staff):
    data = form(250, "preview")
    page = admin_client.post(url(user), data)
    assert page.context["preview"] == {"amount": 250, "after": 250, "waits": False}
    assert Entry.objects.count() == 0

    for _ in range(2):
        response = admin_client.post(url(user), data | {"confirm": "1"}, follow=True)
        assert b"250 credits booked" in response.content
    entry = Entry.objects.get()
    assert (entry.amount, entry.note, entry.actor, entry.kind) == (
        250, "Goodwill", staff, "adjustment",
    )  # fmt: skip
    assert LogEntry.objects.get().change_message == "+250: Goodwill"


def test_taking_away_sent_twice_says_that_it_is_booked(admin_client, user):
    ledger.grant(ledger.wallet_of(user), 100, key="g", kind="purchase")
    data = form(-100)
    for _ in range(2):
        response = admin_client.post(url(user), data, follow=True)
        assert b"-100 credits booked" in response.content
        assert b"credits are there" not in response.content
    assert ledger.balance_of(user) == 0
    assert Entry.objects.count() == 2
    assert LogEntry.objects.count() == 1


def test_taking_away_stops_at_zero(admin_client, user):
    ledger.grant(ledger.wallet_of(user), 100, key="g", kind="purchase")
    page = admin_client.post(url(user), form(-101))
    assert b"Only 100 credits are there" in page.content
    assert ledger.balance_of(user) == 100
    admin_client.post(url(user), form(-100))
    assert ledger.balance_of(user) == 0


@pytest.mark.parametrize("amount", ["0", "", "1.5", "x", str(2**53)])
def test_a_bad_amount_is_said(admin_client, user, amount):
    page = admin_client.post(url(user), form(amount))
    assert "amount" in page.context["form"].errors
    assert Entry.objects.count() == 0


def test_a_reason_is_needed(admin_client, user):
    page = admin_client.post(url(user), form(5, reason=" "))
    assert "reason" in page.context["form"].errors
    assert Entry.objects.count() == 0


def test_an_unknown_user_is_not_found(admin_client, user):
    assert admin_client.get(f"/admin/credits/wallet/of/{user.pk + 99}/adjust/").status_code == 404


def test_it_takes_the_permission(client, user):
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    client.force_login(helper)
    assert client.post(url(user), form(5)).status_code == 403
    assert Entry.objects.count() == 0
    helper.user_permissions.add(Permission.objects.get(codename="adjust_wallet"))
    assert client.post(url(user), form(5)).status_code == 302
    assert ledger.balance_of(user) == 5


def test_customers_cannot(client, user):
    client.force_login(user)
    response = client.post(url(user), form(5), follow=True)
    assert response.status_code == 403
    assert Entry.objects.count() == 0


@pytest.mark.parametrize("model", ["wallet", "entry", "lot", "hold", "adjustment"])
def test_nothing_in_the_ledger_is_editable(admin_client, user, model):
    entry = ledger.grant(ledger.wallet_of(user), 100, key="g", kind="purchase")
    ledger.spend(entry.wallet, 40, key="s")
    base = f"/admin/credits/{model}/"
    assert admin_client.get(base).status_code == 200
    assert admin_client.get(f"{base}?q=ada").status_code == 200
    assert admin_client.get(f"{base}add/").status_code == 403
    pk = {"wallet": entry.wallet_id, "entry": entry.pk, "lot": entry.wallet.lots.get().pk}.get(
        model
    )
    if pk is not None:
        assert admin_client.get(f"{base}{pk}/change/").status_code == 200
        assert admin_client.post(f"{base}{pk}/change/", {"balance": 9}).status_code == 403
        assert admin_client.post(f"{base}{pk}/delete/", {"post": "yes"}).status_code == 403
    assert ledger.balance_of(user) == 60


def test_an_entry_tells_its_lots_draws_and_way(admin_client, user, other_user):
    wallet, other = ledger.wallet_of(user), ledger.wallet_of(other_user)
    bought = ledger.grant(wallet, 5000, key="g", kind="purchase", paid=4000)
    lot = wallet.lots.get()
    transfer = ledger.send(wallet, 1500, key="t")
    sent = f"/admin/credits/entry/{transfer.entry_id}/change/"
    assert b"in escrow" in admin_client.get(sent).content
    arrived = ledger.receive(other, transfer, key="t")

    page = admin_client.get(f"/admin/credits/entry/{bought.pk}/change/").content.decode()
    assert "5,000 credits, 3,500 left, for 4,000 cents" in page
    page = admin_client.get(sent).content.decode()
    assert f'<a href="/admin/credits/lot/{lot.pk}/change/">' in page
    assert "1,500 credits, for 1,200 cents" in page
    assert "arrived at eve@example.com" in page
    page = admin_client.get(f"/admin/credits/entry/{arrived.pk}/change/").content.decode()
    assert "sent by ada@example.com" in page


def test_a_hold_tells_its_lots_and_its_entry(admin_client, wallet):
    ledger.grant(wallet, 5000, key="g", kind="purchase")
    held = ledger.hold(wallet, 1500, key="h", expires_in=timedelta(hours=1))
    spent = ledger.capture(held, 1000)
    page = admin_client.get(f"/admin/credits/hold/{held.pk}/change/").content.decode()
    assert "1,500 credits" in page
    assert f"/admin/credits/entry/{spent.pk}/change/" in page
