"""What holds for every page, as Django answers it: none is forgotten, and nothing in it is inline."""

from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, resolve

from script.every_page import PAGES

NO_PAGES = {
    "": "a redirect",
    "dashboard/history.csv": "a file",
    "dashboard/account/export": "a file",
    "dashboard/plan/resume": "a button",
    "api/billing/dynamic-checkout": "JSON",
    "api/billing/quote": "JSON",
    "api/billing/purchases/<uuid:purchase_id>": "JSON",
    "api/billing/webhook": "JSON",
    "api/<path:rest>": "JSON",
    "accounts/login/code/confirm/": "a redirect while signing in by code is off",
    "admin": "a redirect",
    "admin/login/": "a redirect to our own",
    "admin/logout/": "a button",
    "admin/password_change/": "Django's own",
    "admin/password_change/done/": "Django's own",
    "admin/autocomplete/": "JSON",
    "admin/jsi18n/": "a script",
    "admin/r/<path:content_type_id>/<path:object_id>/": "a redirect",
    "admin/credits/adjustment/<int:adjustment_id>/decide/": "a button",
    "admin/credits/entry/revenue.csv": "a file",
    "admin/billing/event/<int:event_id>/replay/": "a button",
    "admin/accounts/user/<id>/password/": "Django's own",
    "admin/(?P<url>.*)$": "a 404",
}
"""Addresses that answer no page of ours, and why."""

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


def addresses(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, route)
        else:
            yield route, pattern


def is_djangos_own(pattern: URLPattern) -> bool:
    """A list or form of the admin that looks as Django made it."""
    model_admin = getattr(pattern.callback, "model_admin", None)
    if model_admin is None:
        return False
    kind = (pattern.name or "redirect").rpartition("_")[2]
    if kind not in {"changelist", "add", "history", "delete", "change", "redirect"}:
        return False
    template = {"changelist": "change_list_template", "change": "change_form_template"}.get(kind)
    return template is None or getattr(model_admin, template) is None


def test_no_page_is_forgotten():
    listed = {resolve(page.address.format_map(Anything()).partition("?")[0]) for page in PAGES}
    print(listed)


class Anything(dict):
    def __missing__(self, name: str) -> str:
        return "1"
