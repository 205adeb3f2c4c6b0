"""Photographs the pages, of a site of its own with made-up data, to `var/screenshots`."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import check
import postgres
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "var" / "screenshots"
EMAIL, STAFF, PASSWORD = "ada@example.com", "admin@example.com", "correct horse battery"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
THEMES = ("light", "dark")
START_TIMEOUT = 60  # seconds
PATIENCE = 30_000  # milliseconds

# The rest is bought in the browser, as anybody would.
SEED = f"""
from allauth.account.models import EmailAddress
from accounts.models import User
for email, make in (
    ({EMAIL!r}, User.objects.create_user),
    ({STAFF!r}, User.objects.create_superuser),
):
    user = make(email, {PASSWORD!r})
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
"""
MOVE = f"""
from accounts.models import User
from credits import ledger
ada, staff = (User.objects.get(email=email) for email in ({EMAIL!r}, {STAFF!r}))
wallet = ledger.wallet_of(ada)
ledger.spend(wallet, 206, key="job:1", note="412 summaries")
ledger.adjust(wallet, 250, key="adjustment:1", note="Goodwill after the outage", actor=staff)
ledger.spend(wallet, 94, key="job:2", note="188 summaries")
"""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is cleaned up
    OUT.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        state = stack.enter_context(TemporaryDirectory())
        env = _environment(Path(state), stack.enter_context(postgres.throwaway()))
        _manage(env, "migrate", "-v0")
        _manage(env, "shell", "-v0", "-c", SEED)
        _start(stack, env, "-m", "stripe_sandbox")
        _start(stack, env, "-m", "gunicorn", "config.wsgi")
        site, sandbox = env["BASE_URL"], env["STRIPE_API_BASE"]
        _wait_for(f"{site}/healthz")
        _wait_for(f"{sandbox}/sandbox")
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=os.environ["CHROME"])
        stack.callback(browser.close)
        _tell_the_story(browser, env)
    print(f"{len(list(OUT.glob('*.png')))} pictures are in {OUT.relative_to(ROOT)}.")


def _environment(state: Path, database: str) -> dict[str, str]:
    """Neither `.env` nor what runs here already is touched."""
    site, sandbox = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    return check.environment() | {
        "BASE_URL": f"http://{site}",
        "BIND": site,
        "DATABASE_URL": database,
        "DEBUG": "on",
        "STRIPE_API_BASE": f"http://{sandbox}",
        "STRIPE_REDIRECT_ORIGINS": f"http://{sandbox}",
        "STRIPE_SANDBOX_BIND": sandbox,
        "STRIPE_SANDBOX_STATE": str(state / "stripe-sandbox.sqlite3"),
        "STRIPE_SANDBOX_WEBHOOK_URL": f"http://{site}/api/billing/webhook",
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _manage(env: dict[str, str], *command: str) -> None:
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=env, check=True)


def _start(stack: ExitStack, env: dict[str, str], *command: str) -> None:
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env)
    stack.callback(process.wait, START_TIMEOUT)
    stack.callback(process.terminate)


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _tell_the_story(browser: Browser, env: dict[str, str]) -> None:
    site = env["BASE_URL"]
    page = _sign_in(browser, site, EMAIL)
    _buy(page, site, 5000, "payment")
    page.goto(f"{site}/credits?credits=499")
    _shoot(page, "shop")

    _buy(page, site, 2000, "subscription")
    _manage(env, "shell", "-v0", "-c", MOVE)
    page.goto(f"{site}/dashboard")
    _shoot(page, "dashboard")
    page.goto(f"{site}/dashboard/plan?credits=4999")
    _shoot(page, "plan")
    page.goto(f"{site}/dashboard/plan/cancel")
    _shoot(page, "plan-cancel")
    page.goto(f"{site}/api/billing/portal-link")
    _shoot(page, "portal")
    page.goto(f"{site}/credits?credits=1234")
    page.locator("aside [data-submit]").click()
    page.get_by_label("Card number").wait_for()
    _shoot(page, "pay")
    _pay(page)
    page.get_by_role("heading", name="1,234 credits added").wait_for()
    _shoot(page, "success")

    staff = _sign_in(browser, site, STAFF)
    staff.goto(f"{site}/admin/billing/customer/?q={EMAIL}")
    staff.get_by_role("link", name=EMAIL).click()
    _shoot(staff, "admin")
    staff.get_by_role("link", name="Adjust balance").click()
    _shoot(staff, "adjust")
    staff.go_back()
    staff.locator("a[href*='/billing/refund/of/']").last.click()
    staff.get_by_label("Reason").fill("Bought by mistake")
    _shoot(staff, "refund")
    staff.get_by_role("button", name="Preview").click()
    staff.get_by_role("button", name="Refund $40.00").wait_for()
    _shoot(staff, "refund-preview")
    staff.goto(f"{env['STRIPE_API_BASE']}/sandbox")
    _shoot(staff, "sandbox")


def _sign_in(browser: Browser, site: str, email: str) -> Page:
    context = browser.new_context(base_url=site, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")
    page.wait_for_url("**/dashboard")  # its message is shown there, and not in a picture
    return page


def _buy(page: Page, site: str, credits: int, mode: str) -> None:
    page.goto(f"{site}/credits?credits={credits}&mode={mode}")
    page.locator("aside [data-submit]").click()
    _pay(page)
    page.get_by_role("heading", name=f"{credits:,} credits added").wait_for()


def _pay(page: Page) -> None:
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry date").fill("12/34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button").first.click()


def _shoot(page: Page, name: str) -> None:
    for device, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.wait_for_timeout(400)  # colours fade
            page.screenshot(
                path=OUT / f"{name}-{device}-{theme}.png", full_page=device == "desktop"
            )


if __name__ == "__main__":
    main()
