"""Staff send money back: the page, one refund at Stripe, and the credits after it."""

import random
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from billing import giving, refunds
from billing.clawback import Fetched, settle_charge
from billing.models import Purchase, Refund
from billing.refunds import CannotRefund, Payment
from billing.stripe_api import Clock
from credits import ledger
from credits.models import Entry, Gift
from tests.second_step import StaffClient
from tests.shop import bonus_for
from tests.stripe_events import metadata_of

pytestmark = pytest.mark.django_db

REFUNDS = "/v1/refunds"


@pytest.fixture
def desk(staff) -> StaffClient:
    client = StaffClient()
    client.force_login(staff)
    return client


def url_of(purchase: Purchase) -> str:
    return f"/admin/billing/refund/of/{Entry.objects.get(key=f'purchase:{purchase.pk}').pk}/"


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", response.content.decode()))


def fill(part: str = "all", **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "part": part, "reason": "Bought by mistake", **fields}


def preview(desk: StaffClient, url: str, form: dict[str, Any]) -> Any:
    page = desk.post(url, form | {"preview": "1"})
    assert page.status_code == 200
    return page


def agree(desk: StaffClient, url: str, form: dict[str, Any]) -> Any:
    """Look at the preview, then confirm what it says."""
    seen = preview(desk, url, form).context["preview"].seen
    return desk.post(url, form | {"seen": seen, "confirm": "1"})


def assert_nothing_refunded(shop: Any) -> None:
    assert Refund.objects.count() == LogEntry.objects.count() == 0
    assert shop.sandbox.objects("refund") == []
    assert not Entry.objects.filter(kind="refund").exists()


def test_from_the_page_to_the_credits(shop, desk, staff):
    purchase = shop.buy()
    url = url_of(purchase)
    for page in (
        desk.get(f"/admin/billing/customer/{shop.user.pk}/change/"),
        desk.get(f"/admin/billing/purchase/{purchase.pk}/change/"),
    ):
        assert f'href="{url}"' in page.content.decode()
    first = text_of(desk.get(url))
    assert "Everything that is left of it: $4.75, and 500 credits leave" in first
    assert "$4.75 paid by Visa ending 4242" in first

    form = fill()
    shown = text_of(preview(desk, url, form))
    for words in (
        "$4.75 go back to Visa ending 4242", "500 credits leave with it", "None of them is spent",
        "The balance goes from 500 to 0 credits", "Bought by mistake",
    ):  # fmt: skip
        assert words in shown
    assert_nothing_refunded(shop)

    response = agree(desk, url, form)
    assert response.status_code == 302
    told = text_of(desk.get(response["Location"]))
    assert "$4.75 go back to ada@example.com" in told
    assert "when Stripe confirms it" in told
    row = Refund.objects.get()
    made = shop.sandbox.objects("refund")
    assert [(one["id"], one["amount"]) for one in made] == [(row.stripe_id, 475)]
    assert made[0]["metadata"]["refund_id"] == str(row.pk) == form["id"]
    assert (row.amount, row.actor, row.reason, row.entry_key, row.status) == (
        475, staff, "Bought by mistake", f"purchase:{purchase.pk}", "succeeded",
    )  # fmt: skip
    assert shop.stands == (500, 0)  # the page books nothing
    log = LogEntry.objects.get()
    assert (log.user, log.object_id) == (staff, str(row.pk))
    assert log.change_message == "Refund of $4.75 to ada@example.com: Bought by mistake"

    shop.tell()
    assert shop.stands == (0, 0)
    assert "All of it was refunded before" in text_of(desk.get(url))


def test_what_was_given_and_came_back_is_unspent(shop):
    purchase = shop.buy()
    send_gift(shop.user, 200)
    giving.cancel(Gift.objects.get())
    found = outcome_of(purchase, "unspent")
    assert (found.amount, found.credits, found.spent, found.owed, found.after) == (
        475, 500, 0, 0, 0,
    )  # fmt: skip


def test_what_is_given_is_fetched_back_and_neither_spent_nor_made_up_for(shop):
    purchase = shop.buy()
    send_gift(shop.user, 400)
    found = outcome_of(purchase, "all")
    assert (found.amount, found.credits, found.spent, found.owed, found.after) == (
        475, 500, 0, 0, 0,
    )  # fmt: skip
    assert Gift.objects.get().status == "open"


def send_gift(user: User, credits: int) -> None:
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    giving.send(user, "bob@example.com", credits, message="", request_id=uuid.uuid4())


def outcome_of(purchase: Purchase, part: str) -> refunds.Outcome:
    entry = Entry.objects.get(key=f"purchase:{purchase.pk}")
    return refunds.outcome(refunds.find_payment(entry, Clock()), part)


def test_the_unspent_part(shop, desk):
    purchase = shop.buy()
    ledger.spend(ledger.wallet_of(shop.user), 333, key="s")
    page = preview(desk, url_of(purchase), fill("unspent"))
    found = page.context["preview"]
    # 167 of 500 credits for 475 cents are 158.65; 158 cents are 166 credits
    assert (found.amount, found.credits, found.spent, found.owed, found.after) == (
        158, 166, 0, 0, 1,
    )  # fmt: skip
    agree(desk, url_of(purchase), fill("unspent"))
    shop.tell()
    assert shop.stands == (1, 0)


def test_the_unspent_part_after_an_earlier_refund(shop, desk):
    purchase = shop.buy(10_000)
    ledger.spend(ledger.wallet_of(shop.user), 4000, key="s")
    shop.sandbox.refund(purchase.stripe_session_id, 2400)
    # 3,000 of the 6,000 unspent are gone at Stripe already, whether or not it has told us
    before = preview(desk, url_of(purchase), fill("unspent")).context["preview"]
    shop.tell()
    assert shop.stands == (3000, 0)
    after = preview(desk, url_of(purchase), fill("unspent")).context["preview"]
    assert (before.amount, before.credits, before.owed) == (2400, 3000, 0)
    assert after == before.__class__(amount=2400, credits=3000, spent=0, owed=0, after=0)
    agree(desk, url_of(purchase), fill("unspent"))
    shop.tell()
    assert shop.stands == (0, 0)


@pytest.mark.parametrize(
    ("spent", "bonus"), [(0, 50), (20, 50), (50, 50), (333, 50), (540, 50), (1, 7), (100, 499)]
)
def test_the_unspent_part_never_makes_a_debt(shop, desk, spent, bonus):
    purchase = shop.buy()
    bonus_for(purchase, bonus)
    if spent:
        ledger.spend(ledger.wallet_of(shop.user), spent, key="s")
    found = preview(desk, url_of(purchase), fill("unspent")).context["preview"]
    assert found.owed == 0
    agree(desk, url_of(purchase), fill("unspent"))
    shop.tell()
    assert shop.stands == (500 + bonus - spent - found.credits, 0)
    assert shop.stands[0] == found.after


@pytest.mark.parametrize("left", [0, 1])
def test_too_little_is_unspent_for_a_cent(shop, desk, left):
    url = url_of(shop.buy())
    ledger.spend(ledger.wallet_of(shop.user), 500 - left, key="s")
    for page in (desk.get(url), desk.post(url, fill("unspent", seen="0:0:0:0", confirm="1"))):
        assert "What is unspent of it comes to less than a cent" in text_of(page)
    assert_nothing_refunded(shop)


@pytest.mark.parametrize("seed", range(60))
def test_the_preview_is_what_comes_to_pass(user, wallet, seed):
    """Through random lives: lots of other purchases, spends, holds, expiry, earlier refunds that
    fail or not, and a bonus; Stripe's charge is made up."""
    chance = random.Random(seed)
    purchase = Purchase.objects.create(
        user=user, mode="payment", credits=chance.randint(10, 3000), unit_price_e4=95,
        total=chance.randint(50, 3000), currency="usd", status="paid", stripe_payment_id="pi_1",
    )  # fmt: skip
    key = f"purchase:{purchase.pk}"
    terms = {"kind": "purchase", "paid": purchase.total}
    if chance.random() < 0.3:
        terms["expires_at"] = timezone.now() + timedelta(hours=1)
    entry = ledger.grant(wallet, purchase.credits, key=key, **terms)
    if chance.random() < 0.6:
        bonus_for(purchase, chance.randint(1, 600))

    def charge(refunded: int) -> Fetched:
        told = {
            "id": "ch_1", "payment_intent": "pi_1", "amount": purchase.total,
            "amount_refunded": refunded,
        }  # fmt: skip
        metadata = metadata_of(purchase)
        return Fetched(timezone.now(), told, "pi_1", None, metadata, disputes=[], refunds=[])

    def settle(refunded: int) -> None:
        with transaction.atomic():
            settle_charge(charge(refunded))

    refunded = 0
    for number in range(chance.randint(0, 7)):
        available = ledger.balance_of(user)
        match chance.randint(0, 5):
            case 0 | 1 if available:
                ledger.spend(wallet, chance.randint(1, available), key=f"s{number}")
            case 2 if available:
                amount = chance.randint(1, available)
                ledger.hold(wallet, amount, key=f"h{number}", expires_in=timedelta(hours=1))
            case 3:
                ledger.grant(wallet, chance.randint(1, 500), key=f"g{number}", kind="purchase")
            case 4:
                refunded = chance.randint(0, purchase.total - 1)
                settle(refunded)
            case 5:
                refunded = chance.randint(0, purchase.total - 1)  # and Stripe has yet to tell
    for part in ("unspent", "all"):
        payment = Payment(entry, purchase, charge(refunded))
        try:
            told = refunds.outcome(payment, part)
        except CannotRefund:
            assert part == "unspent"
            continue
        with transaction.atomic():
            settle(refunded)
            owed = ledger.standing(user).owed
            before = ledger.balance_of(user)
            settle(refunded + told.amount)
            now = ledger.standing(user)
            assert (now.available, now.owed - owed) == (told.after, told.owed)
            assert before - now.available + now.owed - owed == told.credits
            assert told.owed <= told.spent
            if part == "unspent":
                assert (told.spent, told.owed) == (0, 0)
            transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("other", "bonus", "spent", "owed"),
    [(0, 0, 400, 400), (1000, 0, 400, 0), (0, 50, 80, 80), (0, 50, 20, 20), (60, 50, 80, 20)],
)
def test_the_preview_says_what_will_be_owed(shop, desk, other, bonus, spent, owed):
    purchase = shop.buy()
    if bonus:
        bonus_for(purchase, bonus)
    if other:
        shop.buy(other)
    ledger.spend(ledger.wallet_of(shop.user), spent, key="s")
    page = preview(desk, url_of(purchase), fill())
    found = page.context["preview"]
    assert (found.credits, found.spent, found.owed) == (500 + bonus, spent, owed)
    assert ("credits will be owed" in text_of(page)) is (owed > 0)
    agree(desk, url_of(purchase), fill())
    shop.tell()
    assert shop.stands == (found.after, owed)


def test_a_renewal(shop, desk):
    purchase = shop.buy(500, "subscription")
    shop.sandbox.advance(purchase.stripe_payment_id)
    shop.tell()
    entry = Entry.objects.get(kind="renewal")
    url = f"/admin/billing/refund/of/{entry.pk}/"
    customer = desk.get(f"/admin/billing/customer/{shop.user.pk}/change/").content.decode()
    assert f'href="{url}"' in customer
    agree(desk, url, fill())
    shop.tell()
    assert shop.stands == (500, 0)
    assert Refund.objects.get().entry_key == entry.key
    assert Entry.objects.get(kind="refund").about_id == entry.pk


def test_a_bank_account_is_shown_as_its_last_four(shop, desk):
    purchase = shop.order()
    shop.sandbox.pay_by_bank(purchase.stripe_session_id)
    shop.sandbox.settle(purchase.stripe_session_id)
    shop.tell()
    page = desk.get(url_of(purchase))
    assert "paid by STRIPE TEST BANK ending 6789" in text_of(page)
    assert "000123456789" not in page.content.decode()


@pytest.mark.parametrize("fields", [{"reason": ""}, {"part": "some"}, {"id": "x"}, {"part": ""}])
def test_an_incomplete_form_refunds_nothing(shop, desk, fields):
    url = url_of(shop.buy())
    assert desk.post(url, fill(seen="475:500:0:0", confirm="1") | fields).status_code == 200
    assert_nothing_refunded(shop)


@pytest.mark.parametrize("permission", [None, "view_purchase", "view_refund", "view_customer"])
def test_without_the_permission(shop, permission):
    url = url_of(shop.buy())
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    if permission:
        clerk.user_permissions.add(Permission.objects.get(codename=permission))
    client = StaffClient()
    client.force_login(clerk)
    before = len(shop.sandbox.requests())
    assert client.get(url).status_code == 403
    assert client.post(url, fill(seen="475:500:0:0", confirm="1")).status_code == 403
    assert len(shop.sandbox.requests()) == before
    assert_nothing_refunded(shop)
    if permission == "view_customer":
        page = client.get(f"/admin/billing/customer/{shop.user.pk}/change/")
        assert url not in page.content.decode()


def test_with_just_the_permission(shop):
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="refund_purchase"))
    client = StaffClient()
    client.force_login(clerk)
    assert agree(client, url_of(shop.buy()), fill()).status_code == 302
    assert Refund.objects.get().actor == clerk


@pytest.mark.parametrize("kind", ["spend", "promotion"])
def test_only_what_was_paid_for_has_a_page(user, desk, wallet, kind):
    entry = ledger.grant(wallet, 5, key="g", kind="promotion", category="promotional")
    if kind == "spend":
        entry = ledger.spend(wallet, 1, key="s")
    assert desk.get(f"/admin/billing/refund/of/{entry.pk}/").status_code == 404


def test_an_entry_with_no_payment_at_stripe_says_so(sandbox, desk, wallet):
    entry = ledger.grant(wallet, 5, key="by hand", kind="purchase")
    page = text_of(desk.get(f"/admin/billing/refund/of/{entry.pk}/"))
    assert "No payment at Stripe belongs to it" in page


# --- Once -------------------------------------------------------------------------------------


def test_a_double_click_refunds_once(shop, desk):
    url = url_of(shop.buy())
    form = fill("unspent")
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    assert [desk.post(url, form).status_code for _ in range(3)] == [302] * 3
    shop.tell()
    assert desk.post(url, form).status_code == 302
    assert len(shop.sandbox.objects("refund")) == Refund.objects.count() == 1
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_eight_clicks_at_once_refund_once(shop, staff, at_once):
    url = url_of(shop.buy())

    def client() -> StaffClient:
        desk = StaffClient()
        desk.force_login(staff)
        return desk

    form = fill(seen="475:500:0:0", confirm="1")
    clients = [client() for _ in range(8)]
    results = at_once(8, lambda index: clients[index].post(url, form).status_code)
    assert set(results) == {302}
    assert len(shop.sandbox.objects("refund")) == Refund.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_do_not_refund_the_unspent_part_twice(shop, at_once):
    url = url_of(shop.buy())
    ledger.spend(ledger.wallet_of(shop.user), 300, key="s")
    clients = []
    for name in ("a", "b", "c", "d"):
        client = StaffClient()
        client.force_login(User.objects.create_superuser(f"{name}@example.com"))
        clients.append(client)
    forms = [fill("unspent", seen="190:200:0:0", confirm="1") for _ in clients]
    at_once(4, lambda index: clients[index].post(url, forms[index]).status_code)
    assert [one["amount"] for one in shop.sandbox.objects("refund")] == [190]
    assert Refund.objects.count() == 1
    shop.tell()
    assert shop.stands == (0, 0)


def test_a_form_refunds_nothing_else(shop, desk):
    first, second = shop.buy(), shop.buy()
    form = fill()
    agree(desk, url_of(first), form)
    page = desk.post(url_of(second), form | {"seen": "475:500:0:0", "confirm": "1"})
    assert "This form has refunded something else before" in text_of(page)
    assert len(shop.sandbox.objects("refund")) == 1


def test_what_the_customer_spends_meanwhile_is_shown_before_it_counts(shop, desk):
    url = url_of(shop.buy())
    form = fill("unspent")
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    ledger.spend(ledger.wallet_of(shop.user), 100, key="s")
    page = desk.post(url, form)
    assert "something has changed since the preview" in text_of(page)
    assert page.context["preview"].amount == 380
    assert_nothing_refunded(shop)
    form["seen"] = page.context["preview"].seen
    assert desk.post(url, form).status_code == 302
    assert [one["amount"] for one in shop.sandbox.objects("refund")] == [380]


def test_change_it_leads_back_to_the_form(shop, desk):
    page = desk.post(url_of(shop.buy()), fill(change="1", reason="Mine"))
    assert 'value="Mine"' in page.content.decode()
    assert "preview" not in page.context
    assert_nothing_refunded(shop)


# --- Stripe says no, or nothing ---------------------------------------------------------------


def test_a_disputed_payment_is_not_refunded_as_well(shop, desk):
    purchase = shop.buy()
    url = url_of(purchase)
    seen = preview(desk, url, fill()).context["preview"].seen
    dispute = shop.sandbox.dispute(purchase.stripe_session_id)
    for page in (
        desk.get(url),
        desk.post(url, fill(preview="1")),
        desk.post(url, fill(seen=seen, confirm="1")),
    ):
        assert "The payment is disputed" in text_of(page)
    assert_nothing_refunded(shop)
    shop.sandbox.win_dispute(dispute["id"])
    assert agree(desk, url, fill()).status_code == 302


def test_an_inquiry_can_be_answered_by_a_refund(shop, desk):
    purchase = shop.buy()
    shop.sandbox.dispute(purchase.stripe_session_id, status="warning_needs_response")
    assert agree(desk, url_of(purchase), fill()).status_code == 302


def test_stripe_down(shop, desk, settings, dead_stripe):
    settings.STRIPE_API_BASE = shop.sandbox.base_url
    url = url_of(shop.buy())
    form = fill()
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    for page in (desk.get(url), desk.post(url, form)):
        assert "Nothing was refunded. Try again" in text_of(page)
    assert_nothing_refunded(shop)
    settings.STRIPE_API_BASE = shop.sandbox.base_url
    assert desk.post(url, form).status_code == 302
    assert len(shop.sandbox.objects("refund")) == 1


@pytest.mark.parametrize("kind", ["lose_reply", "reset", "error"])
def test_a_lost_reply_is_one_refund(shop, desk, kind):
    url = url_of(shop.buy())
    form = fill()
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    shop.sandbox.add_fault(path=REFUNDS, kind=kind, times=9)
    page = desk.post(url, form)
    assert "nobody knows yet whether the refund was made" in text_of(page)
    assert f'value="{form["id"]}"' in page.content.decode()
    shop.sandbox.clear_faults()

    # Somebody else finds it unfinished, and no other can begin meanwhile.
    again = desk.get(url)
    assert "Stripe hasn't answered" in text_of(again).replace("&#x27;", "'")
    assert f'value="{form["id"]}"' in again.content.decode()
    other = text_of(desk.post(url, fill(seen="475:500:0:0", confirm="1")))
    refusal = {"lose_reply": "All of it was refunded before"}.get(kind, "waits for Stripe")
    assert refusal in other
    assert desk.post(url, form).status_code == 302
    assert len(shop.sandbox.objects("refund")) == Refund.objects.count() == 1
    shop.tell()
    assert shop.stands == (0, 0)


def test_a_lost_reply_is_mended_by_the_webhook(shop, desk):
    url = url_of(shop.buy())
    form = fill()
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    shop.sandbox.add_fault(path=REFUNDS, kind="lose_reply", times=9)
    desk.post(url, form)
    assert Refund.objects.get().stripe_id is None
    shop.tell()
    row = Refund.objects.get()
    assert (row.stripe_id, row.status) == (shop.sandbox.objects("refund")[0]["id"], "succeeded")


def test_days_later_the_key_is_forgotten_and_it_is_one_refund_all_the_same(shop, desk):
    url = url_of(shop.buy(10_000))
    form = fill("unspent")
    ledger.spend(ledger.wallet_of(shop.user), 7000, key="s")
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    shop.sandbox.add_fault(path=REFUNDS, kind="lose_reply", times=9)
    desk.post(url, form)
    shop.sandbox.clear_faults()
    Refund.objects.update(attempt=7)  # another key is what a forgotten one comes to
    assert desk.post(url, form).status_code == 302
    assert len(shop.sandbox.objects("refund")) == 1


def test_what_stripe_refuses_is_on_record_and_another_may_begin(shop, desk):
    url = url_of(shop.buy())
    form = fill()
    form |= {"seen": preview(desk, url, form).context["preview"].seen, "confirm": "1"}
    shop.sandbox.add_fault(path=REFUNDS, kind="error", status=402, code="card_declined", times=1)
    assert "Nothing was refunded. Stripe has refused it" in text_of(desk.post(url, form))
    assert Refund.objects.get().status_label == "Refused by Stripe"
    assert "begin a new one" in text_of(desk.post(url, form))
    assert shop.sandbox.objects("refund") == []
    assert agree(desk, url, fill()).status_code == 302


def test_a_refund_that_fails_later_shows_in_the_admin(shop, desk):
    url = url_of(shop.buy())
    agree(desk, url, fill())
    shop.tell()
    assert shop.stands == (0, 0)
    row = Refund.objects.get()
    shop.sandbox.fail_refund(row.stripe_id)
    shop.tell()
    row.refresh_from_db()
    assert row.status == "failed"
    assert shop.stands == (500, 0)
    for address in (
        "/admin/billing/refund/",
        f"/admin/billing/refund/{row.pk}/change/",
        f"/admin/billing/customer/{shop.user.pk}/change/",
    ):
        assert "Failed: the money came back" in text_of(desk.get(address))
    assert agree(desk, url, fill()).status_code == 302
    shop.tell()
    assert shop.stands == (0, 0)
