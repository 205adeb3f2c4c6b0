"""One field that finds a customer, by whatever a support person has in hand."""

import json
import uuid

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from billing.admin.search import MOST, search
from billing.models import (
    Charge,
    Dispute,
    Event,
    Purchase,
    Refund,
    StripeCustomer,
    Subscription,
)
from credits.models import Entry
from tests.billing.test_fulfilment import COMPLETED, order
from tests.stripe_events import event, invoice_of, post, session_of

pytestmark = pytest.mark.django_db
PAGE = "/admin/billing/customer/search/"
ALL = (
    "customers", "purchases", "subscriptions", "refunds", "disputes", "events", "entries",
)  # fmt: skip


@pytest.fixture
def desk(client, staff) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def bought(client, user, other_user, staff) -> Purchase:
    """1,234 credits for $11.72, with all that may follow."""
    purchase = order(user)
    Purchase.objects.filter(pk=purchase.pk).update(request_id=uuid.uuid4())
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id=f"cus_of_{user.pk}")
    StripeCustomer.objects.create(user=other_user, email="e", stripe_id=f"cus_of_{other_user.pk}")
    post(client, event(COMPLETED, session_of(purchase), id="evt_done"))
    purchase.refresh_from_db()
    Subscription.objects.create(
        user=user, stripe_id="sub_1", status="active", credits=500, total=475, currency="usd",
        fetched_at=timezone.now(),
    )  # fmt: skip
    charge = Charge.objects.create(
        stripe_id="ch_1", purchase=purchase, entry_key=f"purchase:{purchase.pk}", amount=1172,
        fetched_at=timezone.now(),
    )  # fmt: skip
    Dispute.objects.create(stripe_id="du_1", charge=charge, amount=1100, status="needs_response")
    Refund.objects.create(
        purchase=purchase, entry_key=charge.entry_key, amount=72, reason="r", actor=staff,
        stripe_id="re_1", status="failed",
    )  # fmt: skip
    about_charge = {"id": "re_2", "object": "refund", "charge": "ch_1"}
    Event.objects.create(
        stripe_id="evt_refund", type="refund.updated", status="done", object_id="re_2",
        payload=json.dumps(event("refund.updated", about_charge)),
    )  # fmt: skip
    order(other_user)
    return purchase


def found(term: str, may=ALL) -> dict[str, int]:
    """How many rows of each group."""
    answer = search(term, may)
    return {name: len(rows) for name in ALL if (rows := getattr(answer, name))}


def test_every_id_finds_its_customer(bought, user):
    sale = {"customers": 1, "purchases": 1, "entries": 1}
    with_events = sale | {"events": 1}
    expected = {
        bought.pk: sale, bought.request_id: sale, f"purchase:{bought.pk}": sale,
        bought.stripe_session_id: with_events, bought.stripe_payment_id: sale,
        "ch_1": sale | {"disputes": 1}, "charge:ch_1:1": sale | {"disputes": 1},
        "re_1": sale | {"refunds": 1}, "re_2": with_events | {"disputes": 1},
        "du_1": sale | {"disputes": 1}, "sub_1": {"customers": 1, "subscriptions": 1},
        f"cus_of_{user.pk}": {"customers": 1, "events": 1},
        "evt_done": with_events, Refund.objects.get().pk: sale | {"refunds": 1},
        "cus_nobody": {}, "pi_nobody": {}, uuid.uuid4(): {},
    }  # fmt: skip
    assert {term: found(str(term)) for term in expected} == expected
    for term, groups in expected.items():
        if "customers" in groups:
            (customer,) = search(str(term), ALL).customers
            assert (customer.email, customer.available) == ("ada@example.com", 1234)


def test_an_invoice_finds_the_plan_s_entry(client, user):
    StripeCustomer.objects.create(user=user, email=user.email, stripe_id=f"cus_of_{user.pk}")
    plan = order(user, mode="subscription")
    post(client, event(COMPLETED, session_of(plan)))
    Event.objects.create(
        stripe_id="evt_invoice", type="invoice.paid", object_id=f"in_{plan.pk.hex}",
        payload=json.dumps(event("invoice.paid", invoice_of(plan))),
    )  # fmt: skip
    assert found(f"in_{plan.pk.hex}") == {
        "customers": 1, "purchases": 1, "entries": 1, "events": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("$11.72", {"purchases": 2}),
        ("11.72", {"purchases": 2}),
        ("11,72", {"purchases": 2}),
        ("11.72 USD", {"purchases": 2}),
        ("-$0.72", {"refunds": 1}),
        ("$11", {"disputes": 1}),
        ("$4.75", {"subscriptions": 1}),
        ("1,234 credits", {"purchases": 2}),
        ("1,234", {"purchases": 2}),
        ("1 234 credits", {"purchases": 2}),
        ("1.234 credits", {"purchases": 2}),
        ("500 credits", {"subscriptions": 1}),
        ("$1,172.00", {}),
        ("99999999999999999999 credits", {}),
    ],
)
def test_amounts(bought, term, expected):
    assert found(term) == expected


def test_numbers(bought, user):
    entry = Entry.objects.get()
    assert found(f"#{entry.pk}") == {"entries": 1}
    assert search(str(user.pk), ALL).customers[0].pk == user.pk
    assert search(str(user.wallet.pk), ALL).customers[-1:] != []
    assert search("1234", ALL).purchases != []


def test_a_part_of_an_address(bought, staff):
    assert found("ada@") == {"customers": 1}
    assert found("EXAMPLE") == {"customers": 3}
    assert found("a") == {}
    User.objects.bulk_create(User(email=f"many{count}@example.com") for count in range(30))
    assert found("many") == {"customers": MOST + 1}


def test_one_exact_hit_is_gone_to(desk, bought, user):
    customer = f"/admin/billing/customer/{user.pk}/change/"
    targets = {
        "ADA@example.com": customer, "ada@": customer, f" cus_of_{user.pk} ": customer,
        "evt_done": f"/admin/billing/event/{Event.objects.get(stripe_id='evt_done').pk}/change/",
        "$0.72": f"/admin/billing/refund/{Refund.objects.get().pk}/change/",
        f"#{Entry.objects.get().pk}": f"/admin/credits/entry/{Entry.objects.get().pk}/change/",
    }  # fmt: skip
    for term, target in targets.items():
        response = desk.get(PAGE, {"q": term})
        assert (response.status_code, response.get("Location")) == (302, target), term
        assert desk.get(target).status_code == 200
    User.objects.create_user("ada@example.com.au")
    assert desk.get(PAGE, {"q": "ada@example.com"})["Location"] == customer
    assert desk.get(PAGE, {"q": "ada@"}).status_code == 200


def test_the_page_shows_what_one_needs(desk, bought):
    page = desk.get(PAGE, {"q": bought.stripe_payment_id}).content.decode()
    for shown in ("ada@example.com", "$11.72", "Paid", "1,234", "+1,234", bought.stripe_payment_id):
        assert shown in page
    assert f'value="{bought.stripe_payment_id}"' in page  # to search on from there
    nothing = desk.get(PAGE, {"q": "pi_nobody"}).content.decode()
    assert "Nothing was found." in nothing
    assert "What can be found" in desk.get(PAGE).content.decode()


def test_every_page_has_the_field(desk, client, user):
    for page in ("/admin/", "/admin/billing/purchase/", "/admin/credits/entry/revenue/"):
        assert f'action="{PAGE}"' in desk.get(page).content.decode()


HOSTILE = [
    "", " ", "\0", "%", "__", "'; DROP TABLE accounts_user; --", "<script>alert(1)</script>",
    "{{ 7|add:7 }}", "\N{FULLWIDTH DIGIT NINE}", "#" + "9" * 15, "9" * 400, "$" + "9" * 400,
    "cus_" + "a" * 400,
    "\ud800".encode("utf-8", "replace").decode(), "evt_%", "-" * 255, "1,,, credits",
    "purchase:", "urn:uuid:x", "0", "-0.00", "\N{RIGHT-TO-LEFT OVERRIDE}abc",
]  # fmt: skip


@pytest.mark.parametrize("term", HOSTILE)
def test_hostile_input_finds_nothing_and_harms_nothing(desk, bought, term):
    response = desk.get(PAGE, {"q": term})
    assert response.status_code == 200
    assert "ada@example.com" not in response.content.decode()
    assert "<script>alert" not in response.content.decode()


def test_nothing_leaks_to_who_may_not_look(client, bought, user):
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    client.force_login(helper)
    assert client.get(PAGE, {"q": "ada@"}).status_code == 403
    assert 'id="find"' not in client.get("/admin/").content.decode()
    helper.user_permissions.add(Permission.objects.get(codename="view_purchase"))
    assert 'id="find"' in client.get("/admin/").content.decode()
    for term in ("ada@", f"cus_of_{user.pk}", "evt_done", f"#{Entry.objects.get().pk}", "du_1"):
        answer = client.get(PAGE, {"q": term})
        groups = search(term, {"purchases"})
        assert not groups.customers + groups.events + groups.entries + groups.disputes
        assert "/admin/billing/customer/" not in answer.get("Location", "")
        assert "/admin/billing/event/" not in answer.get("Location", "")
    # A purchase is its one hit, though the event would have been.
    assert client.get(PAGE, {"q": "evt_done"})["Location"].startswith("/admin/billing/purchase/")


def test_customers_are_sent_away(client, bought, user):
    client.force_login(user)
    assert client.get(PAGE, {"q": "ada@"}, follow=True).status_code == 403
    client.logout()
    assert client.get(PAGE, {"q": "ada@"})["Location"].startswith("/admin/login/")


def test_ids_lead_to_stripe_s_dashboard_where_there_is_one(desk, bought, user, settings):
    page = f"/admin/billing/customer/{user.pk}/change/"
    assert "dashboard.stripe.com" not in desk.get(page).content.decode()
    settings.PAYMENTS_ARE_SANDBOX = False
    text = desk.get(page).content.decode()
    assert f'href="https://dashboard.stripe.com/test/customers/cus_of_{user.pk}"' in text
    assert f'href="https://dashboard.stripe.com/test/payments/{bought.stripe_payment_id}"' in text
    settings.STRIPE_LIVEMODE = True
    assert f"dashboard.stripe.com/customers/cus_of_{user.pk}" in desk.get(page).content.decode()


@pytest.mark.corrupts_the_books  # rows that no verb has booked
def test_no_search_reads_through_a_big_table(bought, user):
    fill(user)
    terms = [
        str(bought.pk), str(bought.request_id), bought.stripe_session_id,
        bought.stripe_payment_id, "ch_1", "re_1", "du_1", "sub_1", f"cus_of_{user.pk}",
        "evt_done", "$11.72", "1,234 credits", "#12", "12", "ada@example.com",
    ]  # fmt: skip
    read = set()
    with connection.cursor() as cursor:
        for term in terms:
            with CaptureQueriesContext(connection) as queries:
                search(term, ALL)
            for query in queries:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plan = "\n".join(row[0] for row in cursor)
                for table in ("credits_entry", "billing_purchase", "billing_event"):
                    if f"Seq Scan on {table}" in plan:
                        read.add((term, table, query["sql"]))
    assert read == set()


def fill(user: User) -> None:
    """20,000 purchases, events and entries of others."""
    other = User.objects.create_user("many@example.com")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            """INSERT INTO billing_purchase (id, user_id, mode, credits, unit_price_e4, total,
                   currency, status, request_id, attempt, stripe_session_id, stripe_session_url,
                   stripe_payment_id)
               SELECT gen_random_uuid(), %s, 'payment', 2000 + n, 95, 100000 + n, 'usd', 'paid',
                   gen_random_uuid(), 1, 'cs_' || n, '', 'pi_' || n
               FROM generate_series(1, 20000) AS n""",
            [other.pk],
        )
        cursor.execute(
            """INSERT INTO billing_event (stripe_id, type, status, error, object_id, customer_id,
                   payload, livemode, settled_reason)
               SELECT 'evt_' || n, 't', 'done', '', 'in_' || n, 'cus_' || n, '{}', false, ''
               FROM generate_series(1, 20000) AS n"""
        )
        cursor.execute(
            """INSERT INTO credits_wallet (user_id, balance, held, owed) VALUES (%s, 0, 0, 0)
               RETURNING id""",
            [other.pk],
        )
        (wallet,) = cursor.fetchone()
        cursor.execute(
            """INSERT INTO credits_entry (wallet_id, kind, account, amount, owed, balance, key,
                   note)
               SELECT %s, 'spend', 'spent', -1, 0, 0, 's' || n, ''
               FROM generate_series(1, 20000) AS n""",
            [wallet],
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
        for table in ("billing_purchase", "billing_event", "credits_entry", "credits_wallet"):
            cursor.execute(f"ANALYZE {table}")
