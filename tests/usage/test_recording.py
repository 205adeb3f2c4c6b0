"""An event: priced, charged once, in its month; and what a refusal leaves, which is nothing."""

from datetime import UTC, datetime, timedelta, timezone
from unittest import mock

import pytest
from django.db import DatabaseError, OperationalError
from django.utils import timezone as clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import keys
from accounts.models import ApiKeySpending, User
from credits import errors, ledger
from credits.models import MAX_CREDITS, Entry, Wallet
from tests.usage.shop import THIS_MONTH, make_meter, make_tariff
from usage import recording
from usage.models import Day, Event, Meter, Month
from usage.prices import MAX_UNITS
from usage.recording import Recorded, Report, record, record_many

pytestmark = pytest.mark.django_db

TIMES = "\N{MULTIPLICATION SIGN}"
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.fixture
def at_noon(monkeypatch) -> datetime:
    """It is noon on the last day of March."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    return NOON


def nothing_is_recorded(user: User, balance: int = 1_000_000) -> bool:
    assert not Event.objects.exists()
    assert not Month.objects.exists()
    assert not Day.objects.exists()
    assert ledger.balance_of(user) == balance
    return True


# --- What is charged --------------------------------------------------------------------------


def test_an_event_is_charged_what_the_month_costs_more(rich, meter):
    user = rich.user
    charges = [record(user, "tokens", 500, key=f"k{n}").event.charged for n in range(4)]
    assert charges == [1, 2, 1, 2]  # 1.5, 3, 4.5, 6
    month = Month.objects.get()
    assert (month.units, month.charged, month.begins_on) == (2000, 6, THIS_MONTH)
    assert ledger.balance_of(user) == 999_994
    assert Day.objects.values_list("units", "charged").get() == (2000, 6)


def test_its_entry_says_what_for(rich, meter, other_user):
    recorded = record(rich.user, "tokens", 1_234_567, key="k", actor=other_user)
    entry = recorded.entry
    assert entry is not None
    assert entry.key == f"usage:{recorded.event.pk}"
    assert (entry.kind, entry.amount, entry.note) == (
        "spend",
        -2479,
        f"Text generation {TIMES} 1,234,567",
    )
    assert entry.actor == other_user
    assert recorded.event.units == 1_234_567
    assert not recorded.is_duplicate
    event = Event.objects.get()
    assert (event.pk, event.charged, event.created_at) == (
        recorded.event.pk,
        2479,
        recorded.event.created_at,
    )


def test_the_note_is_in_its_reader_s_language(rich, meter):
    rich.user.language = "de"
    rich.user.save()
    recorded = record(rich.user, "tokens", 1_234_567, key="k")
    assert recorded.entry is not None
    assert recorded.entry.note == f"Text generation {TIMES} 1.234.567"


def test_what_costs_less_than_a_credit_is_booked_when_it_has_become_one(user, meter):
    recorded = record(user, "tokens", 333, key="k")
    assert (recorded.event.charged, recorded.entry) == (0, None)
    assert not Wallet.objects.exists()
    with pytest.raises(errors.InsufficientCredits) as refused:
        record(user, "tokens", 1, key="l")
    assert (refused.value.available, refused.value.needed) == (0, 1)
    assert Month.objects.get().units == 333


def test_by_volume_units_are_free_until_the_price_has_caught_up(rich):
    make_meter(mode="volume", bands=[(0, 3, 1), (10, 2, 1)])
    quantities = [10, 1, 4, 1, 1]
    events = [record(rich.user, "tokens", q, key=f"k{n}").event for n, q in enumerate(quantities)]
    assert [event.charged for event in events] == [30, 0, 0, 2, 2]  # 30, 22, 30, 32, 34
    assert Month.objects.get().charged == 34


def test_free_units_are_counted(user):
    make_meter(bands=[(0, 0, 1), (100, 5, 1)])
    assert record(user, "tokens", 100, key="k").event.charged == 0
    with pytest.raises(errors.InsufficientCredits):
        record(user, "tokens", 1, key="l")
    assert Month.objects.get().units == 100


@pytest.mark.parametrize("mode", ["graduated", "volume"])
def test_large_numbers_are_exact(rich, mode):
    make_meter(mode=mode, bands=[(0, 10**6, 10**12)])
    assert record(rich.user, "tokens", 10**12 - 1, key="k").event.charged == 999_999
    assert record(rich.user, "tokens", 1, key="l").event.charged == 1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mode=st.sampled_from(["graduated", "volume"]),
    bands=st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 9), st.integers(1, 7)),
        max_size=3,
        unique_by=lambda band: band[0],
    ),
    quantities=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_a_month_is_charged_the_most_it_has_cost(rich, mode, bands, quantities):
    code = f"m{Meter.objects.count()}"
    meter = make_meter(code, mode=mode, bands=[(0, 5, 3), *sorted(bands)])
    prices = meter.tariffs.get().price_list()
    units, most = 0, 0
    for number, quantity in enumerate(quantities):
        record(rich.user, code, quantity, key=f"{code}:{number}")
        units += quantity
        most = max(most, prices.price(units))
    month = Month.objects.get(meter=meter)
    assert (month.units, month.charged) == (units, most)


# --- Months -----------------------------------------------------------------------------------


def test_an_event_counts_in_the_month_of_its_time_by_that_month_s_list(rich, at_noon):
    meter = make_meter(bands=[(0, 3, 1)])
    make_tariff(meter, datetime(2026, 3, 1, tzinfo=UTC).date(), [(0, 5, 1)])
    make_tariff(meter, datetime(2026, 4, 1, tzinfo=UTC).date(), [(0, 7, 1)])
    late = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    # Midnight is that of UTC: in Auckland March has begun long ago.
    auckland = timezone(timedelta(hours=13))
    assert record(rich.user, "tokens", 1, key="a", at=late).event.charged == 3
    assert record(rich.user, "tokens", 1, key="b", at=first).event.charged == 5
    assert record(rich.user, "tokens", 1, key="c", at=late.astimezone(auckland)).event.charged == 3
    assert record(rich.user, "tokens", 1, key="d").event.charged == 5
    months = Month.objects.order_by("begins_on").values_list("begins_on", "units", "charged")
    assert [(f"{month:%m}", units, charged) for month, units, charged in months] == [
        ("02", 2, 6),
        ("03", 2, 10),
    ]
    days = Day.objects.order_by("date").values_list("date", "units")
    assert [(f"{day:%m-%d}", units) for day, units in days] == [
        ("02-28", 2),
        ("03-01", 1),
        ("03-31", 1),
    ]


def test_a_fraction_ends_with_its_month(rich, monkeypatch):
    make_meter(bands=[(0, 1, 2)])
    monkeypatch.setattr(clock, "now", lambda: NOON)
    assert record(rich.user, "tokens", 1, key="a").event.charged == 0
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(hours=13))
    assert record(rich.user, "tokens", 1, key="b").event.charged == 0
    assert record(rich.user, "tokens", 1, key="c", at=NOON).event.charged == 1


@pytest.mark.parametrize(
    ("moved", "error"),
    [
        (-timedelta(days=35), None),
        (-timedelta(days=35, microseconds=1), recording.TooLate),
        (timedelta(minutes=5), None),
        (timedelta(minutes=5, microseconds=1), recording.TooEarly),
    ],
)
def test_events_are_taken_for_35_days_and_up_to_five_minutes_early(
    rich, meter, at_noon, moved, error
):
    if error is None:
        assert record(rich.user, "tokens", 1000, key="k", at=NOON + moved).event.charged == 3
        return
    with pytest.raises(error):
        record(rich.user, "tokens", 1000, key="k", at=NOON + moved)
    assert nothing_is_recorded(rich.user)


@pytest.mark.parametrize("hours", [-14, 0, 14])
@pytest.mark.parametrize("at", [datetime(1, 1, 1), datetime(9999, 12, 31, 23)])  # noqa: DTZ001 (has one below)
def test_the_ends_of_time_are_refused(rich, meter, at, hours):
    with pytest.raises((recording.TooLate, recording.TooEarly)):
        record(
            rich.user, "tokens", 1, key="k", at=at.replace(tzinfo=timezone(timedelta(hours=hours)))
        )
    assert nothing_is_recorded(rich.user)


def test_a_month_before_the_first_price_list_has_no_price(rich, at_noon):
    meter = Meter.objects.create(code="tokens", name="Text", unit="tokens")
    make_tariff(meter, NOON.date().replace(day=1))
    with pytest.raises(recording.NoPriceList, match="2026-02"):
        record(rich.user, "tokens", 1, key="k", at=NOON - timedelta(days=31))
    assert nothing_is_recorded(rich.user)


# --- Once -------------------------------------------------------------------------------------


def test_a_repeat_is_answered_as_it_was_first(rich, meter):
    at = clock.now() - timedelta(hours=1)
    first = record(rich.user, "tokens", 1500, key="k", at=at)
    record(rich.user, "tokens", 500, key="l")
    for again in (at, None, at.astimezone(timezone(timedelta(hours=-8)))):
        repeat = record(rich.user, "tokens", 1500, key="k", at=again)
        assert repeat.is_duplicate
        assert (repeat.event, repeat.entry) == (first.event, first.entry)
        assert (repeat.event.units, repeat.event.charged) == (1500, 4)
    assert Month.objects.get().units == 2000
    assert Entry.objects.filter(kind="spend").count() == 2


def test_a_repeat_is_answered_however_late_or_inactive(rich, meter, monkeypatch):
    first = record(rich.user, "tokens", 1500, key="k")
    monkeypatch.setattr(clock, "now", lambda: first.event.at + timedelta(days=90))
    Meter.objects.update(is_active=False)
    assert record(rich.user, "tokens", 1500, key="k", at=first.event.at).is_duplicate


@pytest.mark.parametrize(
    "other", [{"quantity": 1501}, {"meter_code": "images"}, {"at": timedelta(microseconds=1)}]
)
def test_the_key_of_another_event_is_refused(rich, meter, other):
    make_meter("images")
    first = record(rich.user, "tokens", 1500, key="k")
    moved = other.pop("at", timedelta(0))
    values = {"meter_code": "tokens", "quantity": 1500, **other}
    with pytest.raises(recording.EventReused):
        record(rich.user, key="k", at=first.event.at + moved, **values)
    assert Event.objects.get() == first.event
    assert ledger.balance_of(rich.user) == 999_996


def test_another_user_s_key_is_another_key(rich, meter, other_user):
    ledger.grant(
        ledger.wallet_of(other_user), 50, key="g", kind="promotion", category="promotional"
    )
    record(rich.user, "tokens", 1500, key="k")
    other = record(other_user, "tokens", 2000, key="k")
    assert not other.is_duplicate
    assert (other.event.charged, ledger.balance_of(other_user)) == (6, 44)
    assert ledger.balance_of(rich.user) == 999_996


def test_a_repeat_needs_no_credits(rich, meter):
    first = record(rich.user, "tokens", 1500, key="k")
    ledger.spend(rich, 999_996, key="s")
    assert record(rich.user, "tokens", 1500, key="k").event == first.event
    assert Month.objects.get().units == 1500


# --- Refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quantity", [0, -1, MAX_UNITS + 1, 2**63, 10**100, True, 1.0, "1", None, [1]]
)
def test_what_is_no_quantity_is_refused(rich, meter, quantity):
    with pytest.raises(recording.QuantityRefused):
        record(rich.user, "tokens", quantity, key="k")
    assert nothing_is_recorded(rich.user)


@pytest.mark.parametrize("key", ["", "a b", "a\0", "k\n", "é", "x" * 129, None, 7])
def test_what_is_no_key_is_refused(rich, meter, key):
    with pytest.raises(recording.BadKey):
        record(rich.user, "tokens", 1, key=key)
    assert nothing_is_recorded(rich.user)


@pytest.mark.parametrize(
    "code", ["", "Tokens", "tokens\n", "tok\0ens", "'; DROP TABLE usage_event --", "é" * 99, None]
)
def test_an_unknown_meter_is_refused(rich, meter, code):
    with pytest.raises(recording.UnknownMeter):
        record(rich.user, code, 1, key="k")
    assert nothing_is_recorded(rich.user)


def test_an_inactive_meter_is_refused(rich, meter):
    Meter.objects.update(is_active=False)
    with pytest.raises(recording.InactiveMeter):
        record(rich.user, "tokens", 1, key="k")
    assert nothing_is_recorded(rich.user)


def test_more_units_than_a_month_can_have_are_refused(rich):
    make_meter(bands=[(0, 0, 1)])
    record(rich.user, "tokens", MAX_UNITS, key="k")
    with pytest.raises(recording.QuantityRefused):
        record(rich.user, "tokens", 1, key="l")
    assert Month.objects.get().units == MAX_UNITS


def test_a_month_that_no_wallet_can_pay_is_refused(rich):
    make_meter(bands=[(0, 10**6, 1)])
    with pytest.raises(recording.QuantityRefused):
        record(rich.user, "tokens", 10**12, key="k")
    assert nothing_is_recorded(rich.user)
    with pytest.raises(errors.InsufficientCredits) as refused:
        record(rich.user, "tokens", MAX_CREDITS // 10**6, key="k")
    assert refused.value.needed == MAX_CREDITS // 10**6 * 10**6
    assert nothing_is_recorded(rich.user)


def test_without_credits_nothing_is_left_and_the_key_is_free(wallet, meter):
    ledger.grant(wallet, 5, key="g", kind="promotion", category="promotional")
    with pytest.raises(errors.InsufficientCredits) as refused:
        record(wallet.user, "tokens", 2000, key="k")
    assert (refused.value.available, refused.value.needed) == (5, 6)
    assert nothing_is_recorded(wallet.user, 5)
    ledger.grant(wallet, 1, key="h", kind="promotion", category="promotional")
    assert not record(wallet.user, "tokens", 2000, key="k").is_duplicate
    assert ledger.balance_of(wallet.user) == 0


def test_what_may_be_owed_is_owed_up_to_the_meter_s_limit(wallet):
    make_meter("lent", bands=[(0, 1, 1)], policy="owe", owe_limit=10)
    make_meter("paid", bands=[(0, 1, 1)])
    ledger.grant(wallet, 5, key="g", kind="promotion", category="promotional")
    entry = record(wallet.user, "lent", 12, key="a").entry
    assert entry is not None
    assert (entry.amount, entry.owed) == (-5, 7)
    for code, key in (("paid", "b"), ("lent", "c")):
        with pytest.raises(errors.InsufficientCredits):
            record(wallet.user, code, 4, key=key)
    record(wallet.user, "lent", 3, key="d")
    assert ledger.standing(wallet.user).owed == 10
    assert Month.objects.values_list("meter__code", "units", "charged").get() == ("lent", 15, 15)


def test_a_key_s_spending_limit_counts_what_is_charged(rich, meter):
    api_key, _ = keys.make(
        made_by=rich.user, owner=rich.user, name="Test", scopes=["usage:write"], limit_credits=6,
        limit_period="day",
    )  # fmt: skip
    recorded = record(rich.user, "tokens", 1500, key="k", api_key=api_key)
    assert recorded.event.api_key == api_key
    assert record(rich.user, "tokens", 1500, key="k", api_key=api_key).is_duplicate
    with pytest.raises(keys.LimitReached) as refused:
        record(rich.user, "tokens", 1000, key="l", api_key=api_key)
    assert (refused.value.limit, refused.value.spent) == (6, 4)
    assert Event.objects.get() == recorded.event
    assert ApiKeySpending.objects.get().credits == 4
    ledger.spend(rich, 999_996, key="s")
    with pytest.raises(errors.InsufficientCredits):
        record(rich.user, "tokens", 500, key="m", api_key=api_key)
    assert ApiKeySpending.objects.get().credits == 4


@pytest.mark.parametrize("step", ["_count", "_write", "_charge"])
@pytest.mark.parametrize("is_before", [True, False])
def test_a_crash_at_any_step_leaves_nothing(rich, meter, step, is_before):
    real = getattr(recording, step)

    def crash(*args):
        if not is_before:
            real(*args)
        raise ZeroDivisionError

    with mock.patch.object(recording, step, crash), pytest.raises(ZeroDivisionError):
        record(rich.user, "tokens", 1500, key="k")
    assert nothing_is_recorded(rich.user)
    assert record(rich.user, "tokens", 1500, key="k").event.charged == 4


def test_a_database_that_fails_is_not_taken_for_a_busy_month(rich, meter):
    with (
        mock.patch.object(recording, "_write", side_effect=OperationalError),
        pytest.raises(DatabaseError),
    ):
        record(rich.user, "tokens", 1500, key="k")
    assert nothing_is_recorded(rich.user)


# --- Many -------------------------------------------------------------------------------------


def test_each_of_many_has_its_answer_and_stops_no_other(wallet, meter):
    ledger.grant(wallet, 5, key="g", kind="promotion", category="promotional")
    reports = [
        Report("tokens", 1000, "a"),
        Report("nothing", 1, "b"),
        Report("tokens", 1000, "c"),
        Report("tokens", 500, "d"),
        Report("tokens", 1000, "a"),
        Report("tokens", 1001, "a"),
        Report("tokens", -1, "e"),
    ]
    outcomes = list(record_many(wallet.user, reports))
    assert [type(outcome) for outcome in outcomes] == [
        Recorded,
        recording.UnknownMeter,
        errors.InsufficientCredits,
        Recorded,
        Recorded,
        recording.EventReused,
        recording.QuantityRefused,
    ]
    first, repeat = outcomes[0], outcomes[4]
    assert isinstance(first, Recorded)
    assert isinstance(repeat, Recorded)
    assert (repeat.is_duplicate, repeat.event) == (True, first.event)
    assert ledger.balance_of(wallet.user) == 1
    assert Event.objects.count() == 2
