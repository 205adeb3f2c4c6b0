"""Every address of the site. Our own have no trailing slash; with one, they are a 404."""

from django.contrib import admin
from django.contrib.sitemaps.views import sitemap
from django.urls import include, path
from django.views.decorators.cache import cache_control
from django.views.generic import RedirectView

from accounts import preferences
from accounts.confirmation import ConfirmEmail, mail_sent
from accounts.devices import devices
from accounts.second_step import pages as second_step
from api import reference, v1
from billing import account_pages, alerts, gift_pages, key_pages, pages, plan_pages, views
from config import errors
from config.middleware import PROGRAMS
from usage.pages import usage
from website import crawlers
from website import pages as website

urlpatterns = [
    path("", website.landing, name="home"),
    path("help", website.guide, name="help"),
    path("terms", website.terms, name="terms"),
    path("privacy", website.privacy, name="privacy"),
    path("refunds", website.refunds, name="refunds"),
    path("robots.txt", crawlers.robots, name="robots"),
    path(".well-known/security.txt", crawlers.security, name="security_txt"),
    path(
        "sitemap.xml",
        cache_control(public=True, max_age=crawlers.DAY)(sitemap),
        {"sitemaps": {"pages": crawlers.PublicPages}},
        name="sitemap",
    ),
    path("credits", pages.buy, name="buy"),
    path("credits/success", pages.success, name="success"),
    path("dashboard", pages.dashboard, name="dashboard"),
    path("dashboard/history.csv", pages.history_csv, name="history_csv"),
    path("dashboard/usage", usage, name="usage"),
    path("dashboard/gifts", gift_pages.gift_list, name="gifts"),
    path("dashboard/gifts/<uuid:gift_id>/cancel", gift_pages.cancel, name="gift_cancel"),
    path("gifts/<str:token>", gift_pages.gift, name="gift"),
    path("credits/gift", gift_pages.buy_gift, name="gift_buy"),
    path("dashboard/plan", plan_pages.plan, name="plan"),
    path("dashboard/plan/change", plan_pages.change, name="plan_change"),
    path("dashboard/plan/cancel", plan_pages.cancel, name="plan_cancel"),
    path("dashboard/plan/resume", plan_pages.resume, name="plan_resume"),
    path("dashboard/receipts/<int:entry_id>", pages.receipt, name="receipt"),
    path("dashboard/account", account_pages.account, name="account"),
    path("dashboard/account/time-zone", account_pages.time_zone, name="account_time_zone"),
    path("dashboard/account/export", account_pages.export, name="account_export"),
    path("dashboard/account/close", account_pages.close, name="account_close"),
    path("dashboard/account/closed", account_pages.closed, name="account_closed"),
    path("dashboard/account/keys", key_pages.key_list, name="keys"),
    path("dashboard/account/keys/new", key_pages.make_key, name="key_new"),
    path("dashboard/account/keys/<int:key_id>/revoke", key_pages.revoke_key, name="key_revoke"),
    path("dashboard/alerts", alerts.alerts, name="alerts"),
    path("alerts/off/<str:token>", alerts.alerts_off, name="alerts_off"),
    path("api/billing/dynamic-checkout", views.dynamic_checkout, name="checkout_api"),
    path("api/billing/quote", views.quote, name="quote_api"),
    path("api/billing/purchases/<uuid:purchase_id>", views.purchase, name="purchase_api"),
    path("api/billing/portal-link", views.portal_link, name="portal_link"),
    path("api/billing/webhook", views.webhook, name="webhook"),
    path("api/docs", reference.reference, name="api_docs"),
    path(f"{PROGRAMS}openapi.json"[1:], v1.openapi, name="openapi"),
    path(PROGRAMS[1:], v1.api.urls),
    path("api/<path:rest>", errors.no_endpoint),
    path("language", preferences.switch_language, name="language"),
    # Ours in place of allauth's, under its names.
    path("accounts/confirm-email/", mail_sent),
    path("accounts/confirm-email/<str:key>/", ConfirmEmail.as_view()),
    path("accounts/sessions/", devices, name="usersessions_list"),
    path("accounts/2fa/", second_step.index, name="mfa_index"),
    path("accounts/2fa/totp/activate/", second_step.add_app, name="mfa_activate_totp"),
    path("accounts/2fa/webauthn/", second_step.passkeys, name="mfa_list_webauthn"),
    path("accounts/2fa/webauthn/add/", second_step.add_passkey, name="mfa_add_webauthn"),
    path("accounts/2fa/webauthn/login/", second_step.sign_in, name="mfa_login_webauthn"),
    path(
        "accounts/2fa/webauthn/reauthenticate/",
        second_step.confirm_by_passkey,
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/3rdparty/", include("allauth.socialaccount.urls")),
    path("accounts/", include("allauth.socialaccount.providers.google.urls")),
    path("accounts/", include("allauth.socialaccount.providers.github.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "config.errors.not_found"
handler429 = "config.errors.too_many_requests"  # allauth's limits
handler500 = "config.errors.server_error"
