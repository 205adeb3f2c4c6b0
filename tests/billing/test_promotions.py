"""Promo codes: reserved with the order, kept when it is paid, and never more than there are."""

import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import closing
from accounts.models import User
from billing import abandoned, checkout, promotions
from billing.closing import close_account
from billing.models import Event, Mail, PromoCode, Promotion, Purchase, Redemption
from billing.promotions import CodeRefused, Reason
from credits import ledger
from credits.models import Entry, Lot
from tests.promotions import miscounted, promo, voucher
from tests.shop import Shop
from tests.stripe_events import post

pytestmark = pytest.mark.django_db
raced = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _counted():
    yield
    assert miscounted() == []


def order(user: User, code: str = "SUMMER25", credits: int = 500, **given) -> Purchase:
    """An order with a code, without a page at Stripe."""
    asked = {"mode": "payment", "request_id": None, "expected_total": None, "expected_bonus": None}
    with transaction.atomic():
        closing.check_open(user)
        return checkout.place_order(
            user, checkout.Order(credits=credits, promo_code=code, **{**asked, **given})
        )


def reason(call, *args, **kwargs) -> tuple[str, int]:
    before = (Redemption.objects.count(), Entry.objects.count(), Purchase.objects.count())
    with pytest.raises(CodeRefused) as refused:
        call(*args, **kwargs)
    after = (Redemption.objects.count(), Entry.objects.count(), Purchase.objects.count())
    assert after == before
    return refused.value.reason.value, refused.value.minimum


def start(shop: Shop, credits: int = 500, code: str = "SUMMER25", **given) -> Purchase:
    key = given.pop("request_id", None) or uuid.uuid4()
    mode = given.pop("mode", "payment")
    checkout.start_checkout(shop.user, credits, mode, request_id=key, promo_code=code, **given)
    return Purchase.objects.get(user=shop.user, request_id=key)


def pay(shop: Shop, purchase: Purchase) -> None:
    shop.sandbox.pay(str(purchase.stripe_session_id))
    shop.tell()


def entries(user: User) -> list[tuple[str, int]]:
    return list(
        Entry.objects.filter(wallet__user=user).order_by("id").values_list("kind", "amount")
    )


def use() -> Redemption:
    return Redemption.objects.get()


# --- Limits ---------------------------------------------------------------------------------------


@raced
def test_100_buyers_at_once_get_exactly_the_10_uses(at_once):
    code = promo(max_uses=10)
    buyers = [User.objects.create_user(f"buyer{n}@example.com") for n in range(100)]
    answers = []
    for batch in range(0, 100, 25):  # PostgreSQL has 100 connections for all
        answers += at_once(25, lambda n, batch=batch: order(buyers[batch + n]))
    assert sum(isinstance(answer, Purchase) for answer in answers) == 10
    assert {answer.reason for answer in answers if not isinstance(answer, Purchase)} == {
        Reason.UNUSABLE
    }
    assert Purchase.objects.count() == Redemption.objects.count() == 10
    code.refresh_from_db()
    assert (code.used, code.promotion.used) == (10, 10)


@raced
def test_100_vouchers_at_once_are_10(at_once):
    voucher(max_uses=10)
    people = [User.objects.create_user(f"person{n}@example.com") for n in range(100)]
    answers = []
    for batch in range(0, 100, 25):
        answers += at_once(
            25, lambda n, batch=batch: promotions.redeem(people[batch + n], "gift-500")
        )
    assert sum(isinstance(answer, Redemption) for answer in answers) == 10
    assert sum(ledger.balance_of(person) for person in people) == 5000


@raced
def test_a_single_use_code_is_used_once_at_once(at_once):
    voucher(code_uses=1)
    people = [User.objects.create_user(f"person{n}@example.com") for n in range(20)]
    answers = at_once(20, lambda n: promotions.redeem(people[n], "GIFT500"))
    assert sum(isinstance(answer, Redemption) for answer in answers) == 1
    assert sum(ledger.balance_of(person) for person in people) == 500


@raced
@pytest.mark.parametrize("limit", [1, 3])
def test_the_limit_of_a_user_holds_at_once(user, at_once, limit):
    voucher(max_uses_per_user=limit)
    answers = at_once(20, lambda n: promotions.redeem(user, "GIFT500"))
    assert sum(isinstance(answer, Redemption) for answer in answers) == limit
    assert ledger.balance_of(user) == 500 * limit


@raced
def test_orders_of_one_user_at_once_reserve_once(user, at_once):
    promo()
    answers = at_once(20, lambda n: order(user))
    assert sum(isinstance(answer, Purchase) for answer in answers) == 1
    assert Redemption.objects.count() == Purchase.objects.count() == 1


def test_the_database_refuses_what_python_forgets(user):
    code = promo(max_uses=1, code_uses=1)
    for row in (code, code.promotion):
        row.used = 2
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save()
    for wrong in (
        {"percent": 10, "credits": 5}, {"percent": None, "credits": None}, {"percent": 0},
        {"percent": 1001}, {"credits": 100_001}, {"credits": 5, "max_bonus": 5},
        {"kind": "voucher", "percent": 10}, {"max_uses_per_user": 0}, {"min_credits": 9},
        {"kind": "voucher", "credits": 5, "first_purchase_only": True}, {"expires_after_days": 0},
        {"starts_at": timezone.now(), "ends_at": timezone.now() - timedelta(days=1)},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            promo("OTHER", **wrong)
    for wrong in ("summer25", "SUMMER 25", "ABC", "X" * 41, "ÄÖÜÄ"):
        with (
            pytest.raises(Exception, match=r"billing_promocode_code|too long"),
            transaction.atomic(),
        ):
            promo(wrong)
    with pytest.raises(IntegrityError), transaction.atomic():
        Redemption.objects.create(code=code, user=user, credits=5)  # no purchase, and not kept


# --- A purchase -----------------------------------------------------------------------------------


def test_a_bonus_from_code_to_credits(shop, user):
    promo(expires_after_days=30)
    purchase = start(shop, 505, " summer-25 ", expected_bonus=50)
    assert (use().status, use().credits, use().purchase) == ("reserved", 50, purchase)
    assert ledger.balance_of(user) == 0
    pay(shop, purchase)
    assert use().status == "kept"
    assert entries(user) == [("purchase", 505), ("promotion", 50)]
    bonus = Entry.objects.get(key=f"purchase:{purchase.pk}:bonus")
    assert bonus.note == "Bonus with the code SUMMER25"
    lot = Lot.objects.get(wallet__user=user, entry_id=bonus.pk)
    assert (lot.category, lot.paid) == ("promotional", 0)
    assert lot.expires_at == use().kept_at + timedelta(days=30)
    assert Mail.objects.get(kind="purchase").context["bonus"] == 50


def test_told_many_times_it_is_granted_once(shop, user):
    promo(expires_after_days=30)
    purchase = start(shop)
    shop.sandbox.pay(str(purchase.stripe_session_id))
    news = shop.news()
    for event in news:
        for copy in range(3):
            assert post(shop.client, {**event, "id": f"{event['id']}_{copy}"}).status_code == 200
    assert entries(user) == [("purchase", 500), ("promotion", 50)]
    assert Mail.objects.filter(kind="purchase").count() == 1


def test_a_plan_has_it_in_its_first_month_only(shop, user):
    promo()
    purchase = start(shop, mode="subscription")
    pay(shop, purchase)
    purchase.refresh_from_db()
    assert entries(user) == [("purchase", 500), ("promotion", 50)]
    assert Entry.objects.get(kind="promotion").key.startswith("invoice:")
    shop.sandbox.advance(purchase.stripe_payment_id)
    shop.tell()
    assert entries(user) == [("purchase", 500), ("promotion", 50), ("renewal", 500)]


def test_a_refund_takes_the_bonus_in_proportion_and_frees_nothing(shop, user):
    promo()
    purchase = start(shop)
    pay(shop, purchase)
    shop.sandbox.refund(str(purchase.stripe_session_id), 95)  # of 475
    shop.tell()
    assert shop.stands == (440, 0)
    shop.sandbox.refund(str(purchase.stripe_session_id))
    shop.tell()
    assert shop.stands == (0, 0)
    assert use().status == "kept"
    assert reason(start, shop) == ("used", 0)


def test_an_order_that_expires_frees_its_use(shop, user, other_user):
    promo(max_uses=1)
    purchase = start(shop)
    assert reason(order, other_user) == ("unusable", 0)
    shop.sandbox.let_pass(25)
    shop.tell()
    purchase.refresh_from_db()
    assert (purchase.status, use().status) == ("expired", "freed")
    assert Promotion.objects.get().used == 0
    assert isinstance(order(other_user), Purchase)


def test_a_bank_debit_that_fails_frees_its_use(shop, user):
    promo()
    purchase = start(shop)
    shop.sandbox.pay_by_bank(str(purchase.stripe_session_id))
    shop.tell()
    assert use().status == "reserved"
    assert reason(order, user) == ("used", 0)
    shop.sandbox.bounce(str(purchase.stripe_session_id))
    shop.tell()
    assert use().status == "freed"
    assert entries(user) == []


def test_an_abandoned_order_without_a_page_frees_its_use(user, sandbox):
    promo()
    purchase = order(user)
    Purchase.objects.update(created_at=timezone.now() - timedelta(hours=26))
    assert abandoned.close_abandoned() == 1
    purchase.refresh_from_db()
    assert (purchase.status, use().status) == ("expired", "freed")


def test_closing_the_account_frees_its_use(shop, user):
    promo()
    start(shop)
    close_account(user)
    assert use().status == "freed"


@pytest.mark.parametrize(("is_left", "status"), [(True, "kept"), (False, "beyond")])
def test_what_the_buyer_saw_is_granted_also_when_paid_too_late(
    shop, user, other_user, is_left, status
):
    promo(max_uses=1)
    purchase = start(shop)
    shop.sandbox.pay(str(purchase.stripe_session_id))
    checkout.expire_orders(Purchase.objects.all())  # the word that it was paid is late
    assert use().status == "freed"
    if not is_left:
        order(other_user)
    shop.tell()
    mine = Redemption.objects.get(user=user)
    assert (mine.status, mine.note.startswith("Paid when no use")) == (status, True)
    assert entries(user) == [("purchase", 500), ("promotion", 50)]
    assert Promotion.objects.get().used == 1


@pytest.mark.parametrize(("percent", "status"), [(10, "kept"), (20, None)])
def test_a_sale_that_only_stripe_knows_has_its_bonus(shop, user, percent, status):
    promo()
    purchase = start(shop)
    shop.sandbox.pay(str(purchase.stripe_session_id))
    # A backup is restored: of before the order.
    Redemption.objects.all().delete()
    Purchase.objects.all().delete()
    PromoCode.objects.update(used=0)
    Promotion.objects.update(used=0, percent=percent)
    shop.tell()
    if status:
        assert (use().status, use().purchase_id) == (status, purchase.pk)
        assert entries(user) == [("purchase", 500), ("promotion", 50)]
    else:
        assert entries(user) == []
        assert Event.objects.filter(status="quarantined").count() == 1
        assert not Purchase.objects.exists()


# --- Orders of before -----------------------------------------------------------------------------


def test_who_comes_back_from_the_payment_page_can_order_anew(shop, user):
    promo(max_uses=1)
    first = start(shop, 500)
    second = start(shop, 600)
    first.refresh_from_db()
    assert (first.status, second.status) == ("expired", "pending")
    statuses = {one["id"]: one["status"] for one in shop.sandbox.objects("checkout.session")}
    assert statuses == {first.stripe_session_id: "expired", second.stripe_session_id: "open"}
    pay(shop, second)
    assert entries(user) == [("purchase", 600), ("promotion", 60)]
    assert sorted(Redemption.objects.values_list("status", flat=True)) == ["freed", "kept"]


def test_an_order_that_is_refused_closes_nothing(shop):
    promo(min_credits=400)
    first = start(shop, 500)
    assert reason(start, shop, 300) == ("minimum", 400)
    first.refresh_from_db()
    assert (first.status, use().status) == ("pending", "reserved")


def test_a_page_that_was_just_paid_has_used_the_code(shop, user):
    promo()
    first = start(shop)
    shop.sandbox.pay(str(first.stripe_session_id))
    assert reason(start, shop, 600) == ("used", 0)
    shop.tell()
    assert entries(user) == [("purchase", 500), ("promotion", 50)]


def test_a_page_that_opens_while_the_code_goes_elsewhere_is_closed(shop, user, monkeypatch):
    promo()
    original = checkout.with_customer

    def slow(*args):
        session = original(*args)
        monkeypatch.setattr(checkout, "with_customer", original)
        start(shop, 600)  # in another window, while Stripe makes this page
        return session

    monkeypatch.setattr(checkout, "with_customer", slow)
    with pytest.raises(checkout.OrderReplaced):
        start(shop, 500)
    sessions = {
        s["client_reference_id"]: s["status"] for s in shop.sandbox.objects("checkout.session")
    }
    by_credits = {purchase.credits: str(purchase.pk) for purchase in Purchase.objects.all()}
    assert sessions == {by_credits[600]: "open", by_credits[500]: "expired"}
    assert Purchase.objects.get(credits=500).status == "expired"


def test_an_order_whose_use_was_freed_opens_no_page(user, sandbox):
    promo()
    key = uuid.uuid4()
    order(user, request_id=key)
    checkout.expire_orders(Purchase.objects.all())
    with pytest.raises(checkout.OrderReplaced):
        order(user, request_id=key)


def test_the_same_request_is_the_same_order(shop, user):
    promo()
    promo("OTHER", percent=20)
    key = uuid.uuid4()
    first = start(shop, request_id=key, expected_bonus=50)
    assert start(shop, request_id=key, expected_bonus=50) == first
    assert start(shop, request_id=key, code="Summer 25") == first
    for wrong in ({"code": "OTHER"}, {"code": ""}, {"code": "NOSUCH"}, {"expected_bonus": 51}):
        with pytest.raises(checkout.RequestIdReused):
            start(shop, request_id=key, **wrong)
    assert Redemption.objects.count() == 1
    plain = uuid.uuid4()
    start(shop, request_id=plain, code="")
    with pytest.raises(checkout.RequestIdReused):
        start(shop, request_id=plain)


@pytest.mark.parametrize("expected", [0, 49, 51])
def test_a_bonus_other_than_shown_is_refused(shop, expected):
    promo()
    with pytest.raises(checkout.BonusChanged) as changed:
        start(shop, expected_bonus=expected)
    assert changed.value.bonus == 50
    assert Purchase.objects.count() == Redemption.objects.count() == 0


def test_a_bonus_that_was_shown_for_no_code_is_refused(shop):
    with pytest.raises(checkout.BonusChanged):
        start(shop, code="", expected_bonus=50)
    assert Purchase.objects.count() == 0


# --- Who may, and how much ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "credits", "bonus"),
    [
        ({"percent": 10}, 509, 50), ({"percent": 10}, 10, 1), ({"percent": 1000}, 100, 1000),
        ({"percent": 10, "max_bonus": 40}, 500, 40), ({"credits": 77}, 10, 77),
        ({"percent": 100}, 100_000, 100_000),
    ],
)  # fmt: skip
def test_how_large_a_bonus_is(user, terms, credits, bonus):
    promo(**terms)
    assert promotions.offer(user, "SUMMER25", credits).credits == bonus


@pytest.mark.parametrize(
    ("terms", "minimum"),
    [({"percent": 10, "min_credits": 200}, 200), ({"percent": 1}, 100), ({"percent": 3}, 34)],
)
def test_orders_that_are_too_small_are_told_how_large_they_must_be(user, terms, minimum):
    promo(**terms)
    assert reason(promotions.offer, user, "SUMMER25", minimum - 1) == ("minimum", minimum)
    assert promotions.offer(user, "SUMMER25", minimum).credits > 0


@pytest.mark.parametrize(
    "terms",
    [
        {"is_active": False}, {"starts_at": timezone.now() + timedelta(hours=1)},
        {"ends_at": timezone.now() - timedelta(hours=1)}, {"max_uses": 0}, {"code_uses": 0},
        # What a good code would be told must not be told of these.
        {"is_active": False, "min_credits": 9000},
        {"is_active": False, "kind": "voucher", "credits": 5},
    ],
)  # fmt: skip
def test_codes_that_are_no_good_are_refused_alike_at_the_same_cost(
    user, terms, django_assert_num_queries
):
    promo(**terms)
    for text in (
        "SUMMER25",
        "NOSUCH",
        "",
        "x" * 5000,
        "SUMMER\0",
        "' OR 1=1 --",
        "ßÄ£€",
        "SUMMER25Ⅷ",
    ):
        for call in (promotions.offer, lambda user, text, credits: promotions._voucher(user, text)):
            with django_assert_num_queries(3), pytest.raises(CodeRefused) as refused:
                call(user, text, 500)
            assert refused.value.reason == Reason.UNUSABLE


def test_for_the_first_purchase_only(shop, user):
    promo("FIRST", first_purchase_only=True)
    promo("FIRSTTOO", first_purchase_only=True)
    first = start(shop, code="FIRST")
    # Of two orders at once one is the first: the later one has it.
    second = start(shop, code="FIRSTTOO")
    first.refresh_from_db()
    assert first.status == "expired"
    pay(shop, second)
    shop.sandbox.refund(str(second.stripe_session_id))
    shop.tell()
    assert reason(start, shop, code="FIRST") == ("first", 0)


def test_a_first_purchase_that_is_overtaken_has_its_bonus(shop, user):
    promo(first_purchase_only=True)
    first = start(shop)
    shop.buy(600)
    pay(shop, first)
    assert entries(user) == [("purchase", 600), ("purchase", 500), ("promotion", 50)]
    assert use().note == "Another purchase was paid before this one."


def test_limits_are_for_all_codes_of_a_promotion_and_tell_nothing_of_others(user):
    code = promo("BATCHONE", code_uses=1, max_uses_per_user=1)
    code.promotion.codes.create(code="BATCHTWO", max_uses=1)
    Redemption.objects.create(
        code=code, user=user, purchase=Purchase.objects.create(
            user=user, mode="payment", credits=500, unit_price_e4=95, total=475, currency="usd",
            status="paid", paid_at=timezone.now(),
        ), credits=50, status="kept", kept_at=timezone.now(),
    )  # fmt: skip
    for row in (code, code.promotion):
        row.used = 1
        row.save()
    assert reason(promotions.offer, user, "BATCHTWO", 500) == ("unusable", 0)
    assert reason(promotions.offer, user, "BATCHONE", 500) == ("used", 0)


def test_what_others_have_redeemed_is_not_counted_and_not_closed(shop, other_user):
    promo()
    theirs = order(other_user)
    start(shop)
    start(shop, 600)
    theirs.refresh_from_db()
    assert theirs.status == "pending"
    assert Redemption.objects.get(user=other_user).status == "reserved"


# --- Vouchers -------------------------------------------------------------------------------------


def test_a_voucher_brings_credits(user):
    voucher("GIFT500", expires_after_days=10)
    done = promotions.redeem(user, "gift-500")
    assert (done.status, done.credits, done.purchase) == ("kept", 500, None)
    entry = Entry.objects.get()
    assert (entry.key, entry.kind, entry.amount) == (f"voucher:{done.pk}", "promotion", 500)
    assert entry.note == "Voucher GIFT500"
    lot = Lot.objects.get(entry_id=entry.pk)
    assert (lot.category, lot.paid) == ("promotional", 0)
    assert lot.expires_at == done.kept_at + timedelta(days=10)
    assert reason(promotions.redeem, user, "GIFT500") == ("used", 0)


@raced
def test_the_same_request_redeems_once(user, other_user, at_once):
    voucher(max_uses_per_user=5)
    key = uuid.uuid4()
    answers = at_once(5, lambda n: promotions.redeem(user, "GIFT500", request_id=key))
    assert {answer.pk for answer in answers} == {key}
    assert ledger.balance_of(user) == 500
    for who, code in ((other_user, "GIFT500"), (user, "OTHER")):
        with pytest.raises(promotions.RedemptionReused):
            promotions.redeem(who, code, request_id=key)
    assert Redemption.objects.count() == Entry.objects.count() == 1


def test_each_kind_says_where_it_belongs(user):
    promo()
    voucher()
    assert reason(promotions.redeem, user, "SUMMER25") == ("is_bonus", 0)
    assert reason(promotions.offer, user, "GIFT500", 500) == ("is_voucher", 0)


def test_nothing_is_redeemed_while_the_account_is_closing(user):
    voucher()
    promo()
    closing.begin(user)
    for call in (lambda: promotions.redeem(user, "GIFT500"), lambda: order(user)):
        with pytest.raises(closing.AccountClosing):
            call()
    assert Redemption.objects.count() == 0
