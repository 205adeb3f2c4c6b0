"""Adjustments: booked once, over the limit by a second person only, whoever asks at once."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.utils import timezone, translation

from accounts.models import User
from credits import adjustments, errors, ledger
from credits.admin.adjustments import AdjustmentForm
from credits.models import Adjustment, Entry

pytestmark = pytest.mark.django_db


@pytest.fixture
def asker() -> User:
    return helper("asker@example.com", "adjust_wallet")


@pytest.fixture
def approver() -> User:
    return helper("approver@example.com", "approve_adjustment")


def helper(email: str, *codenames: str) -> User:
    user = User.objects.create_user(email, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def adjust(user: User, amount: int, staff: User, key: str | None = None) -> Entry | Adjustment:
    return adjustments.adjust(
        user, amount, key=key or f"adjustment:{uuid.uuid4()}", reason="Why", staff=staff
    )


def ask(user: User, amount: int, staff: User) -> Adjustment:
    asked = adjust(user, amount, staff)
    assert isinstance(asked, Adjustment)
    return asked


def messages() -> list[str]:
    return list(LogEntry.objects.order_by("id").values_list("change_message", flat=True))


def address(adjustment: Adjustment, end: str = "decide") -> str:
    return f"/admin/credits/adjustment/{adjustment.pk}/{end}/"


# --- The limit --------------------------------------------------------------------------------


def test_up_to_the_limit_it_is_booked_at_once(user, asker):
    entry = adjust(user, 10_000, asker)
    assert isinstance(entry, Entry)
    assert (entry.amount, entry.actor, entry.note) == (10_000, asker, "Why")
    assert messages() == ["+10000: Why"]
    assert not Adjustment.objects.exists()


def test_beyond_the_limit_it_waits(user, asker):
    asked = ask(user, 10_001, asker)
    assert (asked.status, asked.asked_by, asked.decided_by) == ("waiting", asker, None)
    assert ledger.balance_of(user) == 0
    assert not Entry.objects.exists()
    assert messages() == ["Asked for +10001: Why"]


def test_the_limit_adds_up_both_directions(user, asker):
    adjust(user, 6_000, asker)
    adjust(user, -3_000, asker)
    assert isinstance(adjust(user, -1_000, asker), Entry)
    assert isinstance(adjust(user, 1, asker), Adjustment)
    assert ledger.balance_of(user) == 2_000


def test_the_limit_is_of_one_person_on_one_balance(user, other_user, asker, staff):
    adjust(user, 10_000, asker)
    assert isinstance(adjust(other_user, 10_000, asker), Entry)
    assert isinstance(adjust(user, 10_000, staff), Entry)
    assert isinstance(adjust(user, 1, asker), Adjustment)


def test_what_is_a_day_old_counts_no_more(user, asker, monkeypatch):
    adjust(user, 10_000, asker)
    assert adjustments.is_over_limit(user, 1, asker)
    monkeypatch.setattr(adjustments, "WINDOW", timedelta(0))
    assert not adjustments.is_over_limit(user, 10_000, asker)


@pytest.mark.parametrize(("limit", "waits"), [(0, True), (5, False), (4, True)])
def test_the_limit_is_a_setting(user, asker, settings, limit, waits):
    settings.ADJUSTMENT_LIMIT = limit
    assert isinstance(adjust(user, 5, asker), Adjustment) == waits


@pytest.mark.django_db(transaction=True)
def test_two_at_once_can_not_both_stay_under_the_limit(user, wallet, asker, at_once):
    answers = at_once(8, lambda index: adjust(user, 6_000, asker))
    assert sorted(type(answer).__name__ for answer in answers) == ["Adjustment"] * 7 + ["Entry"]
    assert ledger.balance_of(user) == 6_000


# --- Once -------------------------------------------------------------------------------------


def test_the_same_key_answers_what_came_of_it(user, asker):
    for amount in (250, 20_000):
        first = adjust(user, amount, asker, key=f"adjustment:{amount}")
        assert adjust(user, amount, asker, key=f"adjustment:{amount}") == first
        with pytest.raises(errors.KeyReused):
            adjust(user, amount + 1, asker, key=f"adjustment:{amount}")
    assert messages() == ["+250: Why", "Asked for +20000: Why"]
    assert ledger.balance_of(user) == 250


def test_repeated_after_the_credits_are_gone_it_is_booked_all_the_same(user, asker):
    adjust(user, 100, asker)
    first = adjust(user, -100, asker, key="adjustment:down")
    assert adjust(user, -100, asker, key="adjustment:down") == first
    assert ledger.balance_of(user) == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("amount", [5, 20_000])
def test_one_key_at_once_is_one_adjustment(user, wallet, asker, at_once, amount):
    answers = at_once(8, lambda index: adjust(user, amount, asker, key="adjustment:1"))
    assert len(set(answers)) == 1
    assert Entry.objects.count() + Adjustment.objects.count() == 1
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_approved_by_many_at_once_it_is_booked_once(user, asker, at_once):
    asked = ask(user, 20_000, asker)
    people = [helper(f"a{number}@example.com", "approve_adjustment") for number in range(8)]
    answers = at_once(16, lambda index: adjustments.approve(asked, staff=people[index % 8]))

    (entry,) = Entry.objects.all()
    assert answers == [entry] * 16
    assert (entry.amount, entry.actor, entry.key) == (20_000, asker, asked.key)
    asked.refresh_from_db()
    assert asked.status == "approved"
    assert asked.decided_by in people
    assert LogEntry.objects.filter(user=asked.decided_by).count() == 2
    assert LogEntry.objects.count() == 3  # asked for, approved, and the wallet's


@pytest.mark.django_db(transaction=True)
def test_decided_differently_at_once_it_is_decided_one_way(user, asker, approver, at_once):
    for _ in range(5):
        asked = ask(user, 20_000, asker)
        before = ledger.balance_of(user)
        verbs = [
            lambda asked=asked: adjustments.approve(asked, staff=approver),
            lambda asked=asked: adjustments.reject(asked, staff=approver, answer="No"),
            lambda asked=asked: adjustments.withdraw(asked, staff=asker),
        ]
        answers = at_once(3, lambda index, verbs=verbs: verbs[index]())
        refused = [isinstance(answer, adjustments.AlreadyDecided) for answer in answers]
        assert sorted(refused) == [False, True, True]
        asked.refresh_from_db()
        is_booked = asked.status == "approved"
        assert ledger.balance_of(user) - before == (20_000 if is_booked else 0)


# --- Who decides ------------------------------------------------------------------------------


def test_nobody_decides_on_their_own(user, asker):
    asked = ask(user, 20_000, asker)
    for verb in (
        lambda: adjustments.approve(asked, staff=asker),
        lambda: adjustments.reject(asked, staff=asker, answer="No"),
        lambda: adjustments.approve(asked, staff=user),
    ):
        with pytest.raises(adjustments.OwnAdjustment):
            verb()
    asked.refresh_from_db()
    assert asked.status == "waiting"
    assert ledger.balance_of(user) == 0


@pytest.mark.parametrize("status", ["approved", "rejected"])
@pytest.mark.parametrize("who", ["asked_by", "user", None])
def test_the_database_refuses_it_too(user, asker, approver, status, who):
    asked = ask(user, 20_000, asker)
    decided = {"status": status, "decided_at": timezone.now(), "answer": "Why"}
    rows = Adjustment.objects.filter(pk=asked.pk)
    with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
        rows.update(**decided, decided_by=who and getattr(asked, who))
    with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
        rows.update(status="withdrawn", decided_at=timezone.now(), decided_by=approver)
    assert rows.get().status == "waiting"
    rows.update(**decided, decided_by=approver)


def test_what_can_not_be_booked_waits_on(user, asker, approver):
    adjust(user, 9_000, asker)
    ledger.grant(ledger.wallet_of(user), 6_000, key="g", kind="purchase")
    asked = ask(user, -15_000, asker)
    ledger.spend(ledger.wallet_of(user), 1, key="s")

    with pytest.raises(errors.InsufficientCredits):
        adjustments.approve(asked, staff=approver)
    asked.refresh_from_db()
    assert (asked.status, asked.decided_by) == ("waiting", None)
    assert "Approved" not in "".join(messages())

    ledger.grant(ledger.wallet_of(user), 1, key="g2", kind="purchase")
    assert adjustments.approve(asked, staff=approver).balance == 0


def test_to_reject_takes_a_reason(user, asker, approver):
    asked = ask(user, 20_000, asker)
    with pytest.raises(adjustments.NoReason):
        adjustments.reject(asked, staff=approver, answer=" ")
    adjustments.reject(asked, staff=approver, answer="Too much")
    asked.refresh_from_db()
    assert (asked.status, asked.answer, asked.decided_by) == ("rejected", "Too much", approver)
    with pytest.raises(adjustments.AlreadyDecided):
        adjustments.approve(asked, staff=approver)
    assert ledger.balance_of(user) == 0


def test_only_the_asker_withdraws(user, asker, approver):
    asked = ask(user, 20_000, asker)
    with pytest.raises(adjustments.NotTheirs):
        adjustments.withdraw(asked, staff=approver)
    for _ in range(2):
        assert adjustments.withdraw(asked, staff=asker).status == "withdrawn"
    with pytest.raises(adjustments.AlreadyDecided):
        adjustments.approve(asked, staff=approver)
    assert messages() == ["Asked for +20000: Why", "Withdrew +20000"]
    assert ledger.balance_of(user) == 0


# --- The pages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "amount"),
    [
        ("en", "5,000", 5000),
        ("en", "5.000", None),
        ("de", "5.000", 5000),
        ("de", "5,000", None),
        ("en", "-5,000", -5000),
        ("de", "\N{MINUS SIGN}5.000", -5000),
        ("en", "+250", 250),
        ("en", "2.0", None),
        ("en", "--5", None),
        ("en", "-", None),
        ("en", "", None),
    ],
)
def test_an_amount_is_read_as_its_language_writes_it(language, text, amount):
    with translation.override(language):
        form = AdjustmentForm({"amount": text, "reason": "Why", "key": str(uuid.uuid4())})
        assert form.is_valid() == (amount is not None)
    assert form.cleaned_data.get("amount") == amount


def test_the_story_in_the_pages(client, user, asker, approver):
    client.force_login(asker)
    form = {"amount": "20000", "reason": "Outage", "key": str(uuid.uuid4())}
    adjust_page = f"/admin/credits/wallet/of/{user.pk}/adjust/"
    assert b"Ask for approval" in client.post(adjust_page, form).content
    for _ in range(2):
        answer = client.post(adjust_page, form | {"confirm": "1"}, follow=True)
        assert b"+20,000 credits wait for a second person" in answer.content
    asked = Adjustment.objects.get()
    assert b"Adjustments that you have asked for" in client.get("/admin/").content
    page = client.get(address(asked, "change")).content
    assert b"Withdraw" in page
    assert b"Approve and book" not in page
    assert client.post(address(asked), {"decision": "approve"}).status_code == 403

    client.force_login(approver)
    assert b"Adjustments for you to decide" in client.get("/admin/").content
    waiting = "/admin/credits/adjustment/?status__exact=waiting&asker="
    assert b"Outage" in client.get(f"{waiting}others").content
    assert b"Outage" not in client.get(f"{waiting}me").content
    assert b"goes from 0 to <strong>20,000</strong>" in client.get(address(asked, "change")).content
    for _ in range(2):
        answer = client.post(address(asked), {"decision": "approve"}, follow=True)
        assert b"+20,000 credits booked" in answer.content
    assert ledger.balance_of(user) == 20_000
    assert b"Adjustments for you to decide" not in client.get("/admin/").content
    assert LogEntry.objects.filter(user=approver).count() == 2

    client.force_login(asker)
    answer = client.post(adjust_page, form | {"confirm": "1"}, follow=True)
    assert b"+20,000 credits booked" in answer.content
    assert Entry.objects.count() == 1


def test_the_page_says_why_it_can_not_be_booked(client, user, asker, approver):
    ledger.grant(ledger.wallet_of(user), 15_000, key="g", kind="purchase")
    asked = ask(user, -15_000, asker)
    ledger.spend(ledger.wallet_of(user), 1, key="s")
    client.force_login(approver)
    assert b"too few for" in client.get(address(asked, "change")).content
    answer = client.post(address(asked), {"decision": "approve"}, follow=True)
    assert b"15000 credits are needed and 14999 are available" in answer.content
    assert ledger.balance_of(user) == 14_999
    answer = client.post(address(asked), {"decision": "reject", "answer": ""}, follow=True)
    assert b"Say why" in answer.content
    client.post(address(asked), {"decision": "reject", "answer": "Spent"})
    asked.refresh_from_db()
    assert (asked.status, asked.answer) == ("rejected", "Spent")


@pytest.mark.parametrize("permissions", [[], ["adjust_wallet"], ["view_adjustment"]])
@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_deciding_takes_the_permission(client, user, asker, permissions, decision):
    asked = ask(user, 20_000, asker)
    client.force_login(helper("other@example.com", *permissions))
    answer = client.post(address(asked), {"decision": decision, "answer": "x"})
    assert answer.status_code == 403
    asked.refresh_from_db()
    assert asked.status == "waiting"


def test_deciding_takes_a_post_and_a_decision(client, user, asker, staff):
    asked = ask(user, 20_000, asker)
    client.force_login(staff)
    assert client.get(address(asked), {"decision": "approve"}).status_code == 403
    assert client.post(address(asked), {"decision": "x"}).status_code == 404
    assert (
        client.post("/admin/credits/adjustment/0/decide/", {"decision": "approve"}).status_code
        == 404
    )
    assert client.post(address(asked, "change"), {"status": "approved"}).status_code == 403
    assert client.post(address(asked, "delete"), {"post": "yes"}).status_code == 403
    asked.refresh_from_db()
    assert asked.status == "waiting"


def test_a_superuser_does_not_decide_on_their_own_either(client, user, staff):
    asked = ask(user, 20_000, staff)
    client.force_login(staff)
    answer = client.post(address(asked), {"decision": "approve"}, follow=True)
    assert b"somebody else has to decide" in answer.content
    assert ledger.balance_of(user) == 0
