"""Refunds and disputes at the stand-in, and what they do to credits, over the webhook."""

import itertools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client

from billing import clawback, stripe_api
from billing.models import Charge, Dispute, Event, Mail, Purchase, StripeCustomer
from billing.pricing import quote
from credits import ledger
from credits.models import Entry, Lot
from tests.shop import bonus_for
from tests.stripe_events import event, metadata_of, post

pytestmark = pytest.mark.django_db

ABOUT_MONEY = ("charge.refunded", "refund.", "charge.dispute.")


def entries(*kinds: str) -> list[tuple[str, int, int, str]]:
    found = Entry.objects.filter(kind__in=kinds or ["refund", "dispute", "restoral"])
    return list(found.order_by("id").values_list("kind", "amount", "owed", "note"))


# --- Refunds ----------------------------------------------------------------------------------


def test_a_full_refund_takes_all(shop):
    purchase = shop.buy()
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)
    assert entries() == [("refund", -500, 0, "Refund of $4.75")]
    charge = Charge.objects.get()
    assert (charge.purchase, charge.entry_key, charge.amount, charge.refunded) == (
        purchase, f"purchase:{purchase.pk}", 475, 475,
    )  # fmt: skip
    assert not Event.objects.exclude(status__in=["done", "ignored"]).exists()


def test_a_partial_refund_takes_its_share_rounded_down(shop):
    purchase = shop.buy()
    shop.sandbox.refund(purchase.stripe_session_id, 100)
    shop.tell()
    assert shop.stands == (500 - 500 * 100 // 475, 0)
    assert entries() == [("refund", -105, 0, "Refund of $1.00")]


def test_several_refunds_add_up_to_all(shop):
    purchase = shop.buy()
    for amount in (1, 100, 200):
        shop.sandbox.refund(purchase.stripe_session_id, amount)
        shop.tell()
        assert shop.stands[0] == 500 - 500 * Charge.objects.get().refunded // 475
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)
    assert sum(amount for _, amount, _, _ in entries()) == -500


def test_a_refund_that_fails_later_gives_back(shop):
    purchase = shop.buy()
    first = shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.sandbox.refund(purchase.stripe_session_id, 190)
    shop.tell()
    assert shop.stands == (200, 0)
    shop.sandbox.fail_refund(first["id"])
    shop.tell()
    assert shop.stands == (300, 0)
    assert entries("restoral") == [("restoral", 100, 0, "A refund of $0.95 did not arrive")]
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)


def test_what_is_spent_is_owed_and_the_next_purchase_repays_it(shop):
    purchase = shop.buy()
    ledger.spend(ledger.wallet_of(shop.user), 400, key="s")
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 400)
    assert entries() == [("refund", -100, 400, "Refund of $4.75")]
    shop.buy(1000)
    assert shop.stands == (600, 0)


def test_the_smallest_parts_take_nothing_until_they_make_a_credit(shop):
    purchase = shop.buy(10)  # for the minimum charge, 50 cents
    for amount, left in ((4, 10), (1, 9), (44, 1), (1, 0)):
        shop.sandbox.refund(purchase.stripe_session_id, amount)
        shop.tell()
        assert shop.stands == (left, 0)
    assert Mail.objects.filter(kind="refund").count() == 3  # one for each time that credits left


@pytest.mark.parametrize("month", ["first", "renewal"])
def test_each_month_of_a_plan_is_refunded_by_itself(shop, month):
    purchase = shop.buy(500, "subscription")
    shop.sandbox.advance(purchase.stripe_payment_id)
    shop.tell()
    assert shop.stands == (1000, 0)
    first, renewal = Entry.objects.order_by("id")
    entry = first if month == "first" else renewal
    shop.sandbox.refund(entry.key.removeprefix("invoice:"), 95)
    shop.tell()
    assert shop.stands == (900, 0)
    assert Charge.objects.get().entry_key == entry.key
    assert list(Lot.objects.order_by("id").values_list("revoked", flat=True)) == (
        [100, 0] if month == "first" else [0, 100]
    )
    dispute = shop.sandbox.dispute(entry.key.removeprefix("invoice:"))
    shop.tell()
    assert shop.stands == (500, 0)
    shop.sandbox.win_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (900, 0)


# --- Disputes ---------------------------------------------------------------------------------


def test_a_dispute_takes_credits_when_it_takes_money_and_gives_them_back_with_it(shop):
    purchase = shop.buy()
    dispute = shop.sandbox.dispute(purchase.stripe_session_id)
    created, withdrawn = shop.news()
    assert [created["type"], withdrawn["type"]] == [
        "charge.dispute.created", "charge.dispute.funds_withdrawn",
    ]  # fmt: skip
    for told in (created, withdrawn):  # each one asks Stripe, which has moved the money already
        post(shop.client, told)
        assert shop.stands == (0, 0)
    assert entries() == [("dispute", -500, 0, "Payment of $4.75 disputed")]
    shop.sandbox.win_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (500, 0)
    assert entries("restoral") == [("restoral", 500, 0, "The dispute over $4.75 has ended")]
    assert [
        (mail.kind, mail.context["credits"])
        for mail in Mail.objects.filter(kind__startswith="dispute").order_by("id")
    ] == [
        ("dispute", 500), ("dispute_won", 500),
    ]  # fmt: skip


def test_a_dispute_that_the_buyer_takes_back(shop):
    dispute = shop.sandbox.dispute(shop.buy().stripe_session_id)
    shop.tell()
    shop.sandbox.withdraw_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (500, 0)


def test_a_lost_dispute_leaves_them_gone(shop):
    dispute = shop.sandbox.dispute(shop.buy().stripe_session_id)
    shop.tell()
    shop.sandbox.lose_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (0, 0)
    assert len(entries()) == 1


def test_a_dispute_of_a_part(shop):
    shop.sandbox.dispute(shop.buy().stripe_session_id, 95)
    shop.tell()
    assert shop.stands == (400, 0)


def test_an_inquiry_moves_nothing_until_it_is_escalated(shop):
    dispute = shop.sandbox.dispute(shop.buy().stripe_session_id, status="warning_needs_response")
    shop.tell()
    assert shop.stands == (500, 0)
    shop.sandbox.escalate_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (0, 0)


def test_staff_know_by_when_to_answer_and_how_it_went(shop):
    purchase = shop.buy()
    made = shop.sandbox.dispute(purchase.stripe_session_id, 95)
    shop.tell()
    dispute = Dispute.objects.get()
    assert (dispute.stripe_id, dispute.amount, dispute.status, dispute.reason) == (
        made["id"], 95, "needs_response", "fraudulent",
    )  # fmt: skip
    assert dispute.charge.purchase == purchase
    assert dispute.answer_by.timestamp() == made["evidence_details"]["due_by"]
    shop.sandbox.submit_evidence(made["id"])
    shop.tell()
    assert Dispute.objects.get().status == "under_review"
    shop.sandbox.win_dispute(made["id"])
    shop.tell()
    assert [(one.status, one.status_label) for one in Dispute.objects.all()] == [("won", "Won")]


def test_an_inquiry_that_is_closed_has_moved_nothing(shop):
    dispute = shop.sandbox.dispute(shop.buy().stripe_session_id, status="warning_needs_response")
    shop.sandbox.withdraw_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (500, 0)
    assert entries() == []


@pytest.mark.parametrize(
    ("moves", "withdrawn"),
    [
        ([], 0),
        ([-475], 475),
        ([-475, 475], 0),
        ([475, -475], 0),
        ([-431, 425], 0),  # paid out in another currency, whose rate has moved meanwhile
        ([-475, 475, -475], 475),  # lost after all, on appeal
        ([0], 0),
    ],
)
@pytest.mark.parametrize("status", ["needs_response", "won", "lost", "appeal_under_review"])
def test_a_dispute_holds_back_what_its_movements_say(moves, withdrawn, status):
    dispute = {
        "amount": 475, "status": status, "balance_transactions": [{"amount": one} for one in moves],
    }  # fmt: skip
    assert clawback.withdrawn_by(dispute) == withdrawn


# --- Both -------------------------------------------------------------------------------------


def test_refunds_of_1_33_33_and_33_percent_and_a_dispute_take_exactly_what_was_granted(shop):
    purchase = shop.buy(10_000)
    assert purchase.total == 8000
    for percent in (1, 33, 33):
        shop.sandbox.refund(purchase.stripe_session_id, 80 * percent)
        shop.tell()
    assert shop.stands == (3300, 0)
    dispute = shop.sandbox.dispute(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)
    assert sum(amount for _, amount, _, _ in entries()) == -10_000
    shop.sandbox.win_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (3300, 0)
    shop.sandbox.refund(purchase.stripe_session_id, 80 * 33)
    shop.tell()
    assert shop.stands == (0, 0)
    shop.sandbox.dispute(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)
    kinds = [(kind, amount) for kind, amount, _, _ in entries()]
    assert kinds == [
        ("refund", -100), ("refund", -3300), ("refund", -3300), ("dispute", -3300),
        ("restoral", 3300), ("refund", -3300),
    ]  # fmt: skip


@pytest.mark.parametrize("credits", [499, 1234, 99_999])
def test_shares_that_never_come_out_even_add_up_all_the_same(shop, credits):
    purchase = shop.buy(credits)
    bonus_for(purchase, 77)
    part = purchase.total // 100
    for amount in (part, 33 * part, 33 * part, 33 * part):
        shop.sandbox.refund(purchase.stripe_session_id, amount)
        shop.tell()
        assert shop.stands[0] >= 0
    shop.sandbox.dispute(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)
    assert sum(amount for _, amount, _, _ in entries()) == -credits - 77


# --- The bonus goes along ---------------------------------------------------------------------


def test_a_bonus_leaves_in_proportion_and_comes_back(shop):
    purchase = shop.buy()
    bonus_for(purchase, 50)
    refund = shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.tell()
    assert shop.stands == (440, 0)
    assert entries() == [
        ("refund", -100, 0, "Refund of $0.95"), ("refund", -10, 0, "Refund of $0.95"),
    ]  # fmt: skip
    assert Mail.objects.get(kind="refund").context == {
        "credits": 110, "owed": 0, "money": 95,
        "purchased_at": Entry.objects.order_by("id")[0].created_at.isoformat(),
    }  # fmt: skip
    shop.sandbox.fail_refund(refund["id"])
    shop.tell()
    assert shop.stands == (550, 0)
    assert Mail.objects.get(kind="restored").context == {"credits": 110}


def test_a_bonus_that_has_come_back_leaves_again(shop):
    purchase = shop.buy()
    bonus_for(purchase, 50)
    dispute = shop.sandbox.dispute(purchase.stripe_session_id)
    shop.tell()
    shop.sandbox.win_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (550, 0)
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.tell()
    assert shop.stands == (440, 0)
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)


def test_a_bonus_that_is_spent_is_taken_from_what_was_paid_for_then_owed(shop):
    purchase = shop.buy()
    bonus_for(purchase, 50)
    ledger.spend(ledger.wallet_of(shop.user), 80, key="s")  # the bonus and 30 of the purchase
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.tell()
    assert shop.stands == (360, 0)
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 80)


def test_another_promotion_stays(shop):
    purchase = shop.buy()
    ledger.grant(
        ledger.wallet_of(shop.user), 70, key="promo:1", kind="promotion", category="promotional"
    )
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (70, 0)


# --- Before its grant, and not ours -----------------------------------------------------------


@pytest.mark.parametrize("what", ["refund", "dispute"])
@pytest.mark.parametrize("mode", ["payment", "subscription"])
def test_before_its_grant_it_fails_on_record_and_settles_after_it(shop, what, mode):
    purchase = shop.order(500, mode)
    shop.sandbox.pay(purchase.stripe_session_id)
    sale = shop.news()
    getattr(shop.sandbox, what)(purchase.stripe_session_id, 95)
    moved = {"charge.refunded", "charge.dispute.funds_withdrawn"}
    (about,) = [one for one in shop.news() if one["type"] in moved]

    assert post(shop.client, about).status_code == 500
    kept = Event.objects.get()
    assert kept.status == "failed"
    assert "NotGrantedYet" in kept.error
    assert Entry.objects.count() == Charge.objects.count() == Mail.objects.count() == 0

    for payload in sale:
        assert post(shop.client, payload).status_code == 200
    assert shop.stands == (500, 0)
    assert post(shop.client, about).json() == {"status": "done"}
    assert shop.stands == (400, 0)
    kept.refresh_from_db()
    assert (kept.status, kept.error) == ("done", "")


def sell_beside_the_shop(metadata: dict[str, str]) -> str:
    """A Checkout Session that the shop hasn't made, and its id."""
    price: Any = {"currency": "usd", "unit_amount": 475, "product_data": {"name": "A cup"}}
    session = stripe_api.client().v1.checkout.sessions.create({
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "payment_intent_data": {"metadata": metadata},
        "metadata": metadata,
        "success_url": "https://example.com",
    })  # fmt: skip
    return session.id


@pytest.mark.parametrize("metadata", [{}, {"type": "cups"}])
def test_a_sale_of_something_else_is_left_alone(shop, metadata):
    session_id = sell_beside_the_shop(metadata)
    shop.sandbox.pay(session_id)
    shop.sandbox.refund(session_id, 95)
    shop.sandbox.dispute(session_id)
    shop.tell()
    assert set(Event.objects.values_list("status", flat=True)) == {"ignored"}
    assert Charge.objects.count() == Entry.objects.count() == 0


@pytest.mark.parametrize("object", [{"object": "refund", "charge": None}, {"object": "refund"}])
def test_a_refund_of_no_charge_is_left_alone(client, object):
    assert post(client, event("refund.updated", {"id": "re_1", **object})).json() == {
        "status": "ignored"
    }


def test_the_second_payment_of_one_order_takes_nothing_with_it(shop):
    """It is in quarantine and granted nothing, so staff give it back, and the credits stay."""
    session_id = sell_beside_the_shop(metadata_of(shop.buy()))
    shop.sandbox.pay(session_id)
    shop.tell()
    shop.sandbox.refund(session_id)
    shop.tell()
    assert shop.stands == (500, 0)
    about_second = {"status": "quarantined", "type": "checkout.session.completed"}
    assert Event.objects.filter(**about_second).count() == 1
    assert Event.objects.get(type="charge.refunded").status == "ignored"
    assert Charge.objects.count() == 0


def test_a_refund_of_what_waits_in_quarantine_waits_there_too(shop):
    purchase = shop.order()
    Purchase.objects.filter(pk=purchase.pk).update(total=480)
    shop.sandbox.pay(purchase.stripe_session_id)
    shop.tell()
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert Event.objects.get(type="charge.refunded").status == "quarantined"
    assert Entry.objects.count() == 0


def test_a_refund_of_a_sale_to_nobody_we_know_is_quarantined(shop):
    purchase = shop.order()
    shop.sandbox.pay(purchase.stripe_session_id)
    shop.news()
    shop.sandbox.refund(purchase.stripe_session_id)
    StripeCustomer.objects.all().delete()
    Purchase.objects.all().delete()
    shop.user.delete()
    shop.tell()
    assert Event.objects.get(type="charge.refunded").status == "quarantined"
    assert Charge.objects.count() == 0


# --- Order, repeats and races -----------------------------------------------------------------


def test_what_was_fetched_earlier_changes_nothing_later(shop):
    purchase = shop.buy()
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    (about, *_) = [one for one in shop.news() if one["type"] == "charge.refunded"]
    early = clawback.fetch_charge(about["data"]["object"])
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    with transaction.atomic():
        clawback.settle_charge(early)
    assert shop.stands == (0, 0)
    with transaction.atomic():
        clawback.settle_charge(replace(early, at=early.at + timedelta(hours=1)))
    assert shop.stands == (400, 0)


def test_each_event_ten_times_in_any_order(shop):
    purchase = shop.buy()
    bonus_for(purchase, 50)
    refund = shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.sandbox.refund(purchase.stripe_session_id, 190)
    shop.sandbox.fail_refund(refund["id"])
    dispute = shop.sandbox.dispute(purchase.stripe_session_id, 95)
    shop.sandbox.win_dispute(dispute["id"])
    news = shop.news() * 10
    random.Random(1).shuffle(news)
    assert {post(shop.client, one).status_code for one in news} == {200}
    assert shop.stands == (330, 0)
    assert len(entries()) == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_of_a_sale_its_refund_and_its_dispute(shop, order):
    purchase = shop.order()
    shop.sandbox.pay(purchase.stripe_session_id)
    sale = next(one for one in shop.news() if one["type"] == "checkout.session.completed")
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    refunded = next(one for one in shop.news() if one["type"] == "charge.refunded")
    shop.sandbox.dispute(purchase.stripe_session_id, 190)
    disputed = next(one for one in shop.news() if one["type"].endswith("funds_withdrawn"))
    events = [sale, refunded, disputed]
    waiting = [events[index] for index in order]
    while waiting:  # as Stripe does
        waiting = [one for one in waiting if post(shop.client, one).status_code != 200]
    assert shop.stands == (200, 0)
    assert sum(amount for _, amount, _, _ in entries()) == -300


@pytest.mark.django_db(transaction=True)
def test_sixteen_at_once(shop, at_once):
    purchase = shop.buy()
    bonus_for(purchase, 50)
    ledger.spend(ledger.wallet_of(shop.user), 100, key="s")
    refund = shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.sandbox.fail_refund(refund["id"])
    shop.sandbox.dispute(purchase.stripe_session_id, 95)
    about = [one for one in shop.news() if one["type"].startswith(ABOUT_MONEY)]
    news = about * 10
    random.Random(2).shuffle(news)

    def deliver(index: int) -> list[int]:
        return [post(Client(), one).status_code for one in news[index::16]]

    statuses = at_once(16, deliver)
    assert {status for found in statuses for status in found} == {200}
    assert shop.stands == (550 - 100 - 220, 0)
    assert sum(amount for _, amount, _, _ in entries()) == -220
    assert len({entry.key for entry in Entry.objects.all()}) == Entry.objects.count()


@pytest.mark.django_db(transaction=True)
def test_who_settles_an_earlier_state_waits_for_a_later_one_and_leaves_it(shop):
    purchase = shop.buy()
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    about = next(one for one in shop.news() if one["type"] == "charge.refunded")
    assert post(shop.client, about).status_code == 200
    early = clawback.fetch_charge(about["data"]["object"])
    shop.sandbox.refund(purchase.stripe_session_id)
    late = clawback.fetch_charge(about["data"]["object"])

    def settle_early() -> None:
        try:
            with transaction.atomic():
                clawback.settle_charge(early)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            clawback.settle_charge(late)
            waiting = pool.submit(settle_early)
            wait_for_a_lock()
        waiting.result(30)
    assert shop.stands == (0, 0)
    assert Charge.objects.get().refunded == 475


def wait_for_a_lock() -> None:
    """Until another connection waits for what this transaction has locked."""
    for _ in range(500):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise TimeoutError("Nobody waits.")


@pytest.mark.django_db(transaction=True)
def test_two_events_of_one_charge_beside_spends_and_purchases(shop, at_once):
    """Everybody locks the purchase, then the wallet: nobody waits in a circle."""
    purchases = [shop.buy() for _ in range(3)]
    wallet = ledger.wallet_of(shop.user)
    for purchase in purchases:
        shop.sandbox.refund(purchase.stripe_session_id, 95)
        shop.sandbox.dispute(purchase.stripe_session_id, 95)
    news = [one for one in shop.news() if one["type"].startswith(ABOUT_MONEY)]
    sales = list(Event.objects.filter(type="checkout.session.completed"))

    def act(index: int) -> Any:
        if index % 4 == 3:
            return [ledger.spend(wallet, 1, key=f"s:{index}:{n}").amount for n in range(10)]
        Event.objects.filter(pk__in=[sale.pk for sale in sales]).update(status="received")
        return [post(Client(), one).status_code for one in news[index % 3 :: 3]]

    results = at_once(12, act)
    assert not [one for one in results if isinstance(one, Exception)]
    assert {one for found in results for one in found} == {200, -1}
    assert shop.stands == (1500 - 600 - 30, 0)


def test_the_price_makes_no_share_unequal():
    for credits in (10, 499, 1234, 5000, 100_000):
        charged = quote(credits).total
        assert clawback.share(credits, charged, charged) == credits
        assert clawback.share(credits, charged + 1, charged) == credits
        assert clawback.share(credits, 0, charged) == 0
