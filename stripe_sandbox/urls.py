from django.urls import path, re_path
from django.views.generic import RedirectView

from stripe_sandbox import api, commands, control, pages

urlpatterns = [
    path("", RedirectView.as_view(url="/sandbox")),
    path("sandbox", control.page),
    re_path(r"^sandbox/api/(?P<path>.+)$", commands.api),
    path("sandbox-static/app.css", pages.css),
    path("c/pay/<slug:id>", pages.pay),
    path("p/session/<slug:id>", pages.portal_page),
    path("i/<slug:id>", pages.invoice),
    path("receipts/<slug:id>", pages.receipt),
    re_path(r"^v[12]/.*$", api.serve),
]
handler500 = "stripe_sandbox.api.broken"
