import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from billing.models import PriceTier
from billing.pricing import PricingError, load_tiers, quote, tiers_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("credits", "total", "discount"),
    [
        (10, 50, 0),
        (49, 50, 0),
        (50, 50, 0),
        (51, 51, 0),
        (499, 499, 0),
        (500, 475, 5),
        (1234, 1172, 5),
        (1999, 1899, 5),
        (2000, 1800, 10),
        (4999, 4499, 10),
        (5000, 4000, 20),
        (100_000, 80_000, 20),
    ],
)
def test_prices_and_boundaries(credits, total, discount):
    price = quote(credits)
    assert (price.total, price.discount_percent) == (total, discount)
    assert price.minimum_charge_applied == (credits < 50)


def test_every_price_is_the_exact_one_rounded_half_up():
    tiers = load_tiers()
    table = [(10, 499, 100), (500, 1999, 95), (2000, 4999, 90), (5000, 100_000, 80)]
    for first, last, price in table:
        for credits in range(first, last + 1):
            exact = credits * price  # hundredths of a cent
            cents, rest = divmod(exact, 100)
            assert quote(credits, tiers).total == max(50, cents + (rest >= 50))


def test_better_deals_are_offered_exactly_where_they_exist():
    tiers = load_tiers()
    offered = {
        credits: deal.credits
        for credits in range(10, 100_001)
        if (deal := quote(credits, tiers).better_deal)
    }
    assert offered == {
        **dict.fromkeys(range(10, 50), 50),
        **dict.fromkeys(range(475, 500), 500),
        **dict.fromkeys(range(1895, 2000), 2000),
        **dict.fromkeys(range(4444, 5000), 5000),
    }


@pytest.mark.parametrize(
    ("credits", "deal"),
    [
        (499, (500, 475, 24)),
        (475, (500, 475, 0)),
        (10, (50, 50, 0)),
        (49, (50, 50, 0)),
        (1999, (2000, 1800, 99)),
        (4999, (5000, 4000, 499)),
    ],
)
def test_a_better_deal_says_what_it_saves(credits, deal):
    found = quote(credits).better_deal
    assert (found.credits, found.total, found.saves) == deal


def test_a_higher_minimum_charge_offers_what_it_pays_for(settings):
    settings.MINIMUM_CHARGE_CENTS = 500
    price = quote(100)
    assert (price.total, price.minimum_charge_applied) == (500, True)
    # 526 credits at $0.0095 are $4.997, which is $5.00 as well.
    assert (price.better_deal.credits, price.better_deal.total) == (526, 500)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "must start at 10"),
        ([(20, 100)], "must start at 10"),
        ([(10, 100), (500, 101)], "must not cost more from 500"),
        ([(10, 100), (10, 90)], "rising order"),
        ([(10, 100), (500, 95), (400, 90)], "rising order"),
        ([(10, 0)], "above 0"),
    ],
)
def test_a_bad_table_is_refused_with_a_reason(rows, words):
    with pytest.raises(PricingError, match=words):
        tiers_of(rows)


def test_the_admins_form_says_what_is_wrong():
    with pytest.raises(ValidationError, match="must not cost more from 600"):
        PriceTier(min_credits=600, unit_price_e4=96).full_clean()
    PriceTier(min_credits=600, unit_price_e4=95).full_clean()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM billing_pricetier",
        "DELETE FROM billing_pricetier WHERE min_credits = 10",
        "UPDATE billing_pricetier SET unit_price_e4 = 101 WHERE min_credits = 500",
        "UPDATE billing_pricetier SET min_credits = 20 WHERE min_credits = 10",
        "UPDATE billing_pricetier SET unit_price_e4 = 0 WHERE min_credits = 5000",
        "UPDATE billing_pricetier SET min_credits = 100001 WHERE min_credits = 5000",
    ],
)
def test_the_database_refuses_a_bad_table(change):
    before = list(PriceTier.objects.values_list("min_credits", "unit_price_e4"))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"{change}; SET CONSTRAINTS ALL IMMEDIATE")
    assert list(PriceTier.objects.values_list("min_credits", "unit_price_e4")) == before


@pytest.mark.django_db(transaction=True)
def test_two_edits_at_once_do_not_make_a_table_that_neither_made(at_once):
    # Each is fine beside the table as it was; together a credit would cost more in a higher tier.
    edits = [(500, 91), (2000, 94)]
    commit_together = threading.Barrier(2)

    def edit(index: int) -> str:
        first, price = edits[index]
        with transaction.atomic():
            PriceTier.objects.filter(min_credits=first).update(unit_price_e4=price)
            commit_together.wait(timeout=30)
        return "saved"

    for _ in range(20):
        answers = at_once(2, edit)
        assert sorted(type(answer).__name__ for answer in answers) == ["IntegrityError", "str"]
        load_tiers()
        for first, price in ((500, 95), (2000, 90)):
            PriceTier.objects.filter(min_credits=first).update(unit_price_e4=price)


def test_a_price_that_no_order_could_be_charged_is_refused():
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceTier.objects.filter(min_credits=10).update(unit_price_e4=90_001)
