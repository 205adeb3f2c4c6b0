"""Gifts: who may send what, claim and cancel, and each of it once."""

import uuid
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import closing
from accounts.models import User
from credits import errors, gifts, ledger
from credits.models import Entry, Gift, Transfer
from tests.credits.test_expiry import pass_time

pytestmark = pytest.mark.django_db
BOB = "bob@example.com"


@pytest.fixture
def ada(user, settings) -> User:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    confirm(user, user.email)
    ledger.grant(ledger.wallet_of(user), 100, key="p", kind="purchase", paid=95)
    return user


@pytest.fixture
def bob() -> User:
    bob = User.objects.create_user(BOB)
    confirm(bob, BOB)
    return bob


def confirm(user: User, address: str, *, verified: bool = True) -> None:
    EmailAddress.objects.create(user=user, email=address, verified=verified)


def send(sender, credits=40, to=BOB, **terms):
    return gifts.send_gift(sender, to, credits, **{"request_id": uuid.uuid4(), **terms})


def balances(*users) -> list[int]:
    return [ledger.balance_of(user) for user in users]


def count() -> tuple[int, int, int]:
    return Gift.objects.count(), Entry.objects.count(), Transfer.objects.count()


def test_a_gift_is_sent_and_claimed(ada, bob):
    gift, token = send(ada, message="  Happy\r\nbirthday ", to=" Bob@Example.com ")
    assert (gift.recipient, gift.message, gift.status) == (BOB, "Happy\nbirthday", "open")
    assert balances(ada, bob) == [60, 0]
    days = gift.expires_at - timezone.now()
    assert timedelta(days=29, hours=23) < days < timedelta(days=30)

    claimed = gifts.claim_gift(bob, token)
    assert (claimed.status, claimed.claimed_by) == ("claimed", bob)
    assert balances(ada, bob) == [60, 40]
    assert gifts.claim_gift(bob, token) == claimed  # again: once
    assert balances(ada, bob) == [60, 40]
    notes = Entry.objects.exclude(kind="purchase").values_list("note", flat=True)
    assert set(notes) == {f"Gift {gift.number}"}
    with pytest.raises(gifts.GiftGone):
        gifts.cancel_gift(gift)


def test_the_token_is_long_and_kept_as_a_hash(ada, bob):
    gift, token = send(ada)
    assert len(token) == 43  # 256 bits
    assert token not in gift.token_hash
    with pytest.raises(gifts.UnknownGift):
        gifts.claim_gift(bob, token[:-1])
    with pytest.raises(gifts.UnknownGift):
        gifts.claim_gift(bob, gift.token_hash)


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({"to": "ada@example.com"}, gifts.OwnAddress),
        ({"to": "ADA+gift@Example.com"}, gifts.OwnAddress),
        ({"to": "second@example.com"}, gifts.OwnAddress),
        ({"to": "nobody"}, gifts.BadAddress),
        ({"to": "a@b@c.com"}, gifts.BadAddress),
        ({"to": f"{'a' * 250}@example.com"}, gifts.BadAddress),
        ({"to": "a\0@example.com"}, gifts.BadAddress),
        ({"message": "x" * 501}, gifts.BadMessage),
        ({"message": "a\0b"}, gifts.BadMessage),
        ({"credits": 101}, errors.NotGiftable),
        ({"credits": 0}, errors.ZeroAmount),
        ({"credits": -5}, errors.NegativeAmount),
        ({"credits": True}, errors.NotWhole),
        ({"credits": 1.5}, errors.NotWhole),
        ({"but": ["p"]}, errors.NotGiftable),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_written(ada, terms, error):
    confirm(ada, "second@example.com", verified=False)
    before = count()
    with pytest.raises(error):
        send(ada, **terms)
    assert count() == before
    assert balances(ada) == [100]


def test_who_may_not_send(ada, settings):
    before = count()
    EmailAddress.objects.filter(user=ada).update(verified=False)
    with pytest.raises(gifts.NotVerified):
        send(ada)
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    mark = closing.begin(ada)
    with pytest.raises(closing.AccountClosing):
        send(ada)
    closing.give_up(ada, mark)
    settings.GIFTS_AFTER_DAYS = 1
    with pytest.raises(errors.NotGiftable):
        send(ada)
    settings.GIFTS_AFTER_DAYS = 0
    ledger.spend(ada.wallet, 60, key="s")
    ledger.revoke(ada.wallet, 50, of="p", key="r", kind="refund")
    with pytest.raises(errors.CreditsOwed):
        send(ada, 1)
    assert count() == (before[0], before[1] + 2, before[2])


def test_one_request_is_one_gift(ada):
    request_id = uuid.uuid4()
    gift, token = send(ada, request_id=request_id)
    assert send(ada, request_id=request_id) == (gift, None)
    for other in ({"credits": 41}, {"to": "eve@example.com"}, {"message": "Other"}):
        with pytest.raises(gifts.RequestIdReused):
            send(ada, **{"request_id": request_id, **other})
    assert balances(ada) == [60]
    assert token


def test_no_more_a_day_than_the_site_lets_one(ada, settings):
    settings.GIFTS_CREDITS_PER_DAY = 50
    gift, _ = send(ada, 40)
    gifts.cancel_gift(gift)  # counts all the same
    with pytest.raises(gifts.TooMuchToday) as refused:
        send(ada, 11)
    assert refused.value.left == 10
    settings.GIFTS_PER_DAY = 2
    send(ada, 10)
    with pytest.raises(gifts.TooManyGifts):
        send(ada, 1)
    assert balances(ada) == [90]
    Gift.objects.update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    send(ada, 40)
    assert balances(ada) == [50]


def test_only_who_has_confirmed_the_address_may_claim(ada, bob, other_user):
    _gift, token = send(ada)
    before = count()
    confirm(other_user, other_user.email)
    with pytest.raises(gifts.NotForThem):
        gifts.claim_gift(other_user, token)
    EmailAddress.objects.filter(user=bob).update(verified=False)
    with pytest.raises(gifts.NotForThem):
        gifts.claim_gift(bob, token)
    EmailAddress.objects.filter(user=bob).delete()
    confirm(ada, BOB)  # the sender has the address now
    with pytest.raises(gifts.NotForThem):
        gifts.claim_gift(ada, token)
    EmailAddress.objects.filter(email=BOB).delete()
    confirm(bob, "BOB@example.com")
    mark = closing.begin(bob)
    with pytest.raises(closing.AccountClosing):
        gifts.claim_gift(bob, token)
    closing.give_up(bob, mark)
    assert count() == before
    assert gifts.claim_gift(bob, token).status == "claimed"


def test_an_address_that_is_alike_only_in_capitals_is_another(ada, other_user):
    """PostgreSQL writes the i without a dot as I, like the other one."""
    gift, token = send(ada, to="mike@example.com")
    confirm(other_user, "m\N{LATIN SMALL LETTER DOTLESS I}ke@example.com")
    with pytest.raises(gifts.NotForThem):
        gifts.claim_gift(other_user, token)
    assert Gift.objects.get(pk=gift.pk).status == "open"


def test_a_cancelled_gift_is_back_once(ada, bob, staff):
    gift, token = send(ada)
    assert gifts.cancel_gift(gift).status == "cancelled"
    assert gifts.cancel_gift(gift).status == "cancelled"
    assert balances(ada) == [100]
    with pytest.raises(gifts.GiftGone) as gone:
        gifts.claim_gift(bob, token)
    assert gone.value.gift.status == "cancelled"
    by_staff = gifts.cancel_gift(send(ada)[0], by=staff, reason="Asked by phone")
    assert (by_staff.cancelled_by, by_staff.reason) == (staff, "Asked by phone")
    assert balances(ada, bob) == [100, 0]


def test_what_nobody_claims_returns_once(ada, bob):
    gift, token = send(ada)
    assert gifts.due() == []
    assert gifts.return_due(gift.pk) is None
    Gift.objects.update(expires_at=timezone.now())
    with pytest.raises(gifts.GiftGone):
        gifts.claim_gift(bob, token)
    assert gifts.due() == [gift.pk]
    assert gifts.return_due(gift.pk).status == "returned"
    assert gifts.return_due(gift.pk) is None
    assert balances(ada, bob) == [100, 0]
    assert gifts.due() == []


def test_what_expires_meanwhile_comes_back_and_is_gone(ada):
    soon = timezone.now() + timedelta(hours=1)
    ledger.grant(ada.wallet, 30, key="q", kind="purchase", paid=30, expires_at=soon)
    gift, _ = send(ada, 30)  # what expires first is given first
    pass_time(hours=2)
    gifts.cancel_gift(gift)
    assert balances(ada) == [100]


def test_of_an_order_what_can_not_be_sent_stays(ada):
    wallet = ada.wallet
    gift = gifts.order_gift(ada, BOB, 50, "Hi")
    ledger.spend(wallet, 100, key="s")
    ledger.revoke(wallet, 20, of="p", key="r", kind="refund")
    ledger.grant(wallet, 50, key="q", kind="purchase", paid=50)  # 20 of it repay
    assert gifts.send_ordered(gift, of="q") is None
    gift.refresh_from_db()
    assert (gift.status, gift.entry_id) == ("kept", None)
    assert balances(ada) == [30]
    assert gifts.send_ordered(gift, of="q") is None


def test_the_database_holds_gifts_to_their_transfers(ada):
    gift, _ = send(ada)
    for wrong in (
        {"status": "claimed"},
        {"credits": 0},
        {"entry_id": None},
        {"recalled": 41},
        {"entry_id": 10**12},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Gift.objects.filter(pk=gift.pk).update(**wrong)


def test_an_address_is_masked():
    assert gifts.masked("bob@example.com") == "b•••@e•••.com"
    assert gifts.masked("b@mail.example.co.uk") == "b•••@m•••.uk"


# At once


@pytest.mark.django_db(transaction=True)
def test_claimed_and_cancelled_at_once_one_wins(ada, bob, at_once):
    for _ in range(5):
        gift, token = send(ada, 10)
        verbs = [
            lambda gift=gift: gifts.cancel_gift(gift),
            lambda token=token: gifts.claim_gift(bob, token),
            lambda: ledger.revoke(ada.wallet, 1, of="p", key=str(uuid.uuid4()), kind="refund"),
        ]
        at_once(6, lambda index, verbs=verbs: verbs[index % 3]())
        gift.refresh_from_db()
        assert gift.status in {"claimed", "cancelled"}
    claimed = Gift.objects.filter(status="claimed").count()
    assert balances(ada, bob) == [100 - 10 * claimed - 10, 10 * claimed]


@pytest.mark.django_db(transaction=True)
def test_the_daily_cap_is_exact_at_once(ada, at_once, settings):
    settings.GIFTS_CREDITS_PER_DAY = 50
    answers = at_once(12, lambda index: send(ada, 10, to=f"b{index}@example.com"))
    assert sum(isinstance(answer, tuple) for answer in answers) == 5
    assert {type(answer) for answer in answers} == {tuple, gifts.TooMuchToday}
    assert balances(ada) == [50]

    same = uuid.uuid4()
    settings.GIFTS_CREDITS_PER_DAY = 1000
    answers = at_once(8, lambda index: send(ada, 10, request_id=same)[0].pk)
    assert answers == [answers[0]] * 8
    assert balances(ada) == [40]
