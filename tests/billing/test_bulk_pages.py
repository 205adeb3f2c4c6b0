"""An organisation's pages for bulk purchases: a list, its price, its payment, and who may."""

import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organisation, Role, User
from billing.bulk import orders
from billing.bulk.lines import Line
from billing.models import BulkLine, BulkPurchase, InvoiceTerms, PriceTier, Purchase
from credits import ledger
from tests.organisations import found, join, somebody
from tests.shop import Shop

pytestmark = pytest.mark.django_db
TEXT = "ada@example.com,100\nbob@example.com;1,5\n"
GOOD = "ann@example.com,100\nben@example.com,400\n"


@pytest.fixture
def owner() -> User:
    return somebody("owner")


@pytest.fixture
def acme(owner) -> Organisation:
    return found(owner)


@pytest.fixture
def office(client, owner):
    """Signed in as Acme's owner."""
    client.force_login(owner)
    return client


def address(name: str, organisation: Organisation, *args) -> str:
    return reverse(name, args=[organisation.pk, *args])


def draft(acme: Organisation, *credits: int) -> BulkPurchase:
    lines = [Line(n, count, f"user{n}@example.com") for n, count in enumerate(credits, start=1)]
    return orders.draft(acme, lines, by=None)


def everything() -> list[object]:
    return [
        list(table.objects.order_by("pk").values()) for table in (BulkPurchase, BulkLine, Purchase)
    ]


def test_a_list_is_priced_on_all_of_it_and_kept(office, acme, owner):
    answer = office.post(address("bulk_new", acme), {"text": GOOD, "request_id": uuid.uuid4()})
    bulk = BulkPurchase.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, bulk.get_absolute_url())
    assert (bulk.status, bulk.credits, bulk.lines_count, bulk.made_by) == ("draft", 500, 2, owner)
    page = office.get(bulk.get_absolute_url()).content.decode()
    assert "$4.75" in page  # by the tier of 500; 100 and 400 alone are $5.00
    assert "ann@example.com" in page
    assert Purchase.objects.count() == 0


def test_an_uploaded_file_is_read_and_the_same_form_makes_one_list(office, acme):
    form = uuid.uuid4()
    for _ in range(2):
        upload = SimpleUploadedFile("list.csv", b"\xef\xbb\xbfemail;credits\r\n" + GOOD.encode())
        answer = office.post(address("bulk_new", acme), {"file": upload, "request_id": form})
        # A header with semicolons and lines with commas: the first line decides.
        assert answer.status_code == 400
    for _ in range(2):
        upload = SimpleUploadedFile("list.csv", b"\xef\xbb\xbfemail,credits\r\n" + GOOD.encode())
        answer = office.post(address("bulk_new", acme), {"file": upload, "request_id": form})
        assert answer.status_code == 303
    assert BulkPurchase.objects.get().pk == form
    other = office.post(address("bulk_new", acme), {"text": "a@b.de,50", "request_id": form})
    assert other.status_code == 400
    assert BulkLine.objects.count() == 2


def test_a_bad_line_stops_all_and_is_told_by_its_number(office, acme):
    text = "ann@example.com,100\nben@example.com,1.5\nann@example.com,1\n"
    answer = office.post(address("bulk_new", acme), {"text": text})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "2 things to mend" in page
    assert "Line 2:" in page
    assert "Line 3:" in page
    assert "The same recipient stands in line 1 already." in page
    assert "ann@example.com,100" in page  # to be mended
    assert everything() == [[], [], []]


def test_who_may(client, acme, owner):
    """For strangers, and members without the role, there is no such page; for billing there is."""
    bulk = draft(acme, 100, 400)
    other = found(stranger := somebody("stranger"), "Other Ltd")
    member, billing = somebody("member"), somebody("billing")
    join(acme, member)
    join(acme, billing, Role.BILLING)
    pages = [
        ("get", "bulk_list", ()), ("get", "bulk_new", ()), ("post", "bulk_new", ()),
        ("get", "bulk", (bulk.pk,)), ("post", "bulk_order", (bulk.pk,)),
        ("get", "bulk_progress", (bulk.pk,)), ("get", "bulk_results", (bulk.pk,)),
    ]  # fmt: skip
    before = everything()
    for method, name, args in pages:
        path = address(name, acme, *args)
        client.logout()
        assert getattr(client, method)(path).status_code == 302, name
        for user in (stranger, member):
            client.force_login(user)
            assert getattr(client, method)(path).status_code == 404, (name, user)
        # Its own organisation's address opens no other's purchase.
        client.force_login(stranger)
        if args:
            assert getattr(client, method)(address(name, other, *args)).status_code == 404
    assert everything() == before
    client.force_login(billing)
    assert client.get(address("bulk", acme, bulk.pk)).status_code == 200


def test_it_is_ordered_once_at_the_price_that_was_seen(office, acme, sandbox):
    bulk = draft(acme, 100, 400)
    path = address("bulk_order", acme, bulk.pk)
    pages = [office.post(path, {"expected_total": "475"})["Location"] for _ in range(2)]
    assert pages[0] == pages[1]
    (session,) = sandbox.objects("checkout.session")
    assert session["success_url"].endswith(bulk.get_absolute_url())
    assert session["cancel_url"].endswith(bulk.get_absolute_url())
    purchase = Purchase.objects.get()
    bulk.refresh_from_db()
    assert (bulk.purchase, bulk.status) == (purchase, "ordered")
    assert (purchase.user, purchase.credits, purchase.total) == (acme.account, 500, 475)
    assert "Waiting for payment" in office.get(bulk.get_absolute_url()).content.decode()


@pytest.mark.parametrize("seen", ["474", "", "x"])
def test_a_price_that_was_not_seen_is_not_charged(office, acme, sandbox, seen):
    bulk = draft(acme, 100, 400)
    before = everything()
    answer = office.post(address("bulk_order", acme, bulk.pk), {"expected_total": seen})
    assert answer.status_code == 409
    assert "The price has changed. Nothing was charged" in answer.content.decode()
    assert everything() == before
    assert sandbox.requests() == []


def test_who_is_approved_orders_on_invoice(office, acme, sandbox):
    bulk = draft(acme, 100, 400)
    path, form = address("bulk_order", acme, bulk.pk), {"expected_total": "475", "pay": "invoice"}
    assert "Or on invoice" not in office.get(bulk.get_absolute_url()).content.decode()
    before = everything()
    assert office.post(path, form).status_code == 409
    assert everything() == before
    InvoiceTerms.objects.create(organisation=acme, is_approved=True, credit_limit=475)
    page = office.get(bulk.get_absolute_url()).content.decode()
    assert "All lines are sent at once." in page
    assert office.post(path, form | {"po_number": "x" * 41}).status_code == 400
    assert everything() == before
    answer = office.post(path, form | {"po_number": " PO  7 "})
    assert answer["Location"] == bulk.get_absolute_url()
    (at_stripe,) = sandbox.objects("invoice")
    assert at_stripe["custom_fields"][0]["value"] == "PO 7"
    page = office.get(bulk.get_absolute_url()).content.decode()
    assert at_stripe["hosted_invoice_url"] in page
    assert f"Invoice {at_stripe['number']}" in page


def test_who_owes_credits_pays_those_first(office, acme, sandbox):
    wallet = ledger.wallet_of(acme.account)
    ledger.grant(wallet, 10, key="g", kind="purchase")
    ledger.spend(wallet, 30, key="s", owe_up_to=20)
    bulk = draft(acme, 100, 400)
    page = office.get(bulk.get_absolute_url()).content.decode()
    assert "Acme Ltd owes 20 credits" in page
    answer = office.post(address("bulk_order", acme, bulk.pk), {"expected_total": "475"})
    assert answer.status_code == 409
    assert Purchase.objects.count() == 0


def test_a_new_price_is_shown_and_sold_with_an_old_list(office, acme, sandbox):
    bulk = draft(acme, 100, 400)
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=96)
    assert "$4.80" in office.get(bulk.get_absolute_url()).content.decode()
    answer = office.post(address("bulk_order", acme, bulk.pk), {"expected_total": "480"})
    assert answer.status_code == 303


def test_lines_have_pages_and_a_file(office, acme):
    bulk = draft(acme, *[10] * 60)
    first = office.get(bulk.get_absolute_url()).content.decode()
    assert "user25@example.com" in first
    assert "user26@example.com" not in first
    assert "?after=25" in first
    second = office.get(f"{bulk.get_absolute_url()}?after=25").content.decode()
    assert "user26@example.com" in second
    text = b"".join(office.get(address("bulk_results", acme, bulk.pk)).streaming_content).decode()
    rows = text.splitlines()
    assert (len(rows), rows[0]) == (61, "line,recipient,credits,status,reason")
    assert rows[1] == "1,user1@example.com,10,waiting,"


def test_lists_that_nobody_orders_are_forgotten(acme, owner):
    old, new = draft(acme, 10), draft(acme, 20)
    ordered = draft(acme, 30)
    orders.order(ordered, expected_total=None)
    week_ago = timezone.now() - orders.DRAFTS_KEPT
    BulkPurchase.objects.exclude(pk=new.pk).update(created_at=week_ago)
    assert orders.forget_drafts() == 1
    assert set(BulkPurchase.objects.values_list("pk", flat=True)) == {new.pk, ordered.pk}
    assert not BulkLine.objects.filter(bulk=old).exists()


def test_a_closed_organisation_orders_nothing(office, acme, sandbox):
    bulk = draft(acme, 500)
    User.objects.filter(pk=acme.pk).update(closing_at=timezone.now())
    answer = office.post(address("bulk_order", acme, bulk.pk), {"expected_total": "475"})
    assert answer.status_code == 409
    assert Purchase.objects.count() == 0


@pytest.fixture
def shop(acme, sandbox, client) -> Shop:
    return Shop(acme.account, sandbox, client)
