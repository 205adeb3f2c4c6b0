"""A purchase by keyboard alone, and what the pages around the payment do when time goes by."""

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from billing.models import Purchase
from credits import ledger
from tests.browser.test_dashboard import sign_in
from tests.browser.test_story import PASSWORD, total

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

# The focus is where one sees it: inside the screen, under nothing, with a ring around it. A control
# that is drawn by another element has the ring there.
IS_SEEN = """() => {
  const focused = document.activeElement;
  const { left, top, width, height } = focused.getBoundingClientRect();
  const hit = document.elementFromPoint(left + width / 2, top + height / 2);
  const rings = one => {
    const style = getComputedStyle(one);
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0
      && Number(style.opacity) > 0;
  };
  const drawnBy = [focused, focused.closest('label'), focused.closest('.plot')];
  return focused !== document.body && focused.contains(hit)
    && drawnBy.some(one => one && rings(one));
}"""


def tab_to(page: Page, wanted: Locator, key: str = "Tab") -> None:
    for _ in range(40):
        page.keyboard.press(key)
        assert page.evaluate(IS_SEEN), page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"no way by {key} to {wanted}")


def test_a_purchase_by_keyboard_alone(page, sandbox):
    user = User.objects.create_user("ada@example.com", PASSWORD)
    press, type = page.keyboard.press, page.keyboard.type
    page.goto("/accounts/login/")
    tab_to(page, page.get_by_label("Email"))
    type("ada@example.com")
    tab_to(page, page.get_by_label("Password"))
    type(PASSWORD)
    press("Enter")
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()

    tab_to(page, page.get_by_role("link", name="Buy credits").first)
    press("Enter")
    expect(page.get_by_role("heading", name="Buy credits")).to_be_visible()
    tab_to(page, page.get_by_label("One time"))
    press("ArrowRight")
    expect(page.locator("aside [data-out=every]")).to_have_text("a month")
    press("ArrowLeft")
    expect(page.locator("aside [data-out=every]")).to_have_text("")
    amount = page.get_by_label("How many credits?")
    tab_to(page, page.get_by_role("slider"))
    press("End")
    expect(amount).to_have_value("100,000")
    tab_to(page, amount, "Shift+Tab")
    press("ControlOrMeta+a")
    type("499")
    tab_to(page, page.get_by_role("link", name="Switch to 500"))
    press("Enter")
    expect(total(page)).to_have_text("$4.75")
    expect(amount).to_be_focused()
    tab_to(page, page.get_by_role("button", name="Continue to payment").first)
    press("Enter")

    expect(page.get_by_label("Card number")).to_be_visible()
    for label, text in (
        ("Card number", "4242424242424242"),
        ("Expiry date", "1234"),
        ("Security code", "123"),
    ):
        tab_to(page, page.get_by_label(label))
        type(text)
    press("Enter")
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()
    tab_to(page, page.get_by_role("link", name="Go to dashboard"))
    press("Enter")
    expect(page.locator(".big")).to_have_text("500 credits")
    assert ledger.balance_of(user) == 500

    # And the chart reads out its days.
    reading = page.locator("[data-reading]")
    today = timezone.localdate()
    expect(reading).to_have_text(f"{today:%-d %b %Y}: 500 credits, 500 bought")
    days = page.get_by_role("slider", name="Day")
    tab_to(page, days)
    press("ArrowLeft")
    expect(reading).to_contain_text(": 0 credits")
    expect(days).to_have_attribute("aria-valuetext", reading.inner_text())
    press("End")
    expect(reading).to_have_text(f"{today:%-d %b %Y}: 500 credits, 500 bought")
    box = days.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    expect(reading).to_contain_text(": 0 credits")


def test_after_a_minute_the_page_says_what_comes_next(page, sandbox):
    purchase = Purchase.objects.create(
        user=sign_in(page), mode="payment", credits=500, unit_price_e4=95, total=475, currency="usd"
    )
    asked = []

    def no_answer(route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/api/billing/purchases/*", no_answer)
    page.clock.install()
    page.goto(f"/credits/success?purchase={purchase.pk}")
    expect(page.get_by_text("in a few seconds")).to_be_visible()
    again = page.get_by_role("link", name="Check again")
    expect(again).to_be_hidden()
    slow = page.get_by_text("This takes longer than usual.")
    for _ in range(100):
        if slow.is_visible():
            break
        page.clock.run_for(10_000)
        page.wait_for_timeout(50)  # for the answer, which takes real time
    expect(slow).to_be_visible()
    expect(page.get_by_text("a mail tells you")).to_be_visible()
    expect(page.get_by_text("in a few seconds")).to_have_count(0)
    assert len(asked) == 12
    # What it asks for on request has come meanwhile.
    Purchase.objects.update(status="paid")
    again.click()
    expect(page.get_by_role("heading", name="500 credits added")).to_be_visible()


def test_a_page_that_was_kept_in_memory_can_be_sent_again(page):
    page.goto("/credits?credits=500")
    # As if the payment page were on its way.
    page.evaluate("document.forms[0].addEventListener('submit', sent => sent.preventDefault())")
    button = page.locator("aside [data-submit]")
    order = page.locator("[name=request_id]")
    first = order.input_value()
    button.click()
    expect(button).to_have_attribute("aria-busy", "true")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    expect(button).not_to_have_attribute("aria-busy", "true")
    assert order.input_value() != first  # another order, and not the paid one again
    expect(total(page)).to_have_text("$4.75")
