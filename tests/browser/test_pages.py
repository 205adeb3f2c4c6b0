"""What every page owes its readers: accessible, light, calm, and inside the screen."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Response

from accounts.models import User
from billing.models import Purchase, Subscription
from credits import ledger
from tests.browser.test_story import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
PUBLIC = [
    "/credits",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/login/code/",
    "/accounts/confirm-email/",
    "/accounts/confirm-email/old/",
    "/accounts/password/reset/",
    "/accounts/password/reset/done/",
    "/accounts/password/reset/key/1-old/",
    "/accounts/password/reset/key/done/",
    "/accounts/inactive/",
    "/accounts/3rdparty/login/cancelled/",
]
SIGNED_IN = [
    "/credits?credits=499",
    "/dashboard",
    "/dashboard?kind=spend&kind=purchase&from=2020-01-01&to=2099-12-31",
    "/dashboard?kind=dispute",
    "/dashboard/plan?credits=499",
    "/dashboard/plan/cancel",
    "/dashboard/account",
    "/dashboard/account/close",
    "/dashboard/alerts",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/sessions/",
    "/accounts/3rdparty/",
    "/accounts/logout/",
]
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
    be_busy(User.objects.create_user("ada@example.com", PASSWORD))
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    # What still loads of the page before would count as the next one's.
    page.get_by_role("heading", name="Dashboard").wait_for()
    page.wait_for_load_state("networkidle")
    check_all(page, SIGNED_IN)


def be_busy(user: User) -> None:
    """Fill all parts of the dashboard."""
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 1234, key="g", kind="purchase", paid=1172, note="Thanks")
    for days in range(1, 7):
        ledger.grant(
            wallet, 50, key=f"p{days}", kind="promotion", category="promotional", note="WELCOME",
            expires_at=timezone.now() + timedelta(days=days),
        )  # fmt: skip
    for number in range(50):
        ledger.spend(wallet, 3, key=f"s{number}", note="A picture of a cat, 1024 by 1024")
    ledger.hold(wallet, 1384, key="h", expires_in=timedelta(hours=1))
    ledger.revoke(wallet, 34, of="g", key="r", kind="refund")
    order = {"unit_price_e4": 95, "currency": "usd", "stripe_session_url": "http://127.0.0.1:9"}
    for status in ("pending", "review", "settling", "failed"):
        Purchase.objects.create(
            user=user, mode="payment", credits=500, total=475, status=status, **order
        )
    Subscription.objects.create(
        user=user, stripe_id="sub_1", status="active", credits=500, total=475, currency="usd",
        current_period_end=timezone.now(), fetched_at=timezone.now(),
    )  # fmt: skip


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
