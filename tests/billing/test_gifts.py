"""Gifts over the pages, bought ones over the webhook, what refunds fetch back, and the mails."""

import re
import uuid
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts.models import User
from billing import closing, giving, mails
from billing.models import Charge, Dispute, Mail, Purchase
from credits import gifts, ledger
from credits.models import Entry, Gift, Transfer
from tests.second_step import StaffClient

pytestmark = pytest.mark.django_db
URL = "/dashboard/gifts"
BOB = "bob@example.com"


def confirmed(user: User) -> User:
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ada(user) -> User:
    ledger.grant(ledger.wallet_of(user), 1000, key="p", kind="purchase", paid=950)
    return confirmed(user)


@pytest.fixture
def browser(ada) -> Client:
    return signed_in(ada)


@pytest.fixture
def bob() -> User:
    return confirmed(User.objects.create_user(BOB))


def form(**changed) -> dict[str, str]:
    typed = {"recipient": BOB, "credits": "300", "message": "Happy birthday"}
    return {**typed, "request_id": str(uuid.uuid4()), **changed}


def balances(*users: User) -> list[int]:
    return [ledger.balance_of(user) for user in users]


def count() -> list[int]:
    return [model.objects.count() for model in (Gift, Entry, Transfer, Mail)]


def told() -> list[tuple[str, str]]:
    """Kind and address of each mail that was sent now."""
    kinds = list(Mail.objects.filter(sent_at=None).order_by("pk").values_list("kind", flat=True))
    before = len(mail.outbox)
    mails.send_due()
    sent = mail.outbox[before:]
    return [(kind, message.to[0]) for kind, message in zip(kinds, sent, strict=True)]


def link() -> str:
    """The link in the latest mail of a gift."""
    body = next(one.body for one in reversed(mail.outbox) if "/gifts/" in one.body)
    return re.search(r"(/gifts/[\w-]+)", body)[1]


# --- Sent from a balance ------------------------------------------------------------------------


def test_a_gift_is_looked_at_sent_and_claimed(browser, ada, bob):
    typed = form(message="<b>Hi</b>\nBob")
    before = count()
    page = browser.post(URL, typed)
    assert page.status_code == 200
    assert "Send this gift?" in page.content.decode()
    assert "&lt;b&gt;Hi&lt;/b&gt;<br>Bob" in page.content.decode()
    assert count() == before

    sent = browser.post(URL, {**typed, "action": "send"}, follow=True)
    assert "Sent: 300 credits are on their way to bob@example.com." in sent.content.decode()
    assert balances(ada, bob) == [700, 0]
    assert told() == [("gift", BOB)]
    kept = Mail.objects.get(kind="gift").context
    assert set(kept) == {"credits", "returns"}  # neither address nor link stays

    theirs = signed_in(bob)
    page = theirs.get(link()).content.decode()
    assert "300 credits for you" in page
    assert "ada@example.com" in page
    assert "&lt;b&gt;Hi&lt;/b&gt;<br>Bob" in page
    assert balances(ada, bob) == [700, 0]  # GET claims nothing
    claimed = theirs.post(link(), follow=True)
    assert "300 credits are yours now." in claimed.content.decode()
    assert balances(ada, bob) == [700, 300]
    assert told() == [("gift_claimed", "ada@example.com")]
    assert "You have it already" in theirs.get(link()).content.decode()
    number = Gift.objects.get().number
    for client in (browser, theirs):
        assert f"Gift {number}" in client.get("/dashboard").content.decode()
    assert "ada@example.com" in theirs.get(URL).content.decode()


def test_the_form_sent_twice_sends_once(browser, ada):
    typed = form(action="send")
    for _ in range(3):
        assert browser.post(URL, typed).status_code == 303
    assert balances(ada) == [700]
    assert (Gift.objects.count(), Mail.objects.count()) == (1, 1)
    refused = browser.post(URL, {**typed, "credits": "301"})
    assert refused.status_code == 409
    assert "has sent another gift already" in refused.content.decode()
    assert balances(ada) == [700]


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"recipient": ""}, 400, "Enter the email address"),
        ({"recipient": "bob"}, 400, "This is no email address"),
        ({"recipient": "Ada+x@example.com"}, 400, "This is your own address"),
        ({"credits": "-5"}, 400, "Enter a whole number of credits"),
        ({"credits": "1.5"}, 400, "Enter a whole number of credits"),
        ({"credits": "1001"}, 409, "at most 1,000 credits just now"),
        ({"message": "x" * 501}, 400, "at most 500 characters"),
        ({"request_id": "none"}, 400, "out of date"),
    ],
)
def test_what_makes_no_sense_is_refused(browser, ada, changed, status, words):
    before = count()
    page = browser.post(URL, form(**changed, action="send"))
    assert page.status_code == status
    assert words in page.content.decode()
    assert count() == before
    assert browser.post(URL, form(**changed)).status_code == 400  # nor is it looked at
    assert count() == before


def test_over_the_days_caps_and_while_one_owes(browser, ada, settings):
    before = count()
    settings.GIFTS_CREDITS_PER_DAY = 299
    page = browser.post(URL, form(action="send"))
    assert "At most 299 credits can be sent within 24 hours" in page.content.decode()
    settings.GIFTS_PER_DAY = 0
    assert "as many gifts" in browser.post(URL, form(action="send")).content.decode()
    settings.GIFTS_PER_DAY, settings.GIFTS_CREDITS_PER_DAY = 20, 20_000
    assert count() == before
    ledger.spend(ada.wallet, 900, key="s")
    ledger.revoke(ada.wallet, 200, of="p", key="r", kind="refund")
    page = browser.post(URL, form(action="send"))
    assert page.status_code == 409
    assert "You owe 100 credits" in page.content.decode()
    assert Gift.objects.count() == 0


def test_what_is_disputed_stays(shop, browser):
    purchase = shop.buy(500)
    # An inquiry, whose money has not moved yet.
    charge = Charge.objects.create(
        stripe_id="ch_1", purchase=purchase, entry_key=f"purchase:{purchase.pk}", amount=475,
        fetched_at=timezone.now(),
    )  # fmt: skip
    dispute = Dispute.objects.create(
        stripe_id="du_1", charge=charge, amount=475, status="warning_needs_response"
    )
    assert giving.giftable(shop.user) == 1000
    assert browser.post(URL, form(credits="1001", action="send")).status_code == 409
    dispute.status = "warning_closed"
    dispute.save()
    assert giving.giftable(shop.user) == 1500


def test_cancelling_asks_and_tells_both(browser, ada, bob, other_user):
    browser.post(URL, form(action="send"))
    told()
    gift = Gift.objects.get()
    address = f"{URL}/{gift.pk}/cancel"
    assert signed_in(other_user).post(address).status_code == 404
    assert signed_in(bob).post(address).status_code == 404
    assert browser.get(address).status_code == 200
    assert balances(ada) == [700]
    page = browser.post(address, follow=True)
    assert "Cancelled: the credits are in your balance again." in page.content.decode()
    assert balances(ada) == [1000]
    assert told() == [("gift_returned", "ada@example.com"), ("gift_withdrawn", BOB)]
    theirs = signed_in(bob)
    assert "Its sender has cancelled it" in theirs.get(link()).content.decode()
    assert theirs.post(link()).status_code == 409
    assert balances(ada, bob) == [1000, 0]


def test_a_link_says_nothing_to_others(browser, bob, other_user, client):
    browser.post(URL, form(action="send", message="Secret words"))
    told()
    others = confirmed(other_user)
    for visitor, status in ((client, 200), (signed_in(others), 403)):
        for page in (visitor.get(link()), visitor.post(link())):
            text = page.content.decode()
            assert page.status_code == status
            assert "b•••@e•••.com" in text
            assert not [word for word in ("ada@", "bob@", "Secret", "300") if word in text]
    assert browser.get(link()).url == URL  # the sender's own
    assert signed_in(bob).get(f"{link()}x").status_code == 404
    EmailAddress.objects.filter(user=bob).update(verified=False)
    assert signed_in(bob).get(link()).status_code == 403
    assert balances(bob, others) == [0, 0]


def test_the_worker_returns_what_nobody_claims(browser, ada, bob):
    browser.post(URL, form(action="send"))
    told()
    assert giving.return_due() == 0
    Gift.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "Nobody claimed it in time" in signed_in(bob).get(link()).content.decode()
    assert giving.return_due() == 1
    assert giving.return_due() == 0
    assert balances(ada, bob) == [1000, 0]
    assert told() == [("gift_returned", "ada@example.com"), ("gift_withdrawn", BOB)]


# --- Bought for somebody ------------------------------------------------------------------------


def order(client: Client, **changed) -> Purchase:
    typed = form(credits="500", expected_total="475", **changed)
    response = client.post("/credits/gift", typed)
    assert response.status_code == 303
    purchase = Purchase.objects.get(request_id=typed["request_id"])
    assert response.url == purchase.stripe_session_url
    return purchase


def test_what_is_bought_for_somebody_goes_to_them_when_paid(shop, bob):
    confirmed(shop.user)
    client = signed_in(shop.user)
    purchase = order(client)
    assert Gift.objects.get().status == "ordered"
    assert "no gift yet" in client.get(URL).content.decode()
    shop.sandbox.pay(purchase.stripe_session_id)
    events = shop.news()
    shop.told = 0
    shop.tell()
    shop.told = 0
    shop.tell()  # all of it again: once
    assert events
    assert shop.stands == (0, 0)
    sent = Entry.objects.get(kind="gift_sent")
    assert (sent.amount, Gift.objects.get().entry_id) == (-500, sent.pk)
    assert told() == [("gift", BOB), ("gift_bought", "ada@example.com")]
    page = client.get(f"/credits/success?purchase={purchase.pk}").content.decode()
    assert "Sent as a gift to bob@example.com" in page
    signed_in(bob).post(link())
    assert balances(bob) == [500]


def test_an_order_that_nobody_pays_is_forgotten(shop, bob):
    confirmed(shop.user)
    client = signed_in(shop.user)
    purchase = order(client)
    Gift.objects.update(created_at=timezone.now() - timedelta(days=61))
    giving.return_due()
    assert list(Gift.objects.values_list("recipient", "message", "status")) == [("", "", "ordered")]
    shop.sandbox.pay(purchase.stripe_session_id)
    shop.tell()
    assert Gift.objects.get().status == "kept"
    assert shop.stands == (500, 0)


def test_who_owes_keeps_what_was_bought(shop, bob):
    confirmed(shop.user)
    first = shop.buy(500)
    purchase = order(signed_in(shop.user))
    ledger.spend(shop.user.wallet, 500, key="s")
    shop.sandbox.refund(first.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 500)
    shop.sandbox.pay(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 0)
    assert Gift.objects.get().status == "kept"
    assert [kind for kind, _ in told()][-1] == "gift_bought"
    assert "could not be sent" in mail.outbox[-1].body
    page = signed_in(shop.user).get(f"/credits/success?purchase={purchase.pk}").content.decode()
    assert "The gift could not be sent" in page


def test_the_order_of_a_gift_is_one_order(shop, bob):
    confirmed(shop.user)
    client = signed_in(shop.user)
    typed = form(credits="500", expected_total="475")
    for _ in range(2):
        assert client.post("/credits/gift", typed).status_code == 303
    for other in ({"recipient": "eve@example.com"}, {"message": "Other"}):
        assert client.post("/credits/gift", {**typed, **other}).status_code == 409
    shop_form = {**typed, "mode": "payment"}
    assert client.post("/credits", shop_form).status_code == 409  # for oneself is another order
    assert (Purchase.objects.count(), Gift.objects.count()) == (1, 1)
    assert "409" not in client.post("/credits/gift", {**typed, "action": "price"}).content.decode()
    bad = client.post("/credits/gift", form(recipient="ada@example.com", credits="500"))
    assert bad.status_code == 400
    assert client.post("/credits/gift", form(credits="5")).status_code == 400
    assert (Purchase.objects.count(), Gift.objects.count()) == (1, 1)


# --- What refunds and disputes fetch back ---------------------------------------------------------


def bought_and_claimed(shop, bob) -> Purchase:
    confirmed(shop.user)
    purchase = order(signed_in(shop.user))
    shop.sandbox.pay(purchase.stripe_session_id)
    shop.tell()
    told()
    signed_in(bob).post(link())
    told()
    return purchase


def test_a_refund_fetches_back_what_is_left_and_the_buyer_owes_the_rest(shop, bob):
    purchase = bought_and_claimed(shop, bob)
    ledger.spend(bob.wallet, 100, key="s")
    shop.sandbox.refund(purchase.stripe_session_id)
    shop.tell()
    assert shop.stands == (0, 100)
    assert ledger.standing(bob) == ledger.Standing()
    gift = Gift.objects.get()
    assert (gift.status, gift.recalled) == ("recalled", 400)
    assert set(told()) == {
        ("refund", "ada@example.com"), ("gift_returned", "ada@example.com"),
        ("gift_recalled", BOB),
    }  # fmt: skip
    page = signed_in(bob).get("/dashboard").content.decode()
    assert "The purchase of a gift was refunded" in page
    assert "ada@" not in page
    assert "400 taken back" in signed_in(bob).get(URL).content.decode()
    assert "400 credits went back" in signed_in(shop.user).get(URL).content.decode()


def test_a_refund_cancels_a_gift_that_nobody_claimed(shop, bob):
    confirmed(shop.user)
    purchase = order(signed_in(shop.user))
    shop.sandbox.pay(purchase.stripe_session_id)
    shop.tell()
    told()
    shop.sandbox.refund(purchase.stripe_session_id, 95)
    shop.tell()
    assert shop.stands == (400, 0)
    assert Gift.objects.get().status == "recalled"
    assert {kind for kind, _ in told()} == {"refund", "gift_returned", "gift_withdrawn"}
    page = signed_in(bob).post(link())
    assert page.status_code == 409
    assert "refunded or disputed" in page.content.decode()
    assert balances(bob) == [0]


def test_a_dispute_that_is_won_gives_the_buyer_back_and_they_may_give_again(shop, bob):
    purchase = bought_and_claimed(shop, bob)
    dispute = shop.sandbox.dispute(purchase.stripe_session_id)
    shop.tell()
    assert (shop.stands, balances(bob)) == ((0, 0), [0])
    assert giving.giftable(shop.user) == 0
    shop.sandbox.win_dispute(dispute["id"])
    shop.tell()
    assert shop.stands == (500, 0)
    assert giving.giftable(shop.user) == 500


# --- Accounts, staff, exports ---------------------------------------------------------------------


def test_who_closes_the_account_takes_open_gifts_back_first(shop, bob):
    confirmed(shop.user)
    shop.buy(500)
    client = signed_in(shop.user)
    client.post(URL, form(credits="100", action="send"))
    told()
    signed_in(bob).post(link())
    client.post(URL, form(credits="200", action="send"))
    told()
    closing.close_account(shop.user)
    assert balances(bob) == [100]
    assert sorted(Gift.objects.values_list("status", "recipient", "message")) == [
        ("cancelled", "", ""), ("claimed", "", ""),
    ]  # fmt: skip
    assert ledger.balance_of(shop.user) == 400
    assert sorted(told()) == [("account_closed", "ada@example.com"), ("gift_withdrawn", BOB)]
    assert not [one for one in Mail.objects.all() if "ada@" in str(one.context)]
    assert "account is closed" in signed_in(bob).get(URL).content.decode()
    # And who has received one is forgotten by the sender as well.
    closing.close_account(bob)
    told()
    assert not [one for one in Mail.objects.all() if BOB in str(one.context)]


def test_one_who_received_is_forgotten_when_they_close(browser, ada, bob, sandbox):
    browser.post(URL, form(action="send"))
    told()
    signed_in(bob).post(link())
    told()
    assert BOB in browser.get(URL).content.decode()
    closing.close_account(bob)
    assert BOB not in browser.get(URL).content.decode()
    assert not [one for one in Mail.objects.filter(user=ada) if BOB in str(one.context)]


def test_staff_cancel_for_a_reason(browser, admin_client, ada, bob):
    browser.post(URL, form(action="send"))
    gift = Gift.objects.get()
    page = f"/admin/credits/gift/{gift.pk}/"
    assert b"Cancel the gift" in admin_client.get(f"{page}change/").content
    assert b"bob@example.com" in admin_client.get("/admin/credits/gift/?q=bob@").content
    admin_client.post(f"{page}cancel/", {"reason": " "})
    assert balances(ada) == [700]
    clerk = StaffClient()
    clerk.force_login(User.objects.create_user("clerk@example.com", is_staff=True))
    assert clerk.post(f"{page}cancel/", {"reason": "Why"}).status_code == 403
    assert balances(ada) == [700]
    answer = admin_client.post(f"{page}cancel/", {"reason": "Asked by phone"}, follow=True)
    assert b"the credits are back" in answer.content
    gift.refresh_from_db()
    assert (gift.status, gift.reason, str(gift.cancelled_by)) == (
        "cancelled", "Asked by phone", "admin@example.com",
    )  # fmt: skip
    assert balances(ada) == [1000]
    again = admin_client.post(f"{page}cancel/", {"reason": "Again"}, follow=True)
    assert b"Nothing was changed" in again.content or b"are back" in again.content


def test_what_a_gift_was_is_in_the_export(browser, ada, bob):
    browser.post(URL, form(action="send", message="Hello"))
    told()
    signed_in(bob).post(link())
    for client, name in ((browser, "gifts"), (signed_in(bob), "gifts_received")):
        text = b"".join(client.get("/dashboard/account/export").streaming_content).decode()
        assert f'"{name}": [' in text
        assert "Hello" in text
        assert gifts._hash(link().rpartition("/")[2]) not in text
