"""A real browser against the real web server, with the stand-in for Stripe behind it."""

import os
from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.sandbox import Sandbox

# Chromium looks up its maker's hosts at start; nothing beyond this machine is asked.
ARGUMENTS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
SLOW = 20_000  # milliseconds: two busy cores
expect.set_options(timeout=SLOW)


@pytest.fixture
def site(site_url: str, sandbox: Sandbox, transactional_db) -> str:
    """The site's address; its purchases are reported to it by webhook."""
    secret = django_settings.STRIPE_WEBHOOK_SECRETS[0]
    sandbox.deliver_to(f"{site_url}/api/billing/webhook", secret)
    return site_url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=os.environ["CHROME"], args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser says is wrong: errors of scripts, and what the CSP has blocked."""
    return []


@pytest.fixture
def new_page(browser: Browser, site: str, complaints: list[str]):
    contexts: list[BrowserContext] = []

    def listen(message: ConsoleMessage) -> None:
        is_ours = message.location["url"].startswith(site)
        # Answers of 4xx and 5xx are told there as well; tests look at what people see of them.
        is_answer = "the server responded with a status of" in message.text
        if is_ours and message.type in {"error", "warning"} and not is_answer:
            complaints.append(message.text)

    def make(**options) -> Page:
        context = browser.new_context(
            base_url=site, **{"viewport": {"width": 1280, "height": 900}} | options
        )
        context.set_default_timeout(SLOW)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", listen)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page) -> Page:
    return new_page()
