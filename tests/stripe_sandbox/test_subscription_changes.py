"""Changes of a subscription over the API: its price, its end, its metadata."""

import time

import pytest
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, subscribe


def price(amount: int = 700, product: str = "credits_750", **fields) -> dict:
    recurring = {"interval": "month"}
    return {
        "currency": "usd", "product": product, "unit_amount": amount, "recurring": recurring,
    } | fields  # fmt: skip


@pytest.fixture
def plan(sandbox, api):
    """A subscription of 500 cents, its item's id, and a product to change to."""
    id, _ = subscribe(sandbox, subscription_data={"metadata": {"credits": "500"}})
    api.v1.products.create(
        {"id": "credits_750", "name": "750 credits", "metadata": {"credits": "750"}}
    )
    return id, api.v1.subscriptions.retrieve(id)["items"].data[0].id


def test_a_new_price_is_sold_from_the_next_renewal(sandbox, api, plan):
    id, item = plan
    before = api.v1.subscriptions.retrieve(id)
    so_far = len(sandbox.events())
    changed = api.v1.subscriptions.update(
        id,
        {
            "items": [{"id": item, "price_data": price()}],
            "proration_behavior": "none",
            "metadata": {"credits": "750"},
        },
    )
    now, then = changed["items"].data[0], before["items"].data[0]
    assert (now.id, now.price.unit_amount, now.price.product) == (item, 700, "credits_750")
    assert (now.current_period_end, now.quantity) == (then.current_period_end, 1)
    assert (changed.status, changed.latest_invoice) == ("active", before.latest_invoice)
    assert changed.metadata.to_dict() == {"credits": "750"}
    (event,) = sandbox.events()[so_far:]
    assert event["type"] == "customer.subscription.updated"
    assert event["data"]["object"] == sandbox.objects("subscription")[0]
    previous = event["data"]["previous_attributes"]
    assert previous.keys() == {"items", "metadata"}
    assert previous["metadata"] == {"credits": "500"}
    (was,) = previous["items"]["data"]
    assert (was["id"], was["price"]["unit_amount"]) == (item, 500)
    assert counts(sandbox)["invoice"] == 1

    sandbox.advance(id)
    newest, oldest = api.v1.invoices.list({"subscription": id}).data
    assert (oldest.total, newest.total, newest.amount_paid) == (500, 700, 700)
    line = newest.lines.data[0]
    assert line.pricing.price_details.product == "credits_750"
    assert line.description == "750 credits"
    snapshots = [each.parent.subscription_details.metadata.to_dict() for each in (oldest, newest)]
    assert snapshots == [{"credits": "500"}, {"credits": "750"}]
    assert sandbox.objects("charge")[0]["amount"] == 700


def test_the_last_change_before_the_renewal_counts(sandbox, api, plan):
    id, item = plan
    for amount in (700, 900, 800):
        wanted = [{"id": item, "price_data": price(amount)}]
        api.v1.subscriptions.update(id, {"items": wanted, "proration_behavior": "none"})
    sandbox.advance(id)
    assert [each.total for each in api.v1.invoices.list({"subscription": id}).data] == [800, 500]


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"proration_behavior": "create_prorations"}, 501, None, None),
        ({"proration_behavior": "always_invoice"}, 501, None, None),
        ({"proration_behavior": "sometimes"}, 400, None, "proration_behavior"),
        ({"items": [{"price_data": price()}]}, 501, None, None),
        ({"items": [{"id": "si_x", "quantity": 2}]}, 400, "resource_missing", "items[0][id]"),
        ({"product": "credits_x"}, 400, "resource_missing", "items[0][price_data][product]"),
        ({"currency": "eur"}, 400, None, "items[0][price_data][currency]"),
        ({"unit_amount": -1}, 400, None, "items[0][price_data][unit_amount]"),
        ({"recurring": {"interval": "year"}}, 501, None, None),
        ({"recurring": {"interval": "month", "interval_count": 2}}, 501, None, None),
        ({"quantity": 0}, 400, None, "items[0][quantity]"),
        ({"discounts": ""}, 501, None, None),
        ({"cancel_at": 1000}, 400, None, "cancel_at"),
        ({"cancel_at": "tomorrow"}, 400, "parameter_invalid_integer", "cancel_at"),
        ({"cancel_at": "max_billed_until"}, 501, None, None),
        ({"cancel_at": "", "cancel_at_period_end": True}, 400, None, None),
    ],
)  # fmt: skip
def test_a_bad_change_is_refused(sandbox, api, plan, change, status, code, param):
    id, item = plan
    before, found = counts(sandbox), api.v1.subscriptions.retrieve(id)
    wanted = {"id": item, "price_data": price()}
    for name in change.keys() & {"product", "currency", "unit_amount", "recurring"}:
        wanted["price_data"] |= {name: change[name]}
    for name in change.keys() & {"quantity", "discounts"}:
        wanted |= {name: change[name]}
    params = {"items": [wanted], "proration_behavior": "none"}
    params |= {name: value for name, value in change.items() if name not in {*wanted, *price()}}
    with pytest.raises(stripe.StripeError) as raised:
        api.v1.subscriptions.update(id, params)
    answered, _, *why = error_of(raised.value)
    assert (answered, *why) == (status, code, param)
    assert counts(sandbox) == before
    assert api.v1.subscriptions.retrieve(id).to_dict() == found.to_dict()


def test_prorations_are_what_stripe_makes_of_silence(sandbox, api, plan):
    id, item = plan
    with pytest.raises(stripe.APIError, match="create_prorations") as raised:
        api.v1.subscriptions.update(id, {"items": [{"id": item, "price_data": price()}]})
    assert raised.value.http_status == 501
    assert api.v1.subscriptions.retrieve(id)["items"].data[0].price.unit_amount == 500


def test_a_lost_reply_to_a_change_is_made_good_by_the_same_key(sandbox, api, plan):
    id, item = plan
    wanted = {"items": [{"id": item, "price_data": price()}], "proration_behavior": "none"}
    sandbox.add_fault(path="/v1/subscriptions", kind="lose_reply")
    with pytest.raises(stripe.APIConnectionError):
        api.v1.subscriptions.update(id, wanted, {"idempotency_key": "k"})
    again = api.v1.subscriptions.update(id, wanted, {"idempotency_key": "k"})
    assert again["items"].data[0].price.unit_amount == 700
    assert len(sandbox.events("customer.subscription.updated")) == 1
    assert counts(sandbox)["price"] == 2


def test_an_end_is_set_and_cleared(sandbox, api, plan):
    id, _ = plan
    end = api.v1.subscriptions.retrieve(id)["items"].data[0].current_period_end
    changed = api.v1.subscriptions.update(id, {"cancel_at": "min_period_end"})
    assert (changed.cancel_at, changed.cancel_at_period_end) == (end, False)
    assert changed.cancellation_details.reason == "cancellation_requested"
    cleared = api.v1.subscriptions.update(id, {"cancel_at": ""})
    assert (cleared.cancel_at, cleared.canceled_at) == (None, None)
    first, second = sandbox.events("customer.subscription.updated")
    assert first["data"]["previous_attributes"]["cancel_at"] is None
    assert second["data"]["previous_attributes"]["cancel_at"] == end
    assert sandbox.advance(id)["status"] == "active"


def test_an_end_within_the_month_comes_before_the_renewal(sandbox, api, plan):
    id, _ = plan
    soon = int(time.time()) + 3600
    api.v1.subscriptions.update(id, {"cancel_at": soon, "proration_behavior": "none"})
    ended = sandbox.advance(id)
    assert (ended["status"], ended["ended_at"]) == ("canceled", soon)
    assert counts(sandbox)["invoice"] == 1


def test_an_end_after_the_renewal_waits(sandbox, api, plan):
    id, _ = plan
    end = api.v1.subscriptions.retrieve(id)["items"].data[0].current_period_end
    api.v1.subscriptions.update(id, {"cancel_at": end + 3600})
    assert sandbox.advance(id)["status"] == "active"
    assert sandbox.advance(id)["status"] == "canceled"
    assert counts(sandbox)["invoice"] == 2
