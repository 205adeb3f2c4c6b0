"""Every page keeps its budgets: light, calm, inside the screen, and usable by everybody."""

import pytest

from script.every_page import PAGES, PEOPLE, bring
from script.everybody import settle_in
from tests.browser import budgets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
PARTS = 2  # so that they run side by side


@pytest.mark.parametrize("part", range(PARTS))
def test_pages_keep_their_budgets(new_page, site, complaints, part):
    accounts, places = settle_in(PEOPLE)
    tab = new_page()
    budgets.prepare(tab)
    found = []
    for page in PAGES[part::PARTS]:
        address = bring(tab, site, page, accounts, places)
        budget = budgets.STAFF if page.address.startswith("/admin/") else budgets.PEOPLE
        found += budgets.faults(tab, address, complaints, budget)
    assert not found, "\n".join(found)


CLEAN = """<!doctype html><html lang="en"><head><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/static/app.css">
</head><body><main><h1>A page</h1>%s</main></body></html>"""
MOVES = """requestAnimationFrame(() => requestAnimationFrame(() => {
  document.querySelector('h1').insertAdjacentHTML('beforebegin', '<p>A notice</p>');
  throw new Error('planted');
}));"""
FAINT = "@media (prefers-color-scheme: dark) { .faint { color: #333; } }"
HTML = {"Content-Type": "text/html; charset=utf-8"}
# What tells each fault, and the fault.
PLANTED = {
    "of weight, and may take 40960": f"<!-- {40_000 * 'a'} -->",
    "of requests, and may take 8": "".join(
        f"<img src=/static/icon.svg?{n} alt=''>" for n in range(8)
    ),
    "of css, and may take 10240": "<link rel=stylesheet href=/static/admin/css/widgets.css>"
    "<link rel=stylesheet href=/static/admin/css/vendor/select2/select2.css>",
    "of js, and may take 10240": "<script src=/static/admin/js/vendor/jquery/jquery.js></script>",
    "it moves while it loads": "<script src=/moves></script>",
    ": planted": "",  # by the same script
    "px wider than the screen": "<input aria-label=B size=300>",
    "the focus does not show on <input": "<p class=seg><input type=checkbox aria-label=A></p>",
    "in light image-alt: <img": "<img src=/static/icon.svg>",
    "in light label: <input": "<p>Name</p><input>",
    "in light target-size: <input": 2 * "<input type=checkbox aria-label=A>",
    "in dark color-contrast: <p": "<link rel=stylesheet href=/faint><p class=faint>Almost gone</p>",
    "inline style": "<p style='color: red'>A</p>",
}


@pytest.mark.parametrize("planted", [PLANTED, {}])
def test_each_fault_that_is_planted_is_told_and_no_other(new_page, site, complaints, planted):
    tab = new_page()
    budgets.prepare(tab)
    csp = {"Content-Security-Policy": "default-src 'self'"}
    html = CLEAN % "".join(planted.values())
    tab.route("**/planted", lambda route: route.fulfill(body=html, headers=csp | HTML))
    tab.route("**/faint", lambda route: route.fulfill(body=FAINT, content_type="text/css"))
    tab.route("**/moves", lambda route: route.fulfill(body=MOVES, content_type="text/javascript"))
    found = budgets.faults(tab, f"{site}/planted", complaints)
    missed = [words for words in planted if not any(words in one for one in found)]
    assert not missed, "\n".join([*missed, "but:", *found])
    assert bool(found) == bool(planted)


def test_the_theme_is_kept(page):
    page.goto("/credits")
    page.get_by_role("button", name="Dark theme").click()
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
