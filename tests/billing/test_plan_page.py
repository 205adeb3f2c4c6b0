"""The page of the monthly plan, and what its buttons do."""

import re
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone

from billing import checkout
from billing.models import PlanChange, PriceTier, Purchase, Subscription
from tests import stripe_events

pytestmark = pytest.mark.django_db
ACTIONS = ["change", "cancel", "resume"]
PAGE = "/dashboard/plan"
END = datetime(2099, 12, 3, tzinfo=UTC)


def text(response) -> str:
    main = response.content.decode().split("<main", 1)[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main))


@pytest.fixture
def buyer(client, user) -> Client:
    client.force_login(user)
    return client


def plan_of(user, **values) -> Subscription:
    return Subscription.objects.create(
        **{
            "user": user,
            "stripe_id": f"sub_of_{user.pk}",
            "status": "active",
            "credits": 500,
            "total": 475,
            "currency": "usd",
            "current_period_end": END,
            "fetched_at": timezone.now(),
        }
        | values
    )


@pytest.fixture
def plan(user, sandbox) -> Subscription:
    """A real one, at the stand-in: 500 credits for $4.75 a month."""
    checkout.start_checkout(user, 500, "subscription")
    sandbox.pay(Purchase.objects.get().stripe_session_id)
    for event in sandbox.events():
        stripe_events.post(Client(), event)
    return Subscription.objects.get()


def date(plan: Subscription) -> str:
    return f"{plan.current_period_end:%-d %B %Y}"


# --- Who may do what --------------------------------------------------------------------------


def test_visitors_sign_in_first(client):
    for path in (PAGE, f"{PAGE}/cancel"):
        response = client.get(f"{path}?credits=700")
        assert response.status_code == 302
        assert response["Location"] == f"/accounts/login/?next={path}%3Fcredits%3D700"
    for action in ACTIONS:  # and come back to the page, which a GET can open
        response = client.post(f"{PAGE}/{action}")
        assert (response.status_code, response["Location"]) == (
            302, "/accounts/login/?next=/dashboard/plan",
        )  # fmt: skip


def test_other_methods_are_refused(buyer):
    assert buyer.post(PAGE).status_code == 405
    assert buyer.get(f"{PAGE}/change").status_code == 405
    assert buyer.get(f"{PAGE}/resume").status_code == 405
    assert buyer.delete(f"{PAGE}/cancel").status_code == 405
    for path in ("", "/change", "/cancel", "/resume"):
        assert buyer.get(f"{PAGE}{path}/").status_code == 404


@pytest.mark.parametrize("action", ACTIONS)
def test_buttons_need_the_csrf_token(user, sandbox, action):
    plan_of(user)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    fields = {"credits": "2000", "expected_total": "1800"}
    assert client.post(f"{PAGE}/{action}", fields).status_code == 403
    assert sandbox.requests() == []


def test_nothing_of_it_is_cached(buyer, user):
    plan_of(user)
    for path in (PAGE, f"{PAGE}/cancel"):
        assert "no-store" in buyer.get(path)["Cache-Control"]
    assert "no-store" in buyer.post(f"{PAGE}/change", {"credits": "x"})["Cache-Control"]


@pytest.mark.parametrize("action", ACTIONS)
def test_somebody_else_s_plan_is_out_of_reach(buyer, other_user, sandbox, action):
    theirs = plan_of(other_user)
    assert "500" not in text(buyer.get(PAGE))
    fields = {"credits": "2000", "expected_total": "1800", "subscription": theirs.stripe_id}
    response = buyer.post(f"{PAGE}/{action}", fields)
    assert response.status_code == 409
    assert "You have no monthly plan now, so nothing was changed." in text(response)
    assert sandbox.requests() == []
    assert not PlanChange.objects.exists()


# --- What is shown ----------------------------------------------------------------------------


def test_without_a_plan_there_is_a_way_to_one(buyer, user):
    page = buyer.get(PAGE)
    assert "You have no plan." in text(page)
    assert 'href="/credits?mode=subscription"' in page.content.decode()
    plan_of(user, status="canceled")
    assert "Your plan has ended; your credits stay." in text(buyer.get(PAGE))
    assert buyer.get(f"{PAGE}/cancel")["Location"] == PAGE


def test_the_plan_and_what_comes_next(buyer, user):
    plan_of(user)
    page = text(buyer.get(PAGE))
    assert "500 a month" in page
    assert "$4.75 a month" in page
    assert "Next payment 3 December 2099" in page
    assert "Change from 3 December 2099" in page
    assert "From 3 December 2099 on 2,000" not in page


def test_the_price_before_it_is_agreed_without_javascript(buyer, user, sandbox):
    plan_of(user)
    response = buyer.post(
        f"{PAGE}/change", {"credits": "2 000", "expected_total": "475", "action": "price"}
    )
    assert (response.status_code, response["Location"]) == (
        303, f"{PAGE}?credits=2000#change",
    )  # fmt: skip
    page = buyer.get(response["Location"])
    assert 'name="expected_total" value="1800"' in page.content.decode()
    assert 'value="2,000"' in page.content.decode()
    assert "$18.00 a month" in text(page)
    assert "Nothing is charged now" in text(page)
    assert sandbox.requests() == []


def test_a_better_deal_is_offered(buyer, user):
    plan_of(user)
    page = text(buyer.get(f"{PAGE}?credits=499"))
    assert "500 credits cost $4.75, $0.24 less than 499." in page


@pytest.mark.parametrize("status", ["past_due", "unpaid", "paused"])
def test_what_is_due_has_no_form_to_change(buyer, user, status):
    plan_of(user, status=status)
    page = buyer.get(PAGE)
    assert "data-price" not in page.content.decode()
    assert "Cancel the plan" in text(page)


def test_an_ending_plan_can_be_resumed_and_not_changed(buyer, user):
    plan_of(user, cancel_at_period_end=True)
    page = buyer.get(PAGE)
    assert "it ends on 3 December 2099 and nothing more is charged" in text(page)
    assert "Resume the plan" in text(page)
    assert "data-price" not in page.content.decode()
    assert "Cancel the plan" not in text(page)


def test_it_asks_the_database_little(buyer, user, django_assert_max_num_queries):
    plan_of(user)
    with django_assert_max_num_queries(6):
        buyer.get(PAGE)


# --- Change -----------------------------------------------------------------------------------


def test_a_change_is_agreed_and_told(buyer, plan):
    response = buyer.post(f"{PAGE}/change", {"credits": "2,000", "expected_total": "1800"})
    assert (response.status_code, response["Location"]) == (303, f"{PAGE}#main")
    page = text(buyer.get(PAGE))
    day = date(plan)
    assert f"Changed: from {day} on, 2,000 credits for $18.00 a month. Nothing is due now." in page
    # What this month brought, and what the next ones will.
    assert "500 a month" in page
    assert f"From {day} on 2,000 credits for $18.00 a month" in page
    assert "2,000 a month" in text(buyer.get("/dashboard"))
    # Back again before the renewal: nothing is to come.
    buyer.post(f"{PAGE}/change", {"credits": "500", "expected_total": "475"})
    buyer.get(PAGE)
    page = text(buyer.get(PAGE))
    assert "500 a month" in page
    assert "2,000 credits" not in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"credits": "2000", "expected_total": "1"}, "The price has changed"),
        ({"credits": "2000", "expected_total": ""}, "The price has changed"),
        ({"credits": "2000"}, "The price has changed"),
        ({"credits": "2001", "expected_total": "1800"}, "The price has changed"),
        ({"credits": "500", "expected_total": "475"}, "brings 500 credits a month already"),
    ],
)
def test_what_can_not_be_agreed_is_refused_and_says_why(buyer, plan, sandbox, fields, words):
    response = buyer.post(f"{PAGE}/change", fields)
    assert response.status_code == 409
    assert words in text(response)
    assert_unchanged(plan, sandbox)


@pytest.mark.parametrize(
    "credits",
    ["", "9", "100001", "-5", "5.5", "1e3", "abc", "٢٠٠٠", "0x10", "2000;", "9" * 21, "\x00"],
)
def test_other_amounts_are_refused(buyer, plan, sandbox, credits):
    response = buyer.post(f"{PAGE}/change", {"credits": credits, "expected_total": "50"})
    assert response.status_code == 400
    assert 'aria-invalid="true"' in response.content.decode()
    assert_unchanged(plan, sandbox)


def assert_unchanged(plan, sandbox) -> None:
    before = plan.credits, plan.total, plan.status, plan.cancel_at_period_end
    plan.refresh_from_db()
    assert (plan.credits, plan.total, plan.status, plan.cancel_at_period_end) == before
    assert not PlanChange.objects.exists()
    assert sandbox.events("customer.subscription.updated") == []


def test_a_price_that_changed_meanwhile_is_shown(buyer, plan, sandbox):
    PriceTier.objects.filter(min_credits=2000).update(unit_price_e4=85)
    response = buyer.post(f"{PAGE}/change", {"credits": "2000", "expected_total": "1800"})
    assert response.status_code == 409
    assert "The price has changed" in text(response)
    assert 'name="expected_total" value="1700"' in response.content.decode()
    assert_unchanged(plan, sandbox)


def test_an_ending_plan_is_not_changed(buyer, plan, sandbox):
    buyer.post(f"{PAGE}/cancel")
    so_far = len(sandbox.events())
    response = buyer.post(f"{PAGE}/change", {"credits": "2000", "expected_total": "1800"})
    assert response.status_code == 409
    assert "Resume it first" in text(response)
    assert not PlanChange.objects.exists()
    assert len(sandbox.events()) == so_far


def test_an_overdue_plan_is_not_changed(buyer, plan, sandbox):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    response = buyer.post(f"{PAGE}/change", {"credits": "2000", "expected_total": "1800"})
    assert response.status_code == 409
    assert "Please check your card first" in text(response)
    assert "Check the card" in text(response)
    assert not PlanChange.objects.exists()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_outage_is_said(buyer, plan, dead_stripe, action):
    fields = {"credits": "2000", "expected_total": "1800"}
    response = buyer.post(f"{PAGE}/{action}", fields)
    assert response.status_code == 503
    assert "Nothing was charged" in text(response)
    assert "in a minute" in text(response)
    assert not PlanChange.objects.exists()
    plan.refresh_from_db()
    assert (plan.credits, plan.cancel_at_period_end) == (500, False)


def test_a_refusal_of_stripe_s_is_said(buyer, plan, sandbox):
    sandbox.add_fault(method="POST", path="/v1/products", kind="error", status=402, times=1)
    response = buyer.post(f"{PAGE}/change", {"credits": "2000", "expected_total": "1800"})
    assert response.status_code == 502
    assert "Nothing was charged" in text(response)


# --- Cancel and resume ------------------------------------------------------------------------


def test_cancelling_asks_first_and_can_be_undone(buyer, plan, sandbox):
    page = text(buyer.get(f"{PAGE}/cancel"))
    assert "Cancel your monthly plan?" in page
    assert f"It ends on {date(plan)}" in page
    assert "All credits that you have stay yours." in page
    assert_unchanged(plan, sandbox)

    response = buyer.post(f"{PAGE}/cancel")
    assert (response.status_code, response["Location"]) == (303, PAGE)
    page = text(buyer.get(PAGE))  # no webhook has come
    assert "Cancelled: nothing more is charged, and your credits stay." in page
    assert f"it ends on {date(plan)}" in page
    assert sandbox.objects("subscription")[0]["cancel_at_period_end"] is True
    assert buyer.get(f"{PAGE}/cancel")["Location"] == PAGE

    assert buyer.post(f"{PAGE}/resume").status_code == 303
    page = text(buyer.get(PAGE))
    assert "Resumed: your plan goes on as before." in page
    assert f"Next payment {date(plan)}" in page
    assert sandbox.objects("subscription")[0]["cancel_at_period_end"] is False


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_ending_an_overdue_plan_promises_nothing_about_what_is_due(buyer, user, status):
    plan = plan_of(user, status=status)
    page = text(buyer.get(f"{PAGE}/cancel"))
    assert "It is not renewed again. The payment that failed is still due" in page
    assert "Nothing more is charged" not in page
    assert "Next renewal 3 December 2099" in text(buyer.get("/dashboard"))

    plan.cancel_at_period_end = True
    plan.save()
    for address in (PAGE, "/dashboard"):
        page = text(buyer.get(address))
        assert "Ends 3 December 2099" in page
        assert "is not renewed. The payment that failed is still due." in page
        assert "nothing more is charged" not in page


def test_cancelling_an_overdue_plan_says_what_is_due(buyer, plan, sandbox):
    sandbox.fail_renewals(plan.stripe_id)
    sandbox.advance(plan.stripe_id)
    assert buyer.post(f"{PAGE}/cancel").status_code == 303
    page = text(buyer.get(PAGE))
    assert "Cancelled: it is not renewed again. The payment that failed is still due." in page
    assert "nothing more is charged" not in page
