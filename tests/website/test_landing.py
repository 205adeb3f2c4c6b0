import re
from html import unescape

import pytest
from django.test import Client

from billing.models import PriceTier
from billing.pricing import tiers_of
from credits import ledger
from website import stairs

pytestmark = pytest.mark.django_db


def text_of(response) -> str:
    """What people read of a page, in one line."""
    body = response.content.decode()
    body = re.sub(r"<(script|div|p)\b[^>]*( type=| hidden).*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r"</?(?:span|strong|small|code)\b[^>]*>", "", body)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_visitor_sees_what_credits_are_and_cost(client: Client, django_assert_num_queries):
    with django_assert_num_queries(1):
        response = client.get("/")
    assert response.status_code == 200
    text = text_of(response)
    for words in (
        "Buy exactly the credits you need",
        "any amount from 10 to 100,000",
        "They never expire",
        "500 credits $5.00 Volume discount, 5% \N{MINUS SIGN}$0.25 Price per credit $0.0095",
        "500 \u2013 1,999Your tier 5% off $0.0095 2,000 \u2013 4,999Your tier 10% off $0.0090",
        "10 credits for $0.50 are enough to try it.",
    ):
        assert words in text


def test_who_is_signed_in_goes_to_the_dashboard(client: Client, user):
    client.force_login(user)
    response = client.get("/?credits=499")
    assert (response.status_code, response.headers["Location"]) == (302, "/dashboard")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("credits=499", "500 credits cost $4.75, $0.24 less than 499. Switch to 500"),
        ("credits=499", "Total $4.99"),
        ("credits=1,999&mode=payment", "Total $18.99"),
        ("credits=5000&mode=subscription", "Total $40.00 a month"),
        ("credits=49", "The smallest payment is $0.50: 50 credits cost the same."),
        ("credits=500&mode=nonsense", "Total $4.75 Update price"),
    ],
)
def test_the_calculator_works_without_scripts(client: Client, query, words):
    assert words in text_of(client.get(f"/?{query}"))


def test_its_links_and_fields_keep_the_order(client: Client):
    body = client.get("/?credits=499&mode=subscription").content.decode()
    form = body.partition('id="price"')[2].partition("</form>")[0]
    assert form.startswith(' method="get" action="/credits"')
    assert 'formaction="/#price"' in form
    assert 'href="?credits=500&amp;mode=subscription#price"' in form
    assert 'value="subscription" checked' in form
    assert re.findall(r'<(?:input|button)[^>]* name="(\w+)"', form) == ["mode", "mode", "credits"]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("", "Credits must be a whole number, such as 500."),
        ("5.5", "Credits must be a whole number, such as 500."),
        ('"><script>', "Credits must be a whole number, such as 500."),
        ("\u0665\u0660\u0660", "Credits must be a whole number, such as 500."),
        ("9" * 3000, "Credits must be a whole number, such as 500."),
        ("9", "10"),
        ("100001", "100,000"),
    ],
)
def test_what_has_no_price_is_said(client: Client, typed, problem):
    response = client.get("/", {"credits": typed})
    body = response.content.decode()
    assert response.status_code == 200
    error = re.search(r'id="credits-error" data-out="problem">([^<]*)<', body)
    assert error
    assert problem in unescape(error[1])
    assert "Total \u2013" in text_of(response)
    assert '"><script>' not in body


def test_the_texts_follow_the_settings(client: Client, settings):
    settings.CREDITS_EXPIRE_AFTER_DAYS = {"paid": 365, "promotional": 0}
    settings.MINIMUM_CHARGE_CENTS = 100
    settings.SUPPORT_EMAIL = "help@tokens.example"
    text = text_of(client.get("/"))
    assert "Good for 365 days" in text
    assert "Credits that you buy end 365 days after they have arrived." in text
    assert "Credits that we give you don\u2019t expire, either." in text
    assert "Start with $1.00" in text
    assert "help@tokens.example" in text
    assert "never expire" not in text


def test_the_table_follows_the_tiers(client: Client):
    PriceTier.objects.filter(min_credits=500).update(unit_price_e4=85)
    PriceTier.objects.filter(min_credits=2000).update(unit_price_e4=82)
    text = text_of(client.get("/"))
    assert "500 \u2013 1,999Your tier 15% off $0.0085" in text
    assert "Total $4.25" in text


def test_the_stairs_rise_with_the_discount():
    tiers = tiers_of([(10, 100), (500, 95), (2000, 90), (5000, 80)])
    assert stairs.draw(tiers) == [
        (0, 100, 42, 0, 0),
        (42, 80, 16, 20, 5),
        (58, 59, 9, 41, 10),
        (67, 18, 33, 82, 20),
    ]
    assert stairs.draw(tiers_of([(10, 100)])) == []


def test_a_step_too_narrow_for_words_has_none():
    steps = stairs.draw(tiers_of([(10, 100), (500, 95), (600, 90)]))
    assert [step.has_label for step in steps] == [False, False, True]


def test_a_page_that_shows_who_is_signed_in_is_in_no_shared_cache(client: Client, user):
    """With a proxy in between, the next visitor must not be shown a signed-in person's header."""
    ledger.grant(ledger.wallet_of(user), 1234, key="g", kind="promotion")
    for path in ("/", "/help", "/terms"):
        response = client.get(path)
        assert response.headers["Cache-Control"] == (
            "max-age=0, no-cache, no-store, must-revalidate, private"
        )
        assert {"Cookie", "Accept-Language"} <= set(response.headers["Vary"].split(", "))
    assert "1,234" not in client.get("/help").content.decode()
    client.force_login(user)
    assert "1,234" in client.get("/help").content.decode()
