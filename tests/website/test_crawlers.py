import re
from datetime import datetime, timedelta
from urllib.robotparser import RobotFileParser

import pytest
from django.test import Client
from django.utils import timezone

from website.crawlers import PUBLIC

pytestmark = pytest.mark.django_db


@pytest.fixture
def robots(client: Client) -> RobotFileParser:
    response = client.get("/robots.txt")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=86400"
    parser = RobotFileParser()
    parser.parse(response.content.decode().splitlines())
    return parser


@pytest.mark.parametrize("path", ["/", "/credits", "/credits?credits=500", "/help", "/privacy"])
def test_visitors_pages_may_be_found(robots, path):
    assert robots.can_fetch("*", path)


@pytest.mark.parametrize(
    "path",
    [
        *("/dashboard", "/dashboard/plan", "/admin", "/admin/billing/", "/api/billing/quote"),
        *("/accounts/login/", "/accounts/password/reset/key/x/", "/alerts/off/x"),
        "/credits/success?purchase=x",
    ],
)
def test_others_may_not(robots, path):
    assert not robots.can_fetch("*", path)


def test_the_sitemap_lists_the_public_pages(client: Client, robots):
    assert robots.site_maps() == ["http://127.0.0.1:8000/sitemap.xml"]
    response = client.get("/sitemap.xml", headers={"host": "localhost"})
    assert response.headers["Content-Type"] == "application/xml"
    assert response.headers["Cache-Control"] == "public, max-age=86400"
    found = re.findall(r"<loc>(.*?)</loc>", response.content.decode())
    assert len(found) == len(PUBLIC)
    assert found[:2] == ["http://127.0.0.1:8000/", "http://127.0.0.1:8000/credits"]
    for address in found:
        path = address.removeprefix("http://127.0.0.1:8000")
        assert client.get(path).status_code == 200
        assert robots.can_fetch("*", path)


def test_who_finds_a_hole_learns_whom_to_tell(client: Client, settings):
    settings.SUPPORT_EMAIL = "help@tokens.example"
    response = client.get("/.well-known/security.txt")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in response.content.decode().splitlines())
    assert fields["Contact"] == "mailto:help@tokens.example"
    assert fields["Canonical"] == "http://127.0.0.1:8000/.well-known/security.txt"
    left = datetime.fromisoformat(fields["Expires"]) - timezone.now()
    assert timedelta(days=179) < left < timedelta(days=181)
