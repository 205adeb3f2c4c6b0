"""From Stripe's events to credits, over the webhook, with real signatures."""

import itertools
import json
import uuid

import pytest

from accounts.models import User
from billing import fulfilment, webhooks
from billing.models import Event, Mail, Purchase, StripeCustomer
from credits import ledger
from credits.models import Entry, Lot
from tests.stripe_events import event, invoice_of, metadata_of, post, session_of, sign

pytestmark = pytest.mark.django_db

COMPLETED = "checkout.session.completed"


def order(user: User, mode: str = "payment", credits: int = 1234, total: int = 1172) -> Purchase:
    return Purchase.objects.create(
        user=user, mode=mode, credits=credits, unit_price_e4=95, total=total, currency="usd",
        stripe_session_id=f"cs_test_{uuid.uuid4().hex}", stripe_session_url="https://pay.example",
    )  # fmt: skip


def the_event() -> Event:
    return Event.objects.get()


def assert_nothing_granted(purchase: Purchase | None = None) -> None:
    assert Entry.objects.count() == 0
    if purchase is not None:
        purchase.refresh_from_db()
        assert not purchase.is_paid


def test_a_paid_session_grants_what_was_sold(client, user):
    purchase = order(user)
    response = post(client, event(COMPLETED, session_of(purchase)))

    assert (response.status_code, response.json()) == (200, {"status": "done"})
    entry = Entry.objects.get()
    assert (entry.amount, entry.kind, entry.key, entry.wallet.user) == (
        1234, "purchase", f"purchase:{purchase.pk}", user,
    )  # fmt: skip
    assert Lot.objects.get().paid == 1172
    mail = Mail.objects.get()
    assert (mail.user, mail.kind, mail.key) == (user, "purchase", f"purchase:{purchase.pk}")
    assert mail.context == {"credits": 1234, "total": 1172, "currency": "usd", "mode": "payment"}
    purchase.refresh_from_db()
    assert purchase.is_paid
    assert purchase.paid_at is not None
    assert purchase.stripe_payment_id == f"pi_{purchase.pk.hex}"
    assert (the_event().status, the_event().error, the_event().object_id) == (
        "done", "", purchase.stripe_session_id,
    )  # fmt: skip


def test_ten_deliveries_are_one_grant(client, user):
    payload = event(COMPLETED, session_of(order(user)))
    assert [post(client, payload).status_code for _ in range(10)] == [200] * 10
    assert ledger.balance_of(user) == 1234
    assert Event.objects.count() == 1


def test_different_events_of_one_payment_are_one_grant(client, user):
    purchase = order(user)
    for name in (COMPLETED, "checkout.session.async_payment_succeeded", COMPLETED):
        assert post(client, event(name, session_of(purchase))).status_code == 200
    assert ledger.balance_of(user) == 1234
    assert Event.objects.filter(status="done").count() == 3


@pytest.mark.parametrize("order_of_events", list(itertools.permutations([0, 1, 2])))
def test_a_first_month_and_a_renewal_in_every_order(client, user, order_of_events):
    purchase = order(user, "subscription")
    events = [
        event(COMPLETED, session_of(purchase)),
        event("invoice.paid", invoice_of(purchase)),
        event("invoice.paid", invoice_of(purchase, id="in_2", reason="subscription_cycle")),
    ]
    for index in order_of_events:
        assert post(client, events[index]).json() == {"status": "done"}

    assert ledger.balance_of(user) == 2 * 1234
    assert sorted(Entry.objects.values_list("kind", "key")) == [
        ("purchase", f"invoice:in_{purchase.pk.hex}"),
        ("renewal", "invoice:in_2"),
    ]
    purchase.refresh_from_db()
    assert purchase.is_paid
    assert purchase.stripe_payment_id == f"sub_{purchase.pk.hex}"


def test_an_invoice_of_an_older_endpoint_grants_the_same(client, user):
    purchase = order(user, "subscription")
    invoice = invoice_of(purchase, reason="subscription_cycle")
    details = invoice.pop("parent")["subscription_details"]
    invoice |= {
        "subscription": details["subscription"],
        "subscription_details": {"metadata": details["metadata"]},
    }
    post(client, event("invoice.paid", invoice, api_version="2024-06-20"))
    post(client, event("invoice.paid", invoice_of(purchase, reason="subscription_cycle")))
    assert Entry.objects.get().kind == "renewal"


def test_an_unpaid_session_waits_for_its_payment(client, user):
    purchase = order(user)
    post(client, event(COMPLETED, session_of(purchase, payment_status="unpaid")))
    assert_nothing_granted(purchase)
    assert purchase.status == "settling"

    post(client, event("checkout.session.async_payment_succeeded", session_of(purchase)))
    assert ledger.balance_of(user) == 1234


def test_an_expired_session_closes_its_purchase_but_never_a_paid_one(client, user):
    expired = order(user)
    paid = order(user)
    post(client, event(COMPLETED, session_of(paid)))
    for purchase in (expired, paid):
        unpaid = session_of(purchase, payment_status="unpaid", status="expired")
        post(client, event("checkout.session.expired", unpaid))
    expired.refresh_from_db()
    paid.refresh_from_db()
    assert (expired.status, paid.status) == ("expired", "paid")


@pytest.mark.parametrize(
    "change",
    [
        {"amount_subtotal": 1171},
        {"amount_subtotal": 1},
        {"amount_subtotal": None},
        {"amount_subtotal": 1172.0},
        {"currency": "eur"},
        {"mode": "subscription"},
        {"payment_status": "no_payment_required"},
        {"metadata.credits": "12340"},
        {"metadata.credits": "one"},
        {"metadata.user_id": "999999"},
        {"id": "cs_test_another"},
    ],
)
def test_a_sale_that_is_not_the_purchase_is_quarantined(client, user, change):
    purchase = order(user)
    session = session_of(purchase)
    for name, value in change.items():
        inner, _, leaf = name.rpartition(".")
        (session[inner] if inner else session)[leaf] = value
    response = post(client, event(COMPLETED, session))

    assert (response.status_code, response.json()) == (200, {"status": "quarantined"})
    assert the_event().error
    assert_nothing_granted(purchase)
    assert purchase.status == "review"


def test_someone_elses_purchase_is_not_granted_to_oneself(client, user, other_user):
    purchase = order(user)
    session = session_of(purchase)
    session["metadata"]["user_id"] = str(other_user.pk)
    post(client, event(COMPLETED, session))
    assert the_event().status == "quarantined"
    assert_nothing_granted(purchase)


def test_livemode_must_be_ours(client, user, settings):
    purchase = order(user)
    post(client, event(COMPLETED, session_of(purchase), livemode=True))
    assert the_event().status == "quarantined"
    assert_nothing_granted()


@pytest.mark.parametrize(
    ("name", "object"),
    [
        ("product.created", {"id": "prod_1", "object": "product"}),
        (COMPLETED, {"id": "cs_test_1", "object": "checkout.session", "metadata": {}}),
        (COMPLETED, {"id": "cs_test_1", "object": "checkout.session", "metadata": None}),
        (COMPLETED, {"id": "cs_test_1", "metadata": {"type": "something_else"}}),
        ("invoice.paid", {"id": "in_1", "object": "invoice", "parent": None}),
        ("invoice.paid", {"id": "in_1", "subscription": "sub_1"}),
    ],
)
def test_what_is_not_ours_is_kept_and_left_alone(client, name, object):
    response = post(client, event(name, object))
    assert (response.status_code, response.json()) == (200, {"status": "ignored"})
    assert json.loads(the_event().payload)["data"]["object"] == object
    assert_nothing_granted()


def test_a_thin_event_is_kept_and_left_alone(client):
    thin = {
        "id": "evt_test_65", "object": "v2.core.event", "type": "v1.billing.meter.error",
        "related_object": {"id": "mtr_1"}, "livemode": False,
    }  # fmt: skip
    assert post(client, thin).json() == {"status": "ignored"}


def test_proration_grants_nothing(client, user):
    purchase = order(user, "subscription")
    post(client, event("invoice.paid", invoice_of(purchase, reason="subscription_update")))
    assert the_event().status == "ignored"
    assert_nothing_granted()


def test_an_invoice_settled_without_money_is_quarantined(client, user):
    purchase = order(user, "subscription")
    post(client, event("invoice.paid", invoice_of(purchase, amount_paid=0)))
    assert the_event().status == "quarantined"
    assert_nothing_granted()


def lost(purchase: Purchase, **fields) -> dict:
    """The paid session of a purchase that our database doesn't have any more."""
    session = session_of(purchase, **fields)
    purchase.delete()
    return session


def test_a_sale_without_a_purchase_is_taken_if_it_paid_our_price(client, user):
    session = lost(order(user))
    post(client, event(COMPLETED, session))
    post(client, event("checkout.session.async_payment_succeeded", session))
    assert ledger.balance_of(user) == 1234
    purchase = Purchase.objects.get()
    assert (purchase.credits, purchase.total, purchase.is_paid) == (1234, 1172, True)
    assert str(purchase.pk) == session["client_reference_id"]


def test_a_sale_without_a_purchase_is_known_by_its_customer(client, user):
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id=f"cus_of_{user.pk}")
    session = lost(order(user))
    del session["metadata"]["purchase_id"]
    post(client, event(COMPLETED, session))
    post(client, event("checkout.session.async_payment_succeeded", session))
    assert ledger.balance_of(user) == 1234
    assert Purchase.objects.count() == 1


def test_a_plan_without_a_purchase_goes_on_under_its_subscription(client, user):
    purchase = order(user, "subscription")
    months = [invoice_of(purchase, id=f"in_{n}", reason="subscription_cycle") for n in range(3)]
    for month in months:
        del month["parent"]["subscription_details"]["metadata"]["purchase_id"]
    purchase.delete()
    for month in months:
        assert post(client, event("invoice.paid", month)).json() == {"status": "done"}
    assert ledger.balance_of(user) == 3 * 1234
    assert (
        Purchase.objects.get().stripe_payment_id
        == months[0]["parent"]["subscription_details"]["subscription"]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"amount_subtotal": 1171},
        {"metadata.user_id": "999999"},
        {"metadata.user_id": "\u0661"},
        {"metadata.credits": "9"},
        {"metadata.credits": "100001"},
        {"currency": "jpy"},
    ],
)
def test_a_sale_without_a_purchase_is_else_quarantined(client, user, change):
    session = lost(order(user))
    for name, value in change.items():
        inner, _, leaf = name.rpartition(".")
        (session[inner] if inner else session)[leaf] = value
    post(client, event(COMPLETED, session))
    assert the_event().status == "quarantined"
    assert_nothing_granted()
    assert Purchase.objects.count() == 0


def test_a_failed_handler_leaves_its_error_and_is_done_on_redelivery(client, user, monkeypatch):
    purchase = order(user)
    payload = event(COMPLETED, session_of(purchase))

    def fall(*args):
        raise RuntimeError("the disk is full")

    # After the grant, so that its undoing is seen; no real part fails there on demand.
    with monkeypatch.context() as broken:
        broken.setattr(fulfilment, "_mark_paid", fall)
        response = post(client, payload)
    assert (response.status_code, response.json()["code"]) == (500, "event_failed")
    assert (the_event().status, the_event().error) == ("failed", "RuntimeError: the disk is full")
    assert_nothing_granted(purchase)

    assert post(client, payload).status_code == 200
    assert (the_event().status, the_event().error) == ("done", "")
    assert ledger.balance_of(user) == 1234


def test_a_replay_takes_what_was_quarantined_once_the_cause_is_mended(client, user):
    session = lost(order(user))
    session["metadata"]["user_id"] = str(user.pk + 1000)
    post(client, event(COMPLETED, session))
    assert the_event().status == "quarantined"
    User.objects.create_user("late@example.com", pk=user.pk + 1000)

    webhooks.process(the_event())
    assert the_event().status == "quarantined"  # by itself it stays
    webhooks.process(the_event(), replay=True)
    assert the_event().status == "done"
    webhooks.process(the_event(), replay=True)
    assert Entry.objects.get().wallet.user.email == "late@example.com"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"evt_1"', b"{", b"{}", b'{"id": "evt_1"}', b'{"type": "a.b"}',
        b'{"id": 1, "type": "a.b"}', b'{"id": "evt_1", "type": null}',
        b'{"id": "evt 1", "type": "a.b"}', b'{"id": "", "type": "a.b"}',
        b'{"id": "evt_\\u0000", "type": "a.b"}',
        b'{"id": "' + b"e" * 256 + b'", "type": "a.b"}',
        b"[" * 100_000, b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_a_signed_body_that_is_no_event_is_refused(client, body):
    response = post(client, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_payload")
    assert Event.objects.count() == 0


def test_bodies_that_a_database_would_choke_on_are_kept(client):
    name = "\u0000\ud800"
    charge = {"id": name, "name": name, "customer": "cus_1"}
    assert post(client, event("charge.updated", charge)).status_code == 200
    assert the_event().object["name"] == name
    assert the_event().object_id == ""


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1=\u00e9",
        "t=,v1=",
        "t=1",
        "t=x,v1=y",
        "garbage",
        "t=1,v1=a=b=c",
        "t=" + "9" * 5000 + ",v1=a",
    ],
)
def test_a_bad_signature_is_refused(client, user, signature):
    response = post(client, event(COMPLETED, session_of(order(user))), signature)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_signature")
    assert Event.objects.count() == 0
    assert_nothing_granted()


def test_signatures_of_others_old_ones_and_of_other_bodies_are_refused(client, user):
    body = json.dumps(event(COMPLETED, session_of(order(user)))).encode()
    for signature in (
        sign(body, secret="whsec_of_somebody"),
        sign(body, at=1_700_000_000),
        sign(body + b" "),
    ):
        assert post(client, body, signature).json()["code"] == "invalid_signature"
    assert Event.objects.count() == 0


def test_each_secret_of_the_list_is_good_while_they_are_rolled(client, user, settings):
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_new", "whsec_old"]
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        body = json.dumps(event(COMPLETED, session_of(order(user)))).encode()
        assert post(client, body, sign(body, secret=secret)).status_code == 200
    assert ledger.balance_of(user) == 2 * 1234


def test_a_body_that_is_not_utf8_is_refused(client):
    assert post(client, b"\xff\xfe", "t=1,v1=a").json()["code"] == "invalid_payload"


def test_a_body_over_a_megabyte_is_refused(client):
    response = post(client, b" " * (1024 * 1024 + 1), "t=1,v1=a")
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_only_post(client):
    assert client.get("/api/billing/webhook").json()["code"] == "method_not_allowed"


@pytest.mark.django_db(transaction=True)
def test_32_deliveries_at_once_are_one_grant(user, at_once):
    purchase = order(user, "subscription")
    bodies = [
        json.dumps(event(COMPLETED, session_of(purchase))).encode(),
        json.dumps(event("invoice.paid", invoice_of(purchase))).encode(),
    ]
    answers = at_once(
        32, lambda index: webhooks.receive(bodies[index % 2], sign(bodies[index % 2])).status
    )
    assert answers == ["done"] * 32
    assert ledger.balance_of(user) == 1234
    assert Entry.objects.get().key == f"invoice:in_{purchase.pk.hex}"


def test_a_webhook_asks_the_database_little(client, user, django_assert_max_num_queries):
    payload = event(COMPLETED, session_of(order(user)))
    ledger.wallet_of(user)
    with django_assert_max_num_queries(22):
        post(client, payload)
    assert metadata_of(Purchase.objects.get())["credits"] == "1234"


@pytest.mark.parametrize(
    "name", ["v2.core.account[identity].updated", "v1.billing.meter.error_report_triggered"]
)
def test_every_type_that_stripe_has_is_kept(client, name):
    assert post(client, event(name, {"id": "x_1"})).json() == {"status": "ignored"}
    assert the_event().type == name


def test_a_reason_that_quotes_what_no_database_keeps_is_kept(client, user):
    session = session_of(order(user), currency="\u0000\ud800")
    assert post(client, event(COMPLETED, session)).json() == {"status": "quarantined"}
    assert r"\0\ud800" in the_event().error


def test_a_payment_in_quarantine_is_never_told_as_expired(client, user):
    purchase = order(user)
    Purchase.objects.update(status="expired")
    post(client, event(COMPLETED, session_of(purchase, amount_subtotal=1)))
    purchase.refresh_from_db()
    assert purchase.status == "review"


@pytest.mark.parametrize("id", [True, 5, {"a": 1}, ["in_1"], "", None])
def test_an_invoice_without_an_id_is_quarantined(client, user, id):
    payload = event("invoice.paid", invoice_of(order(user, "subscription")))
    payload["data"]["object"]["id"] = id
    assert post(client, payload).status_code == 200
    assert the_event().status in {"quarantined", "ignored"}
    assert_nothing_granted()


def test_a_bank_debit_that_failed_closes_its_purchase(client, user):
    purchase = order(user)
    post(client, event(COMPLETED, session_of(purchase, payment_status="unpaid")))
    failed = session_of(purchase, payment_status="unpaid")
    post(client, event("checkout.session.async_payment_failed", failed))
    # Again, and late: it is told once, and stays as it has turned out.
    post(client, event("checkout.session.async_payment_failed", failed))
    post(client, event(COMPLETED, session_of(purchase, payment_status="unpaid")))
    assert_nothing_granted(purchase)
    assert purchase.status == "failed"
    mail = Mail.objects.get()
    assert (mail.user, mail.kind, mail.key) == (user, "payment_failed", f"purchase:{purchase.pk}")
    assert mail.context == {"credits": 1234, "total": 1172, "mode": "payment"}


def test_a_page_that_is_still_open_is_no_payment_under_way(user):
    purchase = order(user)
    fulfilment.fulfil_checkout(session_of(purchase, payment_status="unpaid", status="open"))
    assert_nothing_granted(purchase)
    assert purchase.status == "pending"


def test_what_a_bank_has_paid_is_not_under_way_again(client, user):
    purchase = order(user)
    post(client, event("checkout.session.async_payment_succeeded", session_of(purchase)))
    post(client, event(COMPLETED, session_of(purchase, payment_status="unpaid")))
    post(client, event("checkout.session.async_payment_failed", session_of(purchase)))
    purchase.refresh_from_db()
    assert purchase.is_paid
    assert ledger.balance_of(user) == 1234
    assert Mail.objects.get().kind == "purchase"


def test_a_second_subscription_of_a_purchase_is_quarantined(client, user):
    purchase = order(user, "subscription")
    post(client, event(COMPLETED, session_of(purchase)))
    other = session_of(purchase, subscription="sub_other", invoice="in_other")
    assert post(client, event(COMPLETED, other)).json() == {"status": "quarantined"}
    assert ledger.balance_of(user) == 1234
