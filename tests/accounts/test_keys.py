"""API keys: who gets in, how fast, and how much they may spend."""

import hashlib
import threading
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, ApiKeyPace, ApiKeySpending, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@example.com")


def make(owner: User, **terms) -> tuple[ApiKey, str]:
    return keys.make(made_by=owner, owner=owner, name="Test", scopes=["credits:spend"], **terms)


def test_a_key_is_known_by_its_text_and_only_its_digest_kept(ada):
    key, token = make(ada)
    assert token.startswith("dcp_")
    assert len(token) == 4 + 43
    assert bytes(key.digest) == hashlib.sha256(token.encode()).digest()
    assert key.prefix == token[:8]
    admitted = keys.admit(token)
    assert admitted == key
    assert (admitted.user_id, admitted.scopes) == (ada.pk, ["credits:spend"])
    assert token not in str(vars(admitted))


@pytest.mark.parametrize("token", ["", "dcp_", "dcp_" + "x" * 43, "é", "a" * 10_000])
def test_what_is_no_key_opens_nothing(ada, token):
    make(ada)
    with pytest.raises(keys.KeyRefused) as refused:
        keys.admit(token)
    assert refused.value.code == "invalid_api_key"


def test_a_form_makes_one_key(ada):
    form = uuid.uuid4()
    _, token = make(ada, request_id=form)
    with pytest.raises(keys.MadeBefore):
        make(ada, request_id=form)
    assert keys.admit(token) == ApiKey.objects.get()
    for _ in range(2):
        make(ada)
    assert ApiKey.objects.count() == 3


def test_what_is_over_counts_no_more(ada, monkeypatch):
    monkeypatch.setattr(keys, "MOST_OPEN", 1)
    make(ada, expires_at=timezone.now() - timedelta(seconds=1))
    key, _ = make(ada)
    with pytest.raises(keys.TooManyKeys):
        make(ada)
    keys.make(made_by=ada, owner=None, name="Service", scopes=[])
    keys.revoke(key)
    make(ada)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_of_a_form_and_no_more_than_there_can_be(ada, at_once, monkeypatch):
    form = uuid.uuid4()
    made = at_once(4, lambda index: make(ada, request_id=form))
    assert [type(one) for one in made if not isinstance(one, tuple)] == [keys.MadeBefore] * 3
    monkeypatch.setattr(keys, "MOST_OPEN", 3)
    made = at_once(6, lambda index: make(ada))
    assert [type(one) for one in made].count(keys.TooManyKeys) == 4
    assert ApiKey.objects.count() == 3


def test_a_revoked_key_opens_nothing_at_once(ada):
    key, token = make(ada)
    assert keys.revoke(key) is True
    with pytest.raises(keys.KeyRevoked):
        keys.admit(token)
    first = key.revoked_at
    assert keys.revoke(key) is False
    assert key.revoked_at == first


def test_an_expired_key_opens_nothing(ada):
    _, token = make(ada, expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(keys.KeyExpired):
        keys.admit(token)


def test_a_key_ends_with_its_owner_s_account(ada):
    _, token = make(ada)
    User.objects.update(is_active=False)
    with pytest.raises(keys.KeyRefused):
        keys.admit(token)


def test_when_a_key_was_last_used_is_kept_to_the_minute(ada):
    key, token = make(ada)
    keys.admit(token)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    keys.admit(token)
    key.refresh_from_db()
    assert key.last_used_at == first


def test_a_key_has_a_sixth_of_its_minute_at_once_and_then_its_pace(ada):
    key, token = make(ada, requests_per_minute=30)
    for _ in range(5):
        keys.admit(token)
    with pytest.raises(keys.TooFast) as refused:
        keys.admit(token)
    assert refused.value.wait in (1, 2)
    ApiKeyPace.objects.filter(key=key).update(full_at=timezone.now() + timedelta(seconds=7.9))
    keys.admit(token)
    with pytest.raises(keys.TooFast):
        keys.admit(token)


def test_a_key_of_one_request_a_minute_has_one(ada):
    _, token = make(ada, requests_per_minute=1)
    keys.admit(token)
    with pytest.raises(keys.TooFast) as refused:
        keys.admit(token)
    assert 50 < refused.value.wait <= 60


def test_without_a_limit_nothing_is_counted(ada):
    key, _ = make(ada)
    assert keys.charge(key, 10**9) is None
    assert not ApiKeySpending.objects.exists()


@pytest.mark.parametrize(
    ("period", "now", "begins", "ends"),
    [
        ("day", datetime(2026, 2, 28, 23, 59, tzinfo=UTC), (2026, 2, 28), (2026, 3, 1)),
        ("week", datetime(2026, 3, 1, 23, 59, tzinfo=UTC), (2026, 2, 23), (2026, 3, 2)),
        ("month", datetime(2026, 12, 31, 12, tzinfo=UTC), (2026, 12, 1), (2027, 1, 1)),
    ],
)
def test_a_limit_holds_for_its_period(ada, monkeypatch, period, now, begins, ends):
    monkeypatch.setattr(timezone, "now", lambda: now)
    key, _ = make(ada, limit_credits=100, limit_period=period)
    day = keys.charge(key, 60)
    assert day == date(*begins)
    with pytest.raises(keys.LimitReached) as refused:
        keys.charge(key, 41)
    assert (refused.value.limit, refused.value.spent) == (100, 60)
    assert refused.value.resets_at == datetime(*ends, tzinfo=UTC)
    keys.charge(key, 40)
    keys.give_back(key.pk, day, 30)
    assert ApiKeySpending.objects.get().credits == 70
    other, _ = make(ada, limit_credits=100, limit_period=period)
    assert keys.spent([key, other, make(ada)[0]]) == {key.pk: 70, other.pk: 0}
    monkeypatch.setattr(timezone, "now", lambda: datetime(*ends, tzinfo=UTC))
    assert keys.spent([key]) == {key.pk: 0}


def test_a_first_charge_over_the_limit_is_refused(ada):
    key, _ = make(ada, limit_credits=100, limit_period="day")
    with pytest.raises(keys.LimitReached) as refused:
        keys.charge(key, 101)
    assert refused.value.spent == 0
    assert not ApiKeySpending.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_limit_is_exact_for_many_at_once(ada):
    key, _ = make(ada, limit_credits=100, limit_period="month")
    counted = []

    def spend() -> None:
        try:
            with transaction.atomic():
                keys.charge(key, 10)
            counted.append(10)
        except keys.LimitReached:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=spend) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counted) == 100
    assert ApiKeySpending.objects.get().credits == 100
