"""The people who look at the pages, each with an account in a state of its own.

`settle_in` makes all of them. Django must be set up, and the stand-in for Stripe be at
`STRIPE_API_BASE`.
"""

import functools
import json
import secrets
import uuid
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any

import requests
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.mfa.webauthn.internal.auth import WebAuthn
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.contrib.admin.utils import quote
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from accounts import keys, organisations
from accounts.models import ApiKey, Membership, Organisation, Role, User
from billing import low_balance, promotions, topup, topup_charges, webhooks
from billing.bulk import delivery, orders, terms
from billing.bulk.lines import Line
from billing.checkout import start_checkout
from billing.models import (
    BulkLine,
    BulkPurchase,
    Charge,
    Dispute,
    InvoiceTerms,
    Promotion,
    Purchase,
    Subscription,
    TopUp,
)
from billing.reconcile import reconcile
from credits import adjustments, gifts, ledger
from credits.models import Entry, Gift, Wallet
from outgoing import endpoints, messages
from outgoing.models import Message
from usage import recording, summary
from usage.models import Band, Meter, Tariff

PASSWORD = "correct horse battery"
LONG_EMAIL = "maximiliane.hohenberg-mustermann@customer-relations.credits.example"
MONTH = timedelta(days=29)
DEVICES = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0",
)
ORDER = {"mode": "payment", "unit_price_e4": 95, "currency": "usd"}

Places = dict[str, Any]
Person = Callable[[User], Places]
"""Fills an account that is new, and answers what addresses are made of, each under its own name."""


def settle_in(people: Iterable[Person]) -> tuple[dict[Person, User], Places]:
    """Make each of them, in this order; answers who they are, and all places."""
    password = make_password(PASSWORD)  # once: it takes longer than most of the rest
    accounts: dict[Person, User] = {}
    places: Places = {}
    for person in people:
        email = f"{person.__name__}@example.com"
        user = accounts[person] = User.objects.create(email=email, password=password)
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
        places |= person(user)
    return accounts, places


def newcomer(user: User) -> Places:
    """Has signed up, and nothing else."""
    other = EmailAddress.objects.create(user=user, email=LONG_EMAIL)
    return {
        "confirm": EmailConfirmationHMAC(other).key,
        "reset": f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}",
    }


def stranger(user: User) -> Places:
    """Signs in without a password."""
    user.set_unusable_password()
    user.save()
    return {}


def careful(user: User) -> Places:
    """Has every second step that there is, a connected account, several devices, and keys."""
    _add_app(user)
    passkey = _add_passkey(user, "Blue key on my key ring, which opens the door as well")
    SocialAccount.objects.create(
        user=user, provider="github", uid="17", extra_data={"login": "careful"}
    )
    for device in DEVICES:
        elsewhere = Client(headers={"user-agent": device})
        elsewhere.force_login(user)
        elsewhere.get("/accounts/sessions/")
    keys.revoke(_make_key(user, "Old web shop"))
    ending = _make_key(user, "Night job", expires_at=timezone.now() + timedelta(days=9))
    ApiKey.objects.filter(pk=ending.pk).update(last_used_at=timezone.now())
    key = _make_key(
        user, "Web shop: thumbnails of all that is uploaded, and their captions",
        limit_credits=5000, limit_period="month",
    )  # fmt: skip
    keys.charge(key, 1234)
    return {"careful": user.pk, "passkey": passkey, "key": key.pk}


def regular(user: User) -> Places:
    """Has bought, subscribed and spent for a month, all of it through the stand-in."""
    wallet = ledger.wallet_of(user)
    bought = _buy(user, 5000, "payment")
    _spend(wallet, 211, 94, 388, 120, 275, 61, 342, 190, 204, 433, 87)
    ledger.grant(
        wallet, 250, key="welcome", kind="promotion", category="promotional", note="WELCOME",
        expires_at=timezone.now() + timedelta(days=12),
    )  # fmt: skip
    _spend(wallet, 312, 158, 265, 77)
    _buy(user, 2000, "subscription")
    _spend(wallet, 206, 330, 143, 94)
    _spread(wallet, MONTH)
    return {
        "customer": user.pk,
        "entry": Entry.objects.get(key=f"purchase:{bought.pk}").pk,
        "paid": bought.pk,
        "off": low_balance.off_path(user),
    }


def saver(user: User) -> Places:
    """Has a saved card that buys credits; its bank wants to hear about the latest charge."""
    _save_card(user)
    topup_charges.run_due()
    _spend(ledger.wallet_of(user), 412)
    _stand_in("POST", "outcomes", {"outcomes": ["decline", "authenticate"]})
    topup_charges.run_due()
    TopUp.objects.filter(user=user).update(next_try_at=None)
    topup_charges.run_due()
    charges = Purchase.objects.filter(user=user).order_by("created_at")
    return {"topped_up": charges[0].pk, "declined": charges[1].pk, "to_confirm": charges[2].pk}


def stuck(user: User) -> Places:
    """Had a card that was declined three times."""
    _save_card(user)
    TopUp.objects.filter(user=user).update(declines=topup.MOST_DECLINES - 1)
    _stand_in("POST", "outcomes", {"outcomes": ["decline"]})
    topup_charges.run_due()
    return {}


def _save_card(user: User) -> None:
    session_id = topup.card_page(user).rpartition("/")[2]
    _stand_in("POST", f"checkout/{session_id}/pay", {"card": "4242424242424242"})
    topup.keep_card(topup.fetch_card(session_id))
    terms = topup.Terms(threshold=100, credits=500, cap=2000)
    topup.turn_on(user, terms, expected_total=475, text="I agree.")


def busy(user: User) -> Places:
    """Has something in all parts of the dashboard, and more than one page of history."""
    wallet = ledger.wallet_of(user)
    kept = ledger.grant(wallet, 1234, key="g", kind="purchase", paid=1172, note="Thanks")
    for days in range(1, 7):
        ledger.grant(
            wallet, 50, key=f"p{days}", kind="promotion", category="promotional", note="WELCOME",
            expires_at=timezone.now() + timedelta(days=days),
        )  # fmt: skip
    for number in range(50):
        ledger.spend(wallet, 3, key=f"s{number}", note="A picture of a cat, 1024 by 1024")
    ledger.hold(wallet, 1384, key="h", expires_in=timedelta(hours=1))
    ledger.revoke(wallet, 34, of="g", key="r", kind="refund")
    for number in range(keys.MOST_OPEN):
        _make_key(user, f"Machine {number}")
    _subscribe(user, "active")
    waiting = {"stripe_session_url": "http://127.0.0.1:9", "credits": 500, "total": 475}
    return {"no_receipt": kept.pk} | {
        status: Purchase.objects.create(user=user, status=status, **ORDER, **waiting).pk
        for status in ("review", "settling", "failed", "settled", "expired")
    }


def late(user: User) -> Places:
    """Has a plan whose last payment failed."""
    ledger.grant(ledger.wallet_of(user), 500, key="g", kind="purchase", paid=475)
    _subscribe(user, "past_due")
    return {}


def leaving(user: User) -> Places:
    """Has cancelled the plan, which goes on to the end of the month."""
    ledger.grant(ledger.wallet_of(user), 500, key="g", kind="purchase", paid=475)
    _subscribe(user, "active", cancel_at_period_end=True)
    return {}


def metered(user: User) -> Places:
    """Has used two meters for five weeks, of which one has two price lists."""
    ledger.grant(ledger.wallet_of(user), 50_000, key="g", kind="purchase", paid=47_500)
    now, month = timezone.now(), summary.this_month()
    begun = (now - recording.LATEST).date().replace(day=1)
    tokens = Meter.objects.create(
        code="tokens", name="Text generation", unit="tokens",
        description="What goes in and what comes out, as the model counts it.",
    )  # fmt: skip
    images = Meter.objects.create(
        code="images", name="Pictures", unit="pictures", policy="owe", owe_limit=500
    )
    _price(tokens, begun, "graduated", (0, 3, 1000), (100_000, 2, 1000), (500_000, 1, 1000))
    _price(images, begun, "volume", (0, 5, 1), (100, 4, 1))
    coming = _price(tokens, summary.next_month(month), "graduated", (0, 2, 1000))
    for age in range(34, -1, -1):
        at = now - timedelta(days=age)
        recording.record(user, "tokens", 9000 + 2713 * (age * age % 11), key=f"t{age}", at=at)
        if age % 3 == 0:
            recording.record(user, "images", 1 + age % 7, key=f"i{age}", at=at)
    return {"meter": tokens.pk, "tariff": coming.pk, "coming": coming.begins_on} | {
        "last_month": f"{month - timedelta(days=1):%Y-%m}"
    }


def giver(user: User) -> Places:
    """Has sent gifts that came to every end, and has received one and been sent another."""
    ledger.grant(ledger.wallet_of(user), 2000, key="g", kind="purchase", paid=1800)
    aunt, niece = (User.objects.create(email=f"{name}@example.com") for name in ("aunt", "niece"))
    EmailAddress.objects.create(user=aunt, email=aunt.email, verified=True, primary=True)
    EmailAddress.objects.create(user=niece, email=niece.email, verified=True, primary=True)
    ledger.grant(ledger.wallet_of(aunt), 1000, key="g", kind="purchase", paid=900)

    def send(sender: User, to: str, credits: int, message: str = "") -> tuple[Gift, str]:
        gift, token = gifts.send_gift(sender, to, credits, message=message, request_id=uuid.uuid4())
        return gift, token or ""

    _, claim = send(user, niece.email, 250, "Well done!")
    gifts.claim_gift(niece, claim)
    gifts.cancel_gift(send(user, "typo@example.com", 100)[0])
    open_gift, _ = send(user, LONG_EMAIL, 300, "For the pictures of the fair.\nSee you soon!")
    _, received = send(aunt, user.email, 120, "Happy birthday")
    gifts.claim_gift(user, received)
    taken_back, gone = send(aunt, user.email, 50)
    gifts.cancel_gift(taken_back)
    _, link = send(aunt, user.email, 500, "And something for the holidays,\nfrom all of us")
    return {"gift": open_gift.pk, "gift_link": link, "gift_gone": gone, "form": uuid.uuid4()}


def debtor(user: User) -> Places:
    """Has spent what was refunded later, went on spending, and ordered again."""
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 500, key="g", kind="purchase", paid=475)
    ledger.spend(wallet, 420, key="s", note="A picture of a cat")
    ledger.revoke(wallet, 500, of="g", key="r", kind="refund")
    ledger.spend(wallet, 50, key="s2", note="25 summaries", owe_up_to=500)
    pending = _order(user, 1234, "payment")
    return {"pending": pending.pk, "payment_page": pending.stripe_session_url}


def corporate(user: User) -> Places:
    """Owns an organisation with everything, and one with nothing."""
    acme = _found(user, "Hohenberg & Mustermann Bildbearbeitung GmbH")
    wallet = ledger.wallet_of(acme.account)
    bought = Purchase.objects.create(
        user=acme.account, status="paid", **ORDER, credits=20_000, total=16_000
    )
    ledger.grant(wallet, 20_000, key=f"purchase:{bought.pk}", kind="purchase", paid=16_000)
    Purchase.objects.create(
        user=acme.account, status="pending", **ORDER, credits=500, total=475,
        stripe_session_url="http://127.0.0.1:9",
    )  # fmt: skip
    gift = ledger.grant(wallet, 50, key="g", kind="promotion", category="promotional")
    member = User.objects.create(email=f"m.{LONG_EMAIL}")
    Membership.objects.create(
        organisation=acme, user=member, role=Role.BILLING, limit_credits=2500, limit_period="week"
    )
    for credits, who in ((1200, member), (340, user), (980, member)):
        organisations.draw(who, acme.pk, credits)
        ledger.spend(
            wallet, credits, key=f"s{credits}", note="A picture of a cat, 1024 by 1024", actor=who
        )
    ledger.hold(wallet, 120, key="h", expires_in=timedelta(hours=1))
    invite = functools.partial(organisations.invite, acme.pk, by=user, role=Role.MEMBER)
    invite(email=f"nobody.{LONG_EMAIL}")
    _, token = invite(email="newcomer@example.com", limit_credits=500, limit_period="month")
    _found(user, "Nothing yet")
    key, _ = keys.make(made_by=user, owner=acme.account, name="Night job", scopes=["credits:spend"])
    return {
        "acme": acme.pk, "ours": member.pk,
        "invitation": token, "ours_key": key.pk, "ours_gift": gift.pk,
    }  # fmt: skip


def colleague(user: User) -> Places:
    """Is a member of the organisation with everything. Comes after `corporate`."""
    acme = Organisation.objects.earliest("pk")
    Membership.objects.create(
        organisation=acme, user=user, role=Role.MEMBER, limit_credits=500, limit_period="month"
    )
    organisations.draw(user, acme.pk, 45)
    wallet = ledger.wallet_of(acme.account)
    ledger.spend(wallet, 45, key="c", note="A picture of a dog", actor=user)
    return {}


def procurer(user: User) -> Places:
    """Buys for many in every state, and on invoice; has another organisation without any."""
    acme, empty = _found(user, "Hohenberg & Mustermann Bildbearbeitung GmbH"), _found(user, "New")
    InvoiceTerms.objects.create(
        organisation=acme, is_approved=True, credit_limit=50_000,
        tax_id_type="eu_vat", tax_id="DE123456789",
    )  # fmt: skip
    lines = [Line(1, 12_500, LONG_EMAIL)]
    lines += [Line(n, 10 * n, f"recipient{n}@example.com") for n in range(2, 121)]
    draft = orders.draft(acme, lines, by=user)
    few = lines[:3]
    ordered, sending, done, lost = (orders.draft(acme, some, by=user) for some in (
        few, lines, lines[1:70], few,
    ))  # fmt: skip
    for bulk in (sending, done, lost):
        with transaction.atomic():
            purchase = orders.order(bulk, expected_total=None)
            Purchase.objects.filter(pk=purchase.pk).update(status="paid")
            if bulk != lost:
                key = f"purchase:{purchase.pk}"
                wallet = ledger.wallet_of(acme.account)
                ledger.grant(wallet, bulk.credits, key=key, kind="purchase", paid=purchase.total)
                delivery.begin(purchase)
    Purchase.objects.filter(bulk=lost).update(status="expired")
    BulkPurchase.objects.filter(pk=sending.pk).update(due_at=timezone.now() + timedelta(days=1))
    while delivery.deliver_due():
        pass
    BulkLine.objects.filter(bulk=done, number=5).update(status="not_sent", reason="no_credits")
    BulkLine.objects.filter(bulk=sending, number__lte=47).update(status="sent")
    orders.pay_by_card(ordered, expected_total=None)
    billed = orders.draft(acme, few, by=user)
    terms.pay_by_invoice(billed, expected_total=None, po_number="PO-2026-0017")
    return {
        "buys": acme.pk, "buys_not": empty.pk, "bulk_draft": draft.pk, "bulk_ordered": ordered.pk,
        "bulk_sending": sending.pk, "bulk_done": done.pk, "bulk_lost": lost.pk,
        "bulk_billed": billed.pk,
    }  # fmt: skip


def _found(owner: User, name: str) -> Organisation:
    return organisations.found(
        owner, name=name, billing_email=f"billing.{LONG_EMAIL}", request_id=uuid.uuid4()
    )


def staff(user: User) -> Places:
    """May do everything, and something of each kind waits for it. Comes after `regular`."""
    user.is_staff = user.is_superuser = True
    user.save()
    _add_app(user)
    clerk = User.objects.create(email="clerk@example.com", is_staff=True)
    asked = adjustments.adjust(
        User.objects.get(email="regular@example.com"), 25_000, key="adjustment:1",
        reason="Goodwill after the outage", staff=clerk,
    )  # fmt: skip
    unknown = {
        "id": "evt_unknown", "type": "checkout.session.completed", "livemode": False,
        "data": {"object": {
            "id": "cs_test_unknown", "object": "checkout.session", "payment_status": "paid",
            "mode": "payment", "customer": "cus_unknown", "amount_subtotal": 475,
            "currency": "usd", "metadata": {"type": "dynamic_credits", "credits": "500"},
        }},
    }  # fmt: skip
    event = webhooks.keep(unknown, json.dumps(unknown))
    webhooks.attempt(event)
    purchase = Purchase.objects.filter(status="paid").earliest("created_at")
    charge = Charge.objects.create(
        stripe_id="ch_disputed", purchase=purchase, entry_key=f"purchase:{purchase.pk}",
        amount=purchase.total, fetched_at=timezone.now(),
    )  # fmt: skip
    dispute = Dispute.objects.create(
        stripe_id="dp_to_answer", charge=charge, amount=purchase.total, status="needs_response",
        reason="fraudulent", answer_by=timezone.now() + timedelta(days=2),
        created_at=timezone.now(),
    )  # fmt: skip
    promotion = Promotion.objects.create(
        name="Summer", percent=10, max_bonus=5000, min_credits=100,
        ends_at=timezone.now() + timedelta(days=30),
    )  # fmt: skip
    promotions.make_code(promotion, "SUMMER25", None)
    promotions.make_codes(promotion, 3, 1)
    endpoint = endpoints.make(
        url="https://product.example/hooks/credits", description="The product", made_by=user,
        events=["credits.low", "credits.depleted", "subscription.changed"],
    )  # fmt: skip
    messages.tell("credits.low", clerk.pk, {"available": 34, "threshold": 100})
    message = Message.objects.get()
    message.deliveries.update(
        status="given_up", tries=24, code=503, answer="<h1>Down for maintenance</h1>"
    )
    messages.tell_test(endpoint)
    endpoints.switch_off(endpoint, "It failed for 3 days.")
    return {
        "endpoint": endpoint.pk,
        "message": quote(message.pk),
        "dispute": dispute.pk,
        "adjustment": asked.pk,
        "event": event.pk,
        "promotion": promotion.pk,
        "reconciliation": reconcile(timezone.now() - timedelta(days=1)).pk,
        "form": uuid.uuid4(),
    }


def beginner(user: User) -> Places:
    """Works here since today, and has no second step yet."""
    user.is_staff = True
    user.save()
    return {}


def observer(user: User) -> Places:
    """Works here, and may look at customers only: nothing waits for them."""
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_customer"))
    _add_app(user)
    return {}


def _add_app(user: User) -> None:
    TOTP.activate(user, generate_totp_secret())
    RecoveryCodes.activate(user)


def _add_passkey(user: User, name: str) -> int:
    """As a device that makes one answers; nobody has its private key. Answers the row's number."""
    key = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    number = secrets.token_bytes(16)
    made = AttestedCredentialData.create(bytes(16), number, key)
    flags = AuthenticatorData.FLAG
    data = AuthenticatorData.create(bytes(32), flags.UP | flags.UV | flags.AT, 0, made)
    client = CollectedClientData.create(
        CollectedClientData.TYPE.CREATE, b"challenge", "http://localhost"
    )
    response = {
        "clientDataJSON": websafe_encode(client),
        "attestationObject": websafe_encode(AttestationObject.create("none", data, {})),
    }
    credential = {
        "id": websafe_encode(number), "rawId": websafe_encode(number), "type": "public-key",
        "response": response, "clientExtensionResults": {"credProps": {"rk": True}},
    }  # fmt: skip
    row: int = WebAuthn.add(user, name, credential).instance.pk
    return row


def _make_key(user: User, name: str, **terms: Any) -> ApiKey:
    key, _ = keys.make(
        made_by=user, owner=user, name=name, scopes=["balance:read", "credits:spend"], **terms
    )
    return key


def _order(user: User, credits: int, mode: str) -> Purchase:
    request_id = uuid.uuid4()
    start_checkout(user, credits, mode, request_id=request_id)
    return Purchase.objects.get(request_id=request_id)


def _buy(user: User, credits: int, mode: str) -> Purchase:
    purchase = _order(user, credits, mode)
    _stand_in("POST", f"checkout/{purchase.stripe_session_id}/pay", {"card": "4242424242424242"})
    for payload in reversed(_stand_in("GET", "events")):
        webhooks.attempt(webhooks.keep(payload, json.dumps(payload)))
    return purchase


def _stand_in(method: str, path: str, body: Any = None) -> Any:
    address = f"{settings.STRIPE_API_BASE}/sandbox/api/{path}"
    answer = requests.request(method, address, json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


def _spend(wallet: Wallet, *amounts: int) -> None:
    for amount in amounts:
        ledger.spend(wallet, amount, key=f"job:{uuid.uuid4()}", note=f"{2 * amount} summaries")


def _spread(wallet: Wallet, span: timedelta) -> None:
    """Move what was booked into the past, evenly; the ledger refuses that to everybody else."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what waits for the end keeps ALTER out
        cursor.execute("ALTER TABLE credits_entry DISABLE TRIGGER USER")
        cursor.execute(
            """
            UPDATE credits_entry SET created_at = now() - %s * (1 - number / many::float)
            FROM (SELECT id, row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS many
                  FROM credits_entry WHERE wallet_id = %s) AS counted
            WHERE credits_entry.id = counted.id""",
            [span, wallet.pk],
        )
        cursor.execute("ALTER TABLE credits_entry ENABLE TRIGGER USER")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def _price(meter: Meter, begins_on: date, mode: str, *bands: tuple[int, int, int]) -> Tariff:
    """A price list that may have begun long ago; the database refuses that to everybody else."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what waits for the end keeps ALTER out
        cursor.execute("ALTER TABLE usage_tariff DISABLE TRIGGER USER")
        cursor.execute("ALTER TABLE usage_band DISABLE TRIGGER USER")
        tariff = Tariff.objects.create(meter=meter, begins_on=begins_on, mode=mode)
        for above, credits, per in bands:
            Band.objects.create(tariff=tariff, above=above, credits=credits, per=per)
        cursor.execute("ALTER TABLE usage_tariff ENABLE TRIGGER USER")
        cursor.execute("ALTER TABLE usage_band ENABLE TRIGGER USER")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    return tariff


def _subscribe(user: User, status: str, **terms: Any) -> None:
    Subscription.objects.create(
        user=user, stripe_id=f"sub_{user.pk}", status=status, credits=500, total=475,
        currency="usd", current_period_end=timezone.now() + timedelta(days=9),
        fetched_at=timezone.now(), **terms,
    )  # fmt: skip
