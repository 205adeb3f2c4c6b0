"""The reference page tells all that the schema says, and what the settings are now."""

import gzip
import html
import re

import pytest

from api.refusals import REASONS
from tests.api.program import schema

pytestmark = pytest.mark.django_db
LARGEST = 72 * 1024
"""It is sent gzipped, as a fifth of that."""


@pytest.fixture
def page(client) -> str:
    response = client.get("/api/docs")
    assert response.status_code == 200
    assert len(response.content) < LARGEST
    return html.unescape(response.text)


def section(page: str, id: str) -> str:
    return re.search(rf'<section[^>]* aria-labelledby="{id}">.*?</section>', page, re.DOTALL)[0]


def test_each_operation_has_its_place(page):
    for path, methods in schema()["paths"].items():
        for method, operation in methods.items():
            assert f'<a href="#{operation["operationId"]}" lang="en">' in page
            part = section(page, operation["operationId"])
            assert f'<span class="tag">{method.upper()}</span> <code>{path}</code>' in part
            assert "curl http://127.0.0.1:8000/api/v1/" in part.replace("'", "")
            assert operation["description"].partition("`")[0].split("\n")[0] in part


def test_each_field_that_is_sent_or_answered_is_told(page):
    spend = section(page, "spend")
    assert re.findall(r"<li>.*?</span>", spend)[1] == (
        '<li><code>amount</code> <span class="fine">whole number from 1, required</span>'
    )
    assert '{"amount": 5, "note": "12 pages translated"}' in spend
    assert '<code><a href="#list_entries">entry</a></code>' in spend
    assert '"available": 475' in spend
    assert '<span class="fine">needs <code>credits:spend</code></span>' in spend
    assert '<a href="#insufficient_credits"><code>insufficient_credits</code></a>' in spend
    report = section(page, "report_usage")
    assert "list of 1 to 1000 objects" in report
    assert '<code><a href="#errors">results[].refusal</a></code>' in report
    assert "one of purchase, renewal, promotion" in section(page, "list_entries")


def test_all_reasons_are_in_the_table(page):
    rows = re.findall(r'<tr id="(\w+)"><td>(\d+)</td><td[^>]*>(.*?)</td>', page, re.DOTALL)
    assert {code: int(status) for code, status, _ in rows} == {
        code: reason.status for code, reason in REASONS.items()
    }
    for code, _, told in rows:
        assert REASONS[code].error in told


def test_every_link_in_the_page_leads_somewhere(page):
    ids = set(re.findall(r' id="([^"]+)"', page))
    assert set(re.findall(r' href="#([^"]+)"', page)) - {"main"} <= ids


def test_limits_are_those_of_the_settings(client, settings):
    settings.API_REQUESTS_PER_MINUTE = 1200
    assert "may make 1,200 requests a minute" in client.get("/api/docs").text
    settings.API_REQUESTS_PER_MINUTE = 1
    page = client.get("/api/docs").text
    assert "may make 1 request a minute" in page
    assert "and 1 of them at once" in page


def test_it_is_sent_small_and_found_at_the_foot_of_every_page(client):
    response = client.get("/api/docs", headers={"Accept-Encoding": "gzip"})
    assert response["Content-Encoding"] == "gzip"
    assert len(response.content) < 12 * 1024
    assert b"<h1>API reference</h1>" in gzip.decompress(response.content)
    assert '<a href="/api/docs">API</a>' in client.get("/help").text


def test_it_may_be_found(client):
    assert "\nAllow: /api/docs\nDisallow: " in client.get("/robots.txt").text


def test_it_asks_the_database_for_nothing(client, django_assert_num_queries):
    client.get("/api/docs")
    with django_assert_num_queries(0):
        client.get("/api/docs")
