"""The staff's first page: what waits, for whom, and the way to exactly those rows."""

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from billing.admin.attention import matters
from billing.models import Charge, Dispute, Event, Mail, Purchase, Reconciliation, Refund
from credits import adjustments, ledger
from tests.billing.test_fulfilment import order

pytestmark = pytest.mark.django_db
HOME = "/admin/"


@pytest.fixture
def desk(client, staff) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def compared() -> Reconciliation:
    return compare(timedelta(minutes=1))


def ago(**time: int):
    return timezone.now() - timedelta(**time)


def compare(age: timedelta, differences: int = 0) -> Reconciliation:
    return Reconciliation.objects.create(
        since=ago(days=30), started_at=timezone.now() - age, finished_at=timezone.now() - age,
        counts={"differences": differences, "read": {}, "mended": {}},
    )  # fmt: skip


def make_event(status: str, **age: int) -> Event:
    name = f"evt_{uuid.uuid4().hex}"
    return Event.objects.create(
        stripe_id=name, type="invoice.paid", status=status, payload="{}", created_at=ago(**age)
    )


def make_mail(user: User, **fields) -> Mail:
    return Mail.objects.create(user=user, kind="restored", key=str(uuid.uuid4()), **fields)


def make_refund(purchase: Purchase, staff: User, **fields) -> Refund:
    return Refund.objects.create(
        purchase=purchase, entry_key="purchase:1", amount=75, reason="r", actor=staff, **fields
    )


def make_dispute(purchase: Purchase, status: str = "needs_response", **fields) -> Dispute:
    charge = Charge.objects.create(
        stripe_id=f"ch_{uuid.uuid4().hex}", purchase=purchase, entry_key="k", amount=475,
        fetched_at=timezone.now(),
    )  # fmt: skip
    return Dispute.objects.create(
        stripe_id=f"du_{uuid.uuid4().hex}", charge=charge, amount=475, status=status, **fields
    )


def told(user: User) -> list[tuple[str, int, bool]]:
    return [(matter.title, matter.count, matter.is_urgent) for matter in matters(user)]


def rows(desk: Client, address: str) -> set:
    page = desk.get(address)
    assert page.status_code == 200, address
    return set(page.context["cl"].result_list)


def test_nothing_needs_attention(desk, staff, compared):
    assert matters(staff) == []
    page = desk.get(HOME).content.decode()
    assert "Nothing needs attention." in page
    assert "Nothing was sold in these 30 days." in page
    assert "/admin/billing/customer/" in page  # the list of tables is still there


def test_all_that_waits_leads_to_its_rows(desk, staff, user, other_user, compared):
    helper = User.objects.create_superuser("helper@example.com")
    purchase = order(user)
    failed = {make_event("failed", days=2), make_event("failed", hours=1)}
    stalled = make_event("received", hours=1)
    make_event("received", seconds=1)
    make_event("done", days=9)
    quarantined = make_event("quarantined", days=3)
    reviewed = order(other_user)
    Purchase.objects.filter(pk=reviewed.pk).update(status="review")
    soon = make_dispute(purchase, answer_by=timezone.now() + timedelta(days=2))
    inquiry = make_dispute(purchase, "warning_needs_response")
    make_dispute(purchase, "under_review")
    given_up = make_mail(user, tries=20, due_at=ago(days=1))
    make_mail(user, tries=20, due_at=ago(days=40), created_at=ago(days=40))
    late = make_mail(user, due_at=ago(minutes=11))
    make_mail(user, due_at=ago(minutes=11), sent_at=timezone.now())
    lost = make_refund(purchase, staff, status="failed", stripe_id="re_1")
    lost_other = make_refund(reviewed, staff, stripe_id=None, created_at=ago(hours=1))
    theirs = adjustments.adjust(user, 20_000, key="adjustment:1", reason="r", staff=helper)
    mine = adjustments.adjust(user, 20_000, key="adjustment:2", reason="r", staff=staff)

    found = {matter.title: matter for matter in matters(staff)}
    expected = {
        "Worker": {late},
        "Disputes to answer": {soon, inquiry},
        "Events that failed": failed,
        "Events that were not applied": {stalled},
        "Events in quarantine": {quarantined},
        "Purchases in review": {reviewed},
        "Refunds that did not get through": {lost, lost_other},
        "Adjustments for you to decide": {theirs},
        "Adjustments that you have asked for": {mine},
        "Mails that could not be sent": {given_up},
    }
    assert list(found) == list(expected)  # urgent ones first
    for title, exactly in expected.items():
        assert found[title].count == len(exactly), title
        assert rows(desk, found[title].address) == exactly, title
    assert "2 days" in found["Events that failed"].text.replace("\xa0", " ")
    assert "$9.50 together: answer the first at Stripe by" in found["Disputes to answer"].text
    assert [matter.is_urgent for matter in found.values()] == [True] * 7 + [False] * 3

    page = desk.get(HOME).content.decode()
    for matter in found.values():
        assert matter.title in page


def test_its_queries_are_few(desk, staff, user, compared, django_assert_max_num_queries):
    for count in (1, 30):
        for _ in range(count):
            make_event("failed", days=1)
            make_dispute(order(user))
        with django_assert_max_num_queries(20):
            desk.get(HOME)


def test_a_worker_without_mails_is_missed_by_what_has_expired(staff, wallet, compared, settings):
    ledger.grant(
        wallet, 5, key="g", kind="promotion", category="promotional",
        expires_at=timezone.now() + timedelta(milliseconds=20),
    )  # fmt: skip
    lot = wallet.lots.get()
    assert told(staff) == []
    type(lot).objects.filter(pk=lot.pk).update(expires_at=ago(minutes=11))
    assert told(staff) == [("Worker", 0, True)]
    ledger.expire_due()
    assert told(staff) == []


def test_a_refund_that_a_later_one_has_made_up_for_is_no_matter(staff, user, compared):
    purchase = order(user)
    make_refund(purchase, staff, status="failed", stripe_id="re_1", created_at=ago(days=1))
    assert told(staff) == [("Refunds that did not get through", 1, True)]
    make_refund(purchase, staff, status="succeeded", stripe_id="re_2")
    assert told(staff) == []
    make_refund(order(user), staff, status="refused", created_at=ago(days=31))
    assert told(staff) == []


def test_a_dispute_with_time_is_not_urgent_yet(staff, user, compared):
    make_dispute(order(user), answer_by=timezone.now() + timedelta(days=6))
    assert told(staff) == [("Disputes to answer", 1, False)]


def test_the_comparison_with_stripe_is_missed(staff):
    assert told(staff) == [("Comparison with Stripe", 0, False)]
    compare(timedelta(days=4))
    assert told(staff) == [("Comparison with Stripe", 0, False)]
    compare(timedelta(hours=1), differences=3)
    assert told(staff) == [("Money and credits differ", 3, True)]


def test_staff_see_only_what_they_may(client, user):
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    client.force_login(helper)
    make_event("failed", days=1)
    make_dispute(order(user))
    page = client.get(HOME).content.decode()
    assert "Nothing needs attention." in page
    assert "Sold today" not in page
    for codename in ("view_dispute", "view_revenue"):
        helper.user_permissions.add(Permission.objects.get(codename=codename))
    assert told(User.objects.get(pk=helper.pk)) == [("Disputes to answer", 1, True)]
    assert "Sold today" in client.get(HOME).content.decode()


def test_the_figures_are_drawn(desk, wallet, compared):
    ledger.grant(wallet, 1000, key="p", kind="purchase", paid=123_456)
    ledger.revoke(wallet, 500, of="p", key="r", kind="refund")
    text = desk.get(HOME).content.decode()
    figures = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert figures == {
        "Sold today": "$1,234.56", "Sold in 30 days": "$1,234.56", "Returned today": "$617.28",
        "Returned in 30 days": "$617.28", "Credits outstanding": "500",
    }  # fmt: skip
    assert text.count('class="bar"') == 1
    assert text.count('class="slot"') == 30
