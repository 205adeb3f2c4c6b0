import json

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from playwright.sync_api import expect

from billing import pricing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_the_browser_computes_every_price_as_the_server_does(page):
    tiers = pricing.load_tiers()
    page.goto("/credits")
    computed = page.evaluate(
        """async ([module, plan]) => {
            const { quote } = await import(module);
            const rows = [];
            for (let credits = plan.min; credits <= plan.max; credits++) {
                const q = quote(credits, plan), deal = q.better_deal;
                const offer = deal && [deal.credits, deal.total, deal.saves];
                rows.push([q.total, q.list_total, q.discount_percent, q.unit_price,
                           q.minimum_charge_applied, offer]);
            }
            return JSON.stringify(rows);
        }""",
        [staticfiles_storage.url("js/pricing.js"), pricing.plan(tiers)],
    )
    expected = []
    for credits in range(10, 100_001):
        quote = pricing.quote(credits, tiers)
        deal = quote.better_deal
        expected.append(
            [
                quote.total,
                quote.list_total,
                quote.discount_percent,
                quote.tier.unit_price,
                quote.minimum_charge_applied,
                deal and [deal.credits, deal.total, deal.saves],
            ]
        )
    assert len(expected) == 99_991
    assert json.loads(computed) == expected


@pytest.mark.parametrize(
    ("typed", "total", "words"),
    [
        ("10", "$0.50", "50 credits cost the same"),
        ("49", "$0.50", "50 credits cost the same"),
        ("50", "$0.50", None),
        ("499", "$4.99", "500 credits cost $4.75, $0.24 less than 499"),
        ("500", "$4.75", None),
        ("1,999", "$18.99", "2,000 credits cost $18.00, $0.99 less than 1,999"),
        ("2 000", "$18.00", None),
        ("4999", "$44.99", "5,000 credits cost $40.00, $4.99 less than 4,999"),
        ("5000", "$40.00", None),
        ("100,000", "$800.00", None),
    ],
)
def test_the_price_as_one_types(page, typed, total, words):
    page.goto("/credits")
    page.get_by_label("How many credits?").fill(typed)
    expect(page.locator("aside [data-out=total]")).to_have_text(total)
    offer = page.locator("[data-out=deal]")
    if words:
        expect(offer).to_contain_text(words)
        offer.get_by_role("link").click()
        better = words.split(" ")[0]
        expect(page.get_by_label("How many credits?")).to_have_value(better)
        expect(offer).to_be_hidden()
    else:
        expect(offer).to_be_hidden()


def test_the_minimum_charge_is_said(page):
    page.goto("/credits?credits=30")
    notice = page.get_by_text("The smallest payment is $0.50")
    expect(notice).to_be_visible()
    page.get_by_label("How many credits?").fill("51")
    expect(notice).to_be_hidden()


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("9", "The smallest purchase is 10 credits."),
        ("100001", "The largest purchase is 100,000 credits."),
        ("5.5", "Enter a whole number"),
        ("1e3", "Enter a whole number"),
        ("\u0665\u0660\u0660", "Enter a whole number"),
        ("", "Enter a whole number"),
    ],
)
def test_what_can_not_be_bought_is_said_and_not_sent(page, typed, problem):
    page.goto("/credits")
    field = page.get_by_label("How many credits?")
    field.fill(typed)
    page.locator("aside [data-submit]").click()
    expect(page.locator("#credits-error")).to_contain_text(problem)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    assert page.url.endswith("/credits")
    field.fill("500")
    expect(page.locator("#credits-error")).to_be_hidden()
