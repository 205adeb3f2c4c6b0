"""The page of what was used."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone as clock

from credits import ledger
from tests.usage.shop import THIS_MONTH, make_meter
from usage import chart, summary
from usage.recording import record
from usage.summary import DayOfUse

pytestmark = pytest.mark.django_db

PAGE = "/dashboard/usage"


@pytest.fixture
def client(client, user):
    client.force_login(user)
    return client


def test_a_month_s_usage_is_shown(client, rich, meter):
    record(rich.user, "tokens", 12_500, key="k")
    page = client.get(PAGE)
    html = page.content.decode()
    assert f"{THIS_MONTH:%B %Y}" in html
    for words in ("Text generation", "12,500", "35", "10,001 or more", "3 per 1,000", "are here"):
        assert words in html
    assert page.context["chart"].bars[-1].day == DayOfUse(datetime.now(UTC).date(), 12_500, 35)
    assert '<tr aria-current="true"><th scope="row">10,001 or more' in html


def test_the_history_names_the_meter(client, rich, meter):
    record(rich.user, "tokens", 12_500, key="k")
    assert (
        "Text generation \N{MULTIPLICATION SIGN} 12,500"
        in client.get("/dashboard").content.decode()
    )


def test_without_meters_the_page_says_so(client):
    html = client.get(PAGE).content.decode()
    assert "Nothing here is charged by use." in html
    assert "<svg viewBox" not in html.partition("<main")[2]


def test_prices_are_shown_before_anything_is_used(client, meter):
    page = client.get(PAGE)
    html = page.content.decode()
    assert "Nothing used this month so far." in html
    assert "10,001 or more" in html
    assert 'aria-current="true"' not in html.partition("<main")[2].partition("<footer")[0]
    assert page.context["chart"] is None


def test_the_costliest_meter_is_shown_unless_another_is_asked_for(client, rich, meter):
    make_meter("a", name="Abacus", bands=[(0, 0, 1)])
    record(rich.user, "a", 10**6, key="k")
    record(rich.user, "tokens", 5000, key="l")
    assert client.get(PAGE).context["chosen"].meter == meter
    page = client.get(f"{PAGE}?meter=a")
    assert page.context["chosen"].meter.code == "a"
    assert "free" in page.content.decode()
    assert client.get(f"{PAGE}?meter=nothing").context["chosen"].meter == meter


def test_other_months_are_a_click_away(client, rich, meter, monkeypatch):
    now = datetime(2024, 3, 2, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    record(rich.user, "tokens", 1000, key="k", at=now - timedelta(days=5))
    record(rich.user, "tokens", 2000, key="l")
    monkeypatch.undo()
    page = client.get(PAGE)
    assert (page.context["older"], page.context["newer"]) == (date(2024, 3, 1), None)
    page = client.get(f"{PAGE}?month=2024-03")
    assert (page.context["older"], page.context["newer"]) == (date(2024, 2, 1), THIS_MONTH)
    assert [row.units for row in page.context["rows"]] == [2000]
    page = client.get(f"{PAGE}?month=2024-02")
    assert (page.context["older"], page.context["newer"]) == (None, date(2024, 3, 1))
    assert len(page.context["days"]) == 29


@pytest.mark.parametrize(
    "query",
    ["month=", "month=2019-12", "month=9999-12", "month=0000-01", "month=2024-13", "month=2024-1",
     "month=%D9%A2%D9%A0%D9%A2%D9%A4-01", "month=x&meter=%00", "meter=%3Cscript%3E"],
)  # fmt: skip
def test_what_makes_no_sense_chooses_nothing(client, meter, query):
    page = client.get(f"{PAGE}?{query}")
    assert page.status_code == 200
    assert page.context["month"] == THIS_MONTH
    assert page.context["chosen"].meter == meter
    assert b"<script>" not in page.content


def test_another_user_s_usage_is_not_shown(client, user, other_user, meter):
    ledger.grant(ledger.wallet_of(other_user), 500, key="g", kind="purchase")
    record(other_user, "tokens", 12_500, key="k")
    page = client.get(PAGE)
    assert [(row.units, row.charged) for row in page.context["rows"]] == [(0, 0)]
    assert b"12,500" not in page.content


def test_staff_s_words_are_text(client, rich):
    make_meter(name="<b>Bold</b>", unit="<i>units</i>", description="<script>x</script>")
    record(rich.user, "tokens", 12_500, key="k")
    html = client.get(PAGE).content.decode()
    assert "<b>" not in html
    assert "<i>" not in html
    assert "<script>x" not in html
    assert html.count("&lt;i&gt;units") >= 2


def test_visitors_sign_in_first(db):
    answer = Client().get(PAGE)
    assert (answer.status_code, answer["Location"]) == (302, f"/accounts/login/?next={PAGE}")


def test_the_page_asks_the_database_as_often_for_many_meters(
    client, rich, meter, django_assert_max_num_queries
):
    for number in range(10):
        make_meter(f"m{number}", bands=[(0, 1, 1), (5, 1, 1)])
        record(rich.user, f"m{number}", 7, key=f"k{number}")
    with django_assert_max_num_queries(11):
        client.get(PAGE)


def test_bars_are_as_high_as_their_day_and_never_out_of_sight():
    days = [DayOfUse(date(2026, 2, day), units, 0) for day, units in ((1, 8000), (2, 0), (3, 1))]
    drawn = chart.draw(date(2026, 2, 1), days)
    assert (drawn.width, [level.label for level in drawn.levels]) == (
        2800,
        ["8k", "6k", "4k", "2k", "0"],
    )
    assert [(bar.slot, bar.x, bar.y, bar.height) for bar in drawn.bars] == [
        (0, 15, 0, 1000),
        (200, 215, 990, 10),
    ]
    assert [day.day for day in drawn.dates] == [1, 7, 14, 21, 28]
    assert summary.next_month(date(2026, 2, 1)) == date(2026, 3, 1)
