"""POST /spend: once, by whom, and within the key's limit."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import ApiKeySpending
from api import answers
from api.models import Answer
from credits import ledger
from credits.models import Entry
from tests.api.program import Program

pytestmark = pytest.mark.django_db


def spends() -> list[Entry]:
    return list(Entry.objects.filter(kind="spend").order_by("id"))


def test_credits_are_spent(program, rich):
    answer = program.post("spend", "job-1", amount=5, note="12 pages, “fine” \\ ✓")
    assert answer.status_code == 201
    (entry,) = spends()
    assert answer.json() == {
        "entry": {
            "id": entry.pk,
            "created_at": entry.created_at.isoformat(timespec="milliseconds")[:-6] + "Z",
            "kind": "spend",
            "amount": -5,
            "owed": 0,
            "balance": 995,
            "note": "12 pages, “fine” \\ ✓",
        },
        "available": 995,
    }
    assert (entry.key, entry.actor) == (f"api:user:{rich.pk}:job-1", rich)
    assert program.get("entries").json()["entries"][0] == answer.json()["entry"]


def test_what_is_held_can_not_be_spent(program, rich):
    ledger.hold(ledger.wallet_of(rich), 600, key="h", expires_in=timedelta(hours=1))
    answer = program.post("spend", "1", amount=300)
    assert (answer.json()["entry"]["balance"], answer.json()["available"]) == (700, 100)


def test_a_service_key_s_name_is_told_to_nobody(service, rich, program):
    answer = service.post("spend", "job-1", amount=5, note="n", user=rich.email)
    assert answer.status_code == 201
    (entry,) = spends()
    assert (entry.wallet.user, entry.actor, entry.key) == (rich, None, "api:shop:job-1")
    assert "Hidden" not in program.get("entries").content.decode()


@pytest.mark.parametrize("named", ["id", "email"])
def test_a_personal_key_spends_its_owner_s_credits_only(other_program, rich, unchanged, named):
    before = unchanged()
    answer = other_program.post("spend", "1", amount=5, user={"id": rich.pk}.get(named, rich.email))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")
    assert unchanged() == before


# --- Once -------------------------------------------------------------------------------------


def test_the_same_request_gets_the_first_answer(program, rich):
    first = program.post("spend", "k", amount=5, note="n")
    program.post("spend", "other", amount=1)
    again = program.post("spend", "k", body='{ "note":"n",\n "amount":5 }')
    assert (again.status_code, again.content) == (201, first.content)
    assert len(spends()) == 2


@pytest.mark.parametrize(
    "other", [{"amount": 6, "note": "n"}, {"amount": 5, "note": "m"}, {"amount": 5}]
)
def test_a_key_stands_for_one_request(program, rich, unchanged, other):
    program.post("spend", "k", amount=5, note="n")
    before = unchanged()
    answer = program.post("spend", "k", **other)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert answer.json()["field"] == "Idempotency-Key"
    assert unchanged() == before


def test_a_key_stands_for_one_address(program, rich, unchanged):
    program.post("spend", "k", amount=5)
    before = unchanged()
    answer = program.post("holds", "k", amount=5, expires_in=60)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert unchanged() == before


def test_a_service_s_key_stands_for_one_user(service, rich, other_user, unchanged):
    ledger.grant(ledger.wallet_of(other_user), 10, key="g", kind="purchase")
    service.post("spend", "k", amount=5, user=rich.pk)
    before = unchanged()
    answer = service.post("spend", "k", amount=5, user=other_user.pk)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert unchanged() == before


def test_two_users_keys_are_strangers(program, rich, other_program, other_user):
    ledger.grant(ledger.wallet_of(other_user), 10, key="g", kind="purchase")
    first = program.post("spend", "k", amount=5)
    other = other_program.post("spend", "k", amount=5)
    assert first.json()["entry"]["id"] != other.json()["entry"]["id"]
    assert len(spends()) == 2


def test_a_replaced_api_key_can_not_spend_again(program, rich, make_key):
    first = program.post("spend", "k", amount=5)
    again = Program(make_key(rich)[1]).post("spend", "k", amount=5)
    assert again.content == first.content
    assert len(spends()) == 1


def test_a_refusal_is_not_kept(program, user, unchanged):
    before = unchanged()
    answer = program.post("spend", "k", amount=5)
    assert answer.status_code == 402
    assert answer.json() == {
        "error": "5 credits are needed and 0 are available. Nothing was spent.",
        "code": "insufficient_credits",
        "available": 0,
        "needed": 5,
    }
    assert unchanged() == before
    ledger.grant(ledger.wallet_of(user), 4, key="g", kind="purchase")
    assert program.post("spend", "k", amount=5).json()["available"] == 4
    ledger.grant(ledger.wallet_of(user), 1, key="h", kind="purchase")
    assert program.post("spend", "k", amount=5).status_code == 201


def test_old_answers_are_forgotten_and_still_nothing_is_booked_twice(program, rich, make_key):
    limited = Program(make_key(rich, limit_credits=10, limit_period="day")[1])
    first = limited.post("spend", "old", amount=5)
    program.post("spend", "new", amount=1)
    Answer.objects.filter(key="old").update(created_at=timezone.now() - timedelta(days=31))
    assert answers.forget_old() == 1
    assert [answer.key for answer in Answer.objects.all()] == ["new"]
    again = limited.post("spend", "old", amount=5)
    assert again.json()["entry"] == first.json()["entry"]
    assert ApiKeySpending.objects.get().credits == 5
    Answer.objects.filter(key="old").delete()
    other = limited.post("spend", "old", amount=4)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert ApiKeySpending.objects.get().credits == 5
    assert len(spends()) == 2


# --- The key's limit --------------------------------------------------------------------------


def test_a_key_spends_up_to_its_limit(rich, make_key, unchanged, monkeypatch):
    _, token = make_key(rich, limit_credits=10, limit_period="month")
    limited = Program(token)
    assert limited.post("spend", "1", amount=8).status_code == 201
    before = unchanged()
    answer = limited.post("spend", "2", amount=3)
    now = timezone.now()
    resets = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "This API key has spent 8 of its 10 credits in this period. Nothing was spent.",
        "code": "spending_limit_reached",
        "limit": 10,
        "spent": 8,
        "resets_at": f"{resets:%Y-%m}-01T00:00:00Z",
    }
    assert unchanged() == before
    assert limited.post("spend", "2", amount=2).status_code == 201
    assert limited.post("spend", "3", amount=1).status_code == 403
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=31))
    assert limited.post("spend", "3", amount=1).status_code == 201


def test_what_is_refused_counts_for_no_limit(user, make_key):
    limited = Program(make_key(user, limit_credits=10, limit_period="day")[1])
    assert limited.post("spend", "1", amount=10).status_code == 402
    assert not ApiKeySpending.objects.filter(credits__gt=0).exists()


def test_two_keys_have_limits_of_their_own(rich, make_key):
    one, two = (Program(make_key(rich, limit_credits=10, limit_period="day")[1]) for _ in range(2))
    assert one.post("spend", str(uuid.uuid4()), amount=10).status_code == 201
    assert two.post("spend", str(uuid.uuid4()), amount=10).status_code == 201
    assert one.post("spend", str(uuid.uuid4()), amount=1).status_code == 403
