"""No secret and no card beyond its last four digits in logs, on error pages or in the admin.

Each test plants some, has something fail, and looks through all that came out.
"""

import http.server
import json
import logging
import runpy
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader

from billing import stripe_api
from billing.models import Event, StripeCustomer
from billing.redaction import redacted, without_secrets
from billing.webhooks import HANDLERS, Handler
from tests.stripe_events import event, post, sign

pytestmark = pytest.mark.django_db

CARD = "4000056655665556"
LOCAL = "PLANTEDlocal"
KEY = "sk_" + "test_" + "PLANTEDkey"
SIGNING = "whsec_" + "PLANTEDsigning"
CLIENT = "pi_3ABC_secret_" + "PLANTEDclient"
API_KEY = "dcs_" + "PLANTED" + "-_9" * 12
BASIC = "PLANTEDbasic=="
PLANTED = (CARD, "4000 0566 5566 5556", "PLANTED")
SITE = "PLANTEDsite-key-of-32-characters-or-more"
TOLD = f"{KEY} {SIGNING} {CLIENT} {CARD} 4000 0566 5566 5556 PLANTEDdatabase PLANTEDmail {SITE}"
SENT = f"{API_KEY} 'Authorization': 'Bearer PLANTEDbearer' authorization=Basic {BASIC}"


@pytest.fixture(autouse=True)
def planted(settings, monkeypatch):
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRETS = [SIGNING, "whsec_" + "PLANTEDolder"]
    settings.SECRET_KEY = SITE
    settings.EMAIL_HOST_PASSWORD = "PLANTEDmail"
    settings.EMAIL_CONFIG = {"EMAIL_HOST": "mail.example", "EMAIL_HOST_PASSWORD": "PLANTEDmail"}
    # Not by `settings`: Django warns of that. The connection is open already.
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "PLANTEDdatabase")


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What the site's own handler writes, by its own format."""
    handlers = logging.getLogger().handlers
    console = next(each for each in handlers if type(each) is logging.StreamHandler)
    written = StringIO()
    before = console.setStream(written)
    yield written
    console.setStream(before)


def assert_clean(text: str) -> None:
    for secret in PLANTED:
        assert secret not in text


class TellTale(http.server.BaseHTTPRequestHandler):
    """A Stripe that repeats secrets in its refusals."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        error = {"message": TOLD, "type": "card_error", "code": "card_declined", "param": "x"}
        charge = {"payment_method_details": {"card": {"number": CARD}}, "client_secret": CLIENT}
        body = json.dumps({"error": error | {"payment_intent": charge}}).encode()
        self.send_response(402)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 (http.server's names)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def telltale(settings) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TellTale)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{server.server_port}"
    yield
    server.shutdown()
    server.server_close()
    stripe_api._client.cache_clear()


def test_what_stripe_says_in_a_refusal_stays_inside(client, user, telltale, log):
    client.force_login(user)
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id="cus_1")
    answers = [
        client.post(
            "/api/billing/dynamic-checkout", '{"credits": 500}', content_type="application/json"
        ),
        client.post("/api/billing/portal-link", "{}", content_type="application/json"),
        client.get("/api/billing/portal-link", headers={"Accept": "text/html"}),
        client.post("/credits", {"credits": "500", "mode": "payment"}),
    ]
    assert [answer.status_code for answer in answers] == [502] * 4
    about = {"id": "ch_1", "object": "charge"}
    answers.append(post(client, event("charge.refunded", about)))
    assert answers[-1].status_code == 500
    for answer in answers:
        assert_clean(answer.content.decode())
    for command in ("configure_portal", "setup_stripe"):
        with pytest.raises(CommandError) as refused:
            call_command(command)
        assert_clean(str(refused.value))
    assert Event.objects.get().error == "StripeRefused: CardError 402 card_declined"
    assert "CardError 402 card_declined" in log.getvalue()
    assert_clean(log.getvalue())


def test_a_handler_that_breaks_tells_no_secret(client, log, monkeypatch, admin_client):
    def fall(*args: object) -> None:
        raise RuntimeError(TOLD)

    monkeypatch.setitem(HANDLERS, "charge.refunded", Handler(apply=fall))
    response = post(client, event("charge.refunded", {"id": "ch_1", "object": "charge"}))
    assert response.status_code == 500
    assert_clean(response.content.decode())
    kept = Event.objects.get()
    assert kept.error.startswith("RuntimeError: *** ***")
    assert "***5556" in kept.error
    assert_clean(kept.error)
    assert "RuntimeError: *** ***" in log.getvalue()
    assert_clean(log.getvalue())
    for page in ("", f"{kept.pk}/change/"):
        shown = admin_client.get(f"/admin/billing/event/{page}")
        assert shown.status_code == 200
        assert_clean(shown.content.decode())


@pytest.mark.parametrize("debug", [False, True])
def test_a_page_that_breaks_tells_no_secret(client, log, monkeypatch, settings, debug):
    def fall(*args: object) -> None:
        api_key = LOCAL  # noqa: F841 (the page of details shows it)
        details = {"number": CARD, "stripe": settings.STRIPE_SECRET_KEY}  # noqa: F841
        every = settings.DATABASES, settings.STRIPE_WEBHOOK_SECRETS  # noqa: F841
        raise RuntimeError(TOLD)

    monkeypatch.setattr("billing.pricing.load_tiers", fall)
    settings.DEBUG = debug
    client.raise_request_exception = False
    for path in ("/credits", "/api/billing/quote?credits=500"):
        for accept in ("text/html", "application/json"):
            response = client.get(path, headers={"Accept": accept})
            assert response.status_code == 500
            page = response.content.decode()
            assert ("RuntimeError" in page) == debug
            assert_clean(page)
    if debug:
        assert "EMAIL_HOST_PASSWORD" in page or "STRIPE_WEBHOOK_SECRETS" in page
    assert "RuntimeError" in log.getvalue()
    assert_clean(log.getvalue())


@pytest.mark.parametrize("debug", [False, True])
def test_a_request_with_a_key_that_breaks_does_not_tell_it(
    client, log, monkeypatch, settings, debug
):
    def fall(*args: object) -> None:
        received = {"Authorization": f"Bearer {API_KEY}"}
        quoted = repr(received), (b"authorization", API_KEY.encode()), f"/?{API_KEY}"  # noqa: F841 (shown)
        raise RuntimeError(SENT)

    monkeypatch.setattr("billing.pricing.load_tiers", fall)
    settings.DEBUG = debug
    client.raise_request_exception = False
    for scheme in (f"Bearer {API_KEY}", f"bearer  {API_KEY}", f"Basic {BASIC}"):
        for path in ("/credits", "/api/billing/quote?credits=500", f"/nowhere?key={API_KEY}"):
            answer = client.get(path, headers={"Authorization": scheme})
            assert answer.status_code in (404, 500)
            if answer.status_code == 500:
                assert ("RuntimeError" in answer.content.decode()) == debug
                assert_clean(answer.content.decode())
    assert "RuntimeError: *** 'Authorization': 'Bearer ***' authorization=Basic ***" in (
        log.getvalue()
    )
    assert_clean(log.getvalue())


def test_the_web_server_does_not_log_the_key_of_a_header_that_it_can_not_read(tmp_path):
    config = Config()
    config.set("logger_class", runpy.run_path("gunicorn.conf.py")["logger_class"])
    config.set("errorlog", str(tmp_path / "log"))
    log = config.logger_class(config)
    error = InvalidHeader(f"Authorization Bearer {API_KEY}")
    log.warning("Invalid request from ip=%s: %s", "203.0.113.7", error)
    log.exception("told %s", SENT)
    written = (tmp_path / "log").read_text()
    assert "Invalid HTTP Header: 'Authorization Bearer ***'" in written
    assert_clean(written)


def test_every_logger_is_cleaned(log):
    logging.getLogger("billing.anything").error("told %s", TOLD)
    logging.getLogger("somebody.elses").error("told %s", TOLD, exc_info=ValueError(TOLD))
    assert log.getvalue().count("told *** *** ***") == 2
    assert_clean(log.getvalue())


def test_the_sdk_does_not_log_what_it_sends_and_gets(sandbox, user, log, client):
    client.force_login(user)
    assert (
        client.post("/api/billing/portal-link", "{}", content_type="application/json").status_code
        == 200
    )
    assert "ada@example.com" not in log.getvalue()
    assert not logging.getLogger("stripe").isEnabledFor(logging.INFO)


CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "customer": "cus_1",
    "amount": 475,
    "billing_details": {
        "address": {"city": "PLANTEDcity", "line1": "PLANTEDstreet"},
        "email": "ada@example.com",
        "name": "PLANTEDname",
        "phone": "PLANTEDphone",
    },
    "description": f"typed {CARD} by mistake",
    "outcome": {"seller_message": "Payment complete."},
    "payment_intent": "pi_1",
    "payment_method": "pm_1",
    "payment_method_details": {
        "card": {
            "brand": "visa",
            "checks": {"cvc_check": "PLANTEDcheck"},
            "exp_month": 1234,
            "exp_year": 5678,
            "fingerprint": "PLANTEDfingerprint",
            "iin": "PLANTEDiin",
            "last4": "4242",
            "network_token": {"used": "PLANTEDtoken"},
            "network_transaction_id": "PLANTEDtransaction",
            "wallet": {"dynamic_last4": "PLANTEDwallet", "type": "apple_pay"},
        },
        "type": "card",
    },
    "receipt_email": "ada@example.com",
    "receipt_url": "https://pay.stripe.com/receipts/PLANTEDurl",
    "client_secret": CLIENT,
    "source": {"id": "card_1", "brand": "visa", "last4": "4242", "name": "PLANTEDname"},
    "shipping": {"name": "PLANTEDname", "address": {"line1": "PLANTEDstreet"}},
}


def test_staff_see_of_a_card_its_brand_and_last_four(admin_client, client):
    payload = event("charge.succeeded", CHARGE)
    post(client, payload)
    kept = Event.objects.get()
    assert kept.object == CHARGE  # the evidence is whole
    page = admin_client.get(f"/admin/billing/event/{kept.pk}/change/").content.decode()
    assert_clean(page)
    for hidden in ("1234", "5678"):
        assert f"&quot;exp_year&quot;: {hidden}" not in page
        assert f"&quot;exp_month&quot;: {hidden}" not in page
    for shown in (
        "&quot;brand&quot;: &quot;visa&quot;", "&quot;last4&quot;: &quot;4242&quot;",
        "&quot;pi_1&quot;", "&quot;pm_1&quot;", "ada@example.com", "Payment complete.",
        "typed ***5556 by mistake", "&quot;amount&quot;: 475", "apple_pay",
    ):  # fmt: skip
        assert shown in page


def test_what_is_deep_or_strange_is_hidden_or_shown_but_never_breaks():
    deep: object = "x"
    for _ in range(900):
        deep = [deep]
    assert "***" in json.dumps(redacted({"a": deep}))
    assert redacted({"a": [1, None, True, 1.5, "\0"]}) == {"a": [1, None, True, 1.5, "\0"]}
    assert redacted({"card": "card_1", "url": None, "success_url": "https://x"}) == {
        "card": "card_1", "url": None, "success_url": "***",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("4000-0566-5566-5556", "***5556"),
        ("card:378282246310005.", "card:***0005."),
        ("1234567890123456", "1234567890123456"),  # no card's check digit
        ("evt_4242424242424242", "evt_4242424242424242"),
        ("seti_1_secret_abc", "***"),
        ("an rk_live_abc here", "an *** here"),
        ("dcp_" + "abcde", "***"),
        ("dcp_abcd…", "dcp_abcd…"),  # how it begins, to tell keys apart
        ("GET /x?k=%22dcs_" + 43 * "-" + "%22", "GET /x?k=%22***%22"),
        (
            "&#x27;Authorization&#x27;: &#x27;Basic YTpi&#x27;",
            "&#x27;Authorization&#x27;: &#x27;Basic ***&#x27;",
        ),
        ("AUTHORIZATION: token-alone", "AUTHORIZATION: ***"),
        ("Authorization is required", "Authorization is required"),
    ],
)
def test_what_looks_like_a_secret(text, clean):
    assert without_secrets(text) == clean


def test_secrets_are_rolled_without_losing_an_event(client, settings):
    old, new = "whsec_" + "old", "whsec_" + "new"

    def answers(*secrets: str) -> list[int]:
        settings.STRIPE_WEBHOOK_SECRETS = list(secrets)
        found = []
        for secret in (old, new):
            body = json.dumps(event("product.created", {"id": "prod_1"})).encode()
            found.append(post(client, body, sign(body, secret=secret)).status_code)
        return found

    assert answers(old) == [200, 400]
    assert answers(new, old) == [200, 200]
    assert answers(old, new) == [200, 200]
    assert answers(new) == [400, 200]
    assert Event.objects.count() == 6


@pytest.mark.parametrize("is_live", [False, True])
def test_an_event_of_the_other_mode_is_quarantined_and_staff_see_why(
    client, admin_client, settings, is_live
):
    settings.STRIPE_LIVEMODE = is_live
    for livemode in (True, False, None, "true", 1):
        about = {"id": "in_1", "object": "invoice", "parent": None}
        post(client, event("invoice.paid", about, livemode=livemode))
    told = list(Event.objects.order_by("id").values_list("status", flat=True))
    other, ours = ("quarantined", "ignored")
    assert told == ([ours] + [other] * 4 if is_live else [other] + [ours] * 4)
    quarantined = Event.objects.filter(status="quarantined").first()
    page = admin_client.get(f"/admin/billing/event/{quarantined.pk}/change/").content.decode()
    assert "It is of test mode and this install is live, or the reverse." in page
