import re

import pytest
from django.test import Client

from billing.models import PriceTier
from tests.website.test_landing import text_of

pytestmark = pytest.mark.django_db
LEGAL = ["/terms", "/privacy", "/refunds"]
PUBLIC = ["/", "/credits", "/help", *LEGAL]


@pytest.mark.parametrize("path", LEGAL)
def test_a_text_names_who_sells_and_whom_to_ask(
    client: Client, settings, path, django_assert_num_queries
):
    settings.COMPANY_NAME, settings.SUPPORT_EMAIL = "Tokens & Co Ltd", "help@tokens.example"
    with django_assert_num_queries(0):
        response = client.get(path)
    assert response.status_code == 200
    text = text_of(response)
    assert "help@tokens.example" in text
    assert ("Tokens & Co Ltd" in text) is (path != "/refunds")


@pytest.mark.parametrize("path", LEGAL)
def test_that_it_is_a_template_is_said_while_debugging(client: Client, settings, path):
    assert "this page is a template" not in client.get(path).content.decode()
    settings.DEBUG = True
    assert "this page is a template" in client.get(path).content.decode()


def test_the_terms_follow_the_settings(client: Client, settings):
    text = text_of(client.get("/terms"))
    assert "An order is for 10 to 100,000 credits and costs at least $0.50." in text
    assert "Credits that you buy do not expire. Credits that we give you end after 90 days" in text
    settings.MINIMUM_CHARGE_CENTS = 100
    settings.CREDITS_EXPIRE_AFTER_DAYS = {"paid": 1, "promotional": 0}
    text = text_of(client.get("/terms"))
    assert "costs at least $1.00." in text
    assert "can be used for 1 day after they have arrived, and then end." in text
    assert "Credits that we give you don\u2019t expire, unless" in text
    assert "for credits that have ended there is no refund" in text_of(client.get("/refunds"))


def test_help_follows_the_settings_and_the_tiers(
    client: Client, settings, django_assert_num_queries
):
    with django_assert_num_queries(1):
        text = text_of(client.get("/help"))
    for words in (
        "Choose any whole number from 10 to 100,000",
        "500 \u2013 1,999Your tier 5% off $0.0095",
        "499 cost $4.99, 500 cost $4.75.",
        "The smallest payment is $0.50. Smaller orders cost that as well, so up to 50 credits cost",
        "Credits that you buy never expire. Credits that we give you end after 90 days.",
        "when you have fewer than 100 credits left",
        "Write to shop@example.com",
    ):
        assert words in text
    settings.CREDITS_EXPIRE_AFTER_DAYS = {"paid": 30, "promotional": 0}
    settings.LOW_BALANCE_CREDITS = 0
    settings.MINIMUM_CHARGE_CENTS = 200
    settings.SUPPORT_EMAIL = "help@tokens.example"
    PriceTier.objects.exclude(min_credits=10).delete()
    text = text_of(client.get("/help"))
    for words in (
        "10 or more",
        "The smallest payment is $2.00. Smaller orders cost that as well, so up to 200 credits",
        "Credits that you buy end 30 days after they have arrived.",
        "when your credits run low, if you want",
        "Write to help@tokens.example",
    ):
        assert words in text
    assert "So just below a line" not in text
    assert "0 credits left" not in text


def test_help_says_first_where_the_credits_are(client: Client):
    body = client.get("/help").content.decode()
    anchors = re.findall(r'<a href="#([a-z]+)">', body)
    assert anchors[0] == "where"
    assert re.findall(r'<h2 id="([a-z]+)"', body) == ["toc", *anchors]


@pytest.mark.parametrize("path", ["/", "/credits", "/help", "/accounts/login/", "/nowhere"])
def test_every_page_leads_to_help_and_the_texts(client: Client, path):
    footer = client.get(path).content.decode().partition("<footer")[2]
    assert re.findall(r'href="([^"]+)"', footer) == [
        *("/help", "/api/docs", "/terms", "/privacy", "/refunds")
    ]


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_page_introduces_itself(client: Client, settings, path):
    settings.BASE_URL = "https://tokens.example"
    head = client.get(f"{path}?credits=700").content.decode().partition("</head>")[0]
    address = f"https://tokens.example{path}"
    assert re.findall(r'<link rel="canonical" href="([^"]+)">', head) == [address]
    described = re.findall(r'<meta name="description" content="([^"]+)">', head)
    assert len(described) == 1
    assert 50 <= len(described[0]) <= 160
    said = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]+)">', head))
    assert said.keys() == {"type", "site_name", "title", "description", "url"}
    assert (said["url"], said["description"]) == (address, described[0])
    assert f"<title>{said['title']} · Dynamic Credits</title>" in head
    assert head.count("<title>") == 1


def test_the_colour_around_the_page_is_the_theme_s(client: Client):
    colours = r'<meta name="theme-color" content="(#\w+)"( media="[^"]+")?>'
    found = re.findall(colours, client.get("/terms").content.decode())
    assert [media for _, media in found] == [
        ' media="(prefers-color-scheme: light)"',
        ' media="(prefers-color-scheme: dark)"',
    ]
    client.cookies["theme"] = "dark"
    assert re.findall(colours, client.get("/terms").content.decode()) == [(found[1][0], "")]


@pytest.mark.parametrize("path", ["/", "/help", *LEGAL, "/robots.txt"])
def test_they_are_for_reading_only(client: Client, path):
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 405
