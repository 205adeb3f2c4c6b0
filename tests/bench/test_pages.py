"""What the pages cost: their queries here, their time by `script/bench --pages`."""

import pytest
from django.test import Client
from django.utils import timezone

from bench import pages
from credits import ledger

pytestmark = pytest.mark.django_db


def test_no_page_takes_more_than_eight_queries_however_long_the_history(
    user, other_user, wallet, client
):
    for key in range(5):
        ledger.grant(wallet, 100, key=f"g{key}", kind="purchase", paid=100)
        ledger.spend(wallet, 10, key=f"s{key}")
    pages.write_history(ledger.wallet_of(other_user).pk, 30_000)
    other = Client()
    visits = {pages.SIGN_IN_NAME: lambda: Client().get(pages.SIGN_IN)}
    for name, browser, owner in (("few", client, user), ("many", other, other_user)):
        browser.force_login(owner)
        pages.fill_the_rest(owner)
        visits |= pages.visits_of(browser, name)
    costs = pages.measure(visits, rounds=2)
    for path in pages.PAGES:
        few, many = costs[f"`{path}`, few"], costs[f"`{path}`, many"]
        assert few.queries == many.queries <= pages.MOST_QUERIES
    report = pages.report(costs)
    assert "| `/dashboard`, many |" in report
    assert timezone.now().strftime("%Y-%m-%d") in report
