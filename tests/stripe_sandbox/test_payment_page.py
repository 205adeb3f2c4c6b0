"""The payment page, as a browser without JavaScript sees it."""

import time

import pytest
import requests

from tests.stripe_sandbox.helpers import counts, order, set_field

FORM = {"number": "4242 4242 4242 4242", "expiry": "12 / 34", "cvc": "123", "name": "Ada"}


@pytest.fixture
def session(api):
    customer = api.v1.customers.create({"email": "ada@example.com"})
    return api.v1.checkout.sessions.create(
        order(
            amount=123_456,
            customer=customer.id,
            success_url="https://shop.example/done?session={CHECKOUT_SESSION_ID}",
            cancel_url="https://shop.example/back",
        )
    )


def submit(session, **fields) -> requests.Response:
    return requests.post(session.url, FORM | fields, timeout=20, allow_redirects=False)


def test_the_page_says_what_is_paid_and_that_it_is_no_real_money(session):
    page = requests.get(session.url, timeout=20)
    assert page.status_code == 200
    for words in (
        "Sandbox: no real money moves.", "$1,234.56", "500 credits", "Paying as ada@example.com",
        'href="https://shop.example/back"', "4242 4242 4242 4242",
    ):  # fmt: skip
        assert words in page.text
    assert "every month" not in page.text


def test_a_monthly_page_says_so(sandbox, api):
    session = api.v1.checkout.sessions.create(order("subscription"))
    page = requests.get(session.url, timeout=20).text
    assert "every month" in page
    assert "Subscribe</button>" in page


def test_paying_leads_back_to_the_shop(sandbox, api, session):
    answer = submit(session)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"https://shop.example/done?session={session.id}"
    found = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (found.status, found.payment_status) == ("complete", "paid")
    assert (found.payment_intent.amount, found.customer_details.name) == (123_456, "Ada")


def test_sending_the_form_twice_pays_once(sandbox, session):
    assert [submit(session).status_code for _ in range(2)] == [303, 303]
    assert counts(sandbox)["charge"] == 1
    page = requests.get(session.url.rstrip("/"), timeout=20)
    assert (page.status_code, "You have paid already" in page.text) == (200, True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"number": "4000 0000 0000 0002"}, "Your card was declined."),
        ({"number": "4000000000009995"}, "Your card has insufficient funds."),
        ({"number": "4000000000000069"}, "Your card has expired."),
        ({"number": "4000000000000127"}, "Your card&#x27;s security code is incorrect."),
        ({"number": "4242424242424241"}, "Your card number is invalid."),
        ({"number": ""}, "Your card number is invalid."),
        ({"expiry": "13/34"}, "Your card&#x27;s expiration date is incomplete"),
        ({"expiry": "12"}, "Your card&#x27;s expiration date is incomplete"),
        ({"expiry": "01/20"}, "Your card&#x27;s expiration date is in the past."),
        ({"cvc": "12"}, "Your card&#x27;s security code is incomplete."),
        ({"cvc": "١٢٣"}, "Your card&#x27;s security code is incomplete."),
    ],
)
def test_a_bad_card_is_told_and_nothing_is_charged(sandbox, api, session, fields, words):
    before = counts(sandbox)
    page = submit(session, **fields)
    assert page.status_code == 402
    assert words in page.text
    assert "Nothing was charged." in page.text
    assert counts(sandbox) == before
    assert api.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert submit(session).status_code == 303


def test_this_month_is_not_past_yet(session):
    assert submit(session, expiry=time.strftime("%m/%y", time.gmtime())).status_code == 303


def test_what_was_typed_is_not_lost_but_for_the_code(session):
    page = submit(session, number="4000 0000 0000 0002", name='<b>"Ada"').text
    assert 'value="4000 0000 0000 0002"' in page
    assert 'value="12 / 34"' in page
    assert "&lt;b&gt;&quot;Ada&quot;" in page
    assert 'value="123"' not in page


def test_somebody_unknown_is_asked_for_their_address(sandbox, api):
    session = api.v1.checkout.sessions.create(order())
    assert 'type="email"' in requests.get(session.url, timeout=20).text
    assert submit(session, email="nonsense").status_code == 402
    assert "charge" not in counts(sandbox)
    assert submit(session, email="ada@example.com").status_code == 303
    found = api.v1.checkout.sessions.retrieve(session.id)
    assert found.customer_details.email == "ada@example.com"


def test_an_expired_page_takes_no_payment(sandbox, api, session):
    set_field(sandbox, session.id, "expires_at", int(time.time()) - 1)
    for answer in (requests.get(session.url, timeout=20), submit(session)):
        assert answer.status_code == 410
        assert "This payment page has expired" in answer.text
        assert 'href="https://shop.example/back"' in answer.text
    assert "charge" not in counts(sandbox)


def test_there_is_no_page_for_what_does_not_exist(sandbox, session):
    for path in ("c/pay/cs_test_x", "p/session/bps_x", "i/in_x", "receipts/ch_x"):
        page = requests.get(f"{sandbox.base_url}/{path}", timeout=20)
        assert (page.status_code, "There is no such" in page.text) == (404, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_cannot_send_the_form(sandbox, api, session, headers):
    answer = requests.post(session.url, FORM, headers=headers, timeout=20)
    assert answer.status_code == 403
    assert "charge" not in counts(sandbox)
    assert api.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_another_name_for_this_machine_is_refused(session):
    answer = requests.get(session.url, headers={"Host": "elsewhere.example"}, timeout=20)
    assert answer.status_code == 400


def test_a_receipt_tells_amount_and_card(sandbox, session):
    submit(session)
    page = requests.get(sandbox.objects("charge")[0]["receipt_url"], timeout=20).text
    assert "$1,234.56" in page
    assert "visa ending 4242" in page


def test_pages_run_no_script_and_carry_no_style(sandbox, session):
    for address in (session.url, f"{sandbox.base_url}/sandbox"):
        answer = requests.get(address, timeout=20)
        assert answer.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; style-src 'self';"
        )
        assert answer.headers["Cache-Control"] == "no-store"
        for inline in ("<script", "<style", " style=", " onclick="):
            assert inline not in answer.text
