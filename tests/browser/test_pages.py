"""What every page owes its readers: accessible, light, calm, and inside the screen."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response

from accounts.models import User
from credits import ledger
from tests.browser.test_story import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
PUBLIC = ["/credits", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"]
SIGNED_IN = ["/credits?credits=499", "/dashboard", "/accounts/email/", "/accounts/password/change/"]
# The sum of all layout shifts since the page began to load.
SHIFT = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; })
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 100);
})"""


def violations(page: Page) -> list[str]:
    page.evaluate(Path(os.environ["AXE_SCRIPT"]).read_text())
    result = page.evaluate("axe.run()")
    return [
        f"{found['id']}: {node['html'][:200]}"
        for found in result["violations"]
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_pages_keep_their_budgets(new_page, theme, width):
    page = new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    check_all(page, PUBLIC)
    user = User.objects.create_user("ada@example.com", PASSWORD)
    ledger.grant(ledger.wallet_of(user), 1234, key="g", kind="purchase", paid=1172, note="Thanks")
    ledger.spend(ledger.wallet_of(user), 34, key="s", note="A picture")
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    # What still loads of the page before would count as the next one's.
    page.get_by_role("heading", name="Dashboard").wait_for()
    page.wait_for_load_state("networkidle")
    check_all(page, SIGNED_IN)


def check_all(page: Page, paths: list[str]) -> None:
    for path in paths:
        responses: list[Response] = []
        keep = lambda response, kept=responses: kept.append(response)  # noqa: E731 (to remove it)
        page.on("response", keep)
        page.goto(path, wait_until="networkidle")
        page.remove_listener("response", keep)
        assert len(responses) <= 8, f"{path} takes {len(responses)} requests"
        weight = sum(response.request.sizes()["responseBodySize"] for response in responses)
        assert weight <= 40 * 1024, f"{path} weighs {weight} bytes"
        assert violations(page) == [], path
        inside = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(inside), f"{path} is wider than the screen"
        assert page.evaluate(SHIFT) == 0, f"{path} moves while it loads"


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
