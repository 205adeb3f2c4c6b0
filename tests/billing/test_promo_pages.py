"""Promo codes and vouchers on the pages and in the JSON endpoints."""

import json
import uuid

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from django.utils.html import escape

from accounts.models import User
from billing.models import Promotion, Purchase, Redemption
from billing.promo_refusals import GUESSES
from credits import ledger
from credits.models import Entry
from tests.promotions import miscounted, promo, voucher

pytestmark = pytest.mark.django_db
CHECKOUT = "/api/billing/dynamic-checkout"
UNUSABLE = "This code can't be used. Check its spelling, or buy without it: nothing was charged."


@pytest.fixture(autouse=True)
def _counted():
    yield
    assert miscounted() == []


@pytest.fixture
def buyer(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def other_buyer(other_user) -> Client:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(other_user)
    return client


def post(client: Client, **fields):
    body = {"credits": 500, "promo_code": "SUMMER25"} | fields
    return client.post(CHECKOUT, json.dumps(body), content_type="application/json")


def quote(client: Client, code: str, credits: int = 500):
    return client.get("/api/billing/quote", {"credits": credits, "promo_code": code})


def form(**fields) -> dict[str, str]:
    return {
        "credits": "500", "mode": "payment", "request_id": str(uuid.uuid4()),
        "expected_total": "475", "promo_code": "SUMMER25", "expected_bonus": "50", **fields,
    }  # fmt: skip


def nothing_happened() -> bool:
    return not (Purchase.objects.exists() or Redemption.objects.exists() or Entry.objects.exists())


# --- The quote ------------------------------------------------------------------------------------


def test_a_quote_tells_the_bonus_and_the_same_price(buyer):
    promo()
    plain = buyer.get("/api/billing/quote?credits=500").json()
    answer = quote(buyer, " summer-25")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    assert answer.json() == plain | {
        "promo_code": "SUMMER25", "bonus_credits": 50, "total_credits": 550
    }  # fmt: skip
    assert nothing_happened()


def test_visitors_learn_nothing_about_codes(client):
    promo()
    for code in ("SUMMER25", "NOSUCH"):
        answer = quote(client, code)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    page = client.get("/credits?promo=SUMMER25").content.decode()
    assert "550" not in page
    assert 'value="SUMMER25"' in page
    assert client.get("/credits?promo=SUMMER25").wsgi_request.user == AnonymousUser()


def test_what_is_no_good_is_answered_alike(buyer):
    promo("INACTIVE", is_active=False)
    promo("USEDUP", max_uses=0)
    answers = {quote(buyer, code).content for code in ("INACTIVE", "USEDUP", "NOSUCH", "\0")}
    expected = {"error": UNUSABLE, "code": "promo_code_unusable", "field": "promo_code"}
    assert [json.loads(answer) for answer in answers] == [expected]


def test_ten_wrong_codes_an_hour_and_good_ones_for_nothing(buyer, other_buyer):
    promo()
    assert GUESSES["promo_code"].startswith("10/h/user,")
    for n in range(10):
        assert quote(buyer, "SUMMER25").status_code == 200
        assert quote(buyer, f"WRONG{n}").status_code == 400
    for answer in (
        quote(buyer, "WRONG"), quote(buyer, "SUMMER25"), post(buyer),
        post(buyer, promo_code="WRONG"),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_codes")
        assert answer["Retry-After"] == "3600"
    assert "Too many codes" in buyer.post("/redeem", {"code": "ANY"}).content.decode()
    assert "Too many codes" in buyer.get("/credits?promo=SUMMER25").content.decode()
    assert nothing_happened()
    # Nobody else is held up, and without a code one can buy.
    assert quote(other_buyer, "SUMMER25").status_code == 200
    assert buyer.get("/credits").status_code == 200


def test_an_address_has_its_own_limit(buyer, other_buyer, monkeypatch):
    promo()
    assert GUESSES["promo_code"].endswith(",30/h/ip")
    monkeypatch.setitem(GUESSES, "promo_code", "10/h/user,2/h/ip")
    for n in range(2):
        assert quote(buyer, f"WRONG{n}").status_code == 400
    neighbour = Client()
    neighbour.force_login(User.objects.create_user("honest@example.com"))
    assert quote(neighbour, "SUMMER25").status_code == 429
    assert quote(other_buyer, "SUMMER25").status_code == 200


# --- POST /api/billing/dynamic-checkout -----------------------------------------------------------


def test_an_order_with_a_code(buyer, user, sandbox):
    promo()
    answer = post(buyer, expected_total=475, expected_bonus=50)
    assert answer.status_code == 200
    purchase = Purchase.objects.get()
    assert (purchase.total, purchase.bonus, purchase.user) == (475, 50, user)
    assert sandbox.objects("checkout.session")[0]["amount_total"] == 475
    told = buyer.get(f"/api/billing/purchases/{purchase.pk}").json()
    assert told == {"status": "pending", "credits": 500, "bonus_credits": 50, "balance": 0}


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"promo_code": 5}, 400, "invalid_promo_code", "promo_code"),
        ({"promo_code": ["SUMMER25"]}, 400, "invalid_promo_code", "promo_code"),
        ({"expected_bonus": "50"}, 400, "invalid_expected_bonus", "expected_bonus"),
        ({"expected_bonus": -1}, 400, "invalid_expected_bonus", "expected_bonus"),
        ({"expected_bonus": True}, 400, "invalid_expected_bonus", "expected_bonus"),
        ({"promo_code": "NOSUCH"}, 400, "promo_code_unusable", "promo_code"),
        ({"promo_code": "X" * 60_000}, 400, "promo_code_unusable", "promo_code"),
        ({"promo_code": "GIFT500"}, 400, "promo_code_is_voucher", "promo_code"),
        ({"credits": 99}, 400, "promo_code_minimum", "promo_code"),
        ({"expected_bonus": 51}, 409, "promotion_changed", "expected_bonus"),
        ({"promo_code": "", "expected_bonus": 50}, 409, "promotion_changed", "expected_bonus"),
    ],
)
def test_what_it_refuses(buyer, fields, status, code, field):
    promo(min_credits=100)
    voucher()
    answer = post(buyer, **fields)
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (status, code, field)
    assert nothing_happened()


def test_a_bonus_that_changed_comes_with_the_new_quote(buyer):
    promo()
    told = post(buyer, expected_bonus=0).json()
    assert told["quote"]["total_credits"] == 550
    assert (told["quote"]["total"], told["quote"]["bonus_credits"]) == (475, 50)


def test_the_same_request_with_another_code_is_refused(buyer, sandbox):
    promo()
    promo("OTHER")
    key = str(uuid.uuid4())
    assert post(buyer, request_id=key).status_code == 200
    assert post(buyer, request_id=key).status_code == 200
    for code in ("OTHER", "", "NOSUCH"):
        assert post(buyer, request_id=key, promo_code=code).json()["code"] == "request_id_reused"
    assert Purchase.objects.count() == Redemption.objects.count() == 1


def test_two_users_share_nothing_but_the_code(buyer, other_buyer, user, other_user, sandbox):
    promo()
    key = str(uuid.uuid4())
    assert post(buyer, request_id=key).status_code == 200
    theirs = Purchase.objects.get(user=user)
    # The same request id is another order, and looks at nobody's but one's own.
    assert post(other_buyer, request_id=key).status_code == 200
    assert Redemption.objects.filter(user=other_user).count() == 1
    assert other_buyer.get(f"/api/billing/purchases/{theirs.pk}").status_code == 404
    assert other_buyer.get(f"/credits/success?purchase={theirs.pk}").status_code == 404
    theirs.refresh_from_db()
    assert (theirs.status, theirs.redemption.status) == ("pending", "reserved")


# --- /credits -------------------------------------------------------------------------------------


def test_the_shop_shows_bonus_and_total_and_keeps_the_price(buyer):
    promo()
    page = buyer.get("/credits?credits=500&promo=summer25").content.decode()
    assert "Bonus with SUMMER25" in page
    assert "+50 credits" in page
    assert "You get 550 credits for the same price." in page
    assert '<input type="hidden" name="expected_bonus" value="50">' in page
    assert '<input type="hidden" name="expected_total" value="475">' in page
    assert "<details open>" in page
    plain = buyer.get("/credits").content.decode()
    assert '<input type="hidden" name="expected_bonus" value="0">' in plain
    assert "<details><summary>Promo code" in plain
    page = buyer.get("/credits?mode=subscription&promo=SUMMER25").content.decode()
    assert "You get 550 credits in the first month. The bonus is for that month only." in page


def test_without_javascript_apply_shows_before_anything_is_bought(buyer):
    promo()
    answer = buyer.post("/credits", form(action="price", expected_bonus="0"))
    assert (answer.status_code, answer["Location"]) == (
        303,
        "/credits?credits=500&mode=payment&promo=SUMMER25",
    )
    # Bought without a look at it: the page shows it first.
    answer = buyer.post("/credits", form(expected_bonus="0"))
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "The bonus has changed" in page
    assert 'name="expected_bonus" value="50"' in page
    assert nothing_happened()


def test_the_form_buys_with_the_code(buyer, sandbox):
    promo()
    answer = buyer.post("/credits", form())
    assert answer.status_code == 303
    assert answer["Location"].startswith(sandbox.base_url)
    assert Purchase.objects.get().bonus == 50


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("NOSUCH", UNUSABLE), ("<script>", UNUSABLE),
        ("GIFT500", "This is a voucher: it brings credits without a purchase."),
        ("LARGE", "This code is for orders of 2,000 credits or more."),
    ],
)  # fmt: skip
def test_the_form_says_what_is_wrong_beside_the_code(buyer, code, words):
    voucher()
    promo("LARGE", min_credits=2000)
    answer = buyer.post("/credits", form(promo_code=code, expected_bonus="0"))
    assert answer.status_code == 400
    page = answer.content.decode()
    assert escape(words) in page
    assert "<script>" not in page.partition("promo-error")[2]
    assert page.count('aria-invalid="true"') == 1
    assert nothing_happened()


def test_a_visitor_comes_back_with_the_code(client):
    answer = client.post("/credits", form())
    assert answer["Location"].endswith(
        "next=/credits%3Fcredits%3D500%26mode%3Dpayment%26promo%3DSUMMER25"
    )


def test_the_success_page_names_the_bonus(shop, buyer):
    promo()
    post(buyer)
    purchase = Purchase.objects.get()
    page = buyer.get("/dashboard").content.decode()
    assert "500 credits for $4.75 and a bonus of 50 credits" in page
    shop.sandbox.pay(str(purchase.stripe_session_id))
    shop.tell()
    page = buyer.get(f"/credits/success?purchase={purchase.pk}").content.decode()
    assert "With the code SUMMER25 you got 50 credits on top." in page
    page = buyer.get("/dashboard").content.decode()
    assert "Bonus with the code SUMMER25" in page


# --- /redeem --------------------------------------------------------------------------------------


def test_a_voucher_is_redeemed_by_post_only(buyer, user):
    voucher()
    page = buyer.get("/redeem?code=gift-500").content.decode()
    assert 'value="gift-500"' in page
    assert nothing_happened()
    key = str(uuid.uuid4())
    for _ in range(2):  # pressed twice
        answer = buyer.post("/redeem", {"code": "gift-500", "request_id": key})
        assert (answer.status_code, answer["Location"]) == (303, "/dashboard")
    assert ledger.balance_of(user) == 500
    assert "500 credits were added." in buyer.get("/dashboard").content.decode()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "Enter the code of your voucher."), ("  ", "Enter the code of your voucher."),
        ("NOSUCH", "This code can't be used. Check its spelling: nothing was added."),
        ("OVER", "This code can't be used. Check its spelling: nothing was added."),
        ("SUMMER25", "This is a promo code: it brings more credits with a purchase."),
    ],
)  # fmt: skip
def test_what_the_voucher_page_refuses(buyer, code, words):
    promo()
    voucher("OVER", is_active=False)
    answer = buyer.post("/redeem", {"code": code, "request_id": "x"})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert escape(words) in page
    assert ('href="/credits?promo=SUMMER25"' in page) == (code == "SUMMER25")
    assert nothing_happened()


def test_a_voucher_of_somebody_else_is_gone(buyer, other_buyer, user, other_user):
    voucher(code_uses=1)
    key = str(uuid.uuid4())
    assert buyer.post("/redeem", {"code": "GIFT500", "request_id": key}).status_code == 303
    for request_id, status in ((key, 409), (str(uuid.uuid4()), 400)):
        answer = other_buyer.post("/redeem", {"code": "GIFT500", "request_id": request_id})
        assert answer.status_code == status
    assert (ledger.balance_of(user), ledger.balance_of(other_user)) == (500, 0)
    assert Promotion.objects.get().used == 1


def test_visitors_sign_in_first(client):
    voucher()
    answer = client.post("/redeem", {"code": "GIFT500"})
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/redeem")
    assert client.get("/redeem?code=GIFT500")["Location"] == (
        "/accounts/login/?next=/redeem%3Fcode%3DGIFT500"
    )
    assert nothing_happened()
