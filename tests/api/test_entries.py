"""GET /entries: page by page, both ways, by kinds."""

from datetime import timedelta

import pytest
from django.utils import timezone

from credits import ledger

pytestmark = pytest.mark.django_db


@pytest.fixture
def busy(rich):
    """Ada with a purchase, seven spends and a promotion."""
    wallet = ledger.wallet_of(rich)
    for n in range(7):
        ledger.spend(wallet, n + 1, key=f"s{n}")
    ledger.grant(
        wallet, 9, key="p", kind="promotion", category="promotional",
        expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    return rich


def test_who_has_no_history_has_an_empty_one(program, user):
    assert program.get("entries").json() == {"entries": [], "next": None}


def test_the_history_newest_first(program, busy):
    answer = program.get("entries").json()
    assert [entry["amount"] for entry in answer["entries"]] == [9, -7, -6, -5, -4, -3, -2, -1, 1000]
    assert answer["next"] is None
    assert set(answer["entries"][0]) == {
        "id", "created_at", "kind", "amount", "owed", "balance", "note",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 10])
def test_page_by_page_there_is_every_entry_once(program, busy, limit):
    seen, asked = [], {}
    while True:
        page = program.get("entries", limit=limit, **asked).json()
        assert len(page["entries"]) <= limit
        seen += [entry["id"] for entry in page["entries"]]
        # What is booked meanwhile moves nothing.
        ledger.spend(ledger.wallet_of(busy), 1, key=f"new{len(seen)}")
        if page["next"] is None:
            break
        asked = {"before": page["next"]}
    assert len(seen) == 9
    assert seen == sorted(seen, reverse=True)


def test_who_follows_along_gets_what_is_new_oldest_first(program, busy):
    newest = program.get("entries", limit=1).json()["entries"][0]["id"]
    assert program.get("entries", after=newest).json() == {"entries": [], "next": None}
    for n in range(3):
        ledger.spend(ledger.wallet_of(busy), 10 + n, key=f"new{n}")
    page = program.get("entries", after=newest, limit=2).json()
    assert [entry["amount"] for entry in page["entries"]] == [-10, -11]
    rest = program.get("entries", after=page["next"], limit=2).json()
    assert [entry["amount"] for entry in rest["entries"]] == [-12]
    assert rest["next"] is None


def test_some_kinds_only(program, busy):
    kinds = ["promotion", "purchase", "promotion"]
    answer = program.get("entries", kind=kinds).json()
    assert [entry["kind"] for entry in answer["entries"]] == ["promotion", "purchase"]
    assert program.get("entries", kind="refund").json()["entries"] == []


def test_what_makes_no_sense_is_refused(program, busy):
    for query, field in (
        ({"kind": "nonsense"}, "kind.0"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "05"}, "limit"),
        ({"limit": "5.0"}, "limit"),
        ({"limit": "+5"}, "limit"),
        ({"limit": " 5"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "\u0665"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": ["5", "6"]}, "limit"),
        ({"before": "0"}, "before"),
        ({"before": "x"}, "before"),
        ({"before": str(2**53)}, "before"),
        ({"before": "1", "after": "1"}, "query"),
        ({"after": "-1"}, "after"),
        ({"page": "1"}, "page"),
        ({"user": "x"}, "user"),
        ({"user": "a\0@b.example"}, "user"),
        ({"user": "0"}, "user"),
        ({"user": "a@" + "b" * 260}, "user"),
    ):
        answer = program.get("entries", **query)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), query
        assert answer.json()["field"] == field
        assert len(answer.content) < 300


def test_others_entries_are_in_no_page(other_program, busy, other_user):
    ledger.grant(ledger.wallet_of(other_user), 3, key="g", kind="purchase")
    newest = other_program.get("entries").json()["entries"]
    assert [entry["amount"] for entry in newest] == [3]
    assert other_program.get("entries", before=newest[0]["id"]).json()["entries"] == []
    assert len(other_program.get("entries", after=1).json()["entries"]) <= 1
