"""Time that goes by: what becomes older, and what is done because it has become due."""

import time

import pytest

from tests.stripe_sandbox.helpers import counts, in_state, order, subscribe, until

DAY = 24


def period(api, id: str) -> tuple[int, int]:
    item = api.v1.subscriptions.retrieve(id)["items"].data[0]
    return item.current_period_start, item.current_period_end


def test_what_has_happened_becomes_older(sandbox, api):
    metadata = {"created": "1000"}
    id, _ = subscribe(sandbox, subscription_data={"metadata": metadata})
    before, events = period(api, id), api.v1.events.list({"limit": 100}).data
    sandbox.let_pass(DAY)
    assert period(api, id) == tuple(moment - 86400 for moment in before)
    found = api.v1.events.list({"limit": 100}).data
    assert [(each.id, each.created) for each in found] == [
        (each.id, each.created - 86400) for each in events
    ]
    paid = sandbox.events("invoice.paid")[0]["data"]["object"]
    assert paid["status_transitions"]["paid_at"] == pytest.approx(time.time() - 86400, abs=60)
    assert api.v1.subscriptions.retrieve(id).metadata.to_dict() == metadata
    today = {"created": {"gte": int(time.time()) - 3600}}
    assert api.v1.events.list(today).data == []
    api.v1.customers.create()
    assert len(api.v1.events.list(today).data) == 1


def test_a_payment_page_expires_within_a_day(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    sandbox.let_pass(23)
    assert api.v1.checkout.sessions.retrieve(session.id).status == "open"
    sandbox.let_pass(1)
    assert [event["type"] for event in sandbox.events()] == ["checkout.session.expired"]


def test_an_idempotency_key_is_forgotten_after_a_day(sandbox, api):
    def make() -> str:
        return api.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).id

    first = make()
    sandbox.let_pass(23)
    assert make() == first
    sandbox.let_pass(2)
    assert make() != first


def test_a_subscription_renews_when_its_month_is_over(sandbox, api):
    id, _ = subscribe(sandbox)
    sandbox.let_pass(27 * DAY)
    assert counts(sandbox)["invoice"] == 1
    sandbox.let_pass(5 * DAY)
    assert counts(sandbox)["invoice"] == 2
    start, end = period(api, id)
    assert start <= time.time() < end
    sandbox.let_pass(62 * DAY)
    assert counts(sandbox)["invoice"] == 4


def test_a_cancelled_subscription_ends_when_its_month_is_over(sandbox, api):
    id, _ = subscribe(sandbox)
    api.v1.subscriptions.update(id, {"cancel_at_period_end": True})
    sandbox.let_pass(32 * DAY)
    found = api.v1.subscriptions.retrieve(id)
    assert (found.status, found.ended_at) == ("canceled", found["items"].data[0].current_period_end)
    assert counts(sandbox)["invoice"] == 1


def test_an_end_within_the_month_comes_when_it_is_time(sandbox, api):
    id, _ = subscribe(sandbox)
    api.v1.subscriptions.update(id, {"cancel_at": int(time.time()) + 36 * 3600})
    sandbox.let_pass(DAY)
    assert api.v1.subscriptions.retrieve(id).status == "active"
    sandbox.let_pass(DAY)
    assert api.v1.subscriptions.retrieve(id).status == "canceled"


def test_what_is_owed_is_tried_after_three_five_and_seven_days(sandbox, api):
    id, _ = subscribe(sandbox)
    sandbox.fail_renewals(id)
    sandbox.advance(id)
    tries = []
    for _ in range(16):
        sandbox.let_pass(DAY)
        tries.append(api.v1.invoices.list().data[0].attempt_count)
    assert tries == [1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4]
    assert api.v1.subscriptions.retrieve(id).status == "canceled"


def test_a_mended_card_is_charged_at_the_next_try(sandbox, api):
    id, _ = subscribe(sandbox)
    sandbox.fail_renewals(id)
    sandbox.advance(id)
    sandbox.fix_card(id)
    sandbox.let_pass(3 * DAY)
    assert api.v1.subscriptions.retrieve(id).status == "active"
    assert api.v1.invoices.list().data[0].status == "paid"


def test_a_webhook_that_failed_is_tried_again(sandbox, api, receiver):
    receiver.answers = [500] * 2
    sandbox.deliver_to(receiver.url, receiver.secret)
    api.v1.customers.create()
    receiver.wait_for(2)  # the third try is five seconds away
    until(lambda: len(in_state(sandbox, "SELECT 1 FROM delivery WHERE attempts = 2")) == 1)
    sandbox.let_pass(1)
    until(lambda: len(receiver.got) == 3, seconds=3)


@pytest.mark.parametrize("hours", [0, -1, 24 * 366 + 1, "soon"])
def test_no_time_is_no_time(sandbox, api, hours):
    made = api.v1.customers.create()
    with pytest.raises(AssertionError):
        sandbox.let_pass(hours)
    assert api.v1.customers.retrieve(made.id).created == made.created


def test_time_that_breaks_off_has_not_passed(sandbox, api):
    id, _ = subscribe(sandbox)
    before = period(api, id)
    # A subscription whose last invoice is lost can't be caught up with.
    in_state(
        sandbox,
        "UPDATE object SET body = json_set(body, '$.latest_invoice', 'in_x') WHERE id = ?",
        id,
    )
    with pytest.raises(AssertionError):
        sandbox.let_pass(1)
    assert period(api, id) == before
