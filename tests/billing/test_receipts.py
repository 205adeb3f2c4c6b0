"""Receipts and invoices behind the history's links."""

import json
import re

import pytest
import requests
from django.test import Client

from billing.models import Purchase
from credits import ledger
from credits.models import Entry
from tests.stripe_events import event, post

pytestmark = pytest.mark.django_db


@pytest.fixture
def buyer(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def bought(buyer: Client, sandbox, mode: str = "payment") -> str:
    """The address of the receipt of 500 credits that were paid at the stand-in."""
    body = json.dumps({"credits": 500, "mode": mode})
    assert buyer.post("/api/billing/dynamic-checkout", body, content_type="application/json").json()
    session = sandbox.pay(Purchase.objects.latest("created_at").stripe_session_id)
    told = event("checkout.session.completed", session)
    assert post(Client(), told).json() == {"status": "done"}
    return f"/dashboard/receipts/{Entry.objects.latest('id').id}"


@pytest.fixture
def receipt(buyer, sandbox) -> str:
    return bought(buyer, sandbox)


def asked(sandbox, path: str) -> int:
    return sum(call["path"].startswith(path) for call in sandbox.requests())


def test_the_history_leads_to_stripes_receipt(buyer, sandbox, receipt):
    page = buyer.get("/dashboard").content.decode()
    (link,) = re.findall(r'<a [^>]*href="(/dashboard/receipts/[0-9]+)">(.*?)</a>', page)
    assert link[0] == receipt
    assert re.fullmatch(
        r'Receipt <span class="vh">Purchase, [0-9]{1,2} [A-Z][a-z]{2} 20[0-9]{2}</span>',
        link[1],
    )
    response = buyer.get(receipt)
    assert response.status_code == 303
    assert "no-store" in response["Cache-Control"]
    (charge,) = sandbox.objects("charge")
    assert response["Location"] == charge["receipt_url"]
    assert "$4.75" in requests.get(response["Location"], timeout=20).text


def test_a_plans_month_leads_to_its_invoice(buyer, sandbox):
    receipt = bought(buyer, sandbox, "subscription")
    (invoice,) = sandbox.objects("invoice")
    response = buyer.get(receipt)
    assert (response.status_code, response["Location"]) == (303, invoice["hosted_invoice_url"])
    assert "$4.75" in requests.get(response["Location"], timeout=20).text


def test_it_is_asked_for_at_each_click(buyer, sandbox, receipt):
    buyer.get("/dashboard")
    assert asked(sandbox, "/v1/payment_intents") == 0
    for _ in range(2):
        assert buyer.get(receipt).status_code == 303
    assert asked(sandbox, "/v1/payment_intents") == 2


def test_nobody_else_sees_it(client, other_user, sandbox, receipt):
    response = client.get(receipt)
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={receipt}"
    client.force_login(other_user)
    assert client.get(receipt).status_code == 404
    ledger.wallet_of(other_user)
    assert client.get(receipt).status_code == 404
    assert asked(sandbox, "/v1/payment_intents") == 0


@pytest.mark.parametrize("number", ["0", "999999999999", "9" * 30, "-1", "x"])
def test_what_is_nowhere_is_a_404(buyer, wallet, number):
    assert buyer.get(f"/dashboard/receipts/{number}").status_code == 404


def test_nothing_is_opened_but_on_a_click(buyer, sandbox, receipt):
    assert buyer.head(receipt).status_code == 405
    assert buyer.post(receipt).status_code == 405
    for name in ("Sec-Purpose", "Purpose"):
        assert buyer.get(receipt, headers={name: "prefetch"}).status_code == 503
    assert asked(sandbox, "/v1/payment_intents") == 0


def test_what_nobody_paid_for_has_none(buyer, wallet, sandbox):
    entries = [
        ledger.grant(wallet, 5, key="gift:1", kind="promotion", category="promotional"),
        ledger.grant(wallet, 5, key="purchase:of-nobody", kind="purchase", paid=5),
        ledger.grant(wallet, 5, key="invoice:in_of_nobody", kind="renewal", paid=5),
        ledger.spend(wallet, 5, key="job:1"),
    ]
    page = buyer.get("/dashboard").content.decode()
    linked = {int(found) for found in re.findall(r"/dashboard/receipts/([0-9]+)", page)}
    assert linked == {entries[1].id, entries[2].id}
    for entry in entries:
        response = buyer.get(f"/dashboard/receipts/{entry.id}")
        assert response.status_code == 404
        assert "There is no receipt for this" in response.content.decode()


@pytest.mark.parametrize(("status", "answer"), [(503, 503), (402, 502)])
def test_an_outage_is_told_and_what_to_do(buyer, sandbox, receipt, status, answer):
    sandbox.add_fault(
        method="GET", path="/v1/payment_intents", kind="error", status=status, times=9
    )
    response = buyer.get(receipt)
    assert response.status_code == answer
    page = response.content.decode()
    assert "Your payment and your credits are safe" in page
    assert "Try again" in page


@pytest.mark.parametrize(
    ("url", "is_stripes"),
    [
        ("https://pay.stripe.com/receipts/payment/abc?s=ap", True),
        ("https://invoice.stripe.com/i/acct_1/live_abc?s=ap", True),
        ("https://billing.shop.example/i/acct_1", True),
        ("http://pay.stripe.com/receipts", False),
        ("https://stripe.com.evil.example/", False),
        ("https://evilstripe.com/", False),
        ("https://evil.example/pay.stripe.com", False),
        ("https://pay.stripe.com@evil.example/", False),
        ("https://me:you@pay.stripe.com/", False),
        ("//pay.stripe.com/", False),
        ("javascript:alert(1)//pay.stripe.com", False),
        ("https://evil.example\\.stripe.com/", False),
        ("https://[", False),
        ("", False),
        (None, False),
    ],
)
def test_it_leads_to_stripe_and_nowhere_else(buyer, settings, sandbox, receipt, url, is_stripes):
    from tests.stripe_sandbox.helpers import set_field

    settings.STRIPE_REDIRECT_ORIGINS = ["https://billing.shop.example"]
    set_field(sandbox, sandbox.objects("charge")[0]["id"], "receipt_url", url)
    response = buyer.get(receipt)
    assert (response.status_code, response.get("Location")) == (
        (303, url) if is_stripes else (404, None)
    )
