"""From a row to a receiver: signed, tried again, given up, and one that hangs holds up no other."""

import itertools
import json
import re
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connections
from django.db.models import F
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from credits import ledger
from outgoing import endpoints, messages, sending, transport
from outgoing.models import Delivery, Endpoint, EventType, Message
from tests.outgoing.conftest import Receiver

pytestmark = pytest.mark.django_db
Status = Delivery.Status


def tell(user, *numbers: int) -> None:
    for number in numbers or (1,):
        messages.tell(EventType.LOW, user.pk, {"available": number})


def pass_time(**time: float) -> None:
    """Make all that has happened older."""
    ago = timedelta(**time)
    Delivery.objects.update(since=F("since") - ago, next_at=F("next_at") - ago)
    Endpoint.objects.update(
        failing_since=F("failing_since") - ago, rests_until=F("rests_until") - ago
    )


def test_it_arrives_signed_as_the_specification_says(receiver, endpoint, user, wallet):
    ledger.grant(wallet, 500, key="g", kind="purchase", note="Größe")
    assert sending.send_due() == 1
    (payload,) = receiver.verified(endpoint.secret)
    message = Message.objects.get()
    headers, body = receiver.got[0]
    assert body.decode() == message.payload
    assert payload["data"]["note"] == "Größe"
    assert headers["webhook-id"] == message.pk
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 5
    assert headers["Content-Type"] == "application/json"
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.tries, delivery.code) == (Status.DELIVERED, 1, 204)
    assert timezone.now() - delivery.delivered_at < timedelta(seconds=5)
    assert sending.send_due() == 0
    assert len(receiver.got) == 1


def test_a_signature_is_of_this_body_and_this_secret(receiver, endpoint, user):
    tell(user)
    sending.send_due()
    headers, body = receiver.got[0]
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoints.new_secret()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.secret).verify(body.replace(b"1", b"2"), headers)


def test_while_a_secret_is_rolled_both_sign(receiver, endpoint, user):
    old = endpoint.secret
    endpoints.roll(endpoint)
    assert endpoint.secret != old
    tell(user)
    sending.send_due()
    assert receiver.verified(old) == receiver.verified(endpoint.secret)
    Endpoint.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    receiver.got.clear()
    tell(user)
    sending.send_due()
    assert len(receiver.verified(endpoint.secret)) == 1
    with pytest.raises(WebhookVerificationError):
        receiver.verified(old)


@pytest.mark.parametrize("code", [500, 503, 429, 404, 400, 302])
def test_what_is_not_taken_is_tried_again_under_the_same_id(receiver, endpoint, user, code):
    receiver.answers, receiver.body = [code], b"not today"
    tell(user)
    assert sending.send_due() == 0
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.tries, delivery.code) == (Status.WAITING, 1, code)
    assert delivery.answer == "not today"
    assert sending.send_due() == 0  # not yet
    pass_time(minutes=2)
    assert sending.send_due() == 1
    first, second = receiver.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]
    delivery.refresh_from_db()
    assert (delivery.status, delivery.tries, delivery.code) == (Status.DELIVERED, 2, 204)


def test_a_try_is_signed_with_its_own_time(receiver, endpoint, user, monkeypatch):
    receiver.answers = [500]
    tell(user)
    sending.send_due()
    pass_time(minutes=2)
    now = sending.datetime.now

    class Later(sending.datetime):
        @classmethod
        def now(cls, zone):
            return now(zone) + timedelta(seconds=100)

    monkeypatch.setattr(sending, "datetime", Later)
    sending.send_due()
    first, second = (int(headers["webhook-timestamp"]) for headers, _ in receiver.got)
    assert 99 <= second - first <= 105
    assert len(receiver.verified(endpoint.secret)) == 2


def test_it_backs_off_for_three_days_and_gives_up(receiver, endpoint, user, staff):
    receiver.answers = [500] * 100
    tell(user)
    began = Delivery.objects.get().since
    times, total = [], timedelta(0)
    while Delivery.objects.get().status == Status.WAITING:
        sending.send_due()
        delivery = Delivery.objects.get()
        pause = max(delivery.next_at - timezone.now(), timedelta(seconds=60))
        times.append(total)
        total += pause
        pass_time(seconds=pause.total_seconds() + 0.01)
    tries = [round(one.total_seconds() / 3600, 1) for one in times]
    assert delivery.tries == len(receiver.got) == len(times) == 24
    assert tries[-1] == 72.0
    assert max(later - one for one, later in itertools.pairwise(tries)) <= 6.1
    assert delivery.status == Status.GIVEN_UP
    assert len(set(receiver.ids)) == 1
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.off_because) == (False, "It failed for 3 days.")
    assert began > Delivery.objects.get().since


def test_an_endpoint_that_is_gone_is_switched_off(receiver, endpoint, user):
    receiver.answers = [410]
    tell(user, 1)
    sending.send_due()
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.off_because) == (False, "It answered 410: it is gone.")
    tell(user, 2)
    pass_time(minutes=5)
    assert sending.send_due() == 0
    assert (len(receiver.got), Message.objects.count()) == (1, 1)
    # What waited goes out once staff have switched it on again.
    endpoints.switch_on(endpoint)
    assert sending.send_due() == 1
    assert (len(receiver.got), Delivery.objects.get().status) == (2, Status.DELIVERED)


def test_one_success_ends_the_failure(receiver, endpoint, user):
    receiver.answers = [500]
    tell(user)
    sending.send_due()
    endpoint.refresh_from_db()
    assert endpoint.failing_since is not None
    pass_time(days=2)
    assert sending.send_due() == 1
    endpoint.refresh_from_db()
    assert (endpoint.failing_since, endpoint.rests_until) == (None, None)


def test_one_that_fails_is_left_alone_for_a_while_and_tried_one_by_one(receiver, endpoint, user):
    receiver.answers = [500] * 5
    tell(user, *range(10))
    sending.send_due()
    assert len(receiver.got) <= sending.LANES_EACH
    receiver.got.clear()
    receiver.answers = [500]
    assert sending.send_due() == 0
    assert receiver.got == []
    pass_time(minutes=1, seconds=1)
    assert sending.send_due() == 0
    assert len(receiver.got) == 1
    pass_time(minutes=30)
    assert sending.send_due() == 10
    assert Delivery.objects.filter(status=Status.DELIVERED).count() == 10


def test_nobody_there(endpoint, receiver, user):
    receiver.stop()
    tell(user)
    sending.send_due()
    delivery = Delivery.objects.get()
    assert (delivery.code, delivery.tries) == (None, 1)
    assert delivery.error == "ConnectionError: [Errno 111] Connection refused"


def test_a_private_address_gets_nothing(endpoint, receiver, user, settings):
    settings.OUTGOING_PRIVATE_ADDRESSES = False
    Endpoint.objects.update(url=f"https://127.0.0.1:{receiver.port}/")
    tell(user)
    sending.send_due()
    assert Delivery.objects.get().error == "It leads to a private network."
    assert receiver.got == []


def test_one_that_hangs_holds_up_no_other(receiver, endpoint, user, staff, monkeypatch):
    monkeypatch.setattr(transport, "TIME_LIMIT", 1.2)
    monkeypatch.setattr(sending, "ROUND", 0.9)
    slow, let_go = Receiver(), threading.Event()
    slow.before_answer = lambda: let_go.wait(10)
    arrived = []
    receiver.before_answer = lambda: arrived.append(time.monotonic())
    hanging = endpoints.make(url=slow.url, made_by=staff)
    tell(user, *range(20))
    began = time.monotonic()
    assert sending.send_due() == 20
    assert time.monotonic() - began < 4
    assert len(arrived) == 20
    assert max(arrived) - began < 1.2  # before the first of the others was cut off
    assert len(slow.got) == sending.LANES_EACH
    hanging.refresh_from_db()
    assert hanging.failing_since is not None
    began = time.monotonic()
    tell(user, 21)
    assert sending.send_due() == 1  # it rests, and costs nothing
    assert time.monotonic() - began < 1
    let_go.set()
    slow.stop()


def test_one_endpoint_gets_few_at_once(receiver, endpoint, user):
    receiver.before_answer = lambda: time.sleep(0.02)
    tell(user, *range(12))
    assert sending.send_due() == 12
    assert 1 < receiver.most_together <= sending.LANES_EACH
    assert sorted(one["data"]["available"] for one in receiver.raw()) == list(range(12))


def test_a_round_ends_so_that_other_jobs_have_their_turn(receiver, endpoint, user, monkeypatch):
    monkeypatch.setattr(sending, "ROUND", 0.1)
    receiver.before_answer = lambda: time.sleep(0.05)
    tell(user, *range(40))
    delivered = 0
    began = time.monotonic()
    delivered += sending.send_due()
    assert time.monotonic() - began < 2
    assert 4 <= delivered < 40
    while found := sending.send_due():
        delivered += found
    assert delivered == len(set(receiver.ids)) == 40


@pytest.mark.django_db(transaction=True)
def test_two_workers_send_each_message_once(receiver, endpoint, user, at_once):
    tell(user, *range(30))
    assert sum(at_once(2, lambda _: sending.send_due())) == 30
    assert len(receiver.got) == len(set(receiver.ids)) == 30
    connections.close_all()


def test_a_worker_that_died_leaves_it_to_the_next(receiver, endpoint, user, monkeypatch):
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    tell(user)
    with monkeypatch.context() as patched:
        patched.setattr(sending, "_note", dies)
        with pytest.raises(KeyboardInterrupt):
            sending.send_due()
    assert (len(receiver.got), Delivery.objects.get().status) == (1, Status.WAITING)
    assert sending.send_due() == 0
    pass_time(minutes=2, seconds=1)
    assert sending.send_due() == 1
    assert receiver.ids == [receiver.ids[0]] * 2


def test_a_late_answer_does_not_undo_a_later_try(receiver, endpoint, user):
    tell(user)
    (late,) = sending._claim([])
    pass_time(minutes=2, seconds=1)
    assert sending.send_due() == 1
    sending._note(late, transport.Answer(error=transport.TOO_SLOW))
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.tries, delivery.code) == (Status.DELIVERED, 2, 204)
    assert sending.send_due() == 0


def test_very_many_tries_do_not_end_the_job(receiver, endpoint, user):
    receiver.answers = [500]
    tell(user)
    Delivery.objects.update(tries=5000)
    assert sending.send_due() == 0
    assert Delivery.objects.get().next_at - timezone.now() < timedelta(hours=7)


def test_staff_have_it_sent_again(receiver, endpoint, user, staff):
    receiver.answers = [400]
    tell(user)
    off = endpoints.make(url=receiver.url, made_by=staff)
    sending.send_due()
    Delivery.objects.update(status=Status.GIVEN_UP, since=timezone.now() - timedelta(days=5))
    message = Message.objects.get()
    Delivery.objects.create(message=message, endpoint=off, status=Status.GIVEN_UP)
    endpoints.switch_off(off)
    assert messages.send_again(Message.objects.all()) == 1
    pass_time(minutes=2)
    assert sending.send_due() == 1
    assert messages.send_again(Message.objects.all()) == 1  # also what was delivered
    assert sending.send_due() == 1
    assert receiver.ids == [message.pk] * 3
    assert {one.endpoint_id: one.status for one in message.deliveries.all()} == {
        endpoint.pk: "delivered", off.pk: "given_up",
    }  # fmt: skip


def test_a_test_arrives_whatever_the_endpoint_wants(receiver, endpoint):
    Endpoint.objects.update(events=[EventType.EXPIRED])
    messages.tell_test(endpoint)
    assert sending.send_due() == 1
    assert json.loads(receiver.got[0][1])["type"] == "endpoint.test"


def test_no_secret_is_logged_or_kept_with_a_failure(receiver, endpoint, user, caplog):
    receiver.answers = [410]
    tell(user)
    with caplog.at_level("DEBUG"):
        sending.send_due()
    assert caplog.records
    assert endpoint.secret not in caplog.text
    delivery = Delivery.objects.get()
    assert endpoint.secret not in f"{delivery.error}{delivery.answer}"


def test_the_receiver_in_the_readme_takes_what_is_sent(receiver, endpoint, user, monkeypatch):
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text()
    (code,) = re.findall(r"```python\n(import os\n.*?)```", readme, re.DOTALL)
    seen: set[str] = set()
    known = {"remember": lambda id: id not in seen and not seen.add(id)}
    exec(code, known)  # ours
    monkeypatch.setenv("CREDITS_WEBHOOK_SECRET", endpoint.secret)
    tell(user)
    sending.send_due()
    headers, body = receiver.got[0]
    assert [known["receive"](body, headers) for _ in range(2)] == [204, 204]
    assert seen == {headers["webhook-id"]}
    assert known["receive"](body + b" ", headers) == 400
