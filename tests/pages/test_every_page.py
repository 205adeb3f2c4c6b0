"""What holds for every page as Django answers it: none is forgotten, and nothing is inline."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser

import pytest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from script.every_page import PAGES, PEOPLE, ask, session_for
from script.everybody import settle_in

NO_PAGES = {
    "robots.txt": "for search engines",
    "sitemap.xml": "for search engines",
    ".well-known/security.txt": "a file",
    "language": "a button",
    "dashboard/account/time-zone": "a button",
    "dashboard/history.csv": "a file",
    "dashboard/account/export": "a file",
    "dashboard/plan/resume": "a button",
    "dashboard/top-up/off": "a button",
    "dashboard/top-up/card": "a button",
    "dashboard/top-up/card/remove": "a button",
    "dashboard/top-up/card/<slug:session_id>": "a redirect",
    "dashboard/organisations/<int:organisation_id>/history.csv": "a file",
    "dashboard/organisations/<int:organisation_id>/invitations/<int:invitation_id>/take-back": (
        "a button"
    ),
    "api/billing/dynamic-checkout": "JSON",
    "api/billing/quote": "JSON",
    "api/billing/purchases/<uuid:purchase_id>": "JSON",
    "api/billing/webhook": "JSON",
    "api/<path:rest>": "JSON",
    r"accounts/confirm-email/(?P<key>[-:\w]+)/$": "allauth's; ours is in its place",
    "accounts/2fa/recovery-codes/download/": "a file",
    "accounts/2fa/webauthn/": "a redirect",
    "accounts/2fa/webauthn/login/": "JSON",
    "accounts/github/login/callback/": "a redirect",
    "accounts/google/login/": "as GitHub's",
    "accounts/google/login/callback/": "a redirect",
    "accounts/google/login/token/": "a redirect",
    "admin": "a redirect",
    "admin/login/": "a redirect to the site's own",
    "admin/logout/": "a button",
    "admin/autocomplete/": "JSON",
    "admin/jsi18n/": "a script",
    "admin/r/<path:content_type_id>/<path:object_id>/": "a redirect",
    "admin/(?P<url>.*)$": "a 404",
    "admin/credits/adjustment/<int:adjustment_id>/decide/": "a button",
    "admin/credits/entry/revenue.csv": "a file",
    "admin/billing/promotion/<int:promotion_id>/codes.csv": "a file",
    "admin/billing/event/<int:event_id>/replay/": "a button",
    "admin/credits/gift/<uuid:gift_id>/cancel/": "a button",
    "dashboard/organisations/<int:organisation_id>/bulk/<uuid:bulk_id>/order": "a button",
    "dashboard/organisations/<int:organisation_id>/bulk/<uuid:bulk_id>/progress": "JSON",
    "dashboard/organisations/<int:organisation_id>/bulk/<uuid:bulk_id>/results.csv": "a file",
    "admin/billing/event/<int:event_id>/settle/": "a button",
    "admin/outgoing/endpoint/<int:pk>/test/": "a button",
    "admin/outgoing/message/<str:message_id>/again/": "a button",
    "admin/password_change/": "Django's own",
    "admin/password_change/done/": "Django's own",
    "admin/accounts/user/add/": "Django's own",
    "admin/accounts/user/<path:object_id>/change/": "Django's own, with one link more",
    "admin/accounts/user/<id>/password/": "Django's own",
    "admin/<app_label>/": "Django's own",
}
"""Addresses that answer none of our pages, and why. Django's own lists and forms are found by
`is_djangos_own`."""

STOCK = {
    "": None,  # a redirect
    "_changelist": "change_list_template",
    "_add": "add_form_template",
    "_change": "change_form_template",
    "_delete": "delete_confirmation_template",
    "_history": "object_history_template",
}
"""What Django gives each model in the admin, and where a template of ours would be named."""


def test_no_page_is_forgotten():
    listed = set()
    for page in PAGES:
        address = page.address.partition("?")[0].format_map(AnyNumber())
        with suppress(Resolver404):  # which is the page
            listed.add(resolve(address, "script.every_page").route)
    found = {
        route
        for route, pattern in routes()
        if not is_djangos_own(pattern) and not route.startswith("api/v1/")  # JSON
    }
    assert sorted(found - listed - set(NO_PAGES)) == []
    assert sorted(set(NO_PAGES) - found) == []
    assert sorted(set(NO_PAGES) & listed) == []


ROWS = ("to_confirm", "topped_up", "declined")
"""Whose addresses have an id that is no number."""
UUID = "00000000-0000-4000-8000-000000000000"


class AnyNumber(dict[str, str]):
    """Makes an address of what an address is made of."""

    def __missing__(self, name: str) -> str:
        if name.startswith("bulk_"):
            return UUID
        others = {"off": "/alerts/off/1", "reset": "1-1", "gift": UUID, **dict.fromkeys(ROWS, UUID)}
        return others.get(name, "1")


def routes(
    resolver: URLResolver | None = None, start: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = start + str(pattern.pattern).removeprefix("^")
        route = re.sub(r"\(\?P<app_label>.*\)/\$", "<app_label>/", route)  # it lists the apps
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, route)
        else:
            yield route, pattern


def is_djangos_own(pattern: URLPattern) -> bool:
    """Whether it is a list or form of a model that looks as Django made it."""
    model_admin = getattr(pattern.callback, "model_admin", None)
    if model_admin is None:
        return False
    model = model_admin.opts
    kind = (pattern.name or "").removeprefix(f"{model.app_label}_{model.model_name}")
    return kind in STOCK and not (STOCK[kind] and getattr(model_admin, STOCK[kind]))


@pytest.mark.django_db
def test_nothing_is_inline_and_everything_is_named(sandbox):
    accounts, places = settle_in(PEOPLE)
    faults: list[str] = []
    titles: dict[str, set[str]] = defaultdict(set)
    for page in PAGES:
        answer = ask(page, session_for(page, accounts, places), places)
        if answer.status_code != page.status:
            faults.append(f"{page.name}: is answered with {answer.status_code}")
        html = Html(answer.content.decode())
        faults += [f"{page.name}: {one}" for one in html.faults()]
        # The steps of one thing, its answers, and other ways to do the same may have the same.
        address = answer.request["PATH_INFO"]  # where redirects have led to
        one = "/".join(address.split("/")[:3])
        titles[html.title.strip()].add("asks" if address.endswith("/reauthenticate/") else one)
    faults += [
        f"{title!r} is the title of several: {sorted(pages)}"
        for title, pages in titles.items()
        if len(pages) > 1
    ]
    assert not faults, "\n".join(faults)


class Html(HTMLParser):
    """A page, read once; what is wrong with it is collected on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title = ""
        self.found: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.lang = ""
        self.open_form: str | None = None
        self.is_in_title = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.ids.update([has["id"]] if "id" in has else [])
        self.found += [f"<{tag} {name}=>" for name in has if name == "style" or name[:2] == "on"]
        is_name = has.get("rel") == "canonical"  # of the page, for search engines
        is_linked = tag in {"link", "use", "image"} and not is_name
        asset = has.get("src") or (has.get("href") if is_linked else None)
        # A picture in the page, such as the one to scan, comes from nowhere.
        ours = ("/", "#", "data:image/") if tag == "img" else ("/", "#")
        if asset and not (asset.startswith(ours) and asset[:2] != "//"):
            self.found.append(f"<{tag}> is from elsewhere: {asset}")
        match tag:
            case "html":
                self.lang = has.get("lang", "")
            case "title":
                self.is_in_title = self.tags["title"] == 1  # the others are in pictures
            case "style":
                self.found.append("<style>")
            case "script" if "src" not in has and has.get("type") != "application/json":
                self.found.append("<script> without src")
            case "img" if "alt" not in has:
                self.found.append(f"<img> without alt: {asset}")
            case "form" if has.get("method", "").lower() == "post":
                self.open_form = has.get("action", "")
            case "input" if has.get("name") == "csrfmiddlewaretoken":
                self.open_form = None

    def handle_data(self, data: str) -> None:
        if self.is_in_title:
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self.is_in_title = False
        if tag == "form" and self.open_form is not None:
            self.found.append(f"a form without CSRF token, to {self.open_form!r}")
            self.open_form = None

    def faults(self) -> list[str]:
        twice = [
            f"id {name!r} is there {count} times" for name, count in self.ids.items() if count > 1
        ]
        missing = [] if self.lang else ["<html> without lang"]
        if not self.title.strip():
            missing.append("no title")
        if self.tags["h1"] != 1:
            missing.append(f"{self.tags['h1']} <h1>")
        return [*self.found, *twice, *missing]


def test_each_fault_that_is_planted_is_told():
    html = Html("""<html><h1>A</h1><h1>B</h1><p id=a style="color: red" onclick="x()"></p><b id=a>
        <style></style><script>x</script><script type="application/json">{}</script>
        <link href="https://cdn.example/a.css"><img src="//cdn.example/a.png">
        <form method=post action=/a></form><form method=post action=/b>
        <input name=csrfmiddlewaretoken></form></html>""")
    assert html.faults() == [
        "<p style=>",
        "<p onclick=>",
        "<style>",
        "<script> without src",
        "<link> is from elsewhere: https://cdn.example/a.css",
        "<img> is from elsewhere: //cdn.example/a.png",
        "<img> without alt: //cdn.example/a.png",
        "a form without CSRF token, to '/a'",
        "id 'a' is there 2 times",
        "<html> without lang",
        "no title",
        "2 <h1>",
    ]
