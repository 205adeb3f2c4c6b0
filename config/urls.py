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
from billing import (
    account_pages,
    alerts,
    gift_pages,
    key_pages,
    organisation_pages,
    pages,
    plan_pages,
    redeem_pages,
    topup_pages,
    views,
)
from billing.bulk import pages as bulk_pages
from config import errors
from config.middleware import PROGRAMS
from usage.pages import usage
from website import crawlers
from website import pages as website

ORGANISATION = "dashboard/organisations/<int:organisation_id>"
ORGANISATION_PAGES = [
    path("history", organisation_pages.organisation_history, name="organisation_history"),
    path(
        "history.csv",
        organisation_pages.organisation_history_csv,
        name="organisation_history_csv",
    ),
    path(
        "receipts/<int:entry_id>",
        organisation_pages.organisation_receipt,
        name="organisation_receipt",
    ),
    path("details", organisation_pages.organisation_details, name="organisation_details"),
    path("invite", organisation_pages.invite, name="organisation_invite"),
    path(
        "invitations/<int:invitation_id>/take-back",
        organisation_pages.take_back,
        name="organisation_take_back",
    ),
    path("members/<int:user_id>", organisation_pages.change_member, name="organisation_member"),
    path(
        "members/<int:user_id>/remove",
        organisation_pages.remove_member,
        name="organisation_remove",
    ),
    path("keys", key_pages.key_list, name="organisation_keys"),
    path("keys/new", key_pages.make_key, name="organisation_key_new"),
    path("keys/<int:key_id>/revoke", key_pages.revoke_key, name="organisation_key_revoke"),
    path("close", organisation_pages.close, name="organisation_close"),
    path("bulk", bulk_pages.bulk_list, name="bulk_list"),
    path("bulk/new", bulk_pages.new, name="bulk_new"),
    path("bulk/<uuid:bulk_id>", bulk_pages.bulk, name="bulk"),
    path("bulk/<uuid:bulk_id>/order", bulk_pages.order, name="bulk_order"),
    path("bulk/<uuid:bulk_id>/progress", bulk_pages.progress, name="bulk_progress"),
    path("bulk/<uuid:bulk_id>/results.csv", bulk_pages.results_csv, name="bulk_results"),
]

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
    path("redeem", redeem_pages.redeem, name="redeem"),
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
    path("dashboard/organisations", organisation_pages.organisation_list, name="organisations"),
    path("dashboard/organisations/new", organisation_pages.found, name="organisation_new"),
    path(ORGANISATION, organisation_pages.organisation, name="organisation"),
    path(f"{ORGANISATION}/", include(ORGANISATION_PAGES)),
    path("organisations/join/<str:token>", organisation_pages.join, name="organisation_join"),
    path("dashboard/account", account_pages.account, name="account"),
    path("dashboard/account/time-zone", account_pages.time_zone, name="account_time_zone"),
    path("dashboard/account/export", account_pages.export, name="account_export"),
    path("dashboard/account/close", account_pages.close, name="account_close"),
    path("dashboard/account/closed", account_pages.closed, name="account_closed"),
    path("dashboard/account/keys", key_pages.key_list, name="keys"),
    path("dashboard/account/keys/new", key_pages.make_key, name="key_new"),
    path("dashboard/account/keys/<int:key_id>/revoke", key_pages.revoke_key, name="key_revoke"),
    path("dashboard/top-up", topup_pages.top_up, name="top_up"),
    path("dashboard/top-up/on", topup_pages.turn_on, name="top_up_on"),
    path("dashboard/top-up/off", topup_pages.turn_off, name="top_up_off"),
    path("dashboard/top-up/card", topup_pages.add_card, name="top_up_card"),
    path("dashboard/top-up/card/remove", topup_pages.remove_card, name="top_up_card_remove"),
    path("dashboard/top-up/card/<slug:session_id>", topup_pages.card_added),
    path("dashboard/top-up/pay/<uuid:purchase_id>", topup_pages.pay, name="top_up_pay"),
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
