"""What the pages cost: queries and computing here, their time by `script/bench --pages`."""

import pytest
from django.test import Client
from django.utils import timezone

from bench import pages
from credits import ledger

pytestmark = pytest.mark.django_db(transaction=True)


def test_no_page_takes_more_than_eight_queries_however_long_the_history(
    user, other_user, wallet, client, site_url
):
    for key in range(5):
        ledger.grant(wallet, 100, key=f"g{key}", kind="purchase", paid=100)
        ledger.spend(wallet, 10, key=f"s{key}")
    pages.write_history(ledger.wallet_of(other_user).pk, 30_000)
    visits = {pages.SIGN_IN_NAME: pages.Visit(Client(), pages.SIGN_IN)}
    for name, browser, owner in (("few", client, user), ("many", Client(), other_user)):
        browser.force_login(owner)
        pages.fill_the_rest(owner)
        visits |= pages.visits_of(browser, name)
    costs = pages.measure(site_url, visits, rounds=12, warm_up=3)
    for path in pages.PAGES:
        few, many = costs[f"`{path}`, few"], costs[f"`{path}`, many"]
        assert few.queries == many.queries <= pages.MOST_QUERIES
        # What this process computes, unlike what passes, hardly depends on what else runs.
        sign_in = costs[pages.SIGN_IN_NAME].computed
        assert max(few.computed, many.computed) <= pages.MOST_TIME * sign_in
    report = pages.report(costs)
    assert "| `/dashboard`, many |" in report
    assert timezone.now().strftime("%Y-%m-%d") in report
