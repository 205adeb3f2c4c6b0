"""Refunds, over the API and by the controls."""

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, order, subscribe


@pytest.fixture
def charge(sandbox, api):
    """A one-time payment of five dollars."""
    session = api.v1.checkout.sessions.create(order())
    return charge_of(api, sandbox.pay(session.id)["payment_intent"])


def charge_of(api, intent: str) -> stripe.Charge:
    return api.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]}).latest_charge


def new_events(sandbox, so_far: int) -> list[str]:
    return [event["type"] for event in sandbox.events()[so_far:]]


def test_all_of_a_payment_is_refunded(sandbox, api, charge):
    so_far = len(sandbox.events())
    refund = api.v1.refunds.create(
        {"charge": charge.id, "reason": "requested_by_customer", "metadata": {"a": "b"}}
    )
    assert refund.id.startswith("re_")
    assert (refund.amount, refund.currency, refund.status) == (500, "usd", "succeeded")
    assert (refund.charge, refund.payment_intent) == (charge.id, charge.payment_intent)
    assert (refund.reason, refund.metadata.to_dict()) == ("requested_by_customer", {"a": "b"})
    assert refund.destination_details.card.reference_status == "available"
    assert api.v1.refunds.retrieve(refund.id).to_dict() == refund.to_dict()
    found = api.v1.charges.retrieve(charge.id)
    assert (found.amount, found.amount_refunded, found.refunded) == (500, 500, True)
    assert (found.paid, found.status) == (True, "succeeded")
    assert new_events(sandbox, so_far) == [
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "charge.refund.updated",
    ]
    (event,) = sandbox.events("charge.refunded")
    assert event["data"]["object"] == found.to_dict()
    assert event["data"]["previous_attributes"] == {"amount_refunded": 0, "refunded": False}
    (event,) = sandbox.events("refund.created")
    assert event["data"]["object"]["destination_details"]["card"]["reference_status"] == "pending"


def test_parts_add_up(sandbox, api, charge):
    for amount, refunded, is_all in ((200, 200, False), (200, 400, False), (100, 500, True)):
        api.v1.refunds.create({"payment_intent": charge.payment_intent, "amount": amount})
        found = api.v1.charges.retrieve(charge.id)
        assert (found.amount_refunded, found.refunded) == (refunded, is_all)
    told = [
        (event["data"]["object"]["amount_refunded"], event["data"]["previous_attributes"])
        for event in sandbox.events("charge.refunded")
    ]
    assert told == [
        (200, {"amount_refunded": 0}),
        (400, {"amount_refunded": 200}),
        (500, {"amount_refunded": 400, "refunded": False}),
    ]


def test_without_an_amount_what_is_left_is_refunded(api, charge):
    api.v1.refunds.create({"charge": charge.id, "amount": 120})
    assert api.v1.refunds.create({"charge": charge.id}).amount == 380


@pytest.mark.parametrize(
    ("fields", "code", "param", "words"),
    [
        ({"charge": "ch_x"}, "resource_missing", "charge", "No such charge: 'ch_x'"),
        (
            {"payment_intent": "pi_x"},
            "resource_missing",
            "payment_intent",
            "No such payment_intent: 'pi_x'",
        ),
        ({}, None, None, "One of the following params"),
        ({"charge": "ch_x", "payment_intent": "pi_x"}, None, None, "only specify one"),
        ({"charge": "own", "amount": 501}, None, "amount", "greater than charge amount"),
        ({"charge": "own", "amount": 0}, None, "amount", "greater than or equal to 1"),
        ({"charge": "own", "amount": -5}, None, "amount", "greater than or equal to 1"),
        ({"charge": "own", "reason": "whim"}, None, "reason", "must be one of"),
    ],
)
def test_a_bad_refund_is_refused(sandbox, api, charge, fields, code, param, words):
    before = counts(sandbox)
    if fields.get("charge") == "own":
        fields = fields | {"charge": charge.id}
    with pytest.raises(stripe.InvalidRequestError, match=words) as raised:
        api.v1.refunds.create(fields)
    assert error_of(raised.value) == (400, "invalid_request_error", code, param)
    assert counts(sandbox) == before
    assert api.v1.charges.retrieve(charge.id).amount_refunded == 0


def test_no_more_than_was_paid_is_refunded(sandbox, api, charge):
    api.v1.refunds.create({"charge": charge.id, "amount": 200})
    with pytest.raises(
        stripe.InvalidRequestError,
        match=r"Refund amount \(\$3.01\) is greater than unrefunded amount on charge \(\$3.00\)",
    ):
        api.v1.refunds.create({"charge": charge.id, "amount": 301})
    api.v1.refunds.create({"charge": charge.id, "amount": 300})
    before = counts(sandbox)
    for fields in ({"charge": charge.id}, {"charge": charge.id, "amount": 1}):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            api.v1.refunds.create(fields)
        refusal = (400, "invalid_request_error", "charge_already_refunded", None)
        assert error_of(raised.value) == refusal
    assert counts(sandbox) == before


def test_what_refunds_do_not_do_is_a_501(sandbox, api, charge):
    before = counts(sandbox)
    with pytest.raises(stripe.APIError) as raised:
        api.v1.refunds.create({"charge": charge.id, "reverse_transfer": True})
    assert raised.value.http_status == 501
    assert counts(sandbox) == before


def test_the_same_key_refunds_once(sandbox, api, charge):
    ask = {"charge": charge.id, "amount": 100}
    made = [api.v1.refunds.create(ask, {"idempotency_key": "k"}).id for _ in range(2)]
    assert made == [made[0]] * 2
    assert counts(sandbox)["refund"] == 1
    assert api.v1.charges.retrieve(charge.id).amount_refunded == 100


def test_two_at_once_never_refund_more_than_was_paid(sandbox, api, charge, at_once):
    def refund(index: int) -> bool:
        try:
            sandbox.refund(charge.id, 300)
        except AssertionError:
            return False
        return True

    assert sorted(at_once(4, refund)) == [False, False, False, True]
    assert api.v1.charges.retrieve(charge.id).amount_refunded == 300


def test_refunds_are_listed_by_charge_and_intent(sandbox, api, charge):
    made = [sandbox.refund(charge.id, 100)["id"] for _ in range(3)][::-1]
    other = api.v1.checkout.sessions.create(order())
    elsewhere = sandbox.refund(sandbox.pay(other.id)["id"])["id"]

    def listed(**filters) -> list[str]:
        return [refund.id for refund in api.v1.refunds.list(filters).data]

    assert listed() == [elsewhere, *made]
    assert listed(charge=charge.id) == made
    assert listed(payment_intent=charge.payment_intent) == made
    assert listed(charge=charge.id, limit=1) == made[:1]
    assert listed(charge="ch_x") == []
    expanded = api.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert [refund.id for refund in expanded.refunds.data] == made


def test_the_charge_of_an_invoice_is_refunded(sandbox, api):
    subscription, customer = subscribe(sandbox)
    sandbox.advance(subscription)
    newest, oldest = api.v1.invoices.list({"subscription": subscription}).data
    refund = sandbox.refund(newest.id, 200)
    found = api.v1.charges.retrieve(refund["charge"])
    assert (found.customer, found.amount_refunded) == (customer, 200)
    payments = api.v1.invoice_payments.list({"invoice": newest.id}).data
    assert payments[0].payment.payment_intent == refund["payment_intent"]
    assert sandbox.refund(oldest.id)["charge"] != refund["charge"]


def test_metadata_is_all_that_changes(sandbox, api, charge):
    refund = sandbox.refund(charge.id, metadata={"a": "1"})
    so_far = len(sandbox.events())
    changed = api.v1.refunds.update(refund["id"], {"metadata": {"b": "2"}})
    assert changed.metadata.to_dict() == {"a": "1", "b": "2"}
    assert new_events(sandbox, so_far) == ["refund.updated", "charge.refund.updated"]
    assert sandbox.events()[-1]["data"]["previous_attributes"] == {"metadata": {"a": "1"}}
    api.v1.refunds.update(refund["id"], {"metadata": {"b": "2"}})
    assert len(sandbox.events()) == so_far + 2


def test_a_refund_that_fails_leaves_the_charge_paid(sandbox, api, charge):
    kept = sandbox.refund(charge.id, 100)
    lost = sandbox.refund(charge.id)
    assert api.v1.charges.retrieve(charge.id).refunded is True
    so_far = len(sandbox.events())
    failed = sandbox.fail_refund(lost["id"])
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    found = api.v1.charges.retrieve(charge.id)
    assert (found.amount_refunded, found.refunded) == (100, False)
    assert new_events(sandbox, so_far) == [
        "refund.failed",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert sandbox.events()[-1]["data"]["object"] == failed
    assert sandbox.events()[-1]["data"]["previous_attributes"] == {
        "failure_reason": None, "status": "succeeded",
    }  # fmt: skip
    assert api.v1.refunds.retrieve(kept["id"]).status == "succeeded"
    assert api.v1.refunds.create({"charge": charge.id}).amount == 400


def test_a_refund_fails_once(sandbox, api, charge):
    refund = sandbox.refund(charge.id)
    sandbox.fail_refund(refund["id"])
    before = counts(sandbox)
    with pytest.raises(AssertionError, match="The refund is failed"):
        sandbox.fail_refund(refund["id"])
    assert counts(sandbox) == before
    assert api.v1.charges.retrieve(charge.id).amount_refunded == 0


def test_nothing_is_refunded_where_nothing_was_paid(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    for id in (session.id, "ch_x", "nonsense"):
        with pytest.raises(AssertionError, match=f"Nothing was paid by {id}"):
            sandbox.refund(id)
    assert counts(sandbox) == {"checkout.session": 1}


def test_the_receipt_tells_what_was_refunded(sandbox, charge):
    assert "refunded" not in requests.get(charge.receipt_url, timeout=20).text
    sandbox.refund(charge.id, 120)
    assert "$1.20 refunded" in requests.get(charge.receipt_url, timeout=20).text
