"""Buying for many by API: a list, its price, once, how far it is, and for the right buyer."""

import uuid
from typing import Any

import pytest

from accounts.models import Organisation, User
from billing.models import BulkLine, BulkPurchase, InvoiceTerms, Purchase
from credits import ledger
from tests.api.program import Program
from tests.organisations import found, join, somebody

pytestmark = pytest.mark.django_db
LINES = [{"email": "Ann@example.com", "credits": 100}, {"email": "ben@example.com", "credits": 400}]


@pytest.fixture
def owner() -> User:
    return somebody("owner")


@pytest.fixture
def acme(owner) -> Organisation:
    return found(owner)


@pytest.fixture
def office(acme, make_key) -> Program:
    """With a key of Acme's own."""
    return Program(make_key(acme.account)[1])


def refused(answer: Any, status: int, code: str, field: str | None = None) -> Any:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.json()
    assert answer.json().get("field") == field
    return answer.json()


def everything() -> list[object]:
    tables = (BulkPurchase, BulkLine, Purchase)
    return [list(table.objects.order_by("pk").values()) for table in tables]


def test_a_list_is_priced_and_nothing_is_kept(office, service, acme, sandbox):
    told = {"lines": 2, "credits": 500, "total": 475, "currency": "usd"}
    assert office.post("bulk-purchases/preview", None, lines=LINES).json() == told
    answer = service.post("bulk-purchases/preview", None, lines=LINES, organisation=acme.pk)
    assert answer.json() == told
    assert everything() == [[], [], []]
    assert sandbox.requests() == []


def test_it_is_ordered_once_under_its_key(office, acme, sandbox):
    fields = {"lines": LINES, "expected_total": 475}
    answer = office.post("bulk-purchases", "k", **fields)
    assert answer.status_code == 201
    bulk = BulkPurchase.objects.get()
    (session,) = sandbox.objects("checkout.session")
    opened = answer.json()
    assert opened == {
        "id": str(bulk.pk), "organisation": acme.pk, "status": "ordered", "credits": 500,
        "total": 475, "currency": "usd", "lines": 2, "sent": 0, "not_sent": 0,
        "purchase": str(bulk.purchase_id), "url": session["url"], "invoice": None,
        "created_at": opened["created_at"],
    }  # fmt: skip
    assert office.post("bulk-purchases", "k", **fields).json() == opened
    other = office.post("bulk-purchases", "k", lines=LINES[:1])
    refused(other, 409, "idempotency_key_reused", "Idempotency-Key")
    assert Purchase.objects.get().user == acme.account
    found_again = office.get(f"bulk-purchases/{bulk.pk}").json()
    assert {name: found_again[name] for name in opened} == opened
    assert [(one["line"], one["email"], one["status"]) for one in found_again["results"]] == [
        (1, "ann@example.com", "waiting"), (2, "ben@example.com", "waiting"),
    ]  # fmt: skip
    assert found_again["next"] is None


@pytest.mark.django_db(transaction=True)
def test_at_the_same_moment_one_is_ordered(acme, make_key, sandbox, at_once):
    token = make_key(acme.account)[1]
    answers = at_once(5, lambda _: Program(token).post("bulk-purchases", "k", lines=LINES))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert (BulkPurchase.objects.count(), BulkLine.objects.count()) == (1, 2)
    assert len(sandbox.objects("checkout.session")) == 1


def test_every_bad_line_is_told_and_stops_all(office, service, acme, user, sandbox):
    lines = [*LINES, {"email": "ben@example.com", "credits": 1}, {"email": "x", "credits": "5"}]
    before = everything()
    for answer in (
        office.post("bulk-purchases", "k", lines=lines),
        office.post("bulk-purchases/preview", None, lines=lines),
    ):
        told = refused(answer, 422, "invalid_lines", "lines")["lines"]
        assert [(one["line"], one["field"]) for one in told] == [
            (3, "email"), (4, "email"), (4, "credits"),
        ]  # fmt: skip
        assert told[0]["reason"] == "The same recipient stands in line 2 already."
    unknown = [{"user": user.pk, "credits": 20}, {"user": 2**30, "credits": 1}]
    answer = service.post("bulk-purchases", "k", lines=unknown, organisation=acme.pk)
    assert refused(answer, 422, "invalid_lines", "lines")["lines"] == [
        {"line": 2, "field": "user", "reason": "There is no such user."}
    ]
    # Nobody learns by an organisation's key which numbers are somebody's.
    for named in (user.pk, 2**30):
        answer = office.post("bulk-purchases", "k", lines=[{"user": named, "credits": 20}])
        assert refused(answer, 422, "invalid_lines", "lines")["lines"] == [
            {"line": 1, "field": "user",
             "reason": "Name recipients by email: only service keys name users."}
        ]  # fmt: skip
    answer = office.post("bulk-purchases", "k", lines=[{"email": "a@b.de", "credits": 9}])
    assert refused(answer, 422, "invalid_lines", "lines")["lines"][0]["line"] is None
    assert everything() == before
    assert sandbox.requests() == []
    # The key is free for the list that is mended.
    assert office.post("bulk-purchases", "k", lines=LINES).status_code == 201


def test_a_thousand_lines_fit_and_one_more_does_not(office, sandbox):
    lines = [{"email": f"{'x' * 60}{n}@example.com", "credits": 1} for n in range(1000)]
    answer = office.post("bulk-purchases", "k", lines=lines, expected_total=950)
    assert (answer.status_code, answer.json()["lines"]) == (201, 1000)
    first = office.get(f"bulk-purchases/{answer.json()['id']}", limit=100, after=900).json()
    assert (len(first["results"]), first["next"]) == (100, None)
    answer = office.post("bulk-purchases", "l", lines=[*lines, LINES[0]])
    refused(answer, 422, "invalid_lines", "lines")


def test_a_price_that_was_not_seen_and_what_is_owed_stop_it(office, acme, sandbox):
    before = everything()
    answer = office.post("bulk-purchases", "k", lines=LINES, expected_total=474)
    refused(answer, 409, "price_changed", "expected_total")
    wallet = ledger.wallet_of(acme.account)
    ledger.grant(wallet, 10, key="g", kind="purchase")
    ledger.spend(wallet, 30, key="s", owe_up_to=20)
    answer = office.post("bulk-purchases", "k", lines=LINES)
    assert refused(answer, 409, "credits_owed")["owed"] == 20
    assert everything() == before
    assert sandbox.requests() == []


def test_on_invoice_where_staff_approve_that(office, acme, sandbox):
    fields = {"lines": LINES, "payment": "invoice", "po_number": "PO-7"}
    before = everything()
    refused(office.post("bulk-purchases", "k", **fields), 409, "invoices_not_approved", "payment")
    assert everything() == before
    InvoiceTerms.objects.create(organisation=acme, is_approved=True)
    opened = office.post("bulk-purchases", "k", **fields).json()
    (at_stripe,) = sandbox.objects("invoice")
    assert (opened["status"], opened["url"]) == ("ordered", at_stripe["hosted_invoice_url"])
    assert (opened["invoice"]["number"], opened["invoice"]["status"]) == (
        at_stripe["number"], "open",
    )  # fmt: skip
    assert office.post("bulk-purchases", "k", **fields).json() == opened
    assert office.get(f"bulk-purchases/{opened['id']}").json()["invoice"] == opened["invoice"]
    other = office.post("bulk-purchases", "k", **fields | {"payment": "checkout"})
    refused(other, 409, "idempotency_key_reused", "Idempotency-Key")
    assert len(sandbox.objects("invoice")) == 1


def test_two_organisations(office, acme, service, make_key, sandbox):
    """Neither sees, pays or learns of the other's; nor do members by keys of their own."""
    rival_owner = somebody("rival")
    rival = found(rival_owner, "Rival Ltd")
    join(acme, member := somebody("member"), "billing")
    bulk = office.post("bulk-purchases", "k", lines=LINES).json()["id"]
    others = [
        (Program(make_key(rival.account)[1]), {}),
        (service, {"organisation": rival.pk}),
    ]
    before = everything()
    for program, named in others:
        refused(program.get(f"bulk-purchases/{bulk}", **named), 404, "unknown_purchase")
        refused(program.get(f"bulk-purchases/{uuid.uuid4()}", **named), 404, "unknown_purchase")
    strangers = [Program(make_key(one)[1]) for one in (rival_owner, member)]
    for program in [others[0][0], *strangers]:
        for named in (acme.pk, 2**40):
            answers = [
                program.get(f"bulk-purchases/{bulk}", organisation=named),
                program.post("bulk-purchases", "k", lines=LINES, organisation=named),
                program.post("bulk-purchases/preview", None, lines=LINES, organisation=named),
            ]
            for answer in answers:
                refused(answer, 404, "unknown_organisation", "organisation")
    refused(service.post("bulk-purchases", "k", lines=LINES), 422, "invalid_request",
            "organisation")  # fmt: skip
    refused(service.get(f"bulk-purchases/{bulk}", organisation=2**40), 404,
            "unknown_organisation", "organisation")  # fmt: skip
    assert everything() == before
    # The same key of another organisation is another request.
    assert others[0][0].post("bulk-purchases", "k", lines=LINES).json()["id"] != bulk


def test_each_call_needs_its_scope(acme, make_key, sandbox):
    reads = Program(make_key(acme.account, ["purchases:read"])[1])
    writes = Program(make_key(acme.account, ["purchases:write"])[1])
    for path in ("bulk-purchases", "bulk-purchases/preview"):
        assert reads.post(path, "k", lines=LINES).json()["scope"] == "purchases:write"
    bulk = writes.post("bulk-purchases", "k", lines=LINES).json()["id"]
    assert writes.get(f"bulk-purchases/{bulk}").json()["scope"] == "purchases:read"
    assert reads.get(f"bulk-purchases/{bulk}").status_code == 200
