"""Webhooks: signed, tried until they are taken, and as late, shuffled or often as ordered."""

import time

import pytest
import requests
import stripe

from stripe_sandbox.delivery import DELAYS
from tests.stripe_sandbox.helpers import client, in_state, order, subscribe, until


def delivery_of(sandbox, event_id: str) -> dict:
    (event,) = [event for event in sandbox.events() if event["id"] == event_id]
    return event["delivery"]


def is_settled(sandbox) -> bool:
    return all(event["delivery"]["due"] is None for event in sandbox.events())


@pytest.fixture
def listening(sandbox, receiver):
    sandbox.deliver_to(receiver.url, receiver.secret)
    return receiver


def test_an_event_is_signed_and_delivered_once(sandbox, api, listening):
    api.v1.customers.create({"name": "Ada Lovelace, née Byron"})
    listening.wait_for(1)
    ((body, signature),) = listening.raw
    event = api.construct_event(body, signature, listening.secret)
    assert (event.type, event.data.object.name) == ("customer.created", "Ada Lovelace, née Byron")
    assert event.pending_webhooks == 1
    until(lambda: is_settled(sandbox))
    assert delivery_of(sandbox, event.id) == {"due": None, "attempts": 1, "answers": [200]}
    kept = api.v1.events.retrieve(event.id)
    assert kept.to_dict() == {**event.to_dict(), "pending_webhooks": 0}
    assert len(listening.got) == 1


def test_a_signature_is_of_this_body_and_this_secret(api, listening):
    api.v1.customers.create()
    listening.wait_for(1)
    ((body, signature),) = listening.raw
    for forged, secret in ((body, "whsec_" + "other"), (body + b" ", listening.secret)):
        with pytest.raises(stripe.SignatureVerificationError):
            api.construct_event(forged, signature, secret)


def test_every_event_of_a_purchase_arrives(sandbox, api, listening):
    session = api.v1.checkout.sessions.create(order())
    sandbox.pay(session.id)
    until(lambda: is_settled(sandbox))
    assert sorted(listening.types) == [
        "charge.succeeded",
        "checkout.session.completed",
        "payment_intent.created",
        "payment_intent.succeeded",
    ]
    assert sorted(listening.ids) == sorted(event["id"] for event in sandbox.events())


@pytest.mark.parametrize("answer", [500, 404, 302, 199])
def test_what_is_not_taken_is_sent_again(sandbox, api, listening, answer):
    listening.answers = [answer]
    api.v1.customers.create()
    listening.wait_for(2)
    assert listening.ids == [listening.ids[0]] * 2
    until(lambda: is_settled(sandbox))
    found = delivery_of(sandbox, listening.ids[0])
    assert found == {"due": None, "attempts": 2, "answers": [answer, 200]}


def test_each_try_is_signed_anew(api, listening):
    listening.answers = [500]
    api.v1.customers.create()
    listening.wait_for(2)
    assert len({signature for _, signature in listening.raw}) == 2
    assert len({body for body, _ in listening.raw}) == 1


def test_nobody_there_is_tried_again(sandbox, api, receiver, nobody):
    sandbox.deliver_to(nobody, receiver.secret)
    api.v1.customers.create()
    until(lambda: sandbox.events()[0]["delivery"]["attempts"])
    assert sandbox.events()[0]["delivery"]["answers"] == [0]
    sandbox.deliver_to(receiver.url, receiver.secret)
    receiver.wait_for(1)
    until(lambda: is_settled(sandbox))
    assert sandbox.events()[0]["delivery"]["answers"][-1] == 200


def test_the_tries_are_further_and_further_apart_for_three_days(sandbox, api, listening):
    assert sorted(DELAYS) == DELAYS
    assert 2.5 * 86400 < sum(DELAYS) <= 3 * 86400
    sandbox.deliveries("paused")
    api.v1.customers.create()
    for tried, delay in enumerate(DELAYS):
        listening.answers = [500]
        at = time.time()
        in_state(sandbox, "UPDATE delivery SET attempts = ?", tried)
        sandbox.deliveries("normal")
        until(lambda: sandbox.events()[0]["delivery"]["attempts"] == tried + 1)  # noqa: B023
        sandbox.deliveries("paused")
        assert at + delay <= sandbox.events()[0]["delivery"]["due"] <= time.time() + delay


def test_after_three_days_it_is_given_up(sandbox, api, listening):
    sandbox.deliveries("paused")
    api.v1.customers.create()
    in_state(sandbox, "UPDATE delivery SET attempts = ?", len(DELAYS))
    listening.answers = [500]
    sandbox.deliveries("normal")
    until(lambda: is_settled(sandbox))
    event_id = sandbox.events()[0]["id"]
    found = {"due": None, "attempts": len(DELAYS) + 1, "answers": [500]}
    assert delivery_of(sandbox, event_id) == found
    assert api.v1.events.retrieve(event_id).pending_webhooks == 1


def test_nothing_goes_out_while_paused(sandbox, api, listening):
    sandbox.deliveries("paused")
    made = [api.v1.customers.create().id for _ in range(3)]
    # A delivery that is asked for still goes: it marks that the others had their time.
    assert sandbox.deliver_again(sandbox.events()[0]["id"]) == [200]
    assert len(listening.got) == 1
    assert [event["delivery"]["attempts"] for event in sandbox.events()] == [0, 0, 0]
    sandbox.deliveries("normal")
    until(lambda: is_settled(sandbox))
    assert sorted({event["data"]["object"]["id"] for event in listening.got}) == sorted(made)


def test_without_a_receiver_events_wait_for_one(sandbox, api, receiver):
    api.v1.customers.create()
    sandbox.deliver_to(receiver.url, receiver.secret)
    receiver.wait_for(1)


def test_late_events_come_late(sandbox, api, listening):
    sandbox.deliveries("delayed", seconds=1)
    at = time.monotonic()
    api.v1.customers.create()
    listening.wait_for(1)
    assert time.monotonic() - at >= 1
    until(lambda: is_settled(sandbox))


def test_late_events_go_out_when_the_delay_is_lifted(sandbox, api, listening):
    sandbox.deliveries("delayed", seconds=3600)
    api.v1.customers.create()
    sandbox.deliveries("normal")
    listening.wait_for(1)


def test_events_come_in_order_one_at_a_time(sandbox, api, listening):
    sandbox.deliveries("ordered")
    for _ in range(2):
        sandbox.pay(api.v1.checkout.sessions.create(order()).id)
    listening.wait_for(8)
    assert listening.ids == [event["id"] for event in sandbox.events()]


def test_events_come_shuffled(sandbox, api, listening):
    sandbox.deliveries("paused")
    for _ in range(12):
        api.v1.customers.create()
    sandbox.deliveries("shuffled")
    until(lambda: is_settled(sandbox))
    made = [event["id"] for event in sandbox.events()]
    assert listening.ids != made  # but for once in 479,001,600 times
    assert sorted(listening.ids) == sorted(made)


def test_what_failed_is_tried_at_once_when_deliveries_go_on(sandbox, api, listening):
    sandbox.deliveries("paused")
    api.v1.customers.create()
    in_state(sandbox, "UPDATE delivery SET due = due + 3600")
    sandbox.deliveries("ordered")
    listening.wait_for(1)


@pytest.mark.parametrize(
    "terms", [{"mode": "sideways"}, {"mode": "delayed", "seconds": -1}, {"seconds": 1}]
)
def test_other_modes_are_refused(sandbox, api, terms):
    sandbox.deliveries("paused")
    answer = requests.post(f"{sandbox.base_url}/sandbox/api/deliveries", json=terms, timeout=20)
    assert answer.status_code == 400
    assert in_state(sandbox, "SELECT value FROM setting WHERE name = 'deliveries'") == [
        ('{"mode": "paused", "seconds": 0}',)
    ]


def test_an_event_is_delivered_again_as_often_as_asked(sandbox, api, listening):
    api.v1.customers.create()
    until(lambda: sandbox.events() and is_settled(sandbox))
    event_id = sandbox.events()[0]["id"]
    listening.answers = [200, 500]
    assert sandbox.deliver_again(event_id, times=3) == [200, 500, 200]
    assert listening.ids == [event_id] * 4
    found = delivery_of(sandbox, event_id)
    assert found == {"due": None, "attempts": 1, "answers": [200, 200, 500, 200]}


def test_delivering_again_leaves_the_tries_to_come(sandbox, api, listening):
    sandbox.deliveries("paused")
    api.v1.customers.create()
    event_id = sandbox.events()[0]["id"]
    assert sandbox.deliver_again(event_id) == [200]
    assert delivery_of(sandbox, event_id)["due"] is not None


def test_what_does_not_exist_cannot_be_delivered(sandbox, listening):
    with pytest.raises(AssertionError, match="There is no event evt_x"):
        sandbox.deliver_again("evt_x")
    assert listening.got == []


def test_a_hanging_receiver_does_not_stop_the_others(sandbox, api, listening):
    listening.may_answer.clear()
    api.v1.customers.create()
    listening.wait_for(1)
    api.v1.customers.create()
    listening.wait_for(2)
    listening.may_answer.set()
    until(lambda: is_settled(sandbox))


def test_what_is_due_survives_a_kill(own_sandbox, receiver):
    own_sandbox.deliver_to(receiver.url, receiver.secret)
    own_sandbox.deliveries("paused")
    subscription, _ = subscribe(own_sandbox)
    made = [event["id"] for event in own_sandbox.events()]
    own_sandbox.kill()
    own_sandbox.start()
    assert [event["id"] for event in own_sandbox.events()] == made
    assert receiver.got == []
    own_sandbox.deliveries("normal")
    until(lambda: is_settled(own_sandbox))
    assert sorted(receiver.ids) == sorted(made)
    assert client(own_sandbox).v1.subscriptions.retrieve(subscription).status == "active"


def test_what_was_in_flight_at_a_kill_is_sent_again_at_once(own_sandbox, receiver):
    own_sandbox.deliver_to(receiver.url, receiver.secret)
    receiver.may_answer.clear()
    client(own_sandbox).v1.customers.create()
    receiver.wait_for(1)
    own_sandbox.kill()
    receiver.may_answer.set()
    at = time.monotonic()
    own_sandbox.start()
    receiver.wait_for(2)
    assert time.monotonic() - at < 10
    assert receiver.ids == [receiver.ids[0]] * 2
    until(lambda: is_settled(own_sandbox))


def test_a_reset_forgets_everything(sandbox, api, listening):
    sandbox.deliveries("paused")
    sandbox.add_fault(path="/v1/customers", kind="reset")
    with pytest.raises(stripe.APIConnectionError):
        api.v1.customers.create()
    api.v1.customers.create(None, {"idempotency_key": "k"})
    sandbox.reset()
    for table in ("object", "answer", "delivery", "call", "fault"):
        assert in_state(sandbox, f"SELECT count(*) FROM {table}") == [(0,)]
    assert listening.got == []
