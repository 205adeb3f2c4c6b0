"""A whole purchase in German: pages, Stripe's pages, mails, notes."""

import re
import uuid

import pytest
from django.test import Client
from django.utils import translation
from stripe.params.billing_portal import SessionCreateParams as PortalParams
from stripe.params.checkout import SessionCreateParams as CheckoutParams

from accounts import preferences
from billing import mails
from billing.models import Mail, Purchase
from credits.models import Entry
from tests.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def buyer(user) -> Client:
    preferences.choose(user, language="de", time_zone="Europe/Berlin")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def shop(user, sandbox, buyer) -> Shop:
    return Shop(user, sandbox, Client())


def test_the_shop_writes_and_reads_german(buyer, sandbox):
    page = buyer.get("/credits?credits=5000").text
    assert '<html lang="de"' in page
    assert 'name="language" value="de"' in page
    assert 'value="5.000"' in page
    assert "40,00\u00a0$" in page
    assert "0,0080\u00a0$" in page
    assert "$40" not in page
    form = {"credits": "5.000", "language": "de", "mode": "payment", "expected_total": "4000"}
    response = buyer.post("/credits", {**form, "request_id": str(uuid.uuid4())})
    assert response.status_code == 303
    assert Purchase.objects.get().credits == 5000


def test_a_page_is_read_in_its_language_when_another_was_chosen_meanwhile(buyer, user, sandbox):
    preferences.choose(user, language="en")
    form = {"credits": "5.000", "language": "de", "mode": "payment", "expected_total": "4000"}
    assert buyer.post("/credits", {**form, "request_id": str(uuid.uuid4())}).status_code == 303
    assert Purchase.objects.get().credits == 5000


@pytest.mark.parametrize(("language", "text"), [("en", "5.000"), ("de", "5,000"), ("de", "5,5")])
def test_an_amount_that_could_be_another_is_asked_for_again(buyer, sandbox, language, text):
    form = {"credits": text, "language": language, "mode": "payment"}
    response = buyer.post("/credits", form)
    assert response.status_code == 400
    assert f'<html lang="{language}"' in response.text
    assert f'value="{text}"' in response.text
    assert not Purchase.objects.exists()
    assert sandbox.requests() == []


def test_without_javascript_the_price_of_what_was_typed_is_shown_in_any_language(buyer):
    form = {"credits": "5.000", "language": "de", "mode": "payment", "action": "price"}
    address = buyer.post("/credits", form)["Location"]
    assert address == "/credits?credits=5000&mode=payment"
    buyer.post("/language", {"language": "en", "next": address})
    assert 'value="5,000"' in buyer.get(address).text


def test_stripes_pages_are_in_the_language_of_the_order(buyer, sandbox):
    form = {"credits": "5.000", "language": "de", "mode": "payment", "expected_total": "4000"}
    buyer.post("/credits", {**form, "request_id": str(uuid.uuid4())})
    (session,) = sandbox.objects("checkout.session")
    assert session["locale"] == "de"
    assert Purchase.objects.get().language == "de"
    (request,) = [one for one in sandbox.requests() if one["path"] == "/v1/checkout/sessions"]
    assert "5.000 Credits" in str(request)
    buyer.get("/api/billing/portal-link")
    (portal,) = sandbox.objects("billing_portal.session")
    assert portal["locale"] == "de"


def test_a_retry_in_another_language_is_the_same_order(buyer, user, sandbox):
    sandbox.add_fault(path="/v1/checkout/sessions", kind="lose_reply", times=2)
    form = {"credits": "500", "mode": "payment", "request_id": str(uuid.uuid4())}
    assert buyer.post("/credits", form).status_code == 503
    preferences.choose(user, language="en")
    assert buyer.post("/credits", form).status_code == 303
    (session,) = sandbox.objects("checkout.session")
    assert session["locale"] == "de"


def test_every_language_is_one_that_stripe_speaks(settings):
    for params in (CheckoutParams, PortalParams):
        known = re.findall("'([^']+)'", str(params.__annotations__["locale"]))
        assert [code for code, _ in settings.LANGUAGES if code not in known] == []


def test_mails_and_notes_are_in_the_language_of_the_user(shop):
    purchase = shop.buy(5000)
    with translation.override("en"):  # the worker's
        message = mails.message_of(Mail.objects.get(kind="purchase"))
    assert "40,00\u00a0$" in message.body
    assert "5.000 Credits" in message.subject
    assert '<html lang="de">' in message.alternatives[0][0]
    shop.sandbox.refund(str(purchase.stripe_payment_id), 2000)
    shop.tell()
    assert "20,00\u00a0$" in Entry.objects.get(kind="refund").note


def test_the_last_mail_of_a_closed_account_is_in_its_language(user):
    preferences.choose(user, language="de")
    mails.tell(user, "account_closed", "account", email="ada@example.org", language=user.language)
    preferences.choose(user, language="")
    assert '<html lang="de">' in mails.message_of(Mail.objects.get()).alternatives[0][0]
