"""`/dashboard/account/export`: everything about oneself, and nothing about anybody else."""

import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import keys, organisations, preferences
from accounts.models import ApiKey, User
from billing import export, mails
from billing.models import (
    BalanceAlert,
    Charge,
    Event,
    PlanChange,
    Purchase,
    Redemption,
    StripeCustomer,
    Subscription,
    TopUp,
    TopUpConsent,
)
from credits import ledger
from credits.models import Adjustment, Entry, Gift, Wallet
from tests.organisations import found
from tests.promotions import promo
from usage.models import Event as UsageEvent
from usage.models import Meter

pytestmark = pytest.mark.django_db
URL = "/dashboard/account/export"
DAY = datetime(2026, 1, 31, tzinfo=UTC)
LISTS = [
    "purchases", "top_ups", "top_up_consents", "redemptions", "subscriptions", "plan_changes",
    "charges", "disputes", "refunds", "entries", "lots", "holds", "transfers", "gifts",
    "gifts_received", "adjustments", "api_keys", "api_key_spending", "memberships",
    "drawn_on_organisations", "invitations_sent", "usage_events", "mails", "stripe_events",
]  # fmt: skip


@pytest.fixture
def browser(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def downloaded(client: Client) -> dict:
    response = client.get(URL)
    assert response.status_code == 200
    return json.loads(b"".join(response.streaming_content))


def fill(user: User, mark: str, staff: User) -> None:
    """One of everything, each with a mark to know it by."""
    EmailAddress.objects.create(user=user, email=f"{mark}@example.com", verified=True, primary=True)
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id=f"cus_{mark}")
    order = {"credits": 500, "unit_price_e4": 95, "total": 475, "currency": "usd"}
    purchase = Purchase.objects.create(
        user=user, mode="payment", status="paid", paid_at=timezone.now(), **order,
        stripe_session_id=f"cs_{mark}", stripe_payment_id=f"pi_{mark}",
    )  # fmt: skip
    code = promo(f"CODE{mark.upper()}")
    Redemption.objects.create(code=code, user=user, purchase=purchase, credits=50)
    TopUpConsent.objects.create(
        top_up=TopUp.objects.create(user=user, payment_method_id=f"pm_{mark}"),
        threshold=100, credits=500, total=475, cap=2000, text=f"I, {mark}, agree.",
    )  # fmt: skip
    plan = Subscription.objects.create(
        user=user, stripe_id=f"sub_{mark}", status="active", credits=500, total=475,
        currency="usd", current_period_end=timezone.now(), fetched_at=timezone.now(),
    )  # fmt: skip
    PlanChange.objects.create(subscription=plan, **order)
    Charge.objects.create(
        stripe_id=f"ch_{mark}", purchase=purchase, entry_key=mark, amount=475, refunded=75,
        fetched_at=timezone.now(),
    )  # fmt: skip
    Charge.objects.get(stripe_id=f"ch_{mark}").disputes.create(
        stripe_id=f"du_{mark}", amount=75, status="won"
    )
    purchase.refunds.create(entry_key=mark, amount=75, reason=f"{mark} asked", actor=staff)
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 500, key=f"purchase:{mark}", kind="purchase", paid=475)
    ledger.spend(wallet, 20, key=f"job:{mark}", note=f"Für {mark}: “ok”")
    ledger.hold(wallet, 30, key=f"hold-{mark}", expires_in=timezone.timedelta(hours=1))
    ledger.send(wallet, 40, key=f"gift:{mark}")
    sent = Entry.objects.get(wallet=wallet, kind="gift_sent")
    Gift.objects.create(
        sender=user, wallet=wallet, recipient=f"to-{mark}@example.com", credits=40,
        status="claimed", entry_id=sent.pk, claimed_by=user, closed_at=timezone.now(),
        token_hash=f"secret {mark}",
    )  # fmt: skip
    Adjustment.objects.create(user=user, amount=5, reason=f"{mark}!", key=mark, asked_by=staff)
    mails.tell(user, "restored", f"charge:{mark}", credits=500)
    UsageEvent.objects.create(
        user=user, meter=Meter.objects.get_or_create(code="m", name="M", unit="u")[0],
        key=f"usage-{mark}", quantity=5, at=DAY, units=5, charged=0,
    )  # fmt: skip
    BalanceAlert.objects.create(user=user, threshold=100)
    key, _ = keys.make(
        made_by=user, owner=user, name=f"key of {mark}", scopes=["credits:spend"],
        limit_credits=50, limit_period="day",
    )  # fmt: skip
    keys.charge(key, 20)
    organisation = found(user, f"{mark} Ltd")
    organisations.invite(organisation.pk, by=user, email=f"x@{mark}.example", role="member")
    organisations.draw(user, organisation.pk, 7)
    secret = {"secret": f"{mark} secret", "name": f"app of {mark}"}
    Authenticator.objects.create(user=user, type="totp", data=secret, created_at=DAY)
    Event.objects.create(
        stripe_id=f"evt_{mark}", type="charge.refunded", customer_id=f"cus_{mark}",
        payload=json.dumps({"data": {"object": {"email": f"{mark}@x.example"}}}),
    )  # fmt: skip


def test_it_is_everything_about_oneself(browser, user, other_user, staff):
    fill(user, "ada", staff)
    fill(other_user, "mallory", staff)
    preferences.choose(user, language="de", time_zone="Europe/Berlin")
    response = browser.get(URL)
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    name = f"my-data-{timezone.now():%Y-%m-%d}.json"
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'
    text = b"".join(response.streaming_content).decode()
    assert "mallory" not in text
    assert "secret" not in text
    assert "eve@" not in text
    assert "admin@" not in text  # who of the staff did it is the staff's

    data = json.loads(text)
    assert list(data) == ["version", "exported_at", "account", "credits", *LISTS]
    assert data["version"] == 1
    volatile = {"joined": "", "last_sign_in": "", "sessions": []}
    assert data["account"] | volatile == {
        "id": user.pk, "email": "ada@example.com", "joined": "", "last_sign_in": "",
        "language": "de", "time_zone": "Europe/Berlin",
        "email_addresses": [{"email": "ada@example.com", "verified": True, "primary": True}],
        "second_step": [
            {"kind": "totp", "name": "app of ada", "added": "2026-01-31T00:00:00Z",
             "last_used": None},
        ],
        "sessions": [], "sign_ins": [], "connected_accounts": [],
        "stripe_customer_id": "cus_ada", "low_balance_alert": 100,
    }  # fmt: skip
    assert len(data["account"]["sessions"]) == 1
    assert data["credits"] == {"balance": 440, "held": 30, "owed": 0, "available": 410}
    counts = {name: len(data[name]) for name in LISTS}
    assert counts == dict.fromkeys(LISTS, 1) | {"entries": 3}
    purchase = data["purchases"][0]
    assert (purchase["total"], purchase["currency"]) == (475, "usd")
    assert purchase["created_at"].endswith("Z")
    assert data["charges"][0]["purchase_currency"] == "usd"
    assert data["plan_changes"][0]["subscription_stripe_id"] == "sub_ada"
    entries = data["entries"]
    assert [entry["amount"] for entry in entries] == [500, -20, -40]
    assert entries[1]["note"] == "Für ada: “ok”"
    key = ApiKey.objects.get(user=user)
    assert data["api_keys"] == [
        {"id": key.pk, "name": "key of ada", "prefix": key.prefix, "scopes": ["credits:spend"],
         "created_at": data["api_keys"][0]["created_at"], "last_used_at": None,
         "expires_at": None, "revoked_at": None, "limit_credits": 50, "limit_period": "day"},
    ]  # fmt: skip
    assert (data["api_key_spending"][0]["key_id"], data["api_key_spending"][0]["credits"]) == (
        key.pk,
        20,
    )
    assert data["memberships"][0]["organisation_name"] == "ada Ltd"
    assert data["memberships"][0]["role"] == "owner"
    assert data["drawn_on_organisations"][0]["credits"] == 7
    assert data["invitations_sent"][0]["email"] == "x@ada.example"
    used = data["usage_events"][0]
    assert (used["meter_code"], used["key"], used["quantity"]) == ("m", "usage-ada", 5)
    event = data["stripe_events"][0]
    assert event["payload"]["data"]["object"]["email"] == "ada@x.example"


def test_every_column_is_thought_of(browser, user, staff):
    """A new table that refers to users is exported, or named here with the reason why not."""
    known = {
        # Exported.
        "account_emailaddress", "accounts_apikey", "accounts_session",
        "billing_balancealert", "billing_mail", "mfa_authenticator",
        "billing_purchase", "billing_redemption", "billing_stripecustomer", "billing_subscription",
        "billing_topup", "credits_adjustment",
        "credits_gift", "credits_wallet", "socialaccount_socialaccount", "usersessions_usersession",
        "usage_event", "accounts_membership", "accounts_drawing", "accounts_invitation",
        # An organisation's are in nobody's export; its members' entries have their names beside.
        "accounts_organisation", "api_memberhold", "billing_bulkpurchase",
        # Whom a list names by number is told of what they got by their own entries.
        "billing_bulkline",
        # Sums of these events.
        "usage_day", "usage_month",
        # What the owner's product was told of these entries and plans, for thirty days.
        "outgoing_message",
        # What one did as staff is the shop's; ids only.
        "billing_event", "billing_refund", "credits_entry", "django_admin_log",
        "outgoing_endpoint",
        # Rights of staff.
        "accounts_user_groups", "accounts_user_user_permissions",
    }  # fmt: skip
    found = {
        field.related_model._meta.db_table
        for field in User._meta.get_fields(include_hidden=True)
        if field.is_relation and field.auto_created
    } | {field.m2m_db_table() for field in User._meta.many_to_many}
    assert found == known


def test_one_without_anything_gets_that(browser, user):
    data = downloaded(browser)
    assert data["credits"] == {"balance": 0, "held": 0, "owed": 0, "available": 0}
    assert {name: data[name] for name in LISTS} == {name: [] for name in LISTS}
    assert not Wallet.objects.exists()


def test_it_goes_on_over_batches(browser, user, monkeypatch):
    monkeypatch.setattr(export, "BATCH", 3)
    monkeypatch.setattr(export._rows, "__kwdefaults__", {"size": 3})
    wallet = ledger.wallet_of(user)
    for number in range(10):
        ledger.grant(wallet, 10, key=f"g{number}", kind="promotion", category="promotional")
    assert [entry["key"] for entry in downloaded(browser)["entries"]] == [
        f"g{number}" for number in range(10)
    ]


def test_it_is_for_the_signed_in_by_get_and_not_too_often(client, browser, user):
    assert client.get(URL)["Location"].startswith("/accounts/login/")
    assert browser.post(URL).status_code == 405
    head = browser.head(URL)
    assert (head.status_code, b"".join(head.streaming_content)) == (200, b"")
    for _ in range(10):
        downloaded(browser)
    refused = browser.get(URL)
    assert refused.status_code == 429
    assert "Too many tries" in refused.content.decode()


@pytest.mark.corrupts_the_books  # entries without lots
def test_20_000_entries_take_the_memory_of_one_batch(user):
    wallet = ledger.wallet_of(user)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO credits_entry
                (wallet_id, kind, account, amount, owed, balance, key, note, created_at)
            SELECT %s, 'spend', 'spent', -1, 0, 1000000 - n, 'job:' || n, 'A picture', now()
            FROM generate_series(1, 20000) AS n""",
            [wallet.pk],
        )
    tracemalloc.start()
    size = sum(len(piece) for piece in export.own_data(user))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 3_000_000
    assert peak < 5_000_000  # all of them at once take 25
