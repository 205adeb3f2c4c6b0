"""Every page of the site: its name, its address, and who sees it in which state.

Tests hold each of them to the budgets, and `script/screenshots` photographs it. A new page is a
line in `PAGES`; a test finds the address that has none. Django must be set up before this is
imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from allauth.account.internal.flows.login import record_authentication
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.internal.flows.signup import redirect_to_signup
from django.core import exceptions
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.test import Client, override_settings
from django.urls import path
from playwright.sync_api import Page as Tab

from accounts.models import User
from config import errors, urls
from credits.errors import LedgerBusy
from script.everybody import (
    LONG_EMAIL,
    PASSWORD,
    Person,
    Places,
    beginner,
    busy,
    careful,
    colleague,
    corporate,
    debtor,
    giver,
    late,
    leaving,
    metered,
    newcomer,
    observer,
    procurer,
    regular,
    saver,
    staff,
    stranger,
    stuck,
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
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the site would have to be configured with."""
    status: int = 200

    @property
    def is_served(self) -> bool:
        """Whether a browser gets it at its address; the others are what `ask` has got."""
        is_address = not self.address.startswith("/fails/")
        return is_address and self.post is None and not self.headers and not self.settings


ORDER = {"credits": "500", "mode": "payment", "expected_total": "400"}
NEW_KEY = {
    "request_id": "{form}",
    "name": "Nightly job",
    "scopes": "credits:spend",
    "expires_in": "90",
    "limit_credits": "",
    "limit_period": "month",
}
TOP_UP = {"credits": "500", "threshold": "100", "cap": "20", "expected_total": "475"}
GIFT = {
    "request_id": "{form}",
    "recipient": "somebody@example.com",
    "credits": "250",
    "message": "Thank you for the cat pictures!\nThey made my week.",
}
FOREIGN = {"Sec-Fetch-Site": "cross-site"}
GERMAN = {"Accept-Language": "de"}
APP = {"APP": {"client_id": "id", "secret": "secret"}}
SOCIAL = {"SOCIALACCOUNT_PROVIDERS": {"google": APP, "github": APP}}
SIGN_IN = ("/accounts/login/", {"login": "careful@example.com", "password": PASSWORD})
ASK_FOR_CODE = ("/accounts/login/code/", {"email": "newcomer@example.com"})
BAD_LIST = f"{LONG_EMAIL},100\nnobody,10\nben@example.com,1.5\n{LONG_EMAIL},7\n"
PRICES = {
    "begins_on": "{coming}", "mode": "volume", "band-TOTAL_FORMS": "3", "band-INITIAL_FORMS": "0",
    "band-0-above": "0", "band-0-credits": "3", "band-0-per": "1000",
    "band-1-above": "100000", "band-1-credits": "2", "band-1-per": "1000",
}  # fmt: skip

PAGES = [
    Page("landing", "/"),
    Page("landing-monthly", "/?credits=499&mode=subscription"),
    Page("landing-de", "/", headers=GERMAN),
    Page("help", "/help"),
    Page("help-de", "/help", headers=GERMAN),
    Page("terms", "/terms"),
    Page("privacy", "/privacy"),
    Page("refunds", "/refunds"),
    Page("api-docs", "/api/docs"),
    Page("shop", "/credits"),
    Page("shop-cheap", "/credits?credits=20"),
    Page("shop-refused", "/credits?credits=5"),
    Page("shop-deal", "/credits?credits=499", newcomer),
    Page("shop-price-changed", "/credits", newcomer, post=ORDER, status=409),
    Page("shop-subscribed", "/credits?credits=1234", regular),
    Page("shop-promo", "/credits?credits=500&promo=SUMMER25", newcomer),
    Page("shop-promo-monthly", "/credits?mode=subscription&promo=SUMMER25", newcomer),
    Page("shop-promo-refused", "/credits?credits=20&promo=SUMMER25", newcomer),
    Page("shop-promo-visitor", "/credits?promo=SUMMER25"),
    Page("shop-de", "/credits?credits=1234", regular, headers=GERMAN),
    Page("success-paid", "/credits/success?purchase={paid}", regular),
    Page("success-pending", "/credits/success?purchase={pending}", debtor),
    Page("success-settling", "/credits/success?purchase={settling}", busy),
    Page("success-review", "/credits/success?purchase={review}", busy),
    Page("success-settled", "/credits/success?purchase={settled}", busy),
    Page("success-failed", "/credits/success?purchase={failed}", busy),
    Page("success-expired", "/credits/success?purchase={expired}", busy),
    Page("success-visitor", "/credits/success?purchase={paid}"),
    Page("redeem", "/redeem?code=GIFT-500", newcomer),
    Page("redeem-refused", "/redeem", newcomer, post={"code": "SUMMER25"}, status=400),
    Page("dashboard", "/dashboard", regular),
    Page("dashboard-de", "/dashboard", busy, headers=GERMAN),
    Page("dashboard-empty", "/dashboard", newcomer),
    Page("dashboard-busy", "/dashboard", busy),
    Page("dashboard-filter", "/dashboard?kind=spend&kind=purchase&from=2020-01-01", busy),
    Page("dashboard-nothing-found", "/dashboard?kind=dispute", busy),
    Page("dashboard-past-due", "/dashboard", late),
    Page("dashboard-ending", "/dashboard", leaving),
    Page("dashboard-owed", "/dashboard", debtor),
    Page("usage", "/dashboard/usage", metered),
    Page("usage-volume", "/dashboard/usage?month={last_month}&meter=images", metered),
    Page("usage-unused", "/dashboard/usage", newcomer),
    Page("receipt-none", "/dashboard/receipts/{no_receipt}", busy, status=404),
    Page("plan", "/dashboard/plan?credits=4999", regular),
    Page("plan-none", "/dashboard/plan", newcomer),
    Page("plan-past-due", "/dashboard/plan", late),
    Page("plan-ending", "/dashboard/plan", leaving),
    Page("plan-refused", "/dashboard/plan/change", regular, post={"credits": "5"}, status=400),
    Page("plan-cancel", "/dashboard/plan/cancel", regular),
    Page("top-up-none", "/dashboard/top-up", newcomer),
    Page("top-up", "/dashboard/top-up", saver),
    Page("top-up-agree", "/dashboard/top-up?credits=2000&threshold=200&cap=50", stuck),
    Page("top-up-refused", "/dashboard/top-up?credits=500&threshold=900&cap=1", saver),
    Page("top-up-not-agreed", "/dashboard/top-up/on", saver, post=TOP_UP, status=400),
    Page("top-up-suspended", "/dashboard/top-up", stuck),
    Page("top-up-pay", "/dashboard/top-up/pay/{to_confirm}", saver),
    Page("top-up-paid", "/dashboard/top-up/pay/{topped_up}", saver),
    Page("top-up-over", "/dashboard/top-up/pay/{declined}", saver),
    Page("portal-confirm", "/api/billing/portal-link", regular, headers=FOREIGN),
    Page("alerts", "/dashboard/alerts", newcomer),
    Page(
        "alerts-refused",
        "/dashboard/alerts",
        newcomer,
        post={"low": "on", "threshold": "x"},
        status=400,
    ),
    Page("alerts-saved", "/dashboard/alerts", newcomer, post={"low": "on", "threshold": "250"}),
    Page("alerts-off", "{off}"),
    Page("alerts-are-off", "{off}", post={}),
    Page("gifts", "/dashboard/gifts", giver),
    Page("gifts-none", "/dashboard/gifts", newcomer),
    Page("gifts-owing", "/dashboard/gifts", debtor),
    Page("gifts-refused", "/dashboard/gifts", giver, post=GIFT | {"credits": "1.5"}, status=400),
    Page("gift-confirm", "/dashboard/gifts", giver, post=GIFT),
    Page("gift-cancel", "/dashboard/gifts/{gift}/cancel", giver),
    Page("gift", "/gifts/{gift_link}", giver),
    Page("gift-gone", "/gifts/{gift_gone}", giver),
    Page("gift-visitor", "/gifts/{gift_link}"),
    Page("gift-other", "/gifts/{gift_link}", newcomer, status=403),
    Page("gift-buy", "/credits/gift?credits=499", regular),
    Page(
        "gift-buy-refused",
        "/credits/gift",
        regular,
        post={"credits": "5", "recipient": "", "message": ""},
        status=400,
    ),
    Page("account", "/dashboard/account", newcomer),
    Page("keys", "/dashboard/account/keys", careful),
    Page("keys-none", "/dashboard/account/keys", newcomer),
    Page("keys-full", "/dashboard/account/keys", busy),
    Page("keys-new", "/dashboard/account/keys/new", careful),
    Page(
        "keys-new-refused",
        "/dashboard/account/keys/new",
        careful,
        post={**NEW_KEY, "name": "", "limit_credits": "0.5"},
        status=400,
    ),
    Page("keys-made", "/dashboard/account/keys/new", careful, post=NEW_KEY),
    Page("keys-revoke", "/dashboard/account/keys/{key}/revoke", careful),
    Page("organisations", "/dashboard/organisations", corporate),
    Page("organisations-none", "/dashboard/organisations", newcomer),
    Page("organisation-new", "/dashboard/organisations/new", corporate),
    Page("organisation", "/dashboard/organisations/{acme}", corporate),
    Page("organisation-for-member", "/dashboard/organisations/{acme}", colleague),
    Page("organisation-history", "/dashboard/organisations/{acme}/history", corporate),
    Page("organisation-details", "/dashboard/organisations/{acme}/details", corporate),
    Page(
        "organisation-invite-refused",
        "/dashboard/organisations/{acme}/invite",
        corporate,
        post={"email": "x", "role": "billing", "limit_credits": "0.5", "limit_period": "month"},
        status=400,
    ),
    Page("organisation-member", "/dashboard/organisations/{acme}/members/{ours}", corporate),
    Page("organisation-remove", "/dashboard/organisations/{acme}/members/{ours}/remove", corporate),
    Page(
        "organisation-receipt-none",
        "/dashboard/organisations/{acme}/receipts/{ours_gift}",
        corporate,
        status=404,
    ),
    Page("organisation-keys", "/dashboard/organisations/{acme}/keys", corporate),
    Page("organisation-keys-new", "/dashboard/organisations/{acme}/keys/new", corporate),
    Page(
        "organisation-keys-revoke",
        "/dashboard/organisations/{acme}/keys/{ours_key}/revoke",
        corporate,
    ),
    Page("organisation-close", "/dashboard/organisations/{acme}/close", corporate),
    Page("organisation-join", "/organisations/join/{invitation}", newcomer),
    Page("organisation-join-over", "/organisations/join/x", newcomer, status=404),
    Page("shop-for-organisation", "/credits?organisation={acme}", corporate),
    Page("bulk-list", "/dashboard/organisations/{buys}/bulk", procurer),
    Page("bulk-list-none", "/dashboard/organisations/{buys_not}/bulk", procurer),
    Page("bulk-new", "/dashboard/organisations/{buys}/bulk/new", procurer),
    Page(
        "bulk-new-refused",
        "/dashboard/organisations/{buys}/bulk/new",
        procurer,
        post={"text": BAD_LIST, "request_id": "{form}"},
        status=400,
    ),
    Page("bulk-draft", "/dashboard/organisations/{buys}/bulk/{bulk_draft}", procurer),
    Page("bulk-ordered", "/dashboard/organisations/{buys}/bulk/{bulk_ordered}", procurer),
    Page("bulk-sending", "/dashboard/organisations/{buys}/bulk/{bulk_sending}", procurer),
    Page("bulk-done", "/dashboard/organisations/{buys}/bulk/{bulk_done}", procurer),
    Page("bulk-not-paid", "/dashboard/organisations/{buys}/bulk/{bulk_lost}", procurer),
    Page("bulk-on-invoice", "/dashboard/organisations/{buys}/bulk/{bulk_billed}", procurer),
    Page("account-close-owner", "/dashboard/account/close", corporate),
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
    Page("sign-in-social", "/accounts/login/", settings=SOCIAL),
    Page("sign-in-code", "/accounts/login/code/"),
    Page("sign-in-code-sent", "/accounts/login/code/confirm/", before=ASK_FOR_CODE),
    Page(
        "sign-in-code-refused",
        "/accounts/login/code/confirm/",
        before=ASK_FOR_CODE,
        post={"code": "x"},
    ),
    Page("sign-in-step", "/accounts/2fa/authenticate/", before=SIGN_IN),
    Page(
        "sign-in-step-refused",
        "/accounts/2fa/authenticate/",
        before=SIGN_IN,
        post={"code": "000000"},
    ),
    Page("sign-up", "/accounts/signup/"),
    Page("sign-up-de", "/accounts/signup/", headers=GERMAN),
    Page("sign-up-refused", "/accounts/signup/", post={"email": "a", "password1": "b"}),
    Page(
        "sign-up-social",
        "/accounts/3rdparty/signup/",
        before=("/fails/without-address", {}),
        settings=SOCIAL,
    ),
    Page("social-cancelled", "/accounts/3rdparty/login/cancelled/"),
    Page("social-failed", "/accounts/3rdparty/login/error/", status=401),
    Page("social-leave", "/accounts/github/login/", settings=SOCIAL),
    Page("connections", "/accounts/3rdparty/", careful, settings=SOCIAL),
    Page("connections-none", "/accounts/3rdparty/", newcomer),
    Page("sign-out", "/accounts/logout/", newcomer),
    Page("sign-in-inactive", "/accounts/inactive/"),
    Page("reauthenticate", "/accounts/reauthenticate/", newcomer),
    Page("reauthenticate-code", "/accounts/2fa/reauthenticate/", careful),
    Page("reauthenticate-passkey", "/accounts/2fa/webauthn/reauthenticate/", careful),
    Page("sessions", "/accounts/sessions/", careful),
    Page("sessions-ended", "/accounts/sessions/", regular, post={}),
    Page("step-off", "/accounts/2fa/", regular),
    Page("step-unconfirmed", "/accounts/2fa/", newcomer),
    Page("step-required", "/accounts/2fa/", beginner),
    Page("step-on", "/accounts/2fa/", careful),
    Page("step-add-app", "/accounts/2fa/totp/activate/", regular),
    Page("step-add-app-refused", "/accounts/2fa/totp/activate/", regular, post={"code": "000000"}),
    Page("step-remove-app", "/accounts/2fa/totp/deactivate/", careful),
    Page("step-codes", "/accounts/2fa/recovery-codes/", careful),
    Page("step-new-codes", "/accounts/2fa/recovery-codes/generate/", careful),
    Page("step-add-passkey", "/accounts/2fa/webauthn/add/", careful),
    Page("step-rename-passkey", "/accounts/2fa/webauthn/keys/{passkey}/edit/", careful),
    Page("step-remove-passkey", "/accounts/2fa/webauthn/keys/{passkey}/remove/", careful),
    Page("email", "/accounts/email/", newcomer),
    Page("email-sent", "/accounts/confirm-email/"),
    Page("email-not-sent", "/fails/mail", status=503),
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
    Page("error-413", "/fails/413", status=413),
    Page("error-429", "/fails/429", status=429),
    Page("error-500", "/fails/500", status=500),
    Page("error-503", "/fails/503", newcomer, status=503),
    Page("error-503-no-database", "/fails/no-database", headers=GERMAN, status=503),
    Page("staff", "/admin/", staff),
    Page("staff-nothing-waits", "/admin/", observer),
    Page("staff-found", "/admin/billing/customer/search/?q=example", staff),
    Page("staff-nothing-found", "/admin/billing/customer/search/?q=nobody", staff),
    Page("staff-disputes", "/admin/billing/dispute/?attention=yes", staff),
    Page("staff-dispute", "/admin/billing/dispute/{dispute}/change/", staff),
    Page("staff-remove-step", "/admin/accounts/user/{careful}/second-step/", staff),
    Page("staff-key", "/admin/accounts/apikey/{key}/change/", staff),
    Page("staff-key-new", "/admin/accounts/apikey/add/", staff),
    Page("staff-key-made", "/admin/accounts/apikey/add/", staff, post=NEW_KEY),
    Page(
        "staff-key-revoke",
        "/admin/accounts/apikey/",
        staff,
        post={"action": "revoke", "_selected_action": "{key}"},
    ),
    Page("staff-organisation-customer", "/admin/billing/customer/{acme}/change/", staff),
    Page("staff-customers", "/admin/billing/customer/?q=example", staff),
    Page("staff-customer", "/admin/billing/customer/{customer}/change/", staff),
    Page("staff-purchase", "/admin/billing/purchase/{paid}/change/", staff),
    Page("staff-promotions", "/admin/billing/promotion/", staff),
    Page("staff-promotion-new", "/admin/billing/promotion/add/", staff),
    Page("staff-promotion", "/admin/billing/promotion/{promotion}/change/", staff),
    Page("staff-codes-new", "/admin/billing/promotion/{promotion}/codes/new/", staff),
    Page(
        "staff-codes-refused",
        "/admin/billing/promotion/{promotion}/codes/new/",
        staff,
        post={"code": "summer-25"},
    ),
    Page("staff-redemptions", "/admin/billing/redemption/", staff),
    Page("staff-event", "/admin/billing/event/{event}/change/", staff),
    Page("staff-refund", "/admin/billing/refund/of/{entry}/", staff),
    Page(
        "staff-refund-preview",
        "/admin/billing/refund/of/{entry}/",
        staff,
        post={"id": "{form}", "part": "all", "reason": "Bought by mistake", "preview": "1"},
    ),
    Page("staff-gift", "/admin/credits/gift/{gift}/change/", staff),
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
    Page("staff-meters", "/admin/usage/meter/", staff),
    Page("staff-meter", "/admin/usage/meter/{meter}/change/", staff),
    Page("staff-prices", "/admin/usage/meter/{meter}/prices/", staff),
    Page("staff-prices-change", "/admin/usage/meter/prices/{tariff}/", staff),
    Page(
        "staff-prices-preview",
        "/admin/usage/meter/prices/{tariff}/",
        staff,
        post=PRICES,
    ),
    Page(
        "staff-prices-refused",
        "/admin/usage/meter/prices/{tariff}/",
        staff,
        post=PRICES | {"begins_on": "2020-01-01", "band-0-above": "7", "band-1-credits": ""},
    ),
    Page("staff-bulk-purchases", "/admin/billing/bulkpurchase/", staff),
    Page("staff-bulk-purchase", "/admin/billing/bulkpurchase/{bulk_done}/change/", staff),
    Page("staff-invoice-terms", "/admin/billing/invoiceterms/{buys}/change/", staff),
    Page("staff-revenue", "/admin/credits/entry/revenue/", staff),
    Page("staff-endpoints", "/admin/outgoing/endpoint/", staff),
    Page("staff-endpoint-new", "/admin/outgoing/endpoint/add/", staff),
    Page("staff-endpoint", "/admin/outgoing/endpoint/{endpoint}/change/", staff),
    Page("staff-endpoint-secret", "/admin/outgoing/endpoint/{endpoint}/secret/", staff),
    Page(
        "staff-endpoint-secret-new",
        "/admin/outgoing/endpoint/{endpoint}/secret/",
        staff,
        post={"roll": "1"},
    ),
    Page("staff-messages", "/admin/outgoing/message/?state=given_up", staff),
    Page("staff-message", "/admin/outgoing/message/{message}/change/", staff),
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
        _sign_in(client, accounts[page.who])
    if page.before is not None:
        address, fields = page.before
        with override_settings(ROOT_URLCONF=__name__, **page.settings):
            client.post(address, _filled(fields, places))
    return client


def _sign_in(client: Client, user: User) -> None:
    """With all that the account has, just now: what asks for it once more opens at once."""
    client.force_login(user)
    request = HttpRequest()
    request.session = client.session
    record_authentication(request, user, "password", reauthenticated=True)
    for factor in Authenticator.objects.filter(user=user):
        record_authentication(request, user, "mfa", id=factor.pk, type=factor.type)
    request.session.save()


def ask(page: Page, client: Client, places: Places) -> Any:
    """The page as Django answers it, after redirects."""
    address = page.address.format(**places)
    with override_settings(ROOT_URLCONF=__name__, **page.settings):
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
        case "mail":
            context = {"email": LONG_EMAIL}
            return render(request, "account/mail_not_sent.html", context, status=503)
        case "without-address":
            provider = get_adapter().get_provider(request, "github")
            return redirect_to_signup(
                request, provider.sociallogin_from_response(request, {"id": 18})
            )
        case "503":
            raise LedgerBusy
    raise {
        "400": exceptions.SuspiciousOperation,
        "403": exceptions.PermissionDenied,
        "413": exceptions.RequestDataTooBig,
        "500": RuntimeError,
        "no-database": OperationalError,
    }[how]


# The site's own addresses, and those at which `ask` finds its failures.
urlpatterns = [path("fails/<str:how>", fail), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler429 = urls.handler404, urls.handler429
handler500 = urls.handler500
