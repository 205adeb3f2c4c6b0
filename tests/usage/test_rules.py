"""What the database itself refuses, whoever asks."""

from datetime import date, timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from tests.usage.shop import BANDS, THIS_MONTH, make_meter, make_tariff
from usage.models import Band, Day, Event, Meter, Month, Tariff
from usage.recording import record
from usage.summary import next_month

pytestmark = pytest.mark.django_db

NEXT_MONTH = next_month(THIS_MONTH)


@pytest.fixture
def bare(db) -> Meter:
    """A meter without a price list."""
    return Meter.objects.create(code="bare", name="Bare", unit="things")


def write(meter: Meter, begins_on: date, *bands: tuple[int, int, int]) -> Tariff:
    """A price list as the site writes it, in a transaction of its own."""
    with transaction.atomic():
        tariff = Tariff.objects.create(meter=meter, begins_on=begins_on, mode="graduated")
        for above, credits, per in bands or BANDS:
            Band.objects.create(tariff=tariff, above=above, credits=credits, per=per)
        check_now()
    return tariff


def check_now() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def refuse(do, words: str) -> None:
    def do_it_all() -> None:
        with transaction.atomic():
            do()
            check_now()

    check_now()
    with pytest.raises(DatabaseError, match=words):
        do_it_all()


# --- When a price list begins -----------------------------------------------------------------


def test_the_first_list_may_begin_this_month_and_later_ones_in_a_coming_one(bare):
    write(bare, THIS_MONTH)
    write(bare, NEXT_MONTH)
    assert bare.tariffs.count() == 2


@pytest.mark.parametrize("begins_on", [THIS_MONTH - timedelta(days=1), date(2020, 1, 1)])
def test_no_list_begins_in_the_past(bare, begins_on):
    refuse(lambda: write(bare, begins_on.replace(day=1)), "coming month")
    assert not Tariff.objects.exists()


def test_no_second_list_begins_now_or_before_the_first(bare):
    write(bare, NEXT_MONTH)
    refuse(lambda: write(bare, THIS_MONTH), "coming month")


def test_a_list_begins_on_the_first_and_one_a_month(bare):
    refuse(lambda: write(bare, NEXT_MONTH.replace(day=2)), "first_day")
    write(bare, NEXT_MONTH)
    refuse(lambda: write(bare, NEXT_MONTH), "once_a_month")


# --- What it says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "words"),
    [
        ((-1, 1, 1), "usage_band_above"),
        ((2**53 - 1, 1, 1), "usage_band_above"),
        ((0, 1, 1), "usage_band_once"),
        ((5, -1, 1), "usage_band_credits"),
        ((5, 2**53, 1), "usage_band_credits"),
        ((5, 1, 0), "usage_band_per"),
        ((5, 1, -1), "usage_band_per"),
        ((5, 1, 2**53), "usage_band_per"),
    ],
)
def test_a_band_that_makes_no_sense_is_refused(bare, band, words):
    refuse(lambda: write(bare, NEXT_MONTH, (0, 3, 1), band), words)


def test_a_list_has_a_band_above_0(bare):
    refuse(lambda: write(bare, NEXT_MONTH, (1, 3, 1)), "above 0")
    tariff = write(bare, NEXT_MONTH, (0, 3, 1), (10, 2, 1))
    first = tariff.bands.get(above=0)
    refuse(first.delete, "above 0")
    refuse(lambda: tariff.bands.filter(above=0).update(above=5), "above 0")
    refuse(lambda: Tariff.objects.create(meter=bare, begins_on=next_month(NEXT_MONTH)), "mode")
    refuse(
        lambda: Tariff.objects.create(
            meter=bare, begins_on=next_month(NEXT_MONTH), mode="graduated"
        ),
        "above 0",
    )


# --- That it stays ----------------------------------------------------------------------------


def test_a_list_that_has_not_begun_may_change_and_go(bare):
    tariff = write(bare, NEXT_MONTH)
    tariff.bands.filter(above=0).update(credits=9)
    tariff.mode = "volume"
    tariff.save()
    tariff.delete()
    assert not Tariff.objects.exists()
    assert not Band.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tariff: tariff.delete(),
        lambda tariff: Tariff.objects.filter(pk=tariff.pk).update(mode="volume"),
        lambda tariff: Tariff.objects.filter(pk=tariff.pk).update(begins_on=NEXT_MONTH),
        lambda tariff: tariff.bands.update(credits=9),
        lambda tariff: tariff.bands.filter(above__gt=0).delete(),
        lambda tariff: Band.objects.create(tariff=tariff, above=5, credits=1, per=1),
    ],
)
def test_a_list_that_has_begun_never_changes(change):
    tariff = make_meter().tariffs.get()
    refuse(lambda: change(tariff), "never changes")
    assert sorted(tariff.bands.values_list("above", "credits", "per")) == BANDS


def test_a_list_that_was_used_never_changes(rich, bare):
    tariff = write(bare, THIS_MONTH)
    record(rich.user, "bare", 1, key="k")
    refuse(lambda: tariff.bands.update(credits=9), "never changes")
    refuse(lambda: Band.objects.create(tariff=tariff, above=5, credits=1, per=1), "never changes")
    refuse(lambda: execute("DELETE FROM usage_band"), "never changes")
    refuse(lambda: execute("DELETE FROM usage_tariff"), "never changes")


def test_a_list_takes_no_bands_of_one_that_has_begun(meter, bare):
    begun = meter.tariffs.get()
    coming = write(bare, NEXT_MONTH)
    refuse(lambda: coming.bands.filter(above__gt=0).update(tariff=begun, above=7), "never changes")
    refuse(lambda: begun.bands.filter(above__gt=0).update(tariff=coming, above=7), "never changes")


# --- Meters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["", "A", "1a", "a b", "a\n", "é", "a" * 41])
def test_a_code_is_plain(code):
    with pytest.raises(DatabaseError), transaction.atomic():
        Meter.objects.create(code=code, name="Name", unit="units")


@pytest.mark.parametrize(
    ("policy", "owe_limit"), [("refuse", 1), ("owe", 0), ("owe", -1), ("owe", 2**53), ("give", 0)]
)
def test_a_limit_belongs_to_what_may_be_owed(policy, owe_limit):
    with pytest.raises(IntegrityError, match="usage_meter_policy"), transaction.atomic():
        Meter.objects.create(
            code="a", name="Name", unit="units", policy=policy, owe_limit=owe_limit
        )


# --- What was used ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE usage_event SET quantity = 1",
        "DELETE FROM usage_event",
        "TRUNCATE usage_event",
    ],
)
def test_events_stay(rich, meter, statement):
    record(rich.user, "tokens", 1500, key="k")
    refuse(lambda: execute(statement), "append-only")
    assert Event.objects.get().quantity == 1500


@pytest.mark.parametrize("model", [Month, Day])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.update(units=1),
        lambda rows: rows.update(charged=1),
        lambda rows: rows.update(meter=make_meter("other")),
        lambda rows: rows.delete(),
    ],
)
def test_months_and_days_only_grow(rich, meter, model, change):
    record(rich.user, "tokens", 1500, key="k")
    refuse(lambda: change(model.objects.all()), "only grows")


def test_a_month_has_a_price_list_of_its_meter(rich, meter):
    other = make_meter("other").tariffs.get()
    month = Month(
        user=rich.user, meter=meter, tariff=other, begins_on=THIS_MONTH, units=1, charged=0
    )
    with pytest.raises(IntegrityError, match="usage_month_of_tariff"), transaction.atomic():
        month.save()


def test_the_newest_list_that_has_begun_holds(rich, meter):
    make_tariff(meter, THIS_MONTH, [(0, 7, 1)])
    write(meter, NEXT_MONTH, (0, 9, 1))
    assert record(rich.user, "tokens", 1, key="k").event.charged == 7
