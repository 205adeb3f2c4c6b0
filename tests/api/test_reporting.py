"""Usage by the API: one event, many, each once; and what a month came to."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import ApiKeySpending
from api.models import Answer
from credits import ledger
from credits.models import Entry
from tests.api.program import Program
from tests.usage.shop import make_meter
from usage.models import Event, Meter

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def meter() -> Meter:
    """A unit costs 2 credits."""
    return make_meter(bands=[(0, 2, 1)])


def event(key: str, quantity: int = 1, **fields):
    return {"meter": "tokens", "quantity": quantity, "idempotency_key": key, **fields}


def test_an_event_is_priced_and_charged(program, rich):
    at = (timezone.now() - timedelta(seconds=1)).isoformat(timespec="milliseconds")
    answer = program.post("usage/events", "k", **event("e", 5, at=at))
    assert answer.status_code == 200
    recorded = Event.objects.get()
    assert answer.json() == {
        "id": recorded.pk, "meter": "tokens", "quantity": 5, "at": at.replace("+00:00", "Z"),
        "month_units": 5, "charged": 10, "is_duplicate": False,
    }  # fmt: skip
    assert recorded.api_key.name == "Test"
    entry = Entry.objects.get(kind="spend")
    assert (entry.amount, entry.key, entry.actor) == (-10, f"usage:{recorded.pk}", rich)
    assert program.post("usage/events", "k", **event("e", 5, at=at)).content == answer.content
    again = program.post("usage/events", "k2", **event("e", 5, at=at)).json()
    assert again == answer.json() | {"is_duplicate": True}
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"meter": "nothing"}, 404, "unknown_meter", "meter"),
        ({"at": "2020-01-01T00:00:00Z"}, 422, "too_late", "at"),
        ({"at": "9999-12-31T23:59:59-23:00"}, 422, "too_early", "at"),
        ({"quantity": 501}, 402, "insufficient_credits", None),
        ({"quantity": 2**53 - 1}, 422, "invalid_request", "quantity"),
        ({"idempotency_key": "used"}, 409, "idempotency_key_reused", "idempotency_key"),
    ],
)
def test_what_is_refused_is_not_recorded(program, rich, unchanged, fields, status, code, field):
    program.post("usage/events", "1", **event("used", 2))
    before = unchanged()
    answer = program.post("usage/events", "2", **(event("e") | fields))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().get("field") == field
    many = program.post("usage/events", "3", events=[event("e") | fields])
    assert many.status_code == 200
    (result,) = many.json()["results"]
    assert (result["status"], result["event"]) == ("refused", None)
    assert result["refusal"] == answer.json()
    Answer.objects.filter(key="3").delete()
    assert (unchanged(), Event.objects.count()) == (before, 1)


def test_inactive_meters_and_those_without_prices_refuse(program, rich, meter):
    Meter.objects.create(code="new", name="New", unit="units")
    answer = program.post("usage/events", "1", **event("a", meter="new"))
    assert (answer.status_code, answer.json()["code"]) == (409, "no_price_list")
    Meter.objects.update(is_active=False)
    answer = program.post("usage/events", "1", **event("a"))
    assert (answer.status_code, answer.json()["code"]) == (409, "inactive_meter")


def test_of_many_each_is_recorded_or_refused_by_itself(program, rich):
    events = [event("a", 5), event("b", 1000), event("a", 5), event("c", 1, meter="no"), event("d")]
    answer = program.post("usage/events", "k", events=events)
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [
        "recorded", "refused", "duplicate", "refused", "recorded",
    ]  # fmt: skip
    assert [result["idempotency_key"] for result in results] == ["a", "b", "a", "c", "d"]
    assert results[1]["refusal"] == {
        "error": "2000 credits are needed and 990 are available. Nothing was spent.",
        "code": "insufficient_credits", "available": 990, "needed": 2000,
    }  # fmt: skip
    assert ledger.balance_of(rich) == 988
    # Made again, it does what could not be done, and nothing twice.
    ledger.grant(ledger.wallet_of(rich), 1100, key="more", kind="purchase")
    results = program.post("usage/events", "k", events=events).json()["results"]
    assert [result["status"] for result in results] == [
        "duplicate", "recorded", "duplicate", "refused", "duplicate",
    ]  # fmt: skip
    assert ledger.balance_of(rich) == 88
    other = program.post("usage/events", "k", events=events[:1])
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_a_key_is_free_where_one_of_many_names_nobody(service, rich, unchanged):
    before = unchanged()
    answer = service.post("usage/events", "k", events=[event("a", user=rich.pk), event("b")])
    assert (answer.status_code, answer.json()["field"]) == (422, "events.1.user")
    assert (unchanged(), Event.objects.count()) == (before, 0)
    events = [event("a", user=rich.pk), event("b", user=rich.pk)]
    assert service.post("usage/events", "k", events=events).status_code == 200


def test_many_that_are_all_recorded_get_the_first_answer_again(program, rich):
    events = [event("a"), event("b")]
    first = program.post("usage/events", "k", events=events)
    assert program.post("usage/events", "k", events=events).content == first.content
    assert Event.objects.count() == 2


def test_many_that_break_off_are_taken_up_again(program, rich, monkeypatch):
    from usage import recording

    events, record = [event(str(n)) for n in range(3)], recording.record

    def busy_at_the_second(user, *args, **terms):
        if terms["key"] == "1":
            raise ledger.errors.LedgerBusy
        return record(user, *args, **terms)

    monkeypatch.setattr(recording, "record", busy_at_the_second)
    answer = program.post("usage/events", "k", events=events)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer["Retry-After"] == "2"
    assert "What is recorded stays so" in answer.json()["error"]
    monkeypatch.setattr(recording, "record", record)
    results = program.post("usage/events", "k", events=events).json()["results"]
    assert [result["status"] for result in results] == ["duplicate", "recorded", "recorded"]
    assert ledger.balance_of(rich) == 994


def test_a_service_key_reports_for_many_users(service, rich, other_user):
    ledger.grant(ledger.wallet_of(other_user), 10, key="g", kind="purchase")
    events = [
        event("a", user=rich.email),
        event("a", user=other_user.pk),
        event("b", user="no@b.example"),
    ]
    results = service.post("usage/events", "k", events=events).json()["results"]
    assert [result["status"] for result in results] == ["recorded", "recorded", "refused"]
    assert results[2]["refusal"]["code"] == "unknown_user"
    assert (ledger.balance_of(rich), ledger.balance_of(other_user)) == (998, 8)
    unnamed = service.post("usage/events", "k2", events=[event("c", user=rich.pk), event("c")])
    assert (unnamed.status_code, unnamed.json()["field"]) == (422, "events.1.user")
    assert Event.objects.count() == 2


def test_a_personal_key_reports_its_owner_s_usage_only(other_program, rich):
    single = other_program.post("usage/events", "k", **event("a", user=rich.pk))
    assert (single.status_code, single.json()["code"]) == (404, "unknown_user")
    many = other_program.post("usage/events", "k", events=[event("a", user=rich.email)])
    assert many.json()["results"][0]["refusal"]["code"] == "unknown_user"
    assert not Event.objects.exists()


def test_nobody_takes_the_name_of_an_event_that_they_are_to_be_charged(program, service, rich):
    make_meter("free", [(0, 0, 1)])
    program.post("usage/events", "k", **event("job-1", meter="free"))
    answer = service.post("usage/events", "k", **event("job-1", 5, user=rich.pk))
    assert (answer.status_code, answer.json()["charged"]) == (200, 10)
    again = service.post("usage/events", "k2", **event("job-1", 5, user=rich.pk))
    assert again.json() == answer.json() | {"is_duplicate": True}
    own = program.post("usage/events", "k2", **event("job-1", meter="free"))
    assert (own.json()["meter"], own.json()["is_duplicate"]) == ("free", True)
    assert ledger.balance_of(rich) == 990


def test_usage_counts_for_the_key_s_limit(rich, make_key):
    limited = Program(make_key(rich, limit_credits=10, limit_period="day")[1])
    assert limited.post("usage/events", "1", **event("a", 4)).status_code == 200
    answer = limited.post("usage/events", "2", **event("b", 2))
    assert (answer.status_code, answer.json()["code"]) == (403, "spending_limit_reached")
    assert ApiKeySpending.objects.get().credits == 8


def test_a_thousand_events_in_a_megabyte(program, rich):
    events = [event(f"{n:0>128}") for n in range(3)]
    body = json.dumps({"events": events}) + " " * 1_000_000
    assert len(program.post("usage/events", "k", body=body).json()["results"]) == 3


# --- What it came to --------------------------------------------------------------------------


def test_a_month_s_usage(program, rich, meter):
    make_meter("images", [(0, 3, 1), (10, 5, 2)], name="Images", unit="images")
    program.post("usage/events", "k", **event("a", 5))
    answer = program.get("usage/summary").json()
    assert answer == {
        "user": rich.pk,
        "month": f"{timezone.now():%Y-%m}",
        "meters": [
            {
                "meter": "images", "name": "Images", "unit": "images", "mode": "graduated",
                "units": 0, "charged": 0,
                "bands": [
                    {"above": 0, "credits": 3, "per": 1, "units": 0},
                    {"above": 10, "credits": 5, "per": 2, "units": 0},
                ],
            },
            {
                "meter": "tokens", "name": "Text generation", "unit": "tokens",
                "mode": "graduated", "units": 5, "charged": 10,
                "bands": [{"above": 0, "credits": 2, "per": 1, "units": 5}],
            },
        ],
    }  # fmt: skip
    one = program.get("usage/summary", meter="tokens", month=answer["month"]).json()
    assert one == answer | {"meters": answer["meters"][1:]}


def test_months_without_usage_and_unknown_meters(program, rich):
    assert program.get("usage/summary", month="1999-12").json()["meters"] == []
    assert program.get("usage/summary", month="9999-12").json()["meters"][0]["units"] == 0
    answer = program.get("usage/summary", meter="nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_meter")
