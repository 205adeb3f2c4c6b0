"""Disputes: opened and settled by the controls, seen over the API."""

import pytest
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, order, subscribe


@pytest.fixture
def session(sandbox, api):
    """A one-time payment of five dollars."""
    made = api.v1.checkout.sessions.create(order())
    return sandbox.pay(made.id)


@pytest.fixture
def charge(sandbox, session):
    return sandbox.objects("charge")[0]


@pytest.fixture
def told(sandbox, charge):
    """The events since the payment."""
    so_far = len(sandbox.events())

    def run() -> list[tuple[str, str, int]]:
        return [
            (
                event["type"].removeprefix("charge.dispute."),
                event["data"]["object"]["status"],
                len(event["data"]["object"]["balance_transactions"]),
            )
            for event in sandbox.events()[so_far:]
        ]

    return run


OPENED = [("created", "needs_response", 0), ("funds_withdrawn", "needs_response", 1)]


def test_a_dispute_takes_the_money_at_once(sandbox, api, charge, told):
    made = sandbox.dispute(charge["id"])
    dispute = api.v1.disputes.retrieve(made["id"])
    assert dispute.to_dict() == made
    assert (dispute.amount, dispute.status, dispute.reason) == (
        500, "needs_response", "fraudulent",
    )  # fmt: skip
    assert (dispute.charge, dispute.payment_intent) == (charge["id"], charge["payment_intent"])
    assert dispute.is_charge_refundable is False
    (moved,) = dispute.balance_transactions
    assert (moved.amount, moved.fee, moved.net) == (-500, 1500, -2000)
    assert (moved.reporting_category, moved.source) == ("dispute", dispute.id)
    found = api.v1.charges.retrieve(charge["id"])
    assert (found.disputed, found.paid, found.amount_refunded) == (True, True, 0)
    assert told() == OPENED


def test_a_won_dispute_brings_the_money_back(sandbox, api, charge, told):
    dispute = sandbox.dispute(charge["id"], reason="product_not_received")
    won = sandbox.win_dispute(dispute["id"])
    assert (won["status"], won["reason"]) == ("won", "product_not_received")
    assert [moved["amount"] for moved in won["balance_transactions"]] == [-500, 500]
    assert won["evidence_details"]["submission_count"] == 1
    assert told() == [
        *OPENED,
        ("updated", "under_review", 1),
        ("closed", "won", 1),
        ("funds_reinstated", "won", 2),
    ]
    assert api.v1.charges.retrieve(charge["id"]).disputed is True


def test_a_lost_dispute_keeps_the_money(sandbox, api, charge, told):
    dispute = sandbox.dispute(charge["id"])
    sandbox.submit_evidence(dispute["id"])
    assert sandbox.lose_dispute(dispute["id"])["status"] == "lost"
    assert told() == [*OPENED, ("updated", "under_review", 1), ("closed", "lost", 1)]
    (event,) = sandbox.events("charge.dispute.closed")
    assert event["data"]["previous_attributes"] == {"status": "under_review"}


def test_a_dispute_is_withdrawn(sandbox, charge, told):
    dispute = sandbox.dispute(charge["id"])
    assert sandbox.withdraw_dispute(dispute["id"])["status"] == "won"
    assert told() == [*OPENED, ("closed", "won", 1), ("funds_reinstated", "won", 2)]


def test_the_shop_gives_in_over_the_api(sandbox, api, charge, told):
    dispute = sandbox.dispute(charge["id"])
    assert api.v1.disputes.close(dispute["id"]).status == "lost"
    assert told() == [*OPENED, ("closed", "lost", 1)]


@pytest.mark.parametrize(
    ("settle", "events"),
    [
        ("win_dispute", [("updated", "warning_under_review", 0), ("closed", "warning_closed", 0)]),
        ("withdraw_dispute", [("closed", "warning_closed", 0)]),
    ],
)
def test_an_inquiry_moves_no_money(sandbox, charge, told, settle, events):
    dispute = sandbox.dispute(charge["id"], status="warning_needs_response")
    assert dispute["is_charge_refundable"] is True
    assert dispute["payment_method_details"]["card"]["case_type"] == "inquiry"
    assert getattr(sandbox, settle)(dispute["id"])["status"] == "warning_closed"
    assert told() == [("created", "warning_needs_response", 0), *events]


def test_an_escalated_inquiry_takes_the_money(sandbox, charge, told):
    dispute = sandbox.dispute(charge["id"], status="warning_needs_response")
    with pytest.raises(AssertionError, match="An inquiry has no loser"):
        sandbox.lose_dispute(dispute["id"])
    sandbox.escalate_dispute(dispute["id"])
    assert sandbox.lose_dispute(dispute["id"])["status"] == "lost"
    assert told() == [
        ("created", "warning_needs_response", 0),
        ("updated", "needs_response", 0),
        ("funds_withdrawn", "needs_response", 1),
        ("closed", "lost", 1),
    ]


@pytest.mark.parametrize("settle", ["win_dispute", "lose_dispute", "withdraw_dispute"])
def test_a_settled_dispute_stays_settled(sandbox, charge, settle):
    dispute = sandbox.dispute(charge["id"])
    sandbox.lose_dispute(dispute["id"])
    before = counts(sandbox)
    with pytest.raises(AssertionError, match="The dispute is lost"):
        getattr(sandbox, settle)(dispute["id"])
    assert counts(sandbox) == before


def test_a_part_can_be_disputed(sandbox, charge):
    dispute = sandbox.dispute(charge["id"], 200)
    assert (dispute["amount"], dispute["balance_transactions"][0]["amount"]) == (200, -200)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"amount": 501}, "No more than the charge"),
        ({"amount": 0}, "No more than the charge"),
        ({"status": "won"}, "A dispute begins as"),
        ({"reason": "whim"}, "The reasons are"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_dispute_is_refused(sandbox, api, charge, fields, words):
    before = counts(sandbox)
    with pytest.raises(AssertionError, match=words):
        sandbox.dispute(charge["id"], **fields)
    assert counts(sandbox) == before
    assert api.v1.charges.retrieve(charge["id"]).disputed is False


def test_a_payment_is_disputed_once_unless_the_shop_has_won(sandbox, charge):
    dispute = sandbox.dispute(charge["id"])
    with pytest.raises(AssertionError, match="is disputed already"):
        sandbox.dispute(charge["id"])
    sandbox.win_dispute(dispute["id"])
    again = sandbox.dispute(charge["id"])
    sandbox.lose_dispute(again["id"])
    with pytest.raises(AssertionError, match="is disputed already"):
        sandbox.dispute(charge["id"])
    assert counts(sandbox)["dispute"] == 2


def test_what_a_bank_has_taken_cannot_be_refunded(sandbox, api, charge):
    dispute = sandbox.dispute(charge["id"])
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.refunds.create({"charge": charge["id"]})
    assert error_of(raised.value)[2] == "charge_disputed"
    assert "refund" not in counts(sandbox)
    sandbox.win_dispute(dispute["id"])
    assert api.v1.refunds.create({"charge": charge["id"]}).amount == 500


def test_an_inquiry_leaves_the_refund_to_the_shop(sandbox, api, charge):
    sandbox.dispute(charge["id"], status="warning_needs_response")
    assert api.v1.refunds.create({"charge": charge["id"], "amount": 100}).status == "succeeded"


def test_disputes_are_listed_by_charge_and_intent(sandbox, api, charge):
    mine = sandbox.dispute(charge["id"])["id"]
    subscribe(sandbox)
    (invoice,) = api.v1.invoices.list().data
    other = sandbox.dispute(invoice.id)["id"]

    def listed(**filters) -> list[str]:
        return [dispute.id for dispute in api.v1.disputes.list(filters).data]

    assert listed() == [other, mine]
    assert listed(charge=charge["id"]) == [mine]
    assert listed(payment_intent=charge["payment_intent"]) == [mine]
    assert listed(charge="ch_x") == []
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.disputes.retrieve("du_x")
    assert error_of(raised.value) == (404, "invalid_request_error", "resource_missing", "id")
