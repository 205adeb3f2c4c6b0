"""Events from many threads at once, on a real PostgreSQL."""

import threading

import pytest
from django.db import connection, transaction

from accounts import keys
from accounts.models import ApiKeySpending
from credits import errors, ledger
from credits.models import Entry
from tests.usage.shop import make_meter
from usage import recording
from usage.models import Event, Month
from usage.recording import record

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_key_20_times_at_once_is_charged_once(rich, meter, at_once):
    answers = at_once(20, lambda index: record(rich.user, "tokens", 1500, key="k"))
    assert sorted(answer.is_duplicate for answer in answers) == [False] + [True] * 19
    assert {answer.event.pk for answer in answers} == {Event.objects.get().pk}
    assert {answer.entry for answer in answers} == {Entry.objects.get(kind="spend")}
    assert Month.objects.values_list("units", "charged").get() == (1500, 4)
    assert ledger.balance_of(rich.user) == 999_996


def test_one_key_for_two_meters_at_once_is_one_of_them(rich, meter, at_once):
    make_meter("images")
    answers = at_once(12, lambda n: record(rich.user, ["tokens", "images"][n % 2], 1500, key="k"))
    assert [type(answer) for answer in answers].count(recording.EventReused) == 6
    assert len({answer.event.pk for answer in answers if hasattr(answer, "event")}) == 1
    assert ledger.balance_of(rich.user) == 999_996


def test_50_events_at_once_are_priced_one_after_the_other(rich, at_once):
    make_meter(bands=[(0, 1, 3), (60, 1, 7)])
    answers = at_once(
        25, lambda n: [record(rich.user, "tokens", 3, key=f"{n}:{m}") for m in (0, 1)]
    )
    events = [recorded.event for pair in answers for recorded in pair]
    # 60 / 3 + 90 / 7, rounded down once
    assert sum(event.charged for event in events) == 32
    assert sorted(event.units for event in events) == list(range(3, 151, 3))
    assert Month.objects.values_list("units", "charged").get() == (150, 32)
    assert ledger.balance_of(rich.user) == 1_000_000 - 32


def test_what_is_left_is_spent_to_the_last_credit_and_no_further(wallet, at_once):
    make_meter(bands=[(0, 1, 1)])
    ledger.grant(wallet, 7, key="g", kind="promotion", category="promotional")
    answers = at_once(20, lambda n: record(wallet.user, "tokens", 1, key=f"k{n}"))
    assert [type(a) for a in answers].count(errors.InsufficientCredits) == 13
    assert ledger.balance_of(wallet.user) == 0
    assert Month.objects.values_list("units", "charged").get() == (7, 7)


def test_a_key_s_limit_is_exact_over_users_and_meters(rich, other_user, meter, at_once):
    make_meter("images", bands=[(0, 1, 1)])
    ledger.grant(ledger.wallet_of(other_user), 100, key="g", kind="purchase")
    api_key, _ = keys.make(
        made_by=rich.user, owner=None, name="Test", scopes=["usage:write"], limit_credits=11,
        limit_period="month",
    )  # fmt: skip
    users = [rich.user, other_user]
    answers = at_once(20, lambda n: record(users[n % 2], "images", 1, key=f"k{n}", api_key=api_key))
    assert [type(answer) for answer in answers].count(keys.LimitReached) == 9
    assert ApiKeySpending.objects.get().credits == 11
    assert Event.objects.count() == 11


def test_a_month_that_somebody_holds_is_busy(rich, meter, at_once):
    record(rich.user, "tokens", 1000, key="k")
    is_held, is_over = threading.Event(), threading.Event()

    def hold_or_record(index: int) -> object:
        if index == 0:
            with transaction.atomic():
                Month.objects.select_for_update().get()
                is_held.set()
                return is_over.wait(30)
        assert is_held.wait(30)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        try:
            return record(rich.user, "tokens", 1000, key="l")
        finally:
            is_over.set()

    assert [type(answer) for answer in at_once(2, hold_or_record)] == [bool, errors.LedgerBusy]
    assert Month.objects.values_list("units", "charged").get() == (1000, 3)
    assert record(rich.user, "tokens", 1000, key="l").event.charged == 3
