"""Meters and price lists as staff write them."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission

from accounts.models import User
from tests.second_step import StaffClient
from tests.usage.shop import THIS_MONTH
from usage import tariffs
from usage.models import Meter, Tariff
from usage.prices import Band, PriceList
from usage.recording import record
from usage.summary import next_month

pytestmark = pytest.mark.django_db

METERS = "/admin/usage/meter/"
NEXT_MONTH = next_month(THIS_MONTH)
METER = {
    "name": "Text", "code": "text", "unit": "tokens", "description": "", "policy": "refuse",
    "owe_limit": "0", "is_active": "on", "_save": "Save",
}  # fmt: skip


@pytest.fixture
def bare(db) -> Meter:
    return Meter.objects.create(code="bare", name="Bare", unit="things")


def prices_form(begins_on, *bands, mode: str = "graduated", **more: str) -> dict[str, str]:
    form = {
        "begins_on": str(begins_on), "mode": mode, "band-TOTAL_FORMS": str(len(bands) + 1),
        "band-INITIAL_FORMS": "0",
    }  # fmt: skip
    for index, band in enumerate([*bands, ("", "", "")]):
        for name, value in zip(("above", "credits", "per"), band, strict=True):
            form[f"band-{index}-{name}"] = str(value)
    return form | more


def preview_and_save(client, address: str, form: dict[str, str]):
    preview = client.post(address, form | {"preview": "1"}).context["preview"]
    return client.post(address, form | {"save": "1", "seen": preview["seen"]}, follow=True)


def lists_of(meter: Meter) -> list[tuple]:
    return [
        (tariff.begins_on, tariff.mode, [tuple(band) for band in tariff.price_list().bands])
        for tariff in meter.tariffs.order_by("begins_on")
    ]


def test_a_new_meter_leads_to_its_prices(admin_client):
    answer = admin_client.post(f"{METERS}add/", METER)
    meter = Meter.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"{METERS}{meter.pk}/prices/")
    page = admin_client.get(answer["Location"])
    assert [choice for choice, _ in page.context["form"].fields["begins_on"].choices][:2] == [
        str(THIS_MONTH),
        str(NEXT_MONTH),
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"owe_limit": "5"}, {"policy": "owe"}, {"policy": "owe", "owe_limit": "-1"}, {"code": "A b"}],
)
def test_a_meter_that_makes_no_sense_is_refused(admin_client, wrong):
    page = admin_client.post(f"{METERS}add/", METER | wrong)
    assert b"Please correct the error" in page.content
    assert not Meter.objects.exists()


def test_a_meter_is_switched_off_and_keeps_its_code(admin_client, meter):
    form = METER | {"policy": "owe", "owe_limit": "500"}
    del form["is_active"]
    admin_client.post(f"{METERS}{meter.pk}/change/", form)
    meter.refresh_from_db()
    assert (meter.is_active, meter.code, meter.name, meter.owe_limit) == (
        False, "tokens", "Text", 500,
    )  # fmt: skip
    assert admin_client.post(f"{METERS}{meter.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Meter.objects.exists()


def test_prices_are_previewed_and_then_saved(admin_client, bare):
    address = f"{METERS}{bare.pk}/prices/"
    form = prices_form(THIS_MONTH, ("1,000", 2, "1,000"), (0, 3, 1000), mode="volume")
    page = admin_client.post(address, form | {"preview": "1"})
    assert page.context["preview"]["costs"] == [(10, 0), (1000, 3), (1001, 2), (100_000, 200)]
    assert not Tariff.objects.exists()
    page = preview_and_save(admin_client, address, form)
    assert "It holds from" in page.content.decode()
    assert lists_of(bare) == [(THIS_MONTH, "volume", [(0, 3, 1000), (1000, 2, 1000)])]
    assert "Prices from" in LogEntry.objects.get().change_message


def test_what_was_not_previewed_is_not_saved(admin_client, bare):
    address = f"{METERS}{bare.pk}/prices/"
    form = prices_form(THIS_MONTH, (0, 3, 1000))
    seen = admin_client.post(address, form).context["preview"]["seen"]
    changed = prices_form(THIS_MONTH, (0, 30, 1000), save="1", seen=seen)
    page = admin_client.post(address, changed)
    assert page.context["preview"]["costs"][1] == (1000, 30)
    assert admin_client.post(address, form | {"save": "1"}).status_code == 200
    assert not Tariff.objects.exists()


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ([], "must begin above 0"),
        ([(1, 3, 1)], "must begin above 0"),
        ([(0, 3, 1), (0, 2, 1)], "Two bands begin above 0 units."),
        ([(0, 3, 1), (5, "", 1)], "Fill in the whole row"),
        ([(0, 3, 0)], "greater than or equal to 1"),
        ([(0, -3, 1)], "Enter a whole number"),
        ([(0, "1.5", 1)], "Enter a whole number"),
        ([(0, 2**53, 1)], "less than or equal to"),
        ([(0, "9" * 30, 1)], "Enter a whole number"),
    ],
)
def test_prices_that_make_no_sense_are_refused(admin_client, bare, bands, words):
    page = admin_client.post(f"{METERS}{bare.pk}/prices/", prices_form(NEXT_MONTH, *bands))
    assert words in page.content.decode()
    assert page.context["preview"] is None
    assert not Tariff.objects.exists()


def test_a_later_list_begins_in_a_coming_month(admin_client, meter):
    address = f"{METERS}{meter.pk}/prices/"
    page = admin_client.get(address)
    months = [choice for choice, _ in page.context["form"].fields["begins_on"].choices]
    assert months[0] == str(NEXT_MONTH)
    assert len(months) == 12
    # It begins as a copy of the list there is.
    assert page.context["bands"].initial[0] == {"above": 0, "credits": 3, "per": 1000}
    page = admin_client.post(address, prices_form(THIS_MONTH, (0, 1, 1)))
    assert "not one of the available choices" in page.content.decode()
    preview_and_save(admin_client, address, prices_form(NEXT_MONTH, (0, 1, 1)))
    assert lists_of(meter)[1:] == [(NEXT_MONTH, "graduated", [(0, 1, 1)])]


def test_a_list_that_has_not_begun_is_changed_and_removed(admin_client, meter):
    later = next_month(NEXT_MONTH)
    preview_and_save(
        admin_client, f"{METERS}{meter.pk}/prices/", prices_form(NEXT_MONTH, (0, 1, 1))
    )
    tariff = meter.tariffs.get(begins_on=NEXT_MONTH)
    address = f"{METERS}prices/{tariff.pk}/"
    form = prices_form(later, (0, 4, 1), (9, 3, 1), mode="volume")
    preview_and_save(admin_client, address, form)
    assert lists_of(meter)[1:] == [(later, "volume", [(0, 4, 1), (9, 3, 1)])]
    page = admin_client.post(address, {"remove": "1"}, follow=True)
    assert "is removed" in page.content.decode()
    assert len(lists_of(meter)) == 1


def test_a_list_that_has_begun_never_changes(admin_client, rich, meter):
    tariff = meter.tariffs.get()
    before = lists_of(meter)
    for form in ({"remove": "1"}, prices_form(NEXT_MONTH, (0, 1, 1))):
        page = admin_client.post(f"{METERS}prices/{tariff.pk}/", form, follow=True)
        assert "It has begun: it never changes." in page.content.decode()
    assert lists_of(meter) == before


def test_with_a_list_for_every_month_there_is_none_to_choose(admin_client, meter):
    month = THIS_MONTH
    for _ in range(tariffs.MONTHS_AHEAD):
        month = next_month(month)
        tariffs.add(meter, month, PriceList("graduated", (Band(0, 1, 1),)))
    address = f"{METERS}{meter.pk}/prices/"
    page = admin_client.get(address)
    assert (page.status_code, page.context["form"].fields["begins_on"].choices) == (200, [])
    before = Tariff.objects.count()
    form = prices_form(month, (0, 1, 1), save="1")
    assert admin_client.post(address, form).status_code == 200
    assert Tariff.objects.count() == before


def test_a_list_that_begins_while_it_is_removed_stays(admin_client, meter, monkeypatch):
    before = lists_of(meter)
    address = f"{METERS}prices/{meter.tariffs.get().pk}/"
    monkeypatch.setattr(tariffs, "is_fixed", lambda tariff: False)
    page = admin_client.post(address, {"remove": "1"})
    assert (page.status_code, page["Location"]) == (302, f"{METERS}{meter.pk}/change/")
    assert lists_of(meter) == before
    assert not LogEntry.objects.filter(change_message__startswith="Removed").exists()


def test_a_month_that_was_taken_meanwhile_is_told(admin_client, bare):
    address = f"{METERS}{bare.pk}/prices/"
    form = prices_form(THIS_MONTH, (0, 3, 1000))
    seen = admin_client.post(address, form).context["preview"]["seen"]
    months = tariffs.months_for(bare)
    preview_and_save(admin_client, address, form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tariffs, "months_for", lambda meter: months)
        page = admin_client.post(address, form | {"save": "1", "seen": seen}, follow=True)
    assert "Nothing was saved" in page.content.decode()
    assert len(lists_of(bare)) == 1


def test_who_may_not_is_refused(meter):
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_meter"))
    client = StaffClient()
    client.force_login(clerk)
    page = client.get(f"{METERS}{meter.pk}/change/")
    assert b"Graduated" in page.content
    assert b"New price list" not in page.content
    tariff = meter.tariffs.get()
    for address in (f"{METERS}{meter.pk}/prices/", f"{METERS}prices/{tariff.pk}/"):
        assert client.get(address).status_code == 403
        assert client.post(address, prices_form(NEXT_MONTH, (0, 1, 1))).status_code == 403
    assert len(lists_of(meter)) == 1


def test_who_may_change_lists_may_not_remove_them(admin_client, meter):
    preview_and_save(
        admin_client, f"{METERS}{meter.pk}/prices/", prices_form(NEXT_MONTH, (0, 1, 1))
    )
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    for codename in ("view_meter", "change_tariff"):
        clerk.user_permissions.add(Permission.objects.get(codename=codename))
    client = StaffClient()
    client.force_login(clerk)
    address = f"{METERS}prices/{meter.tariffs.get(begins_on=NEXT_MONTH).pk}/"
    assert b"Remove this list" not in client.get(address).content
    assert client.post(address, {"remove": "1"}).status_code == 403
    assert len(lists_of(meter)) == 2


def test_staff_read_what_was_used(admin_client, rich, meter):
    event = record(rich.user, "tokens", 12_500, key="k").event
    for name in ("event", "month"):
        assert b"12,500" in admin_client.get(f"/admin/usage/{name}/?q=ada@example.com").content
        assert b"12,500" not in admin_client.get(f"/admin/usage/{name}/?q=nobody").content
    page = admin_client.get(f"/admin/usage/event/{event.pk}/change/")
    assert b"35" in page.content
    assert admin_client.post(f"/admin/usage/event/{event.pk}/delete/").status_code == 403
    assert b"Graduated" in admin_client.get(METERS).content
