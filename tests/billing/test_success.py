"""The page that the buyer returns to: how a purchase stands, in each of its states."""

import re
import uuid
from datetime import timedelta
from urllib.parse import quote

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from billing.models import Purchase
from credits import ledger
from tests.billing.test_dashboard import order, text

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"

STATES = {
    "pending": ("Confirming your payment", "Check again"),
    "settling": ("Your bank payment is under way", "Go to dashboard"),
    "paid": ("1,234 credits added", "Go to dashboard"),
    "expired": ("This purchase was not completed", "Start again"),
    "failed": ("Your bank didn\u2019t pay", "Start again"),
    "review": ("We are checking your payment", "Go to dashboard"),
    "settled": ("We have checked your payment", "Go to dashboard"),
}


@pytest.fixture
def buyer(client, user):
    client.force_login(user)
    return client


def test_every_state_has_its_words():
    assert set(STATES) == set(Purchase.Status.values)


@pytest.mark.parametrize("status", STATES)
def test_each_state_says_how_it_stands_and_grants_nothing(buyer, user, status):
    title, way_on = STATES[status]
    purchase = order(user, status=status)
    page = buyer.get(f"/credits/success?purchase={purchase.pk}")
    content = page.content.decode()
    assert f"<title>{title} · Dynamic Credits</title>" in content
    assert f"<h1>{title}</h1>" in content
    (button,) = re.findall(r'class="btn primary[^"]*"[^>]*>([^<]*)<', content)
    assert button == way_on
    # Only what is not known yet is asked for, and nothing reloads by itself.
    assert ("data-poll" in content) == (status == "pending")
    assert "http-equiv" not in content
    assert ledger.balance_of(user) == 0


def test_what_was_not_charged_is_said(buyer, user):
    for status in ("expired", "failed"):
        purchase = order(user, status=status)
        assert "Nothing was charged." in text(buyer.get(f"/credits/success?purchase={purchase.pk}"))


def test_a_day_later_it_is_no_matter_of_seconds(buyer, user):
    purchase = order(user, created_at=timezone.now() - timedelta(hours=24, seconds=1))
    content = buyer.get(f"/credits/success?purchase={purchase.pk}").content.decode()
    assert "data-poll" not in content
    assert "in a few seconds" not in content
    assert '<div class="stack" data-slow>' in content


def test_a_receipt_is_offered_of_what_was_paid_once(buyer, shop):
    purchase = shop.buy(500)
    page = buyer.get(f"/credits/success?purchase={purchase.pk}").content.decode()
    entry = ledger.wallet_of(shop.user).entries.get()
    assert f'href="/dashboard/receipts/{entry.pk}">View receipt</a>' in page
    plan = shop.buy(500, "subscription")
    page = buyer.get(f"/credits/success?purchase={plan.pk}").content.decode()
    assert "View receipt" not in page
    assert "until you cancel" in page


def test_a_form_that_is_sent_again_after_paying_leads_to_what_was_bought(buyer, shop, sandbox):
    form = {"credits": "500", "request_id": str(uuid.uuid4()), "expected_total": "475"}
    first = buyer.post("/credits", form)
    purchase = Purchase.objects.get()
    assert first["Location"] == purchase.stripe_session_url
    sandbox.pay(str(purchase.stripe_session_id))
    shop.tell()
    again = buyer.post("/credits", form)
    assert again.status_code == 303
    assert again["Location"].endswith(f"/credits/success?purchase={purchase.pk}")
    assert len(sandbox.objects("checkout.session")) == 1
    assert ledger.balance_of(shop.user) == 500


def test_who_is_not_signed_in_is_asked_to_and_comes_back(client, shop, sandbox, settings):
    """As who buys in another product's place may not be."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    shop.user.set_password(PASSWORD)
    shop.user.save()
    EmailAddress.objects.create(user=shop.user, email=shop.user.email, verified=True, primary=True)
    purchase = shop.order(500)
    sandbox.pay(str(purchase.stripe_session_id))
    here = f"/credits/success?purchase={purchase.pk}"
    for address in (here, f"/credits/success?purchase={uuid.UUID(int=7)}"):
        page = client.get(address, follow=True)
        assert page.redirect_chain == [(f"/accounts/login/?next={quote(address)}", 302)]
        assert "What you have paid for arrives by itself, whether or not you sign in" in text(page)
        assert "500" not in text(page)  # whatever it is, it is told to the buyer only
    shop.tell()
    assert ledger.balance_of(shop.user) == 500  # it waits for nobody to come back
    page = client.get(here, follow=True)
    assert f'<input type="hidden" name="next" value="{here}"' in page.content.decode()
    form = {"login": shop.user.email, "password": PASSWORD, "next": here}
    page = client.post("/accounts/login/", form, follow=True)
    assert page.redirect_chain[-1] == (here, 302)
    assert "<h1>500 credits added</h1>" in page.content.decode()
    assert "Sign in to see" not in text(page)


@pytest.mark.parametrize("name", ["", "x", uuid.UUID(int=7)])
def test_somebody_else_s_purchase_is_nowhere(buyer, other_user, name):
    theirs = order(other_user, status="paid")
    assert buyer.get(f"/credits/success?purchase={name}").status_code == 404
    assert buyer.get(f"/credits/success?purchase={theirs.pk}").status_code == 404
