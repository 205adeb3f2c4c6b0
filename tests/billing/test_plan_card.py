"""The card of a plan: known by its brand and last digits, from what Stripe tells of the plan."""

import pytest

from billing import closing, plans
from billing.models import Subscription
from billing.subscriptions import state_of
from tests.billing.test_dashboard import plan, text

pytestmark = pytest.mark.django_db


def card() -> str:
    return Subscription.objects.get().card_label


def test_it_comes_with_the_plan_and_changes_with_it(shop, sandbox, client):
    shop.buy(500, "subscription")
    asked = [call["path"] for call in sandbox.requests() if call["method"] == "GET"]
    (found,) = sandbox.objects("subscription")
    assert asked == [f"/v1/subscriptions/{found['id']}"]
    assert card() == "Visa ending 4242"
    client.force_login(shop.user)
    for path in ("/dashboard", "/dashboard/plan"):
        assert "Card Visa ending 4242" in text(client.get(path))

    sandbox.fix_card(found["id"], "5555555555554444")
    shop.tell()
    assert card() == "Mastercard ending 4444"


def test_an_answer_that_names_it_by_its_id_only_leaves_it(shop, sandbox):
    shop.buy(500, "subscription")
    plans.cancel_plan(shop.user)
    assert Subscription.objects.get().cancel_at_period_end
    assert card() == "Visa ending 4242"


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (None, {"card_brand": "", "card_last4": ""}),
        ("pm_1", {}),
        ({"type": "sepa_debit", "card": None}, {"card_brand": "", "card_last4": ""}),
        ({"card": {"brand": "visa", "last4": "4242"}},
         {"card_brand": "visa", "card_last4": "4242"}),
        ({"card": {"brand": "visa", "display_brand": "cartes_bancaires", "last4": "4242"}},
         {"card_brand": "cartes_bancaires", "card_last4": "4242"}),
    ],
)  # fmt: skip
def test_what_stripe_tells_of_it(shop, sandbox, method, told):
    shop.buy(500, "subscription")
    (found,) = sandbox.objects("subscription")
    state = state_of(found | {"default_payment_method": method})
    assert {name: state[name] for name in state if name.startswith("card")} == told


@pytest.mark.parametrize(
    ("brand", "label"),
    [("visa", "Visa ending 4242"), ("brand-new", "Card ending 4242"), ("", "Card ending 4242")],
)
def test_a_brand_that_is_new_is_a_card(user, brand, label):
    assert plan(user, card_brand=brand, card_last4="4242").card_label == label
    assert plan(user, card_brand=brand).card_label == ""


def test_it_goes_with_the_account(shop):
    shop.buy(500, "subscription")
    closing.close_account(shop.user)
    assert card() == ""
