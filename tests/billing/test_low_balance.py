import re
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import low_balance, mails
from billing.models import BalanceAlert, Mail, Purchase
from credits import ledger
from credits.models import Entry, Wallet
from tests.billing.test_fulfilment import order

pytestmark = pytest.mark.django_db


def grant(wallet: Wallet, amount: int, **values: object) -> None:
    ledger.grant(wallet, amount, key=str(uuid.uuid4()), kind="purchase", **values)


def spend(wallet: Wallet, amount: int) -> None:
    ledger.spend(wallet, amount, key=str(uuid.uuid4()))


@pytest.fixture
def buyer(user):
    """Somebody with 500 credits who bought before and chose nothing."""
    grant(ledger.wallet_of(user), 500)
    order(user)
    Purchase.objects.update(status="paid")
    assert low_balance.watch() == 0
    return user


def told() -> list[dict[str, int]]:
    found = Mail.objects.filter(kind="low_balance").order_by("pk")
    return [{name: mail.context[name] for name in ("available", "threshold")} for mail in found]


def test_each_fall_below_the_threshold_is_told_once(buyer, wallet):
    spend(wallet, 400)
    assert low_balance.watch() == 0  # 100 are not fewer than 100
    spend(wallet, 1)
    assert low_balance.watch() == 1
    assert told() == [{"available": 99, "threshold": 100}]
    spend(wallet, 50)
    assert low_balance.watch() == 0
    grant(wallet, 50)
    assert low_balance.watch() == 0  # 99: still below
    grant(wallet, 1)
    assert low_balance.watch() == 0
    spend(wallet, 30)
    assert low_balance.watch() == 1
    assert told() == [{"available": 99, "threshold": 100}, {"available": 70, "threshold": 100}]


def test_up_and_down_between_two_looks_is_no_crossing(buyer, wallet):
    spend(wallet, 450)
    grant(wallet, 450)
    assert low_balance.watch() == 0
    spend(wallet, 450)
    low_balance.watch()
    grant(wallet, 450)
    spend(wallet, 450)
    assert low_balance.watch() == 0
    assert len(told()) == 1


def test_what_is_held_is_not_there(buyer, wallet):
    hold = ledger.hold(wallet, 450, key="h", expires_in=timedelta(hours=1))
    assert low_balance.watch() == 1
    assert told() == [{"available": 50, "threshold": 100}]
    ledger.release(hold)
    assert low_balance.watch() == 0
    assert BalanceAlert.objects.get().is_low is False


def test_what_has_expired_is_not_there_once_it_is_booked(buyer, wallet):
    spend(wallet, 450)
    grant(wallet, 200, expires_at=timezone.now() + timedelta(milliseconds=80))
    assert low_balance.watch() == 0
    _sleep(0.1)
    ledger.expire_due()
    assert low_balance.watch() == 1
    assert told() == [{"available": 50, "threshold": 100}]


def test_a_hold_that_has_lapsed_is_free_again(buyer, wallet):
    ledger.hold(wallet, 450, key="h", expires_in=timedelta(seconds=1))
    _sleep(1.05)
    assert low_balance.watch() == 0  # nothing of it is booked yet
    assert told() == []


def _sleep(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def test_who_never_had_as_much_has_not_fallen(user, wallet):
    grant(wallet, 60)
    order(user)
    Purchase.objects.update(status="paid")
    spend(wallet, 60)
    assert low_balance.watch() == 0
    assert told() == []


def test_who_never_bought_gets_no_mail_unless_they_ask_for_it(user, other_user, wallet):
    other = ledger.wallet_of(other_user)
    for one in (wallet, other):
        ledger.grant(one, 500, key="gift", kind="promotion", category="promotional")
    low_balance.watch()
    low_balance.set_threshold(other_user, 200)
    for one in (wallet, other):
        spend(one, 450)
    assert low_balance.watch() == 1
    assert Mail.objects.get().user == other_user


def test_the_default_follows_the_setting_and_a_choice_does_not(buyer, other_user, wallet, settings):
    other = ledger.wallet_of(other_user)
    grant(other, 500)
    low_balance.set_threshold(other_user, 50)
    settings.LOW_BALANCE_CREDITS = 300
    for one in (wallet, other):
        spend(one, 300)
    assert low_balance.watch() == 1
    assert told() == [{"available": 200, "threshold": 300}]
    assert low_balance.threshold_of(buyer) == 300
    assert low_balance.threshold_of(other_user) == 50


def test_by_default_off_and_switched_off(buyer, wallet, settings):
    settings.LOW_BALANCE_CREDITS = 0
    spend(wallet, 450)
    assert low_balance.watch() == 0
    settings.LOW_BALANCE_CREDITS = 100
    low_balance.set_threshold(buyer, 0)
    spend(wallet, 50)
    assert low_balance.watch() == 0
    assert told() == []


def test_who_sets_a_threshold_above_the_balance_is_told_the_next_time(buyer, wallet):
    low_balance.set_threshold(buyer, 1000)
    assert low_balance.watch() == 0
    grant(wallet, 500)
    low_balance.watch()
    spend(wallet, 1)
    assert low_balance.watch() == 1
    assert told() == [{"available": 999, "threshold": 1000}]


def test_a_mail_and_its_crossing_are_written_together(buyer, wallet, monkeypatch):
    spend(wallet, 450)
    with monkeypatch.context() as patch:
        patch.setattr(mails, "tell", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            low_balance.watch()
    assert BalanceAlert.objects.get().is_low is False
    assert low_balance.watch() == 1


def test_after_the_first_look_only_those_are_looked_at_who_were_booked_on(
    buyer, wallet, other_user, monkeypatch
):
    monkeypatch.setattr(low_balance, "MARGIN", 0)
    look = low_balance.Watch()
    assert look() == 0
    # Not by the ledger: so that it is low, and no entry says so.
    Wallet.objects.filter(user=buyer).update(balance=50)
    assert look() == 0
    assert low_balance.Watch()() == 1
    Wallet.objects.filter(user=buyer).update(balance=500)
    low_balance.watch()
    spend(wallet, 450)
    assert look() == 1
    assert look() == 0
    grant(wallet, 450)
    assert look() == 0
    ledger.hold(wallet, 450, key="h", expires_in=timedelta(hours=1))
    assert look() == 1
    assert [one["available"] for one in told()] == [50, 50, 50]


def test_what_is_committed_late_is_not_missed(buyer, wallet):
    look = low_balance.Watch()
    look()
    spend(wallet, 450)
    late = look._newest = Entry.objects.latest("id").pk  # seen before this one was committed
    assert look() == 1
    assert look._newest == late


def test_all_have_their_turn_again_after_a_time(buyer, wallet, monkeypatch):
    monkeypatch.setattr(low_balance, "MARGIN", 0)
    monkeypatch.setattr(low_balance, "WHOLE_EVERY", 0)
    look = low_balance.Watch()
    look()
    Wallet.objects.filter(user=buyer).update(balance=50)
    assert look() == 1
    Wallet.objects.filter(user=buyer).update(balance=500)


def test_what_fails_is_looked_at_again(buyer, wallet, monkeypatch):
    look = low_balance.Watch()
    look()
    spend(wallet, 450)
    with monkeypatch.context() as patch:
        patch.setattr(mails, "tell", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            look()
    assert look() == 1


def test_with_nothing_to_tell_it_takes_two_statements(buyer, django_assert_num_queries):
    with django_assert_num_queries(4):  # two of them the savepoint
        low_balance.watch()


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_tell_one_crossing_once(buyer, wallet, at_once):
    for _ in range(5):
        spend(wallet, 450)
        assert sorted(at_once(6, lambda _: low_balance.watch())) == [0, 0, 0, 0, 0, 1]
        grant(wallet, 450)
        at_once(6, lambda _: low_balance.watch())
    assert len(told()) == 5


@pytest.mark.django_db(transaction=True)
def test_nobody_who_books_waits_for_it(buyer, wallet):
    """While the watch's transaction is open, the wallet is spent from."""
    spend(wallet, 450)
    spent = []

    def book() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        spend(wallet, 10)
        spent.append(10)
        connection.close()

    with transaction.atomic():
        assert low_balance.watch() == 1
        thread = threading.Thread(target=book)
        thread.start()
        thread.join()
    assert spent == [10]


# --- The pages --------------------------------------------------------------------------------


@pytest.fixture
def signed_in(client, user):
    client.force_login(user)
    return client


def test_the_page_wants_a_sign_in(client):
    assert client.get("/dashboard/alerts").headers["Location"].startswith("/accounts/login/?next=")
    assert client.post("/dashboard/alerts", {"threshold": "5"}).status_code == 302
    assert not BalanceAlert.objects.exists()


def test_a_threshold_is_chosen_and_switched_off(signed_in, user):
    page = signed_in.get("/dashboard/alerts").content.decode()
    assert 'name="low" checked' in page
    assert 'value="100"' in page
    answer = signed_in.post("/dashboard/alerts", {"low": "on", "threshold": " 2,500 "})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dashboard/alerts")
    assert low_balance.threshold_of(user) == 2500
    page = signed_in.get("/dashboard/alerts").content.decode()
    assert "fewer than 2,500 credits" in page
    assert 'value="2,500"' in page
    assert "You are below it now" in page
    signed_in.post("/dashboard/alerts", {"threshold": "2,500"})
    assert low_balance.threshold_of(user) == 0
    page = signed_in.get("/dashboard/alerts").content.decode()
    assert 'name="low">' in page
    assert "You are below it now" not in page


@pytest.mark.parametrize("bad", ["", "0", "-5", "5.5", "a lot", "1,000,001", "9" * 400, "<b>"])
def test_what_is_no_number_is_refused_and_changes_nothing(signed_in, user, bad):
    low_balance.set_threshold(user, 50)
    answer = signed_in.post("/dashboard/alerts", {"low": "on", "threshold": bad})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "Nothing was saved. Please enter a whole number from 1 to 1,000,000" in page
    assert 'aria-invalid="true"' in page
    assert 'name="low" checked' in page
    assert "<b>" not in page
    assert low_balance.threshold_of(user) == 50


def off_link(user, wallet) -> str:
    low_balance.set_threshold(user, 100)
    grant(wallet, 200)
    low_balance.watch()
    spend(wallet, 150)
    low_balance.watch()
    header = mails.message_of(Mail.objects.get()).extra_headers["List-Unsubscribe"]
    return re.fullmatch("<http://127.0.0.1:8000(/.+)>", header)[1]


def test_the_mail_leads_to_no_more_of_them_without_a_sign_in(client, user, wallet):
    link = off_link(user, wallet)
    assert b"Switch them off" in client.get(link).content
    assert client.head(link).status_code == 200
    assert low_balance.threshold_of(user) == 100  # a mailbox that looks in advance changes nothing
    assert b"No more mails about a low balance" in client.post(link).content
    assert low_balance.threshold_of(user) == 0
    grant(wallet, 500)
    low_balance.watch()
    spend(wallet, 500)
    assert low_balance.watch() == 0


def test_a_mailbox_switches_them_off_by_one_post(user, wallet):
    from django.test import Client

    link = off_link(user, wallet)
    body = {"List-Unsubscribe": "One-Click"}
    answer = Client(enforce_csrf_checks=True).post(link, body)
    assert answer.status_code == 200
    assert low_balance.threshold_of(user) == 0


def test_nobody_switches_off_the_mails_of_somebody_else(client, user, other_user, wallet):
    link = off_link(user, wallet)
    low_balance.set_threshold(other_user, 100)
    for forged in (
        link.replace(f"/{user.pk}:", f"/{other_user.pk}:"), f"/alerts/off/{user.pk}", link[:-1],
        "/alerts/off/x:y", "/alerts/off/" + "9" * 30 + ":z",
    ):  # fmt: skip
        assert client.post(forged).status_code == 404
    assert low_balance.threshold_of(user) == 100
    assert low_balance.threshold_of(other_user) == 100
