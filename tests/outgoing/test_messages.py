"""What is told, and that it is told if and only if it happened, once."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import low_balance, subscriptions
from billing.models import BalanceAlert, Subscription
from credits import errors, ledger
from credits.models import Entry, Kind
from outgoing import endpoints, messages
from outgoing.models import Delivery, Endpoint, EventType, Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(staff) -> Endpoint:
    return endpoints.make(url="https://product.example/hooks", made_by=staff)


def told(*types: str) -> list[dict]:
    """What was told of these types, or of all, in the order in which it happened."""
    found = [json.loads(message.payload) for message in Message.objects.all()]
    chosen = [payload for payload in found if not types or payload["type"] in types]
    return sorted(chosen, key=lambda payload: payload["timestamp"])


def test_an_entry_is_told_with_all_that_a_product_needs(endpoint, user, wallet):
    ledger.grant(wallet, 500, key="purchase:1", kind="purchase", paid=475)
    entry = ledger.spend(wallet, 120, key="job:7", note="Übersetzung, 2 Seiten")
    message = Message.objects.get(type="credits.spent")
    assert json.loads(message.payload) == {
        "type": "credits.spent",
        "timestamp": entry.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "data": {
            "user": user.pk, "entry": entry.pk, "kind": "spend", "amount": -120, "owed": 0,
            "balance": 380, "key": "job:7", "note": "Übersetzung, 2 Seiten",
        },
    }  # fmt: skip
    assert message.user == user
    assert message.pk.startswith("msg_")
    assert len(message.pk) == 36
    delivery = Delivery.objects.get(message=message)
    assert (delivery.endpoint, delivery.status, delivery.tries) == (endpoint, "waiting", 0)


def test_every_kind_of_entry_has_an_event():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT kind, outgoing_event_of(kind) FROM unnest(%s::text[]) AS kind",
            [list(Kind.values)],
        )
        events = dict(cursor.fetchall())
    assert events == {
        "purchase": "credits.granted", "renewal": "credits.granted",
        "promotion": "credits.granted", "spend": "credits.spent", "expiry": "credits.expired",
        "refund": "credits.revoked", "dispute": "credits.revoked",
        "repayment": "credits.revoked", "spend_repaid": "credits.revoked",
        "restoral": "credits.restored",
        "adjustment": "credits.adjusted", "gift_sent": "credits.sent",
        "gift_received": "credits.received", "gift_returned": "credits.received",
        "gift_recalled": "credits.revoked",
    }  # fmt: skip
    assert set(events.values()) <= set(EventType.values)


def test_the_readme_names_every_event_and_no_other():
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text()
    (section,) = re.findall(r"## Webhooks to your product\n(.*?)\n## ", readme, re.DOTALL)
    table = "".join(line for line in section.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`([a-z]+\.[a-z]+)`", table)) == sorted(EventType.values)


def test_a_life_of_a_wallet_is_told_entry_by_entry(endpoint, user, other_user, wallet, staff):
    other = ledger.wallet_of(other_user)
    ledger.grant(wallet, 100, key="g", kind="purchase", paid=95)
    held = ledger.hold(wallet, 40, key="h", expires_in=timedelta(hours=1))
    ledger.capture(held, 30)
    ledger.receive(other, ledger.send(wallet, 20, key="t"), key="t")
    ledger.adjust(wallet, 5, key="a", note="Sorry", actor=staff)
    ledger.revoke(wallet, 100, of="g", key="r", kind="refund")
    ledger.restore(wallet, 60, of="g", key="b")
    assert [payload["type"] for payload in told()] == [
        "credits.granted", "credits.spent", "credits.sent", "credits.received",
        "credits.adjusted", "credits.revoked", "credits.depleted", "credits.received",
        "credits.revoked", "credits.restored", "credits.revoked",
    ]  # fmt: skip
    entries = [one["data"]["entry"] for one in told() if one["type"] != "credits.depleted"]
    assert sorted(entries) == sorted(Entry.objects.values_list("pk", flat=True))
    recalled, revoked, repaid = told("credits.revoked")
    assert (recalled["data"]["user"], recalled["data"]["amount"]) == (other_user.pk, -20)
    assert (revoked["data"]["amount"], revoked["data"]["owed"]) == (-70, 30)
    assert (repaid["data"]["kind"], repaid["data"]["owed"]) == ("repayment", -30)


def test_what_expires_is_told_when_it_is_booked(endpoint, wallet):
    soon = timezone.now() + timedelta(milliseconds=30)
    ledger.grant(wallet, 50, key="g", kind="promotion", category="promotional", expires_at=soon)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.05)")
    ledger.expire_due()
    assert [(one["type"], one["data"]["balance"]) for one in told()] == [
        ("credits.granted", 50), ("credits.expired", 0), ("credits.depleted", 0),
    ]  # fmt: skip


def test_nothing_is_kept_where_nobody_listens(user, wallet, staff):
    off = endpoints.make(url="https://product.example/hooks", made_by=staff)
    endpoints.switch_off(off)
    endpoints.make(url="https://o.example/", made_by=staff, events=[EventType.EXPIRED])
    ledger.grant(wallet, 500, key="g", kind="purchase")
    messages.tell(EventType.LOW, user.pk, {"available": 1})
    assert (Message.objects.count(), Delivery.objects.count()) == (0, 0)


def test_one_message_goes_to_each_endpoint_that_wants_it(user, wallet, staff):
    def make(*events: str) -> Endpoint:
        return endpoints.make(url="https://p.example/", made_by=staff, events=events)

    every, spent, both = make(), make("credits.spent"), make("credits.granted", "credits.spent")
    ledger.grant(wallet, 500, key="g", kind="purchase")
    ledger.spend(wallet, 1, key="s")
    went = {
        message.type: set(message.deliveries.values_list("endpoint_id", flat=True))
        for message in Message.objects.all()
    }
    assert went == {
        "credits.granted": {every.pk, both.pk},
        "credits.spent": {every.pk, spent.pk, both.pk},
    }


def test_what_is_rolled_back_is_not_told(endpoint, wallet):
    ledger.grant(wallet, 500, key="g", kind="purchase")

    def book_and_fail() -> None:
        with transaction.atomic():
            ledger.spend(wallet, 100, key="s")
            messages.tell(EventType.LOW, wallet.user_id, {})
            assert Message.objects.count() == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        book_and_fail()
    with pytest.raises(errors.InsufficientCredits):
        ledger.spend(wallet, 501, key="t")
    assert [payload["type"] for payload in told()] == ["credits.granted"]


def test_a_repeat_is_not_told_again(endpoint, wallet):
    ledger.grant(wallet, 500, key="g", kind="purchase")
    for _ in range(3):
        ledger.spend(wallet, 100, key="s")
        ledger.grant(wallet, 500, key="g", kind="purchase")
    with pytest.raises(errors.KeyReused):
        ledger.spend(wallet, 101, key="s")
    assert [payload["type"] for payload in told()] == ["credits.granted", "credits.spent"]


@pytest.mark.django_db(transaction=True)
def test_at_once_each_entry_is_told_once(endpoint, wallet, at_once):
    ledger.grant(wallet, 1000, key="g", kind="purchase")
    at_once(16, lambda number: ledger.spend(wallet, 1, key=f"s:{number % 8}"))
    spent = told("credits.spent")
    assert sorted(one["data"]["key"] for one in spent) == [f"s:{number}" for number in range(8)]
    assert {one["data"]["entry"] for one in spent} == set(
        Entry.objects.filter(kind="spend").values_list("pk", flat=True)
    )
    assert Delivery.objects.count() == Message.objects.count() == 9


def test_a_balance_that_comes_to_nothing_is_told_at_each_crossing(endpoint, user, wallet):
    ledger.grant(wallet, 10, key="g", kind="purchase")
    ledger.spend(wallet, 9, key="s1")
    assert told("credits.depleted") == []
    entry = ledger.spend(wallet, 1, key="s2")
    (first,) = told("credits.depleted")
    assert first["data"] == {"user": user.pk, "entry": entry.pk, "balance": 0}
    # All of this clawback is owed: the balance is nothing as before.
    ledger.revoke(wallet, 5, of="g", key="r", kind="refund")
    assert len(told("credits.depleted")) == 1
    ledger.grant(wallet, 20, key="g2", kind="purchase")
    ledger.spend(wallet, 15, key="s3")
    assert len(told("credits.depleted")) == 2


def test_a_low_balance_is_told_when_its_mail_is(endpoint, user, wallet):
    ledger.grant(wallet, 500, key="g", kind="purchase")
    BalanceAlert.objects.create(user=user, threshold=100)
    for key, amount in (("s1", 400), ("s2", 1), ("s3", 1)):
        ledger.spend(wallet, amount, key=key)
        low_balance.watch()
    (low,) = told("credits.low")
    assert low["data"] == {"user": user.pk, "available": 99, "threshold": 100}


def test_a_plan_is_told_as_it_becomes_another(endpoint, user):
    metadata = {"type": "dynamic_credits", "credits": "500", "user_id": str(user.pk)}
    ends = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def record(at: datetime, **state: object) -> None:
        item = {"price": {"unit_amount": 475, "currency": "usd"}, "quantity": 1,
                "current_period_end": int(ends.timestamp())}  # fmt: skip
        found = {"id": "sub_1", "status": "active", "metadata": metadata,
                 "items": {"data": [item]}, **state}  # fmt: skip
        subscriptions.record_subscription(subscriptions.Fetched(at, found))

    early, late = ends - timedelta(days=2), ends - timedelta(days=1)
    record(early)
    record(early, default_payment_method={"card": {"brand": "visa", "last4": "4242"}})
    record(late, status="past_due")
    record(late, status="past_due")
    record(early, status="active")  # older than what is known
    assert Subscription.objects.get().status == "past_due"
    began, failed = told("subscription.changed")
    assert began["data"] == {
        "user": user.pk, "subscription": "sub_1", "status": "active", "credits": 500,
        "total": 475, "currency": "usd", "current_period_end": "2026-01-31T12:00:00Z",
        "cancel_at_period_end": False,
    }  # fmt: skip
    assert failed["data"] == began["data"] | {"status": "past_due"}


def test_no_message_names_anybody(endpoint, user, wallet):
    ledger.grant(wallet, 10, key="g", kind="purchase")
    ledger.spend(wallet, 10, key="s", actor=user)
    assert Message.objects.count() == 3
    assert not Message.objects.filter(payload__contains="@").exists()


def test_a_test_goes_to_its_endpoint_alone(staff):
    _, chosen = (
        endpoints.make(url="https://p.example/", made_by=staff, events=events)
        for events in ([], [EventType.EXPIRED])
    )
    message = Message.objects.get(pk=messages.tell_test(chosen))
    assert (message.type, message.user) == ("endpoint.test", None)
    assert json.loads(message.payload)["data"] == {"endpoint": chosen.pk}
    assert [one.endpoint for one in message.deliveries.all()] == [chosen]


def test_messages_go_after_thirty_days(endpoint, user, monkeypatch):
    monkeypatch.setattr(messages, "BATCH", 2)
    for _ in range(7):
        messages.tell(EventType.LOW, user.pk, {})
    old = list(Message.objects.values_list("pk", flat=True)[:5])
    Message.objects.filter(pk__in=old).update(
        created_at=timezone.now() - timedelta(days=30, hours=1)
    )
    endpoints.roll(endpoint)
    Endpoint.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    assert messages.forget_old() == 5
    assert (Message.objects.count(), Delivery.objects.count()) == (2, 2)
    endpoint.refresh_from_db()
    assert (endpoint.old_secret, endpoint.old_secret_until) == ("", None)
    assert messages.forget_old() == 0
