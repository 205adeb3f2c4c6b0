"""Automatic top-up at Stripe's side of the counter: one charge, never above what was agreed."""

import contextlib
import functools
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from billing import abandoned, stripe_api, topup, topup_charges
from billing.closing import PaymentUnderWay, close_account
from billing.models import Event, Mail, PriceTier, Purchase, TopUp, TopUpConsent
from billing.reconcile import reconcile
from billing.stripe_api import StripeUnavailable
from billing.topup import NoCard, PriceChanged, Terms
from credits import ledger
from credits.errors import InsufficientCredits
from credits.models import Entry
from tests.sandbox import Sandbox
from tests.shop import Shop
from tests.stripe_events import event, post, session_of

pytestmark = pytest.mark.django_db

TERMS = Terms(threshold=200, credits=500, cap=2000)
PRICE = 475
"""Cents for 500 credits."""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch) -> None:
    monkeypatch.setattr(stripe_api, "PAUSE", 0)


@pytest.fixture
def ready(shop) -> Shop:
    """A buyer with 150 credits who has turned automatic top-up on: below 200, 500 for $4.75."""
    ledger.grant(ledger.wallet_of(shop.user), 150, key="start", kind="promotion")
    session_id = topup.card_page(shop.user).rpartition("/")[2]
    shop.sandbox.pay(session_id)
    topup.keep_card(topup.fetch_card(session_id))
    turn_on(shop.user)
    shop.news()
    return shop


def save_card(shop: Shop, number: str = "4242424242424242") -> TopUp:
    session_id = topup.card_page(shop.user).rpartition("/")[2]
    shop.sandbox.pay(session_id, number)
    # A second later than the last one: that is how they are told apart.
    TopUp.objects.filter(user=shop.user).update(card_from=F("card_from") - timedelta(seconds=2))
    shop.tell()
    return TopUp.objects.get(user=shop.user)


def turn_on(user: User, terms: Terms = TERMS, price: int = PRICE) -> TopUp:
    return topup.turn_on(user, terms, expected_total=price, text="I agree.")


def row(shop: Shop) -> TopUp:
    return TopUp.objects.get(user=shop.user)


def charges(shop: Shop) -> list[tuple[str, int]]:
    """What became of each charge, and its total, in their order."""
    found = Purchase.objects.filter(top_up__user=shop.user).order_by("created_at")
    return list(found.values_list("status", "total"))


def taken(sandbox: Sandbox) -> list[int]:
    """What Stripe has taken, in cents."""
    return [one["amount"] for one in sandbox.objects("charge") if one["status"] == "succeeded"]


def mailed(kind: str = "") -> list[str]:
    found = Mail.objects.filter(kind__startswith=kind or "top_up").order_by("pk")
    return list(found.values_list("kind", flat=True))


def later(shop: Shop, **by: int) -> None:
    """Time goes by for what waits for it."""
    for name in ("next_try_at", "asks_until"):
        TopUp.objects.filter(user=shop.user).update(**{name: F(name) - timedelta(**by)})


def spend_all(shop: Shop) -> None:
    wallet = ledger.wallet_of(shop.user)
    ledger.spend(wallet, ledger.balance_of(shop.user), key=f"all:{Entry.objects.count()}")


# --- The main path --------------------------------------------------------------------------------


def test_a_balance_that_runs_low_is_topped_up_once(ready):
    assert topup_charges.run_due() == 1
    purchase = Purchase.objects.get()
    assert (purchase.status, purchase.credits, purchase.total, purchase.mode) == (
        "paid", 500, PRICE, "payment",
    )  # fmt: skip
    assert ready.stands == (650, 0)
    entry = Entry.objects.get(key=f"purchase:{purchase.pk}")
    assert (entry.amount, entry.kind) == (500, "purchase")
    ready.tell()  # what Stripe tells of it as well
    assert topup_charges.run_due() == 0
    assert ready.stands == (650, 0)
    assert taken(ready.sandbox) == [PRICE]
    assert mailed() == ["top_up"]
    (intent,) = ready.sandbox.objects("payment_intent")
    assert intent["metadata"] == {
        "type": "dynamic_credits", "origin": "top_up", "credits": "500",
        "user_id": str(ready.user.pk), "purchase_id": str(purchase.pk),
    }  # fmt: skip
    keys = [one["idempotency_key"] for one in ready.sandbox.requests() if "intents" in one["path"]]
    assert keys == [f"{purchase.pk}:1", f"{purchase.pk}:1:confirm"]
    assert not Event.objects.exclude(status__in=["done", "ignored"]).exists()


@pytest.mark.parametrize("why", ["enough", "held", "off", "another's"])
def test_nothing_is_charged_without_need_or_consent(ready, other_user, why):
    if why == "enough":
        ledger.grant(ledger.wallet_of(ready.user), 50, key="more", kind="promotion")
    elif why == "held":  # 350 with 150 held are 200 to spend
        wallet = ledger.wallet_of(ready.user)
        ledger.grant(wallet, 200, key="more", kind="promotion")
        ledger.hold(wallet, 150, key="h", expires_in=timedelta(hours=1))
    elif why == "off":
        topup.turn_off(ready.user)
    else:
        topup.turn_off(ready.user)
        ledger.grant(ledger.wallet_of(other_user), 5, key="x", kind="promotion")
    assert topup_charges.run_due() == 0
    assert (charges(ready), taken(ready.sandbox), mailed()) == ([], [], [])


def test_what_is_held_cannot_be_spent_and_counts_as_gone(ready):
    wallet = ledger.wallet_of(ready.user)
    ledger.grant(wallet, 100, key="more", kind="promotion")
    ledger.hold(wallet, 60, key="h", expires_in=timedelta(hours=1))
    assert topup_charges.run_due() == 1
    assert ledger.balance_of(ready.user) == 690


@pytest.mark.django_db(transaction=True)
def test_fifty_spends_across_the_threshold_are_one_charge(shop, at_once):
    wallet = ledger.wallet_of(shop.user)
    ledger.grant(wallet, 600, key="start", kind="promotion")
    save_card(shop)
    turn_on(shop.user)

    def spend_and_look(number: int) -> int:
        ledger.spend(wallet, 9, key=f"s{number}")
        return topup_charges.run_due() if number % 5 == 0 else 0

    assert set(map(type, at_once(50, spend_and_look))) == {int}
    topup_charges.run_due()
    shop.tell()
    assert (charges(shop), taken(shop.sandbox)) == ([("paid", PRICE)], [PRICE])
    assert shop.stands == (650, 0)
    assert mailed() == ["top_up"]


def test_the_database_has_no_second_charge_beside_one_that_waits(ready):
    terms = {
        "user": ready.user, "top_up": row(ready), "mode": "payment", "credits": 500,
        "unit_price_e4": 95, "total": PRICE, "currency": "usd",
    }  # fmt: skip
    Purchase.objects.create(**terms)
    for status in ("pending", "settling"):
        with pytest.raises(IntegrityError, match="one_top_up"), transaction.atomic():
            Purchase.objects.create(**terms, status=status)


# --- What was agreed ------------------------------------------------------------------------------


def test_it_is_turned_on_with_a_card_at_the_price_that_was_read(shop):
    with pytest.raises(NoCard):
        turn_on(shop.user)
    save_card(shop)
    with pytest.raises(PriceChanged):
        turn_on(shop.user, price=PRICE - 1)
    assert (row(shop).status, TopUpConsent.objects.count()) == ("off", 0)
    turn_on(shop.user)
    consent = row(shop).consent
    assert (consent.threshold, consent.credits, consent.total, consent.cap, consent.text) == (
        200, 500, PRICE, 2000, "I agree.",
    )  # fmt: skip


@pytest.mark.parametrize("terms", [Terms(501, 500, 2000), Terms(0, 500, 2000), Terms(9, 500, 474)])
def test_terms_that_the_database_refuses(shop, terms):
    save_card(shop)
    with pytest.raises(IntegrityError), transaction.atomic():
        turn_on(shop.user, terms)
    assert row(shop).status == "off"


def test_a_consent_is_never_changed(ready):
    for change in (
        "UPDATE billing_topupconsent SET cap = cap + 1",
        "DELETE FROM billing_topupconsent",
    ):
        with connection.cursor() as cursor, transaction.atomic():
            cursor.execute("UPDATE billing_topup SET status = 'off', consent_id = NULL")
            with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
                cursor.execute(change)


@pytest.mark.parametrize(("price", "status"), [(96, "suspended"), (90, "on")])
def test_a_price_that_has_risen_is_not_charged(ready, price, status):
    PriceTier.objects.filter(min_credits=10).update(unit_price_e4=100)
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=price)
    topup_charges.run_due()
    assert row(ready).status == status
    if status == "on":  # a lower one is
        assert (charges(ready), taken(ready.sandbox)) == ([("paid", 450)], [450])
        return
    assert (row(ready).reason, charges(ready), taken(ready.sandbox)) == ("price", [], [])
    assert (mailed(), topup_charges.run_due()) == (["top_up_suspended"], 0)
    turn_on(ready.user, price=480)  # agreed anew
    topup_charges.run_due()
    assert charges(ready) == [("paid", 480)]


def test_the_monthly_cap_is_never_exceeded_by_a_cent(ready):
    turn_on(ready.user, Terms(200, 500, 2 * PRICE))
    for _ in range(3):
        spend_all(ready)
        topup_charges.run_due()
    assert taken(ready.sandbox) == [PRICE, PRICE]
    assert mailed() == ["top_up", "top_up", "top_up_cap"]
    later(ready, days=40)
    assert topup_charges.run_due() == 0
    assert mailed("top_up_cap") == ["top_up_cap"]  # once a month
    turn_on(ready.user, Terms(200, 500, 3 * PRICE - 1))
    topup_charges.run_due()
    assert len(taken(ready.sandbox)) == 2
    turn_on(ready.user, Terms(200, 500, 3 * PRICE))
    topup_charges.run_due()
    assert len(taken(ready.sandbox)) == 3


def test_what_was_refunded_still_counts_and_a_new_month_begins_anew(ready):
    turn_on(ready.user, Terms(200, 500, PRICE))
    topup_charges.run_due()
    ready.sandbox.refund(str(Purchase.objects.get().stripe_payment_id))
    ready.tell()
    turn_on(ready.user, Terms(200, 500, PRICE))
    assert topup_charges.run_due() == 0
    assert taken(ready.sandbox) == [PRICE]
    month = topup.month_of(timezone.now())
    Purchase.objects.update(created_at=month - timedelta(seconds=1))
    assert topup.used_now(row(ready)) == PRICE  # paid in this one
    Purchase.objects.update(paid_at=month - timedelta(seconds=1))
    assert topup.used_now(row(ready)) == 0
    later(ready, days=40)
    topup_charges.run_due()
    assert taken(ready.sandbox) == [PRICE, PRICE]


@pytest.mark.django_db(transaction=True)
def test_the_cap_holds_under_parallel_looks_and_spends(shop, at_once):
    ledger.grant(ledger.wallet_of(shop.user), 100, key="start", kind="promotion")
    save_card(shop)
    turn_on(shop.user, Terms(200, 500, 3 * PRICE + 1))

    def drain(number: int) -> None:
        for turn in range(4):
            balance = ledger.balance_of(shop.user)
            with contextlib.suppress(InsufficientCredits):
                ledger.spend(ledger.wallet_of(shop.user), max(balance, 1), key=f"{number}.{turn}")
            topup_charges.run_due()

    at_once(6, drain)
    for _ in range(4):
        later(shop, minutes=2)
        spend_all(shop) if ledger.balance_of(shop.user) else None
        topup_charges.run_due()
        shop.tell()
    assert taken(shop.sandbox) == [PRICE] * 3
    assert charges(shop) == [("paid", PRICE)] * 3


# --- Declined -------------------------------------------------------------------------------------


def test_a_decline_waits_an_hour_and_three_suspend(ready):
    ready.sandbox.charges_go("decline", "insufficient_funds", "decline")
    for number in (1, 2):
        assert topup_charges.run_due() == 1
        ready.tell()
        assert (charges(ready), row(ready).declines) == ([("failed", PRICE)] * number, number)
        later(ready, minutes=59)
        assert topup_charges.run_due() == 0
        later(ready, minutes=2)
    topup_charges.run_due()
    assert (row(ready).status, row(ready).reason) == ("suspended", "declined")
    assert mailed() == ["top_up_failed", "top_up_failed", "top_up_suspended"]
    later(ready, days=9)
    assert topup_charges.run_due() == 0
    assert (taken(ready.sandbox), ready.stands) == ([], (150, 0))


@pytest.mark.parametrize("by", ["card", "hand"])
def test_what_was_declined_goes_on_with_a_new_card_or_by_hand(ready, by):
    ready.sandbox.charges_go("decline", "decline", "decline")
    for _ in range(3):
        topup_charges.run_due()
        later(ready, hours=2)
    old = row(ready).payment_method_id
    if by == "card":
        save_card(ready, "5555555555554444")
        assert row(ready).card_label == "Mastercard ending 4444"
    else:
        turn_on(ready.user)
    assert (row(ready).status, row(ready).declines) == ("on", 0)
    topup_charges.run_due()
    assert taken(ready.sandbox) == [PRICE]
    topup.let_cards_go()
    gone = [one["id"] for one in ready.sandbox.objects("payment_method") if not one["customer"]]
    assert (gone, row(ready).to_detach) == ([old] if by == "card" else [], [])


def test_a_success_forgets_the_declines_before_it(ready):
    ready.sandbox.charges_go("decline", "decline")
    for _ in range(3):
        topup_charges.run_due()
        later(ready, hours=2)
    assert (row(ready).declines, row(ready).status) == (0, "on")
    assert charges(ready) == [("failed", PRICE)] * 2 + [("paid", PRICE)]


def test_a_charge_that_is_processed_waits_and_counts(ready):
    ready.sandbox.charges_go("process", "process")
    topup_charges.run_due()
    assert (charges(ready), topup.used_now(row(ready))) == ([("settling", PRICE)], PRICE)
    later(ready, days=1)
    assert topup_charges.run_due() == 0
    ready.sandbox.settle_intent(str(Purchase.objects.get().stripe_payment_id), is_paid=True)
    Purchase.objects.update(created_at=timezone.now() - timedelta(days=2))
    abandoned.close_abandoned()  # its event never came
    assert (charges(ready), ready.stands) == ([("paid", PRICE)], (650, 0))
    spend_all(ready)
    topup_charges.run_due()
    waiting = Purchase.objects.get(status="settling")
    ready.sandbox.settle_intent(str(waiting.stripe_payment_id), is_paid=False)
    ready.tell()
    assert (charges(ready)[-1], row(ready).declines) == (("failed", PRICE), 1)


# --- The bank asks for its owner ------------------------------------------------------------------


@pytest.fixture
def asked(ready) -> Purchase:
    ready.sandbox.charges_go("authenticate")
    topup_charges.run_due()
    ready.tell()
    return Purchase.objects.get()


def test_a_charge_that_wants_its_owner_waits_and_is_paid_once_on_a_page(ready, asked):
    assert (asked.status, mailed(), topup.used_now(row(ready))) == (
        "pending", ["top_up_asks"], PRICE,
    )  # fmt: skip
    later(ready, hours=23)
    assert topup_charges.run_due() == 0
    first = topup_charges.pay_page(asked)
    assert topup_charges.pay_page(Purchase.objects.get()) == first
    assert [one["status"] for one in ready.sandbox.objects("payment_intent")] == ["canceled"]
    ready.tell()  # that it was cancelled
    asked.refresh_from_db()
    assert asked.status == "pending"
    session = ready.sandbox.pay(str(asked.stripe_session_id))
    assert session["amount_total"] == PRICE
    ready.tell()
    assert (charges(ready), taken(ready.sandbox), ready.stands) == (
        [("paid", PRICE)], [PRICE], (650, 0),
    )  # fmt: skip
    assert mailed() == ["top_up_asks", "top_up"]
    assert (row(ready).asks_until, row(ready).declines) == (None, 0)
    with pytest.raises(topup_charges.NotPayable):
        topup_charges.pay_page(Purchase.objects.get())
    spend_all(ready)
    topup_charges.run_due()
    assert len(taken(ready.sandbox)) == 2


def test_news_of_what_was_cancelled_for_the_page_closes_nothing(ready, asked):
    stripe_api.client().v1.payment_intents.cancel(str(asked.stripe_payment_id))
    ready.tell()  # before the page is there
    (intent,) = ready.sandbox.objects("payment_intent")
    topup_charges.settle(intent | {"id": "pi_another", "status": "processing"})
    assert charges(ready) == [("pending", PRICE)]
    topup_charges.pay_page(Purchase.objects.get())
    asked.refresh_from_db()
    stripe_api.client().v1.checkout.sessions.expire(str(asked.stripe_session_id))
    ready.tell()  # before the worker sees that its time is over
    assert (charges(ready), row(ready).declines) == ([("expired", PRICE)], 1)
    assert topup_charges.run_due() == 0


@pytest.mark.parametrize("page", [False, True])
def test_unpaid_after_a_day_it_is_over_and_counts_as_declined(ready, asked, page):
    if page:
        topup_charges.pay_page(asked)
    later(ready, hours=25)
    topup_charges.run_due()
    ready.tell()
    assert (charges(ready), row(ready).declines) == ([("expired", PRICE)], 1)
    assert topup_charges.run_due() == 0
    open_ = [one for one in ready.sandbox.objects("checkout.session") if one["status"] == "open"]
    states = [one["status"] for one in ready.sandbox.objects("payment_intent")]
    assert (open_, states, taken(ready.sandbox)) == ([], ["canceled"], [])
    with pytest.raises(topup_charges.NotPayable):
        topup_charges.pay_page(Purchase.objects.get())


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("cancel", "lose_reply"),
        ("cancel", "error"),
        ("sessions", "lose_reply"),
        ("sessions", "reset"),
    ],
)
def test_a_page_that_fails_to_open_opens_the_same_charge_later(ready, asked, call, kind):
    path = (
        f"/v1/payment_intents/{asked.stripe_payment_id}/cancel"
        if call == "cancel"
        else "/v1/checkout/sessions"
    )
    ready.sandbox.add_fault(path=path, kind=kind, times=2)
    try:
        topup_charges.pay_page(asked)
    except StripeUnavailable:
        topup_charges.pay_page(Purchase.objects.get())
    asked.refresh_from_db()
    ready.sandbox.pay(str(asked.stripe_session_id))
    ready.tell()
    assert (taken(ready.sandbox), ready.stands) == ([PRICE], (650, 0))


# --- Whatever fails -------------------------------------------------------------------------------

CREATE = "/v1/payment_intents"


@pytest.mark.parametrize("after", [0, 1], ids=["create", "confirm"])
@pytest.mark.parametrize(
    "fault",
    [{"kind": "lose_reply"}, {"kind": "reset"}, {"kind": "error", "status": 500},
     {"kind": "error", "status": 429}],
    ids=["lost", "reset", "500", "429"],
)  # fmt: skip
def test_a_call_that_fails_is_one_charge_in_the_end(ready, fault, after):
    # Our own second try fails as well, and the first of the next time.
    ready.sandbox.add_fault(path=CREATE, after=after, times=3, **fault)
    for _ in range(4):
        topup_charges.run_due()
        later(ready, minutes=2)
    # After two answers that were lost it is asked how the charge stands, not to be made again.
    is_asked = (fault["kind"], after) == ("lose_reply", 1)
    assert len(ready.sandbox.faults()) == is_asked
    assert (taken(ready.sandbox), charges(ready)) == ([PRICE], [("paid", PRICE)])
    ready.tell()
    assert (ready.stands, mailed()) == ((650, 0), ["top_up"])


def test_stripe_is_away_and_comes_back(ready, settings, dead_stripe):
    topup_charges.run_due()
    assert (charges(ready), ready.stands) == ([("pending", PRICE)], (150, 0))
    assert topup_charges.run_due() == 0  # nobody else takes it meanwhile
    settings.STRIPE_API_BASE = ready.sandbox.base_url
    later(ready, minutes=2)
    topup_charges.run_due()
    assert (taken(ready.sandbox), charges(ready)) == ([PRICE], [("paid", PRICE)])


@pytest.mark.parametrize("told", ["webhook", "run"])
def test_a_crash_after_stripes_answer_is_made_up_for(ready, monkeypatch, told):
    with monkeypatch.context() as broken:
        broken.setattr(topup_charges, "settle", functools.partial(fall, "the power is gone"))
        topup_charges.run_due()
    assert (charges(ready), taken(ready.sandbox)) == ([("pending", PRICE)], [PRICE])
    if told == "webhook":
        ready.tell()
    else:
        later(ready, minutes=2)
        topup_charges.run_due()
    assert (charges(ready), ready.stands) == ([("paid", PRICE)], (650, 0))
    ready.tell()
    assert (taken(ready.sandbox), ready.stands, mailed()) == ([PRICE], (650, 0), ["top_up"])


def fall(why: str, *arguments: object) -> None:
    raise RuntimeError(why)


def test_the_webhook_is_faster_comes_twice_and_out_of_order(ready, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(topup_charges, "settle", functools.partial(fall, "later"))
        topup_charges.run_due()
    for payload in [*ready.news()[::-1], *ready.sandbox.events()]:
        payload.pop("delivery", None)
        assert post(ready.client, payload).status_code == 200
    purchase = Purchase.objects.get()
    topup_charges.settle(ready.sandbox.objects("payment_intent")[0])  # the answer, late
    assert (purchase.status, ready.stands, mailed()) == ("paid", (650, 0), ["top_up"])


def test_an_old_event_changes_nothing_of_a_later_charge(ready):
    ready.sandbox.charges_go("decline", "authenticate")
    topup_charges.run_due()
    declined = ready.news()
    later(ready, hours=2)
    topup_charges.run_due()
    before = charges(ready), row(ready).declines, row(ready).asks_until
    for payload in declined:
        post(ready.client, payload)
    assert (charges(ready), row(ready).declines, row(ready).asks_until) == before


def test_what_a_payment_page_takes_is_left_to_its_session(shop):
    purchase = shop.order(500)
    shop.sandbox.pay(str(purchase.stripe_session_id))
    (paid,) = [e for e in shop.news() if e["type"] == "payment_intent.succeeded"]
    post(shop.client, paid)
    purchase.refresh_from_db()
    assert (purchase.status, shop.stands) == ("pending", (0, 0))
    assert Event.objects.get().status == "ignored"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"amount_received": PRICE - 1}, "quarantined"),
        ({"currency": "eur"}, "quarantined"),
        ({"id": "pi_another"}, "quarantined"),
        ({"metadata": {"type": "dynamic_credits"}}, "ignored"),
        ({"metadata": {}}, "ignored"),
    ],
)
def test_a_payment_that_is_not_the_charge_grants_nothing(ready, asked, change, status):
    intent = ready.sandbox.objects("payment_intent")[0] | {
        "status": "succeeded", "amount_received": PRICE,
    }  # fmt: skip
    payload = event("payment_intent.succeeded", intent | change)
    assert post(ready.client, payload).status_code == 200
    assert Event.objects.get(stripe_id=payload["id"]).status == status
    assert (ready.stands, taken(ready.sandbox)) == ((150, 0), [])
    # While one is being checked there is no other.
    if status == "quarantined":
        later(ready, days=3)
        topup_charges.run_due()
        assert charges(ready) == [("review", PRICE)]


def test_a_charge_that_a_backup_does_not_know_is_taken(ready):
    topup_charges.run_due()
    (intent,) = ready.sandbox.objects("payment_intent")
    told = ready.news()
    other = intent["metadata"] | {"purchase_id": "6f1f0f2e-7c0e-4a51-9a94-0f9e1a4d7a10"}
    payload = event("payment_intent.succeeded", intent | {"id": "pi_lost", "metadata": other})
    post(ready.client, payload)
    assert (len(told) > 0, ready.stands) == (True, (1150, 0))
    assert topup.used_now(row(ready)) == 2 * PRICE


@pytest.mark.parametrize("how", ["detached", "unheard", "customer"])
def test_a_card_that_is_gone_suspends(ready, how):
    method, customer = row(ready).payment_method_id, row(ready).stripe_customer_id
    if how == "customer":
        stripe_api.client().v1.customers.delete(customer)
    else:
        ready.sandbox.detach(method)
    if how == "detached":
        ready.tell()
    topup_charges.run_due()
    later(ready, days=3)
    topup_charges.run_due()
    assert (row(ready).status, row(ready).reason) == ("suspended", "no_card")
    assert (taken(ready.sandbox), mailed()) == ([], ["top_up_suspended"])
    assert charges(ready) == ([] if how == "detached" else [("expired", PRICE)])
    save_card(ready)
    topup_charges.run_due()
    assert taken(ready.sandbox) == [PRICE]


def test_a_key_that_stripe_refuses_is_nobodys_card(ready, settings, caplog):
    right = settings.STRIPE_SECRET_KEY
    settings.STRIPE_SECRET_KEY = "pk_" + "nonsense"
    topup_charges.run_due()
    settings.STRIPE_SECRET_KEY = right
    assert (row(ready).status, mailed(), taken(ready.sandbox)) == ("on", [], [])
    later(ready, hours=2)
    topup_charges.run_due()
    assert (taken(ready.sandbox), charges(ready)[-1]) == ([PRICE], ("paid", PRICE))


# --- Turned off, changed, closed while a charge is under way --------------------------------------


@pytest.mark.parametrize(
    ("change", "after"),  # before the payment intent is made, or confirmed
    [("off", 0), ("off", 1), ("card removed", 1), ("cap", 1), ("credits", 1), ("bought", 1)],
)
def test_a_charge_that_is_not_wanted_any_more_is_not_made(ready, change, after):
    ready.sandbox.add_fault(path=CREATE, after=after, times=2, kind="reset")
    topup_charges.run_due()
    assert charges(ready) == [("pending", PRICE)]
    if change == "off":
        topup.turn_off(ready.user)
    elif change == "card removed":
        topup.remove_card(ready.user)
    elif change == "cap":
        turn_on(ready.user, Terms(200, 500, PRICE))
        Purchase.objects.create(
            user=ready.user, top_up=row(ready), mode="payment", credits=10, unit_price_e4=100,
            total=10, currency="usd", status="paid", paid_at=timezone.now(),
        )  # fmt: skip
    elif change == "credits":
        turn_on(ready.user, Terms(200, 600, 2000), price=570)
    else:
        ledger.grant(ledger.wallet_of(ready.user), 500, key="bought", kind="promotion")
    for _ in range(3):
        later(ready, minutes=2)
        topup_charges.run_due()
    assert taken(ready.sandbox) == ([570] if change == "credits" else [])
    assert ("expired", PRICE) in charges(ready)


def test_an_account_that_closes_is_charged_no_more(ready):
    ready.sandbox.add_fault(path=CREATE, after=1, times=2, kind="reset")
    topup_charges.run_due()
    close_account(ready.user)
    later(ready, minutes=2)
    topup_charges.run_due()
    assert (taken(ready.sandbox), charges(ready)) == ([], [("expired", PRICE)])
    left = row(ready)
    assert (left.status, left.payment_method_id, left.card_last4, left.to_detach) == (
        "off", "", "", [],
    )  # fmt: skip
    assert ready.sandbox.objects("payment_intent")[0]["status"] == "canceled"


def test_an_account_with_a_charge_under_way_is_not_closed(ready):
    ready.sandbox.charges_go("process")
    topup_charges.run_due()
    with pytest.raises(PaymentUnderWay):
        close_account(ready.user)
    ready.user.refresh_from_db()
    assert (ready.user.closed_at, row(ready).status) == (None, "on")


# --- Afterwards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("back", ["refund", "dispute"])
def test_money_that_went_back_is_not_taken_again(ready, back):
    topup_charges.run_due()
    ready.tell()
    intent_id = str(Purchase.objects.get().stripe_payment_id)
    getattr(ready.sandbox, back)(intent_id)
    ready.tell()
    assert ready.stands == (150, 0)
    assert (row(ready).status, row(ready).reason) == ("suspended", "money_back")
    assert topup_charges.run_due() == 0
    assert taken(ready.sandbox) == [PRICE]
    assert mailed("top_up_s") == ["top_up_suspended"]


def test_a_reconciliation_finds_a_charge_that_nobody_told(ready, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(topup_charges, "settle", functools.partial(fall, "gone"))
        topup_charges.run_due()
    result = reconcile(timezone.now() - timedelta(days=1))
    assert (ready.stands, result.differences) == ((650, 0), [])
    counts = result.counts
    assert (counts["paid_at_stripe"], counts["paid_here"]) == (PRICE, PRICE)
    assert reconcile(timezone.now() + timedelta(days=60)).differences == []


def test_the_order_of_cards_is_that_of_their_saving(shop):
    first = topup.card_page(shop.user).rpartition("/")[2]
    shop.sandbox.pay(first)
    card = topup.fetch_card(first)
    topup.keep_card(card)
    newer = topup.SavedCard(**{**vars(card), "payment_method_id": "pm_new",
                               "since": card.since + timedelta(minutes=1)})  # fmt: skip
    topup.keep_card(newer)
    topup.keep_card(card)
    shop.tell()
    assert (row(shop).payment_method_id, row(shop).to_detach) == (
        "pm_new",
        [card.payment_method_id],
    )
    topup.remove_card(shop.user)
    topup.keep_card(newer)
    assert row(shop).payment_method_id == ""


def test_somebody_elses_card_is_never_kept(shop, other_user):
    session_id = topup.card_page(shop.user).rpartition("/")[2]
    shop.sandbox.pay(session_id)
    (payload,) = [e for e in shop.news() if e["type"] == "checkout.session.completed"]
    assert topup.fetch_card(session_id).user == shop.user
    payload["data"]["object"]["metadata"]["user_id"] = str(other_user.pk)
    post(shop.client, payload)  # what is fetched counts, not what it says
    assert not TopUp.objects.filter(user=other_user).exists()


def test_a_page_that_opens_when_the_time_is_over_is_closed_again(ready, asked, monkeypatch):
    open_session = stripe_api.keyed_call

    def slowly(*args, **fields):
        session = open_session(*args, **fields)
        later(ready, hours=25)
        topup_charges.run_due()
        return session

    with monkeypatch.context() as slow:
        slow.setattr(stripe_api, "keyed_call", slowly)
        with pytest.raises(topup_charges.NotPayable):
            topup_charges.pay_page(asked)
    sessions = ready.sandbox.objects("checkout.session")
    (status,) = [one["status"] for one in sessions if one["mode"] == "payment"]
    assert (status, charges(ready)) == ("expired", [("expired", PRICE)])


def test_a_page_that_is_paid_beside_the_saved_card_is_looked_at(ready):
    topup_charges.run_due()
    purchase = Purchase.objects.get()
    session = session_of(purchase, payment_intent="pi_of_the_page")
    payload = event("checkout.session.completed", session)
    assert post(ready.client, payload).status_code == 200
    purchase.refresh_from_db()
    assert Event.objects.get(stripe_id=payload["id"]).status == "quarantined"
    assert (purchase.status, purchase.stripe_session_id, ready.stands) == ("paid", None, (650, 0))


def test_a_cap_that_is_raised_after_a_decline_is_not_slept_through(ready):
    topup_charges.run_due()
    spend_all(ready)
    ready.sandbox.charges_go("decline")
    topup_charges.run_due()
    turn_on(ready.user, Terms(200, 500, PRICE))
    later(ready, hours=2)
    assert topup_charges.run_due() == 0
    assert mailed("top_up_cap") == ["top_up_cap"]
    turn_on(ready.user, Terms(200, 500, 3 * PRICE))
    assert topup_charges.run_due() == 0  # a card that was declined has its hour
    later(ready, hours=2)
    assert topup_charges.run_due() == 1
    assert taken(ready.sandbox) == [PRICE, PRICE]


def test_who_is_locked_out_is_not_charged(ready):
    User.objects.update(is_active=False)
    assert topup_charges.run_due() == 0
    assert (charges(ready), taken(ready.sandbox)) == ([], [])


def test_late_news_of_another_charge_charges_no_card_beside_a_page(ready):
    ready.sandbox.charges_go("decline", "authenticate")
    topup_charges.run_due()
    declined = Purchase.objects.get()
    later(ready, hours=2)
    topup_charges.run_due()
    page = Purchase.objects.get(status="pending")
    topup_charges.pay_page(page)
    (intent,) = [
        one
        for one in ready.sandbox.objects("payment_intent")
        if one["id"] == declined.stripe_payment_id
    ]
    late = intent | {"status": "succeeded", "amount_received": PRICE}
    assert post(ready.client, event("payment_intent.succeeded", late)).status_code == 200
    spend_all(ready)
    topup_charges.run_due()
    sessions = {one["id"]: one["status"] for one in ready.sandbox.objects("checkout.session")}
    page.refresh_from_db()
    assert (sessions[page.stripe_session_id], page.status) == ("expired", "expired")
    assert taken(ready.sandbox) == []
