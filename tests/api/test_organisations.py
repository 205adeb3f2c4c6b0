"""An organisation's credits, by the keys of its members, of itself and of the shop."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import organisations
from accounts.models import ApiKeySpending, Drawing, Membership, Organisation, Role, User
from api import holds
from api.models import Answer, MemberHold
from credits import ledger
from credits.models import Entry, Hold
from tests.api.program import Program
from tests.organisations import found, join

pytestmark = pytest.mark.django_db
UNKNOWN = {
    "error": "There is no such organisation, or the user is no member of it.",
    "code": "unknown_organisation",
    "field": "organisation",
}


@pytest.fixture
def acme(other_user: User) -> Organisation:
    """Eve's, with 1,000 credits."""
    acme = found(other_user)
    ledger.grant(ledger.wallet_of(acme.account), 1000, key="purchase:1", kind="purchase", paid=950)
    return acme


@pytest.fixture
def member(user: User, acme: Organisation) -> Membership:
    """Ada, up to 100 a month."""
    return join(acme, user, limit_credits=100, limit_period="month")


@pytest.fixture
def own(acme: Organisation, make_key) -> Program:
    """With a key of the organisation's own."""
    return Program(make_key(acme.account)[1])


@pytest.fixture
def unchanged(unchanged):
    return lambda: [
        unchanged(),
        list(Drawing.objects.order_by("pk").values()),
        list(MemberHold.objects.order_by("pk").values()),
    ]


def drawn() -> int:
    return Drawing.objects.get().credits


def test_a_member_spends_the_organisation_s_credits(program, user, acme, member):
    ledger.grant(ledger.wallet_of(user), 50, key="g", kind="purchase")
    answer = program.post("spend", "job-1", amount=5, organisation=acme.pk)
    assert (answer.status_code, answer.json()["available"]) == (201, 995)
    entry = Entry.objects.get(kind="spend")
    assert (entry.wallet.user, entry.actor, entry.key) == (
        acme.account, user, f"api:user:{user.pk}:job-1",
    )  # fmt: skip
    assert program.post("spend", "job-1", amount=5, organisation=acme.pk).content == answer.content
    assert (drawn(), ledger.balance_of(user)) == (5, 50)
    balance = program.get("balance", organisation=acme.pk).json()
    assert (balance["user"], balance["available"]) == (acme.pk, 995)


def test_the_shop_spends_them_for_a_member(service, user, acme, member):
    answer = service.post("spend", "job-1", amount=5, organisation=acme.pk, user=user.email)
    assert answer.json()["available"] == 995
    entry = Entry.objects.get(kind="spend")
    assert (entry.wallet.user, entry.actor, entry.key) == (acme.account, user, "api:shop:job-1")
    assert drawn() == 5


def test_an_organisation_s_key_spends_without_a_member(own, acme):
    for key, fields in {"1": {}, "2": {"organisation": acme.pk}}.items():
        assert own.post("spend", key, amount=5, **fields).status_code == 201
    entry = Entry.objects.filter(kind="spend").first()
    assert (entry.wallet.user, entry.actor) == (acme.account, acme.account)
    assert own.get("balance").json()["available"] == 990
    assert own.get("ping").json()["user"] == acme.pk
    assert not Drawing.objects.exists()


def test_the_shop_names_an_organisation_s_account_by_its_id_alone(service, acme):
    assert service.get("balance", user=acme.pk).json()["available"] == 1000
    assert service.get("balance", user=acme.pk, organisation=acme.pk).json()["user"] == acme.pk
    answer = service.get("balance", user=acme.account.email)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")


def test_a_member_draws_up_to_their_limit(program, acme, member, unchanged):
    assert program.post("spend", "1", amount=90, organisation=acme.pk).status_code == 201
    before = unchanged()
    resets = timezone.now().replace(day=1) + timedelta(days=32)
    refused = {
        "error": "This member has drawn 90 of their 100 credits in this period. Nothing was spent.",
        "code": "member_limit_reached",
        "limit": 100,
        "spent": 90,
        "resets_at": f"{resets:%Y-%m}-01T00:00:00Z",
    }
    for path, fields in {"spend": {}, "holds": {"expires_in": 60}}.items():
        answer = program.post(path, path, amount=11, organisation=acme.pk, **fields)
        assert (answer.status_code, answer.json()) == (403, refused)
    assert unchanged() == before
    assert program.post("spend", "2", amount=10, organisation=acme.pk).status_code == 201


def test_both_limits_hold(user, acme, member, make_key, unchanged):
    limited = Program(make_key(user, limit_credits=10, limit_period="day")[1])
    before = unchanged()
    answer = limited.post("spend", "1", amount=11, organisation=acme.pk)
    assert answer.json()["code"] == "spending_limit_reached"
    answer = limited.post("holds", "2", amount=101, organisation=acme.pk, expires_in=60)
    assert answer.json()["code"] == "member_limit_reached"
    assert unchanged() == before
    assert limited.post("spend", "3", amount=10, organisation=acme.pk).status_code == 201
    assert (drawn(), ApiKeySpending.objects.get().credits) == (10, 10)


def test_what_is_not_there_is_not_drawn(program, acme, member, unchanged):
    Membership.objects.update(limit_credits=None, limit_period="")
    before = unchanged()
    answer = program.post("spend", "1", amount=1001, organisation=acme.pk)
    assert (answer.status_code, answer.json()["available"]) == (402, 1000)
    assert unchanged() == before


def test_an_answer_that_is_forgotten_counts_once(program, acme, member):
    program.post("spend", "1", amount=60, organisation=acme.pk)
    hold = program.post("holds", "2", amount=40, organisation=acme.pk, expires_in=60)
    Answer.objects.all().delete()
    assert program.post("spend", "1", amount=60, organisation=acme.pk).status_code == 201
    again = program.post("holds", "2", amount=40, organisation=acme.pk, expires_in=60)
    assert again.json() == hold.json()
    assert drawn() == 100
    assert Entry.objects.filter(kind="spend").count() == 1


# --- Who is no member ------------------------------------------------------------------------

CALLS = {
    "spend": {"amount": 5},
    "holds": {"amount": 5, "expires_in": 60},
    "holds/{}/capture": {"amount": 5},
    "holds/{}/release": {},
    "balance": None,
    "entries": None,
}


def call(program: Program, path: str, hold: int, **fields):
    if CALLS[path] is None:
        return program.get(path, **fields)
    return program.post(path.format(hold), path, **CALLS[path], **fields)


@pytest.mark.parametrize("path", CALLS)
def test_who_is_no_member_learns_and_changes_nothing(
    path, program, service, user, other_user, acme, make_key, unchanged
):
    """Ada has an organisation too, and is no member of Eve's."""
    ours = found(user, "Ada's")
    ledger.grant(ledger.wallet_of(ours.account), 100, key="g", kind="purchase")
    eve = Program(make_key(other_user)[1])
    hold = eve.post("holds", "h", amount=20, expires_in=60, organisation=acme.pk).json()["id"]
    own = Program(make_key(ours.account)[1])
    before = unchanged()
    for strange in (acme.pk, other_user.pk, 2**40):
        for answer in (
            call(program, path, hold, organisation=strange),
            call(own, path, hold, organisation=strange),
            call(service, path, hold, organisation=strange, user=user.pk),
        ):
            assert (answer.status_code, answer.json()) == (404, UNKNOWN)
    # Nor is one's own id an organisation's.
    assert call(program, path, hold, organisation=user.pk).json() == UNKNOWN
    named = call(program, path, hold, organisation=acme.pk, user=other_user.pk)
    assert named.json()["code"] == "unknown_user"
    assert unchanged() == before
    # What is theirs, they may do; the hold of the others is not there.
    answer = call(program, path, hold, organisation=ours.pk)
    expected = 404 if "{}" in path else (200 if CALLS[path] is None else 201)
    assert answer.status_code == expected
    assert ledger.standing(acme.account) == ledger.Standing(1000, 20, 0)


def test_who_is_removed_draws_nothing_from_then_on(program, service, user, acme, member, unchanged):
    hold = program.post("holds", "h", amount=20, expires_in=60, organisation=acme.pk).json()["id"]
    first = program.post("spend", "1", amount=5, organisation=acme.pk)
    organisations.remove_member(acme.pk, user.pk, by=user)
    before = unchanged()
    for path in CALLS:
        assert call(program, path, hold, organisation=acme.pk).json() == UNKNOWN
        assert call(service, path, hold, organisation=acme.pk, user=user.pk).json() == UNKNOWN
    # What was answered stays answered.
    assert program.post("spend", "1", amount=5, organisation=acme.pk).content == first.content
    assert unchanged() == before
    # The shop has done the work: it still captures what it has reserved.
    assert service.post(f"holds/{hold}/capture", "c", amount=20, user=acme.pk).status_code == 200


def test_a_closed_organisation_s_credits_are_nobody_s(own, service, acme, unchanged):
    User.objects.filter(pk=acme.pk).update(closed_at=timezone.now())
    before = unchanged()
    assert own.post("spend", "1", amount=5).json()["code"] == "invalid_api_key"
    assert service.post("spend", "1", amount=5, user=acme.pk).json()["code"] == "unknown_user"
    assert unchanged() == before


# --- Holds -----------------------------------------------------------------------------------


@pytest.fixture
def hold(program, acme, member) -> int:
    """Ada holds 80 of the organisation's credits."""
    answer = program.post("holds", "h", amount=80, expires_in=60, organisation=acme.pk)
    return answer.json()["id"]


def test_what_is_not_captured_counts_no_more(program, user, acme, hold):
    assert drawn() == 80
    answer = program.post(f"holds/{hold}/capture", "c", amount=30, organisation=acme.pk)
    assert answer.json()["available"] == 970
    entry = Entry.objects.get(kind="spend")
    assert (entry.wallet.user, entry.actor, drawn()) == (acme.account, user, 30)
    again = program.post(f"holds/{hold}/capture", "c2", amount=30, organisation=acme.pk)
    assert again.json()["code"] == "hold_captured"
    assert drawn() == 30


def test_what_is_released_counts_no_more(program, acme, hold, unchanged):
    program.post(f"holds/{hold}/release", "r", organisation=acme.pk)
    after = unchanged()[1:]
    program.post(f"holds/{hold}/release", "r2", organisation=acme.pk)
    assert unchanged()[1:] == after
    assert drawn() == 0


def test_what_has_lapsed_counts_no_more(acme, hold):
    Hold.objects.update(
        created_at=timezone.now() - timedelta(seconds=61),
        expires_at=timezone.now() - timedelta(seconds=1),
    )
    assert holds.uncount_lapsed() == 0
    ledger.expire_due()
    assert (holds.uncount_lapsed(), drawn()) == (1, 0)
    assert (holds.uncount_lapsed(), drawn()) == (0, 0)


def test_another_member_s_hold_is_not_there(
    other_program, own, service, other_user, acme, hold, unchanged
):
    before = unchanged()
    for path, fields in {"capture": {"amount": 1}, "release": {}}.items():
        for answer in (
            other_program.post(f"holds/{hold}/{path}", "k", organisation=acme.pk, **fields),
            own.post(f"holds/{hold}/{path}", "k", **fields),
            service.post(
                f"holds/{hold}/{path}", "k", organisation=acme.pk, user=other_user.pk, **fields
            ),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_hold")
    assert unchanged() == before


# --- Who sees what ---------------------------------------------------------------------------


def test_members_see_what_they_drew_and_those_who_pay_see_all(
    program, other_program, service, user, other_user, acme, member
):
    program.post("spend", "1", amount=5, organisation=acme.pk, note="Ada's")
    other_program.post("spend", "1", amount=7, organisation=acme.pk, note="Eve's")

    def seen(program: Program, **asked) -> list[int]:
        entries = program.get("entries", organisation=acme.pk, **asked).json()["entries"]
        return [entry["amount"] for entry in entries]

    assert seen(other_program) == seen(service, user=other_user.pk) == [-7, -5, 1000]
    assert seen(program) == seen(service, user=user.pk) == [-5]
    assert seen(program, kind="purchase") == []
    assert seen(program, after=1) == [-5]
    Membership.objects.filter(pk=member.pk).update(role=Role.BILLING)
    assert seen(program) == [-7, -5, 1000]


@pytest.mark.django_db(transaction=True)
def test_fifty_spends_at_once_draw_no_more_than_the_limit(user, acme, member, make_key, at_once):
    token = make_key(user)[1]

    def spend(index: int) -> int:
        answer = Program(token).post("spend", f"job-{index}", amount=7, organisation=acme.pk)
        return answer.status_code

    statuses = at_once(50, spend)
    assert (statuses.count(201), statuses.count(403)) == (14, 36)
    assert (drawn(), ledger.balance_of(acme.account)) == (98, 902)


def test_an_organisation_buys_and_has_no_plan(own, sandbox, unchanged):
    before = unchanged()
    answer = own.post("purchases", "plan", credits=500, mode="subscription")
    assert (answer.status_code, answer.json()["field"]) == (422, "mode")
    assert (unchanged(), sandbox.requests()) == (before, [])
    assert own.post("purchases", "once", credits=500).status_code == 201
