"""Every address of the site. Our own have no trailing slash; with one, they are a 404."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.confirmation import ConfirmEmail, mail_sent
from accounts.devices import devices
from billing import account_pages, alerts, pages, plan_pages, views
from config import errors

urlpatterns = [
    path("", pages.home, name="home"),
    path("credits", pages.buy, name="buy"),
    path("credits/success", pages.success, name="success"),
    path("dashboard", pages.dashboard, name="dashboard"),
    path("dashboard/history.csv", pages.history_csv, name="history_csv"),
    path("dashboard/plan", plan_pages.plan, name="plan"),
    path("dashboard/plan/change", plan_pages.change, name="plan_change"),
    path("dashboard/plan/cancel", plan_pages.cancel, name="plan_cancel"),
    path("dashboard/plan/resume", plan_pages.resume, name="plan_resume"),
    path("dashboard/receipts/<int:entry_id>", pages.receipt, name="receipt"),
    path("dashboard/account", account_pages.account, name="account"),
    path("dashboard/account/export", account_pages.export, name="account_export"),
    path("dashboard/account/close", account_pages.close, name="account_close"),
    path("dashboard/account/closed", account_pages.closed, name="account_closed"),
    path("dashboard/alerts", alerts.alerts, name="alerts"),
    path("alerts/off/<str:token>", alerts.alerts_off, name="alerts_off"),
    path("api/billing/dynamic-checkout", views.dynamic_checkout, name="checkout_api"),
    path("api/billing/quote", views.quote, name="quote_api"),
    path("api/billing/purchases/<uuid:purchase_id>", views.purchase, name="purchase_api"),
    path("api/billing/portal-link", views.portal_link, name="portal_link"),
    path("api/billing/webhook", views.webhook, name="webhook"),
    path("api/<path:rest>", errors.no_endpoint),
    # Ours in place of allauth's, under its names.
    path("accounts/confirm-email/", mail_sent),
    path("accounts/confirm-email/<str:key>/", ConfirmEmail.as_view()),
    path("accounts/sessions/", devices, name="usersessions_list"),
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
handler500 = "config.errors.server_error"
