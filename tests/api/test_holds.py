"""Holds: placed, captured, released, each once, and what they count for on a key's limit."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import ApiKeySpending
from api import holds
from api.models import Answer, HeldCharge
from credits import ledger
from credits.models import Entry, Hold
from tests.api.program import Program

pytestmark = pytest.mark.django_db


def lapse(hold_id: int) -> None:
    Hold.objects.filter(pk=hold_id).update(
        created_at=timezone.now() - timedelta(seconds=61),
        expires_at=timezone.now() - timedelta(seconds=1),
    )


@pytest.fixture
def hold(program, rich) -> int:
    """Ada holds 20 credits."""
    return program.post("holds", "h", amount=20, expires_in=60).json()["id"]


@pytest.fixture
def limited(rich, make_key) -> Program:
    """May spend 100 of Ada's credits a day."""
    return Program(make_key(rich, limit_credits=100, limit_period="day")[1])


def counted() -> int:
    return ApiKeySpending.objects.get().credits


def test_credits_are_reserved(program, rich):
    answer = program.post("holds", "h", amount=20, expires_in=60)
    assert answer.status_code == 201
    hold = Hold.objects.get()
    assert answer.json() == {
        "id": hold.pk,
        "amount": 20,
        "status": "open",
        "created_at": answer.json()["created_at"],
        "expires_at": answer.json()["expires_at"],
    }
    assert hold.expires_at - hold.created_at == timedelta(seconds=60)
    assert program.post("holds", "h", amount=20, expires_in=60).content == answer.content
    balance = program.get("balance").json()
    assert (balance["settled"], balance["held"], balance["available"]) == (1000, 20, 980)


def test_more_than_there_is_can_not_be_reserved(program, rich, unchanged):
    before = unchanged()
    answer = program.post("holds", "h", amount=1001, expires_in=60)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_credits")
    assert (answer.json()["available"], answer.json()["needed"]) == (1000, 1001)
    assert unchanged() == before


def test_a_part_is_captured_and_the_rest_is_free(program, rich, hold):
    answer = program.post(f"holds/{hold}/capture", "c", amount=15, note="n")
    assert answer.status_code == 200
    entry = Entry.objects.get(kind="spend")
    assert answer.json()["available"] == 985
    assert answer.json()["entry"]["id"] == entry.pk
    assert (entry.amount, entry.note, entry.actor) == (-15, "n", rich)
    assert program.post(f"holds/{hold}/capture", "c", amount=15, note="n").content == answer.content
    again = program.post(f"holds/{hold}/capture", "c2", amount=1)
    assert (again.status_code, again.json()["code"]) == (409, "hold_captured")
    released = program.post(f"holds/{hold}/release", "r")
    assert (released.status_code, released.json()["code"]) == (409, "hold_captured")
    assert ledger.standing(rich).held == 0


def test_no_more_is_captured_than_held(program, hold, unchanged):
    before = unchanged()
    answer = program.post(f"holds/{hold}/capture", "c", amount=21)
    assert (answer.status_code, answer.json()["code"]) == (409, "hold_exceeded")
    assert (answer.json()["held"], answer.json()["field"]) == (20, "amount")
    assert unchanged() == before


@pytest.mark.parametrize("body", ["", "{}"])
def test_what_is_released_is_free(program, rich, hold, body):
    answer = program.post(f"holds/{hold}/release", "r", body=body)
    assert (answer.status_code, answer.json()["status"]) == (200, "released")
    assert program.post(f"holds/{hold}/release", "r2").json()["status"] == "released"
    assert ledger.balance_of(rich) == 1000
    captured = program.post(f"holds/{hold}/capture", "c", amount=1)
    assert (captured.status_code, captured.json()["code"]) == (409, "hold_released")


def test_what_has_lapsed_is_not_captured(program, hold, unchanged):
    lapse(hold)
    before = unchanged()
    answer = program.post(f"holds/{hold}/capture", "c", amount=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "hold_lapsed")
    assert unchanged() == before
    assert program.post(f"holds/{hold}/release", "r").json()["status"] == "lapsed"


@pytest.mark.parametrize("action", ["capture", "release"])
def test_another_user_s_hold_is_not_there(
    other_program, service, hold, other_user, unchanged, action
):
    fields = {"amount": 1} if action == "capture" else {}
    before = unchanged()
    answer = other_program.post(f"holds/{hold}/{action}", "k", **fields)
    nothing = other_program.post(f"holds/999999999/{action}", "k", **fields)
    beyond = other_program.post(f"holds/{'9' * 40}/{action}", "k", **fields)
    wrong = service.post(f"holds/{hold}/{action}", "k", user=other_user.pk, **fields)
    assert answer.status_code == 404
    assert answer.json() == {"error": "There is no such hold.", "code": "unknown_hold"}
    assert answer.content == nothing.content == beyond.content == wrong.content
    assert unchanged() == before


@pytest.mark.parametrize("action", ["capture", "release"])
def test_what_a_product_has_reserved_is_not_freed_by_who_is_to_pay(
    program, service, rich, unchanged, action
):
    hold = service.post("holds", "h", amount=20, expires_in=60, user=rich.pk).json()["id"]
    fields = {"amount": 1} if action == "capture" else {}
    before = unchanged()
    answer = program.post(f"holds/{hold}/{action}", "k", **fields)
    nothing = program.post(f"holds/999999999/{action}", "k", **fields)
    assert (answer.status_code, answer.content) == (404, nothing.content)
    assert unchanged() == before
    captured = service.post(f"holds/{hold}/capture", "c", amount=20, user=rich.pk)
    assert captured.status_code == 200


def test_a_service_key_holds_for_who_is_named(service, rich):
    hold = service.post("holds", "h", amount=20, expires_in=60, user=rich.pk).json()["id"]
    unnamed = service.post(f"holds/{hold}/capture", "c", amount=20)
    assert (unnamed.status_code, unnamed.json()["field"]) == (422, "user")
    assert service.post(f"holds/{hold}/capture", "c", amount=20, user=rich.pk).status_code == 200
    assert Entry.objects.get(kind="spend").actor is None


def test_what_was_answered_stays_so_when_the_account_is_closed_by_now(service, rich):
    def again() -> list[bytes]:
        hold, other = (
            service.post("holds", key, amount=9, expires_in=60, user=rich.email) for key in "ho"
        )
        ids = hold.json()["id"], other.json()["id"]
        spent = service.post("spend", "s", amount=9, user=rich.email)
        captured = service.post(f"holds/{ids[0]}/capture", "c", amount=9, user=rich.email)
        released = service.post(f"holds/{ids[1]}/release", "r", user=rich.email)
        return [answer.content for answer in (hold, other, spent, captured, released)]

    first = again()
    rich.is_active = False
    rich.save()
    assert again() == first
    unknown = service.post("spend", "s2", amount=9, user=rich.email)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_user")


# --- The key's limit --------------------------------------------------------------------------


def test_a_hold_counts_until_it_is_captured_or_released(limited, program):
    one = limited.post("holds", "1", amount=60, expires_in=60).json()["id"]
    answer = limited.post("holds", "2", amount=41, expires_in=60)
    assert (answer.status_code, answer.json()["code"]) == (403, "spending_limit_reached")
    two = limited.post("holds", "3", amount=40, expires_in=60).json()["id"]
    assert counted() == 100
    # Whoever captures: it counts for the key that has placed it.
    program.post(f"holds/{one}/capture", "c", amount=25)
    assert counted() == 65
    limited.post(f"holds/{two}/release", "r")
    assert counted() == 25
    limited.post(f"holds/{two}/release", "r2")
    assert counted() == 25
    assert not HeldCharge.objects.exists()


@pytest.mark.parametrize("amount", [21, 1])
def test_a_capture_that_is_refused_gives_nothing_back(limited, amount):
    hold = limited.post("holds", "1", amount=20, expires_in=60).json()["id"]
    if amount == 1:
        lapse(hold)
    assert limited.post(f"holds/{hold}/capture", "c", amount=amount).status_code == 409
    assert (counted(), HeldCharge.objects.count()) == (20, 1)


def test_a_hold_that_lapses_counts_no_more(limited):
    hold = limited.post("holds", "1", amount=20, expires_in=60).json()["id"]
    assert holds.uncount_lapsed() == 0
    lapse(hold)
    ledger.expire_due()
    assert holds.uncount_lapsed() == 1
    assert (counted(), HeldCharge.objects.count()) == (0, 0)
    assert holds.uncount_lapsed() == 0


def test_a_hold_that_the_api_has_forgotten_counts_once(limited):
    limited.post("holds", "1", amount=20, expires_in=60)
    Answer.objects.all().delete()
    assert limited.post("holds", "1", amount=20, expires_in=60).status_code == 201
    assert (counted(), HeldCharge.objects.count(), Hold.objects.count()) == (20, 1, 1)
