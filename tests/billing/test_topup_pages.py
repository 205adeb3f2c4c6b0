"""The page of automatic top-up: off by default, agreed to in words, one's own alone."""

from typing import Any

import pytest
from django.utils import timezone

from billing import stripe_api, topup, topup_charges
from billing.models import PriceTier, Purchase, TopUp, TopUpConsent
from credits import ledger
from tests.billing.test_topup_charges import PRICE, charges, row, save_card, taken, turn_on
from tests.shop import Shop

pytestmark = pytest.mark.django_db

PAGE = "/dashboard/top-up"
TERMS = {"threshold": "200", "credits": "500", "cap": "20"}
AGREED = TERMS | {"expected_total": str(PRICE), "agree": "on"}
SENTENCE = (
    "I agree that Dynamic Credits charges my saved card $4.75 for 500 credits whenever I have fewer"
    " than 200 credits to spend, and at most $20.00 in a calendar month. If the price rises,"
    " nothing is charged before I agree anew. I can turn this off at any time."
)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch) -> None:
    monkeypatch.setattr(stripe_api, "PAUSE", 0)


@pytest.fixture
def mine(shop) -> Shop:
    """Signed in, with a saved card."""
    save_card(shop)
    shop.client.force_login(shop.user)
    return shop


def read(client, address: str = PAGE) -> str:
    return " ".join(client.get(address).content.decode().split())


def press(client, button: str, fields: dict[str, Any] | None = None) -> Any:
    return client.post(f"{PAGE}/{button}", fields or {}, follow=True)


def test_it_is_off_by_default(client, user):
    client.force_login(user)
    page = read(client)
    assert "Add a card" in page
    assert "Turn it on" not in page
    assert not TopUp.objects.exists()


def test_what_is_agreed_to_is_what_was_read(mine):
    before = timezone.now()
    page = read(mine.client, f"{PAGE}?threshold=200&credits=500&cap=20")
    assert SENTENCE in page
    assert "required" in page.partition('name="agree"')[2][:20]
    answer = press(mine.client, "on", AGREED)
    assert b"Automatic top-up is on. Your card is charged within a minute" in answer.content
    consent = TopUpConsent.objects.get()
    assert (consent.text, consent.total, consent.cap) == (SENTENCE, PRICE, 2000)
    assert before <= consent.given_at <= timezone.now()
    assert (row(mine).status, row(mine).consent) == ("on", consent)
    topup_charges.run_due()
    page = read(mine.client)
    assert "Charged this month: $4.75 of $20.00" in page
    assert '<meter id="used" min="0" max="2000" value="475">' in page


REFUSED = [
    ({"agree": None}, "tick that you agree"),
    ({"expected_total": "474"}, "The price has changed"),
    ({"expected_total": ""}, "The price has changed"),
    ({"threshold": "501"}, "at most 500"),
    ({"threshold": "0"}, "a whole number of credits"),
    ({"credits": "9"}, "The smallest purchase is 10"),
    ({"credits": "1e3"}, "must be a whole number"),
    ({"cap": "4"}, "at least $4.75"),
    ({"cap": "-20"}, "whole dollars"),
    ({"cap": "100001"}, "whole dollars"),
    ({"cap": "20.5"}, "whole dollars"),
]


def test_what_is_refused_changes_nothing(mine):
    for change, words in REFUSED:
        fields = {name: value for name, value in (AGREED | change).items() if value is not None}
        answer = press(mine.client, "on", fields)
        assert answer.status_code in {400, 409}, change
        assert words in answer.content.decode(), change
    assert (row(mine).status, TopUpConsent.objects.count()) == ("off", 0)


def test_without_a_card_nothing_is_turned_on(shop):
    shop.client.force_login(shop.user)
    assert b"There is no card to charge" in press(shop.client, "on", AGREED).content
    assert not TopUp.objects.exists()


def test_off_at_once_and_the_card_removed(mine):
    turn_on(mine.user)
    assert b"is off: your card is not charged" in press(mine.client, "off").content
    assert row(mine).status == "off"
    turn_on(mine.user)
    method = row(mine).payment_method_id
    assert b"Your card is removed" in press(mine.client, "card/remove").content
    assert (row(mine).status, row(mine).payment_method_id) == ("off", "")
    topup.let_cards_go()
    (kept,) = mine.sandbox.objects("payment_method")
    assert (kept["id"], kept["customer"]) == (method, None)
    assert (topup_charges.run_due(), taken(mine.sandbox)) == (0, [])


def test_a_card_is_saved_at_stripe_and_is_here_on_the_way_back(shop):
    shop.client.force_login(shop.user)
    answer = shop.client.post(f"{PAGE}/card")
    assert answer.status_code == 303
    assert answer["Location"].startswith(shop.sandbox.base_url)
    session_id = answer["Location"].rpartition("/")[2]
    assert shop.client.get(f"{PAGE}/card/{session_id}").status_code == 404  # not saved yet
    shop.sandbox.pay(session_id)
    page = read(shop.client, f"{PAGE}/card/{session_id}")
    assert page == ""
    assert "Visa ending 4242 is saved and is not charged" in read(shop.client)
    assert row(shop).status == "off"


def test_another_users_card_page_is_not_there(shop, other_user):
    session_id = topup.card_page(shop.user).rpartition("/")[2]
    shop.sandbox.pay(session_id)
    shop.client.force_login(other_user)
    for address in (session_id, "cs_nobody", "x" * 300):
        assert shop.client.get(f"{PAGE}/card/{address}").status_code == 404
    assert not TopUp.objects.exists()


def test_stripe_does_not_answer(mine, dead_stripe):
    answer = press(mine.client, "card")
    assert (answer.status_code, b"Nothing was charged" in answer.content) == (503, True)


def test_what_is_suspended_says_what_to_do(mine):
    turn_on(mine.user)
    for reason, words in {
        "declined": "declined three times",
        "no_card": "was removed at our payment provider",
        "price": "The price has risen",
        "money_back": "refunded or disputed",
        "staff": "We turned it off",
    }.items():
        TopUp.objects.update(status="suspended", reason=reason)
        assert words in read(mine.client)


@pytest.fixture
def asked(mine) -> Purchase:
    turn_on(mine.user)
    mine.sandbox.charges_go("authenticate")
    topup_charges.run_due()
    return Purchase.objects.get()


def test_a_charge_is_confirmed_by_the_link_in_the_mail(mine, asked):
    assert "Confirm and pay" in read(mine.client)
    link = f"{PAGE}/pay/{asked.pk}"
    assert "Pay $4.75" in read(mine.client, link)
    answer = mine.client.post(link)
    assert answer["Location"].startswith(mine.sandbox.base_url)
    mine.sandbox.pay(answer["Location"].rpartition("/")[2])
    assert "Pay $4.75" in read(mine.client, link)
    mine.tell()
    assert "This is paid" in read(mine.client, link)
    answer = mine.client.post(link)
    assert (answer.status_code, b"This is paid" in answer.content) == (200, True)
    assert (taken(mine.sandbox), charges(mine)) == ([PRICE], [("paid", PRICE)])


def test_another_users_charge_is_not_there(mine, asked, other_user):
    bought = mine.order(10)
    link = f"{PAGE}/pay/{asked.pk}"
    assert mine.client.get(f"{PAGE}/pay/{bought.pk}").status_code == 404  # nobody has to confirm it
    mine.client.force_login(other_user)
    for ask in (mine.client.get, mine.client.post):
        assert ask(link).status_code == 404
    asked.refresh_from_db()
    assert asked.stripe_session_id is None
    assert [one["status"] for one in mine.sandbox.objects("payment_intent")] == [
        "requires_payment_method"
    ]


def test_buttons_act_on_ones_own_alone(mine, other_user):
    turn_on(mine.user)
    mine.client.force_login(other_user)
    for button in ("off", "card/remove", "on"):
        press(mine.client, button, AGREED)
    assert (row(mine).status, bool(row(mine).payment_method_id)) == ("on", True)
    assert not TopUp.objects.filter(user=other_user).exists()


@pytest.mark.parametrize("button", ["on", "off", "card", "card/remove"])
def test_who_is_not_signed_in_comes_back_to_the_page(client, button):
    answer = client.post(f"{PAGE}/{button}")
    assert answer["Location"] == f"/accounts/login/?next={PAGE}"
    assert client.get(f"{PAGE}/{button}").status_code in {302, 405}


def test_a_price_that_changes_on_the_way_is_looked_at_again(mine):
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=90)
    answer = press(mine.client, "on", AGREED)
    assert (answer.status_code, b"$4.50 for 500 credits" in answer.content) == (409, True)
    assert ledger.balance_of(mine.user) == 0
