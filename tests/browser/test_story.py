"""The whole story, as a new user lives it."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from billing.models import Purchase
from credits import ledger
from credits.models import Entry
from tests.second_step import add_app, code_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
PASSWORD = "correct horse battery"


def sign_up(page: Page, email: str = "ada@example.com") -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").first.click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()


def type_amount(page: Page, text: str) -> None:
    field = page.get_by_label("How many credits?")
    field.fill("")
    field.press_sequentially(text)


def total(page: Page):
    return page.locator("aside [data-out=total]")


def pay(page: Page, card: str = "4242 4242 4242 4242") -> None:
    page.get_by_label("Card number").fill(card)
    page.get_by_label("Expiry date").fill("12 / 34")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button").click()


def test_one_purchase_from_sign_up_to_an_adjusted_balance(page, new_page, sandbox):
    sign_up(page)
    expect(page.get_by_text("No credits yet.")).to_be_visible()
    page.get_by_role("link", name="Buy credits").first.click()
    type_amount(page, "1,234")
    expect(total(page)).to_have_text("$11.72")
    sandbox.deliveries("paused")
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_text("Sandbox: no real money moves.")).to_be_visible()
    expect(page.get_by_text("$11.72").first).to_be_visible()

    pay(page, "4000 0000 0000 0002")
    expect(page.get_by_role("alert")).to_contain_text("Your card was declined.")
    pay(page)
    expect(page.get_by_role("heading", name="Confirming your payment")).to_be_visible()
    assert Entry.objects.count() == 0
    sandbox.deliveries("normal")
    expect(page.get_by_role("heading", name="1,234 credits added")).to_be_visible()
    expect(page.get_by_text("Your balance is now 1,234 credits.")).to_be_visible()

    page.get_by_role("link", name="Go to dashboard").click()
    expect(page.locator(".big")).to_have_text("1,234 credits")
    row = page.locator(".ledger tbody tr")
    expect(row).to_have_count(1)
    for words in ("Purchase", "$11.72", "+1,234"):
        expect(row).to_contain_text(words)
    page.get_by_role("link", name="Manage subscription").click()
    expect(page.get_by_role("heading", name="Manage your billing")).to_be_visible()
    page.get_by_role("link", name="Return to").click()
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()

    secret = add_app(User.objects.create_superuser("admin@example.com", PASSWORD))
    staff = new_page()
    staff.goto("/admin/")
    staff.get_by_label("Email").fill("admin@example.com")
    staff.get_by_label("Password").fill(PASSWORD)
    staff.get_by_label("Password").press("Enter")
    staff.get_by_label("Code from your app").fill(code_of(secret))
    staff.get_by_role("button", name="Sign in").click()
    staff.get_by_role("link", name="Customers", exact=True).first.click()
    staff.locator("#searchbar").fill("ada@")
    staff.get_by_role("button", name="Search").click()
    staff.get_by_role("link", name="ada@example.com").click()
    staff.get_by_role("link", name="Adjust balance").click()
    staff.get_by_label("Credits").fill("-34")
    staff.get_by_label("Reason").fill("Counted twice")
    staff.get_by_role("button", name="Preview").click()
    expect(staff.get_by_text("the balance goes from 1,234 to 1,200.")).to_be_visible()
    staff.get_by_role("button", name="Book the adjustment").click()
    expect(staff.get_by_text("after it is 1,200.")).to_be_visible()

    page.reload()
    expect(page.locator(".big")).to_have_text("1,200 credits")
    expect(page.locator(".ledger")).to_contain_text("Counted twice")


def test_a_monthly_plan_with_a_renewal_and_its_end(page, sandbox):
    sign_up(page)
    page.goto("/credits?credits=2000")
    page.get_by_text("Every month", exact=True).click()
    expect(total(page)).to_have_text("$18.00")
    expect(page.locator("aside [data-out=every]")).to_have_text(" a month")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_text("every month")).to_be_visible()
    pay(page)
    expect(page.get_by_role("heading", name="2,000 credits added")).to_be_visible()

    user = User.objects.get()
    (subscription,) = sandbox.objects("subscription")
    sandbox.advance(subscription["id"])
    for _ in range(100):
        if Entry.objects.count() == 2:
            break
        page.wait_for_timeout(100)
    assert ledger.balance_of(user) == 4000
    assert list(Entry.objects.order_by("id").values_list("kind", flat=True)) == [
        "purchase",
        "renewal",
    ]

    page.goto("/dashboard")
    expect(page.locator(".big")).to_have_text("4,000 credits")
    plan = page.locator("section", has=page.get_by_role("heading", name="Monthly plan"))
    for words in ("Active", "2,000 a month", "$18.00 a month", "Next payment"):
        expect(plan).to_contain_text(words)
    page.goto("/credits")
    expect(page.get_by_text("You have a monthly plan of 2,000 credits.")).to_be_visible()
    page.goto("/dashboard")
    page.get_by_role("link", name="Manage subscription").click()
    page.get_by_role("link", name="Cancel plan").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(page.get_by_role("button", name="Resume plan")).to_be_visible()
    page.get_by_role("link", name="Return to").click()
    for _ in range(50):
        if user.subscriptions.filter(cancel_at_period_end=True).exists():
            break
        page.wait_for_timeout(100)
    page.reload()
    expect(plan).to_contain_text("Ending")

    sandbox.advance(subscription["id"])
    for _ in range(50):
        if user.subscriptions.filter(status="canceled").exists():
            break
        page.wait_for_timeout(100)
    page.reload()
    expect(plan).to_contain_text("Ended")
    expect(page.locator(".big")).to_have_text("4,000 credits")


def test_three_clicks_make_one_purchase_and_back_leaves_a_usable_form(page, sandbox):
    sign_up(page)
    page.goto("/credits?credits=500")
    sandbox.add_fault(method="POST", path="/v1/customers", kind="error", status=500, times=1)
    page.locator("aside [data-submit]").evaluate("b => { b.click(); b.click(); b.click(); }")
    expect(page.get_by_label("Card number")).to_be_visible()
    assert Purchase.objects.count() == 1
    assert len(sandbox.objects("checkout.session")) == 1

    page.go_back()
    type_amount(page, "5000")
    expect(total(page)).to_have_text("$40.00")
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_text("$40.00").first).to_be_visible()
    assert sorted(Purchase.objects.values_list("credits", flat=True)) == [500, 5000]


def test_everything_works_without_javascript(new_page, sandbox):
    page = new_page(java_script_enabled=False)
    sign_up(page)
    page.goto("/credits")
    page.get_by_label("How many credits?").fill("5 000")
    page.get_by_role("button", name="Update price").click()
    expect(total(page)).to_have_text("$40.00")
    page.get_by_label("How many credits?").fill("6,000")
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_text("The price has changed.", exact=False).first).to_be_visible()
    expect(total(page)).to_have_text("$48.00")
    page.get_by_role("button", name="Continue to payment").click()
    pay(page)
    for _ in range(50):
        if Entry.objects.exists():
            break
        page.wait_for_timeout(100)
    check = page.get_by_role("link", name="Check again")
    if check.is_visible():
        check.click()
    expect(page.get_by_role("heading", name="6,000 credits added")).to_be_visible()


def test_an_outage_is_told_and_the_same_form_buys_once(page, sandbox):
    sign_up(page)
    page.goto("/credits?credits=500")
    sandbox.add_fault(method="POST", path="/v1/checkout", kind="lose_reply", times=2)
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was charged")
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_label("Card number")).to_be_visible()
    assert len(sandbox.objects("checkout.session")) == 1
    assert Purchase.objects.count() == 1


def test_a_visitor_signs_up_on_the_way_and_finds_the_amount_again(page):
    page.goto("/credits")
    type_amount(page, "777")
    page.get_by_role("link", name="Sign up").last.click()
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_label("How many credits?")).to_have_value("777")
    expect(total(page)).to_have_text("$7.38")
