"""Selling by API: POST and GET /purchases, in every state, once, and about the right user."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, get_args
from unittest import mock

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.utils import timezone

from accounts import closing
from accounts.models import User
from api.answers import forget_old
from api.models import Answer
from api.purchases import Status
from billing import stripe_api
from billing.models import Charge, PriceTier, Purchase, StripeCustomer, Subscription
from credits import ledger
from tests.api.program import Program
from tests.api.test_at_once import failing
from tests.billing.test_dashboard import order
from tests.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(user, sandbox, client) -> Shop:
    return Shop(user, sandbox, client)


@pytest.fixture
def confirmed(user) -> User:
    """Ada, who could sign in."""
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def refused(answer: Any, status: int, code: str, field: str | None = None) -> Any:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.json()
    assert answer.json().get("field") == field
    return answer.json()


# --- What is opened ---------------------------------------------------------------------------


def test_a_payment_page_is_opened_and_paid(program, shop):
    answer = program.post("purchases", "order-1", credits=500, expected_total=475)
    assert answer.status_code == 201
    purchase = Purchase.objects.get()
    (session,) = shop.sandbox.objects("checkout.session")
    opened = answer.json()
    assert opened == {
        "id": str(purchase.pk), "status": "pending", "credits": 500, "mode": "payment",
        "total": 475, "currency": "usd", "returned": 0, "url": session["url"],
        "created_at": opened["created_at"], "expires_at": opened["expires_at"], "paid_at": None,
    }  # fmt: skip
    assert (purchase.user, session["amount_total"]) == (shop.user, 475)
    assert session["success_url"].endswith(f"/credits/success?purchase={purchase.pk}")
    assert purchase.payable_until - purchase.created_at == timedelta(hours=24)
    assert program.get(f"purchases/{purchase.pk}").json() == opened
    assert ledger.balance_of(shop.user) == 0  # nothing is granted before it is paid

    shop.sandbox.pay(session["id"])
    shop.tell()
    paid = program.get(f"purchases/{purchase.pk}").json()
    assert (paid["status"], paid["url"]) == ("paid", None)
    assert paid["paid_at"] is not None
    assert ledger.balance_of(shop.user) == 500
    # As the first time, and not paid again.
    assert program.post("purchases", "order-1", credits=500, expected_total=475).json() == opened
    assert len(shop.sandbox.objects("checkout.session")) == 1


def test_a_plan_is_opened_for_whom_a_service_key_names(service, confirmed, shop):
    for key, named in (("1", confirmed.pk), ("2", confirmed.email.upper())):
        answer = service.post("purchases", key, credits=2000, mode="subscription", user=named)
        assert (answer.status_code, answer.json()["total"]) == (201, 1800)
    # Two plans are one too many: the page of the first is closed.
    found = service.get("purchases", user=confirmed.pk).json()["purchases"]
    assert [(one["status"], one["url"] is None) for one in found] == [
        ("pending", False), ("expired", True),
    ]  # fmt: skip
    assert {one.user for one in Purchase.objects.all()} == {confirmed}
    assert StripeCustomer.objects.get().user == confirmed


@pytest.mark.parametrize(("language", "locale"), [("de", "de"), ("", "en")])
def test_the_page_is_in_the_language_of_who_pays(program, shop, language, locale):
    User.objects.update(language=language)
    program.post("purchases", "k", credits=500)
    (call,) = [one for one in shop.sandbox.requests() if one["path"] == "/v1/checkout/sessions"]
    assert call["params"]["locale"] == locale
    refused(program.post("purchases", "k", credits=501), 409, "idempotency_key_reused",
            "Idempotency-Key")  # fmt: skip


# --- What is refused --------------------------------------------------------------------------


def test_a_price_that_was_not_seen_is_not_sold(program, sandbox, unchanged):
    before = unchanged()
    answer = program.post("purchases", "k", credits=500, expected_total=474)
    told = refused(answer, 409, "price_changed", "expected_total")
    assert told["quote"] == program.get("quote", credits=500).json()
    assert unchanged() == before
    assert sandbox.requests() == []
    # Nothing was begun under this key, so it is free for what the buyer agrees to now.
    again = program.post("purchases", "k", credits=500, expected_total=told["quote"]["total"])
    assert again.status_code == 201


def test_a_price_rise_does_not_reach_an_order_that_was_placed(program, sandbox):
    sandbox.add_fault(method="POST", path="/v1/", kind="error", status=503, times=2)
    fields = {"credits": 500, "expected_total": 475}
    answer = program.post("purchases", "k", **fields)
    refused(answer, 503, "stripe_unavailable")
    assert answer["Retry-After"] == "10"
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=96)
    # Whoever has seen the new price by now isn't sent to pay the old one.
    refused(program.post("purchases", "k", credits=500, expected_total=480), 409,
            "idempotency_key_reused", "Idempotency-Key")  # fmt: skip
    assert program.post("purchases", "k", **fields).json()["total"] == 475
    assert [one["amount_total"] for one in sandbox.objects("checkout.session")] == [475]


def test_a_second_plan_is_refused(program, user, sandbox, unchanged):
    Subscription.objects.create(
        user=user, stripe_id="sub_1", status="past_due", credits=500, total=475, currency="usd",
        fetched_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    before = unchanged()
    answer = program.post("purchases", "k", credits=500, mode="subscription")
    told = refused(answer, 409, "already_subscribed", "mode")
    assert told["url"] == "http://127.0.0.1:8000/dashboard/plan"
    assert unchanged() == before
    assert sandbox.requests() == []


def test_what_stripe_refuses_charges_nothing_and_may_be_tried_again(program, sandbox):
    sandbox.add_fault(
        method="POST", path="/v1/checkout", kind="error", status=400, code="parameter_invalid"
    )
    refused(program.post("purchases", "k", credits=500), 502, "stripe_error")
    assert sandbox.objects("checkout.session") == []
    waiting = program.get(f"purchases/{Purchase.objects.get().pk}").json()
    assert (waiting["status"], waiting["url"]) == ("pending", None)
    assert program.post("purchases", "k", credits=500).status_code == 201
    assert Purchase.objects.count() == 1


def test_who_has_not_confirmed_an_address_buys_nothing(service, user, sandbox, unchanged):
    """Somebody may have signed up with the address of another, whom the product knows."""
    EmailAddress.objects.create(user=user, email=user.email, verified=False, primary=True)
    before = unchanged()
    answer = service.post("purchases", "k", credits=500, user=user.email)
    refused(answer, 409, "email_not_confirmed", "user")
    assert unchanged() == before
    assert sandbox.requests() == []
    EmailAddress.objects.update(verified=True)
    assert service.post("purchases", "k", credits=500, user=user.email).status_code == 201


def test_closed_and_closing_accounts_buy_nothing(service, program, confirmed, sandbox, unchanged):
    kept = service.post("purchases", "before", credits=500, user=confirmed.pk)
    mark = closing.begin(confirmed)
    before = unchanged()
    refused(program.post("purchases", "k", credits=500), 409, "account_closing")
    closing.erase(User.objects.get(pk=confirmed.pk), mark)
    refused(service.post("purchases", "k", credits=500, user=confirmed.pk), 404, "unknown_user",
            "user")  # fmt: skip
    refused(program.post("purchases", "k", credits=500), 401, "revoked_api_key")
    refused(service.get("purchases", user=confirmed.pk), 404, "unknown_user", "user")
    assert unchanged() == before
    # What was answered stays answered.
    again = service.post("purchases", "before", credits=500, user=confirmed.pk)
    assert again.content == kept.content
    assert len(sandbox.objects("checkout.session")) == 1


def test_an_account_that_closes_while_its_page_is_opened_gets_none(program, user, sandbox):
    opened = stripe_api.keyed_call

    def close_meanwhile(row: Any, *args: Any) -> Any:
        if isinstance(row, Purchase):
            closing.begin(user)
        return opened(row, *args)

    with mock.patch.object(stripe_api, "keyed_call", close_meanwhile):
        refused(program.post("purchases", "k", credits=500), 409, "account_closing")
    assert [one["status"] for one in sandbox.objects("checkout.session")] == ["expired"]
    assert Purchase.objects.get().open_page == ""


# --- Once is once -----------------------------------------------------------------------------


def test_one_key_is_one_order_whatever_else_is_asked(service, program, confirmed, other_user, shop):
    EmailAddress.objects.create(user=other_user, email=other_user.email, verified=True)
    ledger.grant(ledger.wallet_of(confirmed), 100, key="g", kind="purchase")
    first = service.post("purchases", "k", credits=500, user=confirmed.pk)
    for fields in (
        {"credits": 501, "user": confirmed.pk},
        {"credits": 500, "user": other_user.pk},
        {"credits": 500, "user": confirmed.pk, "mode": "subscription"},
        {"credits": 500, "user": confirmed.pk, "expected_total": 475},
    ):
        answer = service.post("purchases", "k", **fields)
        refused(answer, 409, "idempotency_key_reused", "Idempotency-Key")
    answer = service.post("spend", "k", amount=5, user=confirmed.pk)
    refused(answer, 409, "idempotency_key_reused", "Idempotency-Key")
    assert Purchase.objects.count() == 1
    # A user's own keys have names of their own.
    own = program.post("purchases", "k", credits=500)
    assert own.json()["id"] != first.json()["id"]
    assert Purchase.objects.count() == 2


def test_a_key_whose_order_has_no_page_yet_is_no_other_user_s(
    service, confirmed, other_user, sandbox
):
    EmailAddress.objects.create(user=other_user, email=other_user.email, verified=True)
    sandbox.add_fault(method="POST", path="/v1/", kind="error", status=503, times=2)
    answer = service.post("purchases", "k", credits=500, user=confirmed.pk)
    refused(answer, 503, "stripe_unavailable")
    answer = service.post("purchases", "k", credits=500, user=other_user.pk)
    refused(answer, 409, "idempotency_key_reused", "Idempotency-Key")
    assert Purchase.objects.get().user == confirmed
    assert sandbox.objects("checkout.session") == []


def test_an_answer_that_is_forgotten_is_still_one_order(program, user, shop):
    first = program.post("purchases", "k", credits=500).json()
    Answer.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert forget_old() == 1
    refused(program.post("purchases", "k", credits=501), 409, "idempotency_key_reused",
            "Idempotency-Key")  # fmt: skip
    shop.sandbox.pay(Purchase.objects.get().stripe_session_id)
    shop.tell()
    again = program.post("purchases", "k", credits=500).json()
    assert again["id"] == first["id"]
    assert (again["status"], again["url"]) == ("paid", None)
    assert len(shop.sandbox.objects("checkout.session")) == 1


@pytest.mark.django_db(transaction=True)
def test_at_the_same_moment_one_page_is_opened(make_key, user, sandbox, at_once):
    token = make_key(user)[1]
    answers = at_once(6, lambda _: Program(token).post("purchases", "k", credits=500))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert Purchase.objects.count() == 1
    assert len(sandbox.objects("checkout.session")) == 1
    assert len(sandbox.objects("customer")) == 1


@pytest.mark.django_db(transaction=True)
def test_after_a_crash_at_any_point_the_same_request_opens_one_page(make_key, sandbox, monkeypatch):
    asked = stripe_api._in_time

    def outside_of_transactions(call: Any) -> Any:
        assert not connection.in_atomic_block
        return asked(call)

    monkeypatch.setattr(stripe_api, "_in_time", outside_of_transactions)
    number, is_over = 0, False
    while not is_over:
        number += 1
        buyer = User.objects.create_user(f"buyer{number}@example.com")
        program = Program(make_key(buyer)[1])
        with failing(number) as seen, mute():
            answer = program.client.post(
                "/api/v1/purchases", {"credits": 500}, content_type="application/json",
                headers=program.headers | {"Idempotency-Key": "k"},
            )  # fmt: skip
        is_over = len(seen) < number
        assert answer.status_code == 201 if is_over else answer.status_code in (500, 503), seen
        again = program.post("purchases", "k", credits=500)
        assert again.status_code == 201
        purchase = Purchase.objects.get(user=buyer)
        assert again.json()["id"] == str(purchase.pk)
        assert again.json()["url"] == purchase.stripe_session_url
        assert Answer.objects.filter(scope=f"user:{buyer.pk}", status=201).count() == 1
        pages = [
            one for one in sandbox.objects("checkout.session")
            if one["client_reference_id"] == str(purchase.pk)
        ]  # fmt: skip
        assert len(pages) == 1, seen
    assert number > 10
    assert len(sandbox.objects("customer")) == number


@contextmanager
def mute() -> Iterator[None]:
    """Not the log of what is made to fail."""
    with mock.patch("logging.Logger.handle"):
        yield


# --- How it stands ----------------------------------------------------------------------------


def test_every_state_of_a_purchase_is_told(program, user):
    assert set(get_args(Status)) == {*Purchase.Status.values, "refunded"}
    for status in Purchase.Status.values:
        purchase = order(user, status=status)
        told = program.get(f"purchases/{purchase.pk}").json()
        assert told["status"] == status
        assert (told["url"] is not None) == (status == "pending")


def test_after_a_day_nothing_is_paid_there_any_more(program, user):
    purchase = order(user, created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert program.get(f"purchases/{purchase.pk}").json()["url"] is None


def test_money_that_went_back_is_told(program, shop):
    purchase = shop.buy(500)
    shop.sandbox.refund(purchase.stripe_session_id, 100)
    shop.tell()
    told = program.get(f"purchases/{purchase.pk}").json()
    assert (told["status"], told["returned"]) == ("paid", 100)
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    told = program.get(f"purchases/{purchase.pk}").json()
    assert (told["status"], told["returned"]) == ("refunded", 475)


def test_a_month_of_a_plan_that_went_back_is_not_all_of_it(program, user):
    plan = order(user, status="paid", mode="subscription")
    Charge.objects.create(
        stripe_id="ch_1", purchase=plan, entry_key="invoice:1", amount=1172, refunded=1000,
        withdrawn=500, fetched_at=timezone.now(),
    )  # fmt: skip
    told = program.get(f"purchases/{plan.pk}").json()
    assert (told["status"], told["returned"]) == ("paid", 1172)


# --- All of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 4, 5])
def test_page_by_page_there_is_every_purchase_once(program, user, other_user, limit):
    now = timezone.now()
    order(other_user)
    # Two at the same moment, as a transaction makes them.
    expected = [
        str(order(user, created_at=now - timedelta(minutes=minutes)).pk)
        for minutes in (0, 1, 2, 2, 3)
    ]
    expected[2:4] = sorted(expected[2:4], reverse=True)
    seen: list[str] = []
    asked: dict[str, str] = {}
    while True:
        page = program.get("purchases", limit=limit, **asked).json()
        assert len(page["purchases"]) <= limit
        seen += [one["id"] for one in page["purchases"]]
        order(user, created_at=now + timedelta(hours=1))  # what is new moves nothing
        if page["next"] is None:
            break
        asked = {"before": page["next"]}
    assert seen == expected


def test_a_service_key_finds_a_purchase_with_its_own_user_only(service, user, other_user):
    purchase = order(user)
    refused(service.get(f"purchases/{purchase.pk}", user=other_user.pk), 404, "unknown_purchase")
    refused(service.get(f"purchases/{purchase.pk}"), 422, "invalid_request", "user")
    found = service.get(f"purchases/{purchase.pk}", user=user.email).json()
    assert found == service.get("purchases", user=user.pk).json()["purchases"][0]


def test_others_purchases_begin_no_page(program, user, other_user):
    order(user)
    for before in (order(other_user).pk, uuid.UUID(int=1)):
        refused(program.get("purchases", before=before), 404, "unknown_purchase")
    for query, field in (
        ({"before": "x"}, "before"), ({"before": ""}, "before"), ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"), ({"after": uuid.UUID(int=1)}, "after"),
    ):  # fmt: skip
        refused(program.get("purchases", **query), 422, "invalid_request", field)


def test_a_long_list_asks_the_database_little(program, user, django_assert_num_queries):
    purchases = [order(user, status="paid") for _ in range(5)]
    Charge.objects.bulk_create(
        Charge(stripe_id=f"ch_{each.pk}", purchase=each, amount=1172, fetched_at=timezone.now())
        for each in purchases
    )
    with django_assert_num_queries(3):  # with the key's
        assert len(program.get("purchases").json()["purchases"]) == 5


def test_an_address_that_is_no_id_is_none(program):
    for id in ("x", "1", "0d9c5c3e7c1b4b0e9f5e3f2a7f0a4c11"):
        answer = program.client.get(f"/api/v1/purchases/{id}", headers=program.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
