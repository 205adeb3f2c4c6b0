"""The control page, by form posts, and the control API's own refusals."""

import html
import re

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import counts, order, subscribe, until


@pytest.fixture
def look(sandbox):
    """The page's words, without its markup."""

    def run() -> str:
        page = requests.get(f"{sandbox.base_url}/sandbox", timeout=20)
        assert page.status_code == 200
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))

    return run


@pytest.fixture
def press(sandbox, look):
    """Press a button; answers what the page says then."""

    def run(wish: str, **fields) -> str:
        answer = requests.post(
            f"{sandbox.base_url}/sandbox",
            {"wish": wish, **fields},
            timeout=20,
            allow_redirects=False,
        )
        assert (answer.status_code, answer.headers["Location"]) == (303, "/sandbox")
        return look()

    return run


def test_the_first_address_leads_to_the_page(sandbox):
    answer = requests.get(sandbox.base_url, timeout=20)
    assert (answer.status_code, answer.url) == (200, f"{sandbox.base_url}/sandbox")


def test_the_page_tells_how_things_are(sandbox, api, look):
    words = look()
    assert "Events go out as they happen" in words
    assert "None wait." in words
    assert "They go to nowhere yet" in words
    session = api.v1.checkout.sessions.create(order(amount=123_456))
    words = look()
    assert f"{session.id} $1,234.56, payment, open" in words
    assert "POST /v1/checkout/sessions 200" in words
    assert "None wait." in words


def test_the_page_tells_which_cards_do_what(look):
    words = look()
    for line in (
        "4242 4242 4242 4242 It is paid.",
        "4000 0000 0000 0002 Your card was declined.",
        "4000 0000 0000 9995 Your card has insufficient funds.",
    ):
        assert line in words


@pytest.mark.parametrize(
    ("wish", "fields", "words"),
    [
        ("normal", {}, "Events go out as they happen, several at once, as Stripe sends them."),
        ("ordered", {}, "Events go out one at a time, in the order in which they happened."),
        (
            "shuffled",
            {},
            "Events go out shuffled, one at a time, once a second has brought no new one.",
        ),
        ("delayed", {"seconds": "45"}, "Events go out 45 seconds late."),
        ("delayed", {"seconds": "1"}, "Events go out 1 second late."),
        ("paused", {}, "Events wait: nothing goes out."),
    ],
)
def test_deliveries_are_chosen_and_told_in_words(look, press, wish, fields, words):
    page = press(wish, **fields)
    assert page.count(words) == 2  # what was done, and how it is now
    assert look().count(words) == 1


def test_resuming_sends_what_waits(sandbox, api, receiver, press):
    sandbox.deliver_to(receiver.url, receiver.secret)
    press("paused")
    api.v1.customers.create()
    assert "1 waits." in press("paused")
    press("normal")
    receiver.wait_for(1)
    until(lambda: sandbox.events()[0]["delivery"]["due"] is None)
    assert "None wait." in press("normal")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("/v1/customers", "Customers"),
        ("/v1/checkout/sessions", "Checkout Sessions"),
        ("/v1/billing_portal/sessions", "Portal sessions"),
    ],
)
def test_faults_are_ordered_for_every_kind_of_call(sandbox, press, call, name):
    told = f"{name} (POST) will answer 500, 3 times."
    assert f"Ordered: {told}" in press("fault", call=call, trouble="500", times="3")
    (fault,) = sandbox.faults()
    assert (fault["path"], fault["kind"], fault["status"], fault["times"]) == (
        call, "error", 500, 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("hang", "hang for 30 seconds"),
        ("slow", "take 3 seconds"),
        ("500", "answer 500"),
        ("429", "answer 429"),
        ("lose_reply", "do the work and lose the reply"),
        ("reset", "hang up at once"),
    ],
)
def test_every_fault_can_be_ordered_and_cleared(sandbox, press, trouble, words):
    page = press("fault", call="/v1/customers", trouble=trouble, times="1")
    assert page.count(f"Customers (POST) will {words}, once.") == 2
    assert len(sandbox.faults()) == 1
    page = press("clear")
    assert "All faults are cleared." in page
    assert f"Customers (POST) will {words}" not in page
    assert sandbox.faults() == []


def test_an_ordered_fault_happens(api, press):
    press("fault", call="/v1/customers", trouble="429", times="1")
    with pytest.raises(stripe.RateLimitError):
        api.v1.customers.create()
    api.v1.customers.create()


def test_a_month_on_renews_or_ends(sandbox, api, press):
    id, _ = subscribe(sandbox)
    assert f"A month has gone by: {id} has renewed." in press("advance", id=id)
    assert len(api.v1.invoices.list({"subscription": id}).data) == 2
    api.v1.subscriptions.update(id, {"cancel_at_period_end": True})
    page = press("advance", id=id)
    assert f"A month has gone by: {id} has ended." in page
    assert f"{id} canceled" in page
    assert len(api.v1.invoices.list({"subscription": id}).data) == 2


def test_a_payment_page_is_expired(sandbox, api, press):
    session = api.v1.checkout.sessions.create(order())
    assert f"The payment page {session.id} has expired." in press("expire", id=session.id)
    assert api.v1.checkout.sessions.retrieve(session.id).status == "expired"


def test_payments_are_refunded_in_part_or_whole(sandbox, api, press):
    session = api.v1.checkout.sessions.create(order())
    charge = sandbox.pay(session.id) and sandbox.objects("charge")[0]["id"]
    page = press("refund", id=charge, amount="1.20")
    assert f"$1.20 of {charge} were refunded." in page
    assert f"{charge} $5.00, succeeded, $1.20 refunded" in page
    assert f"$3.80 of {charge} were refunded." in press("refund", id=charge, amount="")
    newest = sandbox.objects("refund")[0]["id"]
    page = press("fail refund", id=newest)
    assert f"The refund of $3.80 failed: {charge} is paid again." in page
    assert f"{charge} $5.00, succeeded, $1.20 refunded" in page
    assert api.v1.charges.retrieve(charge).amount_refunded == 120


def test_payments_are_disputed_and_disputes_settled(sandbox, api, press):
    for status, presses in (
        ("needs_response", [("win", "won")]),
        ("needs_response", [("lose", "lost")]),
        ("needs_response", [("submit", "under_review"), ("withdraw", "won")]),
        ("warning_needs_response", [("escalate", "needs_response"), ("lose", "lost")]),
        ("warning_needs_response", [("win", "warning_closed")]),
    ):
        session = api.v1.checkout.sessions.create(order())
        charge = sandbox.pay(session.id) and sandbox.objects("charge")[0]["id"]
        page = press("dispute", id=charge, status=status)
        dispute = sandbox.objects("dispute")[0]["id"]
        assert f"{charge} is disputed: {dispute}, {status}." in page
        for wish, result in presses:
            page = press(wish, id=dispute)
            assert f"The dispute {dispute} is {result} now." in page
            assert f"Dispute of $5.00, {result}" in page
        assert api.v1.disputes.retrieve(dispute).status == presses[-1][1]


@pytest.mark.parametrize("amount", ["two", "1.2", "-1", "0.001", "1e3", "٣"])
def test_an_amount_is_in_dollars_and_cents(sandbox, api, press, amount):
    session = api.v1.checkout.sessions.create(order())
    charge = sandbox.pay(session.id) and sandbox.objects("charge")[0]["id"]
    page = press("refund", id=charge, amount=amount)
    assert "Nothing was changed. Give the amount in dollars, such as 2.50" in page
    assert "refund" not in counts(sandbox)


def test_an_event_is_delivered_again(sandbox, api, receiver, press):
    sandbox.deliver_to(receiver.url, receiver.secret)
    api.v1.customers.create()
    until(lambda: sandbox.events() and sandbox.events()[0]["delivery"]["due"] is None)
    (event,) = sandbox.events()
    receiver.answers = [500]
    page = press("deliver", id=event["id"])
    assert f"{event['id']} was delivered again: 500." in page
    assert "customer.created Answers: 200, 500." in page
    assert receiver.ids == [event["id"]] * 2


@pytest.mark.parametrize(
    ("wish", "fields", "words"),
    [
        ("nonsense", {}, "The modes are"),
        ("", {}, "The modes are"),
        ("delayed", {"seconds": "soon"}, "Give seconds as a whole number from 1 to 86400."),
        ("delayed", {"seconds": "0"}, "Give seconds as a whole number from 1 to 86400."),
        ("delayed", {"seconds": "٣"}, "Give seconds as a whole number from 1 to 86400."),
        ("delayed", {}, "Give seconds as a whole number from 1 to 86400."),
        ("fault", {}, "Choose a call and what is to happen to it."),
        (
            "fault",
            {"call": "/v1/customers", "trouble": "500", "times": "100"},
            "Give times as a whole number from 1 to 99.",
        ),
        (
            "fault",
            {"call": "/v1", "trouble": "500", "times": "1"},
            "Choose a call and what is to happen to it.",
        ),
        ("advance", {"id": "sub_x"}, "No such subscription: 'sub_x'"),
        ("refund", {"id": "ch_x"}, "No such charge: 'ch_x'"),
        ("fail refund", {"id": "re_x"}, "No such refund: 're_x'"),
        ("dispute", {"id": "ch_x"}, "There is no charge ch_x."),
        ("win", {"id": "du_x"}, "No such dispute: 'du_x'"),
        ("expire", {"id": "cs_x"}, "No such checkout.session: 'cs_x'"),
        ("deliver", {"id": "evt_x"}, "There is no event evt_x."),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(sandbox, press, wish, fields, words):
    before = counts(sandbox)
    page = press(wish, **fields)
    assert f"Nothing was changed. {words}" in page
    assert "Events go out as they happen" in page
    assert sandbox.faults() == []
    assert counts(sandbox) == before


def test_an_ended_subscription_cannot_go_on(sandbox, api, press):
    id, _ = subscribe(sandbox)
    api.v1.subscriptions.cancel(id)
    before = counts(sandbox)
    assert "Nothing was changed. The subscription is canceled." in press("advance", id=id)
    assert counts(sandbox) == before


def test_another_site_cannot_press_a_button(sandbox, look):
    answer = requests.post(
        f"{sandbox.base_url}/sandbox",
        {"wish": "paused"},
        headers={"Origin": "https://elsewhere.example"},
        timeout=20,
    )
    assert answer.status_code == 403
    assert "Events go out as they happen" in look()


def test_the_control_api_takes_json_from_this_machine_only(sandbox):
    url = f"{sandbox.base_url}/sandbox/api/deliveries"
    body = '{"mode": "paused"}'
    for headers, status in (
        ({"Content-Type": "text/plain"}, 400),
        ({"Content-Type": "application/json", "Origin": "https://elsewhere.example"}, 403),
        ({"Content-Type": "application/json", "Host": "elsewhere.example"}, 400),
    ):
        assert requests.post(url, body, headers=headers, timeout=20).status_code == status
    answer = requests.post(f"{sandbox.base_url}/sandbox/api/nonsense", json={}, timeout=20)
    assert answer.status_code == 404
    assert answer.json() == {"error": "There is no control POST nonsense."}


def test_the_control_api_pays_with_a_card(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    with pytest.raises(AssertionError, match="Your card was declined"):
        sandbox.pay(session.id, card="4000000000000002")
    assert "charge" not in counts(sandbox)
    assert sandbox.pay(session.id)["payment_status"] == "paid"


def test_renewals_fail_and_are_mended_by_buttons(sandbox, api, look, press):
    id, _ = subscribe(sandbox)
    assert f"{id} active " in look()
    assert f"The card of {id} is declined from now on." in press("card", id=id, card="declining")
    assert "active, its card declines" in look()
    assert f"A month has gone by: {id} is past due." in press("advance", id=id)
    words = press("retry", id=id)
    assert f"Stripe has tried again: {id} is past due." in words
    assert "Pay the open invoice" in words
    assert f"The card of {id} can be paid." in press("card", id=id, card="good")
    words = press("retry", id=id)
    assert f"Stripe has tried again: {id} has renewed." in words
    assert "Pay the open invoice" not in words
    assert api.v1.subscriptions.retrieve(id).status == "active"


@pytest.mark.parametrize("outcome", ["canceled", "unpaid"])
def test_a_renewal_is_given_up_by_a_button(sandbox, api, look, press, outcome):
    id, _ = subscribe(sandbox)
    press("card", id=id, card="declining")
    press("advance", id=id)
    words = press("give up", id=id, outcome=outcome)
    assert f"The last try has failed: {id} is {outcome}." in words
    assert api.v1.subscriptions.retrieve(id).status == outcome
    assert "Try again now" not in words


@pytest.mark.parametrize(
    ("wish", "fields"),
    [("retry", {}), ("give up", {"outcome": "canceled"}), ("give up", {"outcome": "active"})],
)
def test_a_button_that_does_not_fit_changes_nothing(sandbox, press, wish, fields):
    id, _ = subscribe(sandbox)
    before = counts(sandbox)
    assert "Nothing was changed." in press(wish, id=id, **fields)
    assert "Nothing was changed. No such subscription" in press("card", id="sub_x", card="good")
    assert counts(sandbox) == before


@pytest.mark.parametrize("call", ["/v1/refunds", "/v1/products", "/v1/subscriptions"])
def test_faults_are_ordered_for_what_changes_as_well(sandbox, press, call):
    assert "will do the work and lose the reply, once." in press(
        "fault", call=call, trouble="lose_reply", times="1"
    )
    assert sandbox.faults()[0]["path"] == call
