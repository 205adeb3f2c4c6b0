"""What of the pages about accounts only a browser can show."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from tests.browser.budgets import violations

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_password_can_be_looked_at_and_mistakes_are_where_the_cursor_is(page: Page):
    page.goto("/accounts/signup/")
    field = page.locator("#id_password1")
    eye = page.get_by_role("button", name="Show password")
    field.fill("12345")
    eye.press("Enter")
    expect(field).to_have_attribute("type", "text")
    expect(eye).to_have_attribute("aria-pressed", "true")
    expect(field).to_have_value("12345")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_label("Email").press("Enter")
    expect(page.locator("#id_password1_error")).to_contain_text("too short")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    assert violations(page) == []
    page.keyboard.type("correct horse battery")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    assert User.objects.get().email == "ada@example.com"


def test_without_javascript_there_is_no_eye(new_page):
    page = new_page(java_script_enabled=False)
    page.goto("/accounts/login/")
    expect(page.get_by_label("Password")).to_be_visible()
    expect(page.locator("[data-show]")).to_be_hidden()
