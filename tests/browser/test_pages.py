"""Every page keeps its budgets: light, calm, inside the screen, and usable by everybody."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.test import Client
from playwright.sync_api import Page as Tab

from script.every_page import PAGES, PEOPLE, Page, ask, session_for
from script.everybody import Places, settle_in, staff
from tests.browser import budgets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
PARTS = 2  # so that they run side by side


@pytest.mark.parametrize("part", range(PARTS))
def test_pages_keep_their_budgets(new_page, site, complaints, part):
    accounts, places = settle_in(PEOPLE)
    tab = new_page()
    tab.add_init_script(budgets.COUNT_SHIFTS)
    found = []
    for page in PAGES[part::PARTS]:
        client = session_for(page, accounts.get(page.who), places)
        cookies = [
            {"name": name, "value": morsel.value, "url": site}
            for name, morsel in client.cookies.items()
        ]
        tab.context.clear_cookies()
        tab.context.add_cookies(cookies)
        with shown(tab, page, client, places) as address:
            budget = budgets.STAFF if page.who is staff else budgets.PEOPLE
            found += budgets.faults(tab, address, complaints, budget)
    assert not found, "\n".join(found)


@contextmanager
def shown(tab: Tab, page: Page, client: Client, places: Places) -> Iterator[str]:
    """Have the page at its address, also if it is none that the site answers there."""
    address = page.address.format(**places)
    if page.is_served:
        yield address
        return
    answer = ask(page, client, places)
    tab.route(
        f"**{address}",
        lambda route: route.fulfill(
            status=answer.status_code, headers=dict(answer.headers), body=answer.content
        ),
    )
    yield address
    tab.unroute_all()


@pytest.mark.parametrize("fault", ["<img src='/static/icon.svg'>", "<label>A</label><input>"])
def test_the_accessibility_check_finds_a_planted_fault(page, complaints, fault):
    page.goto("/credits")
    page.evaluate(
        "html => document.querySelector('main').insertAdjacentHTML('beforeend', html)", fault
    )
    found = violations(page)
    complaints.clear()  # the browser has its own about it
    assert len(found) == 1


def test_the_theme_is_kept(page):
    page.goto("/credits")
    page.get_by_role("button", name="Dark theme").click()
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
