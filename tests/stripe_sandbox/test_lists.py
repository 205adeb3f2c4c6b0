"""Lists: their filters, their pages, and that a long one isn't read as a whole for each page."""

import json
import sqlite3
from contextlib import closing

import pytest
import stripe

from stripe_sandbox.store import field
from tests.stripe_sandbox.helpers import (
    client,
    counts,
    error_of,
    in_state,
    order,
    set_field,
    subscribe,
    until,
)


def ids(found) -> list[str]:
    return [each.id for each in found.data]


@pytest.fixture
def shop(sandbox, api):
    """Two customers' subscriptions with a renewal each, a refund, a dispute and an open page."""
    first, ada = subscribe(sandbox)
    second, bob = subscribe(sandbox)
    sandbox.advance(first)
    sandbox.advance(second)
    bought = sandbox.pay(api.v1.checkout.sessions.create(order(customer=ada)).id)
    is_open = api.v1.checkout.sessions.create(order(customer=ada))
    api.v1.refunds.create({"payment_intent": bought["payment_intent"], "amount": 100})
    sandbox.dispute(api.v1.invoices.list({"subscription": second}).data[0].id)
    return {
        "first": first, "second": second, "ada": ada, "bob": bob, "open": is_open.id,
        "bought": bought["id"], "intent": bought["payment_intent"],
    }  # fmt: skip


def test_sessions_are_found_by_what_they_are(api, shop):
    def found(**params) -> int:
        return len(api.v1.checkout.sessions.list(params).data)

    assert (found(), found(customer=shop["ada"]), found(status="open")) == (4, 3, 1)
    assert found(customer=shop["ada"], status="complete") == 2
    by_intent = api.v1.checkout.sessions.list({"payment_intent": shop["intent"]})
    assert ids(by_intent) == [shop["bought"]]
    (by_plan,) = api.v1.checkout.sessions.list({"subscription": shop["second"]}).data
    assert by_plan.customer == shop["bob"]
    assert found(subscription="sub_x") == found(payment_intent="pi_x") == 0


def test_invoices_are_found_by_what_they_are(api, shop):
    for params, count in (
        ({}, 4),
        ({"customer": shop["bob"]}, 2),
        ({"subscription": shop["first"]}, 2),
        ({"subscription": shop["first"], "customer": shop["bob"]}, 0),
        ({"status": "paid"}, 4),
        ({"status": "open"}, 0),
    ):
        assert len(api.v1.invoices.list(params).data) == count


def test_charges_refunds_and_disputes_are_found_by_what_they_are(api, shop):
    (charge,) = api.v1.charges.list({"payment_intent": shop["intent"]}).data
    assert len(api.v1.charges.list({"customer": shop["ada"]}).data) == 3
    (refund,) = api.v1.refunds.list({"charge": charge.id}).data
    assert ids(api.v1.refunds.list({"payment_intent": shop["intent"]})) == [refund.id]
    (dispute,) = api.v1.disputes.list().data
    assert ids(api.v1.disputes.list({"charge": dispute.charge})) == [dispute.id]
    assert api.v1.disputes.list({"charge": charge.id}).data == []
    assert api.v1.refunds.list({"charge": dispute.charge}).data == []


def test_subscriptions_are_found_by_what_they_are(api, shop):
    api.v1.subscriptions.cancel(shop["first"])
    for params, found in (
        ({}, ["second"]),
        ({"status": "all"}, ["second", "first"]),
        ({"status": "canceled"}, ["first"]),
        ({"status": "ended"}, ["first"]),
        ({"status": "active"}, ["second"]),
        ({"status": "past_due"}, []),
        ({"status": "all", "customer": shop["ada"]}, ["first"]),
        ({"customer": shop["ada"]}, []),
    ):
        assert ids(api.v1.subscriptions.list(params)) == [shop[name] for name in found]


def test_a_payment_shows_its_charge_and_a_charge_its_receipt(sandbox, api, shop):
    intent = api.v1.payment_intents.retrieve(shop["intent"], {"expand": ["latest_charge"]})
    charge = api.v1.charges.retrieve(intent.latest_charge.id)
    assert charge.receipt_url == f"{sandbox.base_url}/receipts/{charge.id}"
    (invoice, _) = api.v1.invoices.list({"subscription": shop["first"]}).data
    found = api.v1.invoices.retrieve(invoice.id)
    assert found.hosted_invoice_url == f"{sandbox.base_url}/i/{invoice.id}"


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ({"gte": 2000}, [3000, 2000]),
        ({"gt": 2000}, [3000]),
        ({"lte": 2000}, [2000, 1000]),
        ({"lt": 2000}, [1000]),
        ({"gte": 1500, "lt": 3000}, [2000]),
        (2000, [2000]),
        ({"gt": 3000}, []),
    ],
)
def test_every_list_is_cut_by_time(sandbox, api, window, found):
    for created in (1000, 2000, 3000):
        customer = api.v1.customers.create()
        set_field(sandbox, customer.id, "created", created)
        set_field(sandbox, sandbox.events()[-1]["id"], "created", created)
    for service in (api.v1.customers, api.v1.events):
        listed = service.list({"created": window})
        assert [each.created for each in listed.data] == found


def test_events_are_found_by_whether_they_arrived(sandbox, api, receiver):
    sandbox.deliver_to(receiver.url, receiver.secret)
    api.v1.customers.create({"name": "arrives"})
    receiver.wait_for(1)
    until(lambda: api.v1.events.list({"delivery_success": True}).data)
    sandbox.deliveries("paused")
    api.v1.customers.create({"name": "waits"})
    for has_arrived, name in ((True, "arrives"), (False, "waits")):
        (event,) = api.v1.events.list({"delivery_success": has_arrived}).data
        assert event.data.object.name == name
    assert len(api.v1.events.list().data) == 2


def test_more_than_twenty_types_are_refused(api):
    with pytest.raises(stripe.InvalidRequestError, match="up to 20 types"):
        api.v1.events.list({"types": [f"a.{number}" for number in range(21)]})


def test_pages_cover_a_filtered_list_exactly_once_in_both_directions(sandbox, api, shop):
    for _ in range(3):
        sandbox.advance(shop["second"])
    every = [each.id for each in api.v1.invoices.list({"subscription": shop["second"]}).data]
    assert len(every) == 5
    for limit in (1, 2, 3, 5, 100):
        params = {"subscription": shop["second"], "limit": limit}
        first = api.v1.invoices.list(params)
        assert [each.id for each in first.auto_paging_iter()] == every
        assert first.has_more is (limit < 5)
        back = api.v1.invoices.list(params | {"ending_before": every[-1]})
        assert [each.id for each in back.auto_paging_iter()] == every[-2::-1]


def test_a_list_goes_on_from_what_no_longer_fits(sandbox, api, shop):
    params = {"status": "open", "limit": 1}
    later = api.v1.checkout.sessions.create(order())
    assert ids(api.v1.checkout.sessions.list(params)) == [later.id]
    sandbox.pay(later.id)
    rest = api.v1.checkout.sessions.list(params | {"starting_after": later.id})
    assert ids(rest) == [shop["open"]]


@pytest.mark.parametrize("filter", ["colour", "due_date"])
def test_a_filter_that_is_not_there_is_refused(sandbox, api, shop, filter):
    before = counts(sandbox)
    with pytest.raises(stripe.StripeError) as raised:
        api.v1.invoices.list({filter: 1000})
    assert error_of(raised.value)[0] == {"colour": 400, "due_date": 501}[filter]
    assert counts(sandbox) == before


def test_a_page_of_a_long_list_is_read_by_index(own_sandbox):
    v1 = client(own_sandbox).v1
    v1.customers.create()
    many = [
        (f"re_{n}", json.dumps({"id": f"re_{n}", "object": "refund", "charge": f"ch_{n % 1000}"}))
        for n in range(20_000)
    ]
    statement = "INSERT INTO object (id, type, body) VALUES (?, 'refund', ?)"
    with closing(sqlite3.connect(own_sandbox.state, timeout=10)) as state, state:
        state.executemany(statement, many)
    first = v1.refunds.list({"charge": "ch_7", "limit": 100})
    assert ids(first) == [f"re_{n}" for n in range(19_007, 0, -1000)]
    for name in ("charge", "customer"):
        plan = in_state(
            own_sandbox,
            f"EXPLAIN QUERY PLAN SELECT body FROM object WHERE type = ? AND {field(name)} = ?"
            " AND n < ? ORDER BY n DESC LIMIT ?",
            "refund", "x", 9, 9,
        )  # fmt: skip
        assert [row[3] for row in plan] == [
            f"SEARCH object USING INDEX object_field_{['charge', 'customer'].index(name)}"
            " (type=? AND <expr>=? AND rowid<?)"
        ]
