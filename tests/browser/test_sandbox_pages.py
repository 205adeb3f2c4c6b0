"""The stand-in's own pages: readable on every screen, and usable without JavaScript."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.budgets import violations
from tests.stripe_sandbox.helpers import client, order, subscribe

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_pages_are_accessible_and_inside_the_screen(browser: Browser, sandbox, theme, width):
    v1 = client(sandbox).v1
    subscription, customer = subscribe(sandbox)
    v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
    owing, debtor = subscribe(sandbox)
    sandbox.fail_renewals(owing)
    sandbox.advance(owing)
    open_invoice = sandbox.objects("invoice")[0]["hosted_invoice_url"]
    debtors = v1.billing_portal.sessions.create({"customer": debtor}).url
    portal = v1.billing_portal.sessions.create({"customer": customer})
    session = v1.checkout.sessions.create(order())
    invoice = sandbox.objects("invoice")[-1]["hosted_invoice_url"]
    receipt = sandbox.objects("charge")[-1]["receipt_url"]
    sandbox.add_fault(path="/v1/checkout/sessions", kind="lose_reply", times=3)

    # The pages' CSP keeps out the checker's script as well; it has a test of its own.
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=True
    )
    page = context.new_page()
    for url in (
        f"{sandbox.base_url}/sandbox", session.url, portal.url, invoice, receipt, open_invoice,
        debtors, f"{debtors}?card=new",
    ):  # fmt: skip
        page.goto(url)
        expect(page.get_by_text("Sandbox: no real money moves.")).to_be_visible()
        assert violations(page) == [], url
        inside = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(inside), f"{url} is wider than the screen"
    context.close()


def test_the_controls_need_no_javascript(browser: Browser, sandbox):
    subscription, _ = subscribe(sandbox)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.goto(f"{sandbox.base_url}/sandbox")
    status = page.get_by_role("status")

    page.get_by_label("Seconds late").fill("45")
    page.get_by_role("button", name="Late").click()
    expect(status).to_have_text("Events go out 45 seconds late.")

    page.get_by_label("The next calls that create").select_option("Checkout Sessions")
    page.get_by_label("will").select_option("Do the work and lose the reply")
    page.get_by_role("region", name="Faults").get_by_label("Times").fill("2")
    page.get_by_role("button", name="Order the fault").click()
    expect(status).to_have_text(
        "Ordered: Checkout Sessions (POST) will do the work and lose the reply, 2 times."
    )
    page.get_by_role("button", name="Clear all faults").click()
    expect(status).to_have_text("All faults are cleared.")

    page.get_by_role("button", name="A month on").click()
    expect(status).to_have_text(f"A month has gone by: {subscription} has renewed.")
    page.get_by_role("button", name="Shuffled").click()
    expect(page.get_by_role("button", name="Shuffled")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(status).to_have_count(0)
    assert told == []
    context.close()


def test_a_failed_renewal_is_mended_without_javascript(browser: Browser, sandbox):
    subscription, customer = subscribe(sandbox)
    portal = client(sandbox).v1.billing_portal.sessions.create({"customer": customer})
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    page = context.new_page()

    def press(name: str, words: str) -> None:
        page.goto(f"{sandbox.base_url}/sandbox")
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("status")).to_have_text(words)

    press("Next renewals fail", f"The card of {subscription} is declined from now on.")
    press("A month on", f"A month has gone by: {subscription} is past due.")
    press("Try again now", f"Stripe has tried again: {subscription} is past due.")

    page.goto(portal.url)
    page.get_by_role("link", name="Update your card").click()
    page.get_by_label("Card number").fill("4000000000000002")
    page.get_by_label("Expiry date").fill("12/34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button", name="Save this card").click()
    expect(page.get_by_role("alert")).to_have_text(
        "Your card was declined. Your card stays as it was."
    )
    page.get_by_label("Card number").fill("4242424242424242")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button", name="Save this card").click()
    expect(page.get_by_text("Paid by visa ending 4242")).to_be_visible()
    page.get_by_role("link", name="Pay the invoice").click()
    page.get_by_label("Card number").fill("4242424242424242")
    page.get_by_label("Expiry date").fill("12/34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button", name="Pay $5.00").click()
    expect(page.get_by_role("button", name="Pay $5.00")).to_have_count(0)
    assert sandbox.objects("subscription")[0]["status"] == "active"
    context.close()
