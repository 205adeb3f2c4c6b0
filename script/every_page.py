"""Every page of the site: its name, its address, and who sees it in which state.

Tests hold each of them to the budgets, and `script/screenshots` photographs it. A new page is a
line in `PAGES`; a test finds the address that has none. Django must be set up before this is
imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from allauth.core import ratelimit
from django.core import exceptions
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from playwright.sync_api import Page as Tab

from accounts.models import User
from config import errors, urls
from credits.errors import LedgerBusy
from script.everybody import (
    Person,
    Places,
    busy,
    debtor,
    late,
    leaving,
    newcomer,
    regular,
    staff,
    stranger,
)


@dataclass(frozen=True)
class Page:
    name: str
    address: str
    """With {places}, which `Person`s have made."""
    who: Person | None = None
    """None is a visitor."""
    before: tuple[str, Mapping[str, str]] | None = None
    """A form that is sent first, in the same session: where and what."""
    post: Mapping[str, str] | None = None
    """A form whose answer is the page."""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    @property
    def is_served(self) -> bool:
        """Whether a browser gets it at its address; the others are what `ask` has got."""
        return self.post is None and not self.headers and not self.address.startswith("/fails/")


ORDER = {"credits": "500", "mode": "payment", "expected_total": "400"}
WRONG = {"password": "x"}
NO_NUMBER = {"low": "on", "threshold": "x"}
FOREIGN = {"Sec-Fetch-Site": "cross-site"}

PAGES = [
    Page("shop", "/credits"),
    Page("shop-cheap", "/credits?credits=20"),
    Page("shop-refused", "/credits?credits=5"),
    Page("shop-deal", "/credits?credits=499", newcomer),
    Page("shop-price-changed", "/credits", newcomer, post=ORDER, status=409),
    Page("shop-subscribed", "/credits?credits=1234", regular),
    Page("success-paid", "/credits/success?purchase={paid}", regular),
    Page("success-pending", "/credits/success?purchase={pending}", debtor),
    Page("success-settling", "/credits/success?purchase={settling}", busy),
    Page("success-review", "/credits/success?purchase={review}", busy),
    Page("success-settled", "/credits/success?purchase={settled}", busy),
    Page("success-failed", "/credits/success?purchase={failed}", busy),
    Page("dashboard", "/dashboard", regular),
    Page("dashboard-empty", "/dashboard", newcomer),
    Page("dashboard-busy", "/dashboard", busy),
    Page("dashboard-filter", "/dashboard?kind=spend&kind=purchase&from=2020-01-01", busy),
    Page("dashboard-nothing-found", "/dashboard?kind=dispute", busy),
    Page("dashboard-past-due", "/dashboard", late),
    Page("dashboard-ending", "/dashboard", leaving),
    Page("dashboard-owed", "/dashboard", debtor),
    Page("receipt-none", "/dashboard/receipts/{no_receipt}", busy, status=404),
    Page("plan", "/dashboard/plan?credits=4999", regular),
    Page("plan-none", "/dashboard/plan", newcomer),
    Page("plan-past-due", "/dashboard/plan", late),
    Page("plan-ending", "/dashboard/plan", leaving),
    Page("plan-refused", "/dashboard/plan/change", regular, post={"credits": "5"}, status=400),
    Page("plan-cancel", "/dashboard/plan/cancel", regular),
    Page("portal-confirm", "/api/billing/portal-link", regular, headers=FOREIGN),
    Page("alerts", "/dashboard/alerts", newcomer),
    Page(
        "alerts-refused",
        "/dashboard/alerts",
        newcomer,
        post={"low": "on", "threshold": "x"},
        status=400,
    ),
    Page("alerts-off", "{off}"),
    Page("alerts-are-off", "{off}", post={}),
    Page("account", "/dashboard/account", newcomer),
    Page("account-close", "/dashboard/account/close", regular),
    Page(
        "account-close-refused",
        "/dashboard/account/close",
        newcomer,
        post={"password": "x"},
        status=400,
    ),
    Page("account-closed", "/dashboard/account/closed"),
    Page("sign-in", "/accounts/login/"),
    Page("sign-in-refused", "/accounts/login/", post={"login": "a@b.example", "password": "x"}),
    Page("sign-up", "/accounts/signup/"),
    Page("sign-up-refused", "/accounts/signup/", post={"email": "a", "password1": "b"}),
    Page("sign-out", "/accounts/logout/", newcomer),
    Page("sign-in-inactive", "/accounts/inactive/"),
    Page("reauthenticate", "/accounts/reauthenticate/", newcomer),
    Page("email", "/accounts/email/", newcomer),
    Page("email-sent", "/accounts/confirm-email/"),
    Page("email-confirm", "/accounts/confirm-email/{confirm}/"),
    Page("email-confirm-expired", "/accounts/confirm-email/x/"),
    Page("password-change", "/accounts/password/change/", newcomer),
    Page("password-set", "/accounts/password/set/", stranger),
    Page("password-reset", "/accounts/password/reset/"),
    Page("password-reset-sent", "/accounts/password/reset/done/"),
    Page("password-reset-new", "/accounts/password/reset/key/{reset}/"),
    Page("password-reset-expired", "/accounts/password/reset/key/1-x/"),
    Page("password-reset-done", "/accounts/password/reset/key/done/"),
    Page("error-400", "/fails/400", status=400),
    Page("error-403", "/fails/403", newcomer, status=403),
    Page("error-403-form", "/fails/form", status=403),
    Page("error-404", "/nowhere", status=404),
    Page("error-429", "/fails/429", status=429),
    Page("error-500", "/fails/500", status=500),
    Page("error-503", "/fails/503", newcomer, status=503),
    Page("staff", "/admin/", staff),
    Page("staff-customers", "/admin/billing/customer/?q=example", staff),
    Page("staff-customer", "/admin/billing/customer/{customer}/change/", staff),
    Page("staff-purchase", "/admin/billing/purchase/{paid}/change/", staff),
    Page("staff-event", "/admin/billing/event/{event}/change/", staff),
    Page("staff-refund", "/admin/billing/refund/of/{entry}/", staff),
    Page(
        "staff-refund-preview",
        "/admin/billing/refund/of/{entry}/",
        staff,
        post={"id": "{form}", "part": "all", "reason": "Bought by mistake", "preview": "1"},
    ),
    Page("staff-adjust", "/admin/credits/wallet/of/{customer}/adjust/", staff),
    Page(
        "staff-adjust-preview",
        "/admin/credits/wallet/of/{customer}/adjust/",
        staff,
        post={"key": "{form}", "amount": "-34", "reason": "Counted twice"},
    ),
    Page("staff-adjustment", "/admin/credits/adjustment/{adjustment}/change/", staff),
    Page("staff-reconciliations", "/admin/billing/reconciliation/", staff),
    Page("staff-reconciliation", "/admin/billing/reconciliation/{reconciliation}/change/", staff),
    Page("staff-revenue", "/admin/credits/entry/revenue/", staff),
]

PEOPLE = list(dict.fromkeys(page.who for page in PAGES if page.who is not None))


def bring(tab: Tab, site: str, page: Page, accounts: Mapping[Person, User], places: Places) -> str:
    """Have a browser's tab signed in, and the page at its address also where the site answers none
    there. Answers the address."""
    client = session_for(page, accounts, places)
    tab.context.clear_cookies()
    tab.context.add_cookies(
        [{"name": name, "value": one.value, "url": site} for name, one in client.cookies.items()]
    )
    tab.unroute_all()
    address = urljoin(site, page.address.format(**places))
    if not page.is_served:
        answer = ask(page, client, places)
        told = {"status": answer.status_code, "headers": dict(answer.headers)}
        tab.route(address, lambda route: route.fulfill(body=answer.content, **told))
    return address


def session_for(page: Page, accounts: Mapping[Person, User], places: Places) -> Client:
    """A session of its own, signed in, in which the page can be asked for."""
    client = Client(raise_request_exception=False)
    if page.who is not None:
        client.force_login(accounts[page.who])
    if page.before is not None:
        address, fields = page.before
        client.post(address, _filled(fields, places))
    return client


def ask(page: Page, client: Client, places: Places) -> Any:
    """The page as Django answers it, after redirects."""
    address = page.address.format(**places)
    with override_settings(ROOT_URLCONF=__name__):
        if page.post is not None:
            return client.post(address, _filled(page.post, places), follow=True)
        return client.get(address, headers=page.headers, follow=True)


def _filled(fields: Mapping[str, str], places: Places) -> dict[str, str]:
    return {name: value.format(**places) for name, value in fields.items()}


def fail(request: HttpRequest, how: str) -> HttpResponse:
    """What no address of the site does when it is asked to."""
    match how:
        case "form":
            return errors.csrf_failure(request)
        case "429":
            return ratelimit.respond_429(request)
        case "503":
            raise LedgerBusy
    raise {
        "400": exceptions.SuspiciousOperation,
        "403": exceptions.PermissionDenied,
        "413": exceptions.RequestDataTooBig,
        "500": RuntimeError,
    }[how]


# The site's own addresses, and those at which `ask` finds its failures.
urlpatterns = [path("fails/<str:how>", fail), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
