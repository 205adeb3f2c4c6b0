"""What people and programs see when a request fails outside a view.

People get a page in the design, in their language and theme, with a way on. Where the fault may be
in the database or in the templates, the page asks neither for who somebody is.
"""

import logging
import re
import sys
from datetime import timedelta
from typing import Final

from allauth.account import app_settings as allauth
from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import resolve
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from credits.errors import LedgerBusy

logger = logging.getLogger(__name__)

TIMEOUTS: Final = {"55P03", "57014", "40P01"}
"""SQLSTATEs of what waited past `LOCK_TIMEOUT`, ran past `STATEMENT_TIMEOUT`, or was ended so that
others could go on: a deadlock."""

AWAY: Final = {"57P01", "57P02", "57P03", "53300"}
"""SQLSTATEs of a server that shuts down, starts up, or has no connection left."""

BUSY_FOR: Final = 2
"""Seconds until the same request may well get through."""

AWAY_FOR: Final = 30
"""Seconds until a database that is away may be back."""

LIMITED: Final = {
    "account_login": "login",
    "account_signup": "signup",
    "account_request_login_code": "request_login_code",
    "account_reset_password": "reset_password",
    "account_reset_password_from_key": "reset_password_from_key",
    "account_change_password": "change_password",
    "account_set_password": "change_password",
    "account_email": "manage_email",
    "account_confirm_email": "confirm_email",
    "account_reauthenticate": "reauthenticate",
}
"""The limit that each of allauth's addresses counts for."""

_DURATION: Final = re.compile(r"[0-9]+/([0-9]*)([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403; but what an endpoint refuses before it looks at CSRF is answered first."""
    if not _is_api(request):
        came_from = request.headers.get("Referer", "")
        is_ours = url_has_allowed_host_and_scheme(came_from, {request.get_host()})
        return render(request, "403_csrf.html", {"form": came_from if is_ours else ""}, status=403)
    return _refused_before(request) or _json(
        403,
        "csrf_failed",
        _("The CSRF token is missing or wrong. Send the csrftoken cookie's value as X-CSRFToken."),
    )


def _refused_before(request: HttpRequest) -> HttpResponse | None:
    """What an endpoint's own first checks answer, which come before CSRF's and the body's."""
    view = resolve(request.path_info).func
    # Without a user, it failed before anybody asked who it is from.
    if not hasattr(view, "gate") or not hasattr(request, "user"):
        return None
    response: HttpResponse | None = view.gate(request)
    return response


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    is_too_large = isinstance(exception, RequestDataTooBig)
    if _is_api(request):
        refused = _refused_before(request)
        if refused is not None:
            return refused
        if is_too_large:
            return _json(413, "payload_too_large", _("The body is too large."))
        return _json(400, "bad_request", _("The request could not be understood."))
    if is_too_large:
        return render(request, "413.html", status=413)
    # By a name that isn't ours, every page of this site is a 400.
    start = f"{settings.BASE_URL}/" if isinstance(exception, DisallowedHost) else ""
    return render(request, "400.html", {"start": start}, status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _is_api(request):
        return _json(403, "forbidden", _("You may not do this."))
    return render(request, "403.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _is_api(request):
        return _json(404, "not_found", _("There is nothing at this address."))
    return render(request, "404.html", status=404)


def no_endpoint(request: HttpRequest, rest: str) -> HttpResponse:
    """404 for the rest of `/api/`: in JSON also where `DEBUG` would make a page of it."""
    return not_found(request)


# Also without a CSRF token: what is nowhere is answered first.
no_endpoint.gate = not_found  # type: ignore[attr-defined]


def method_not_allowed(allowed: str) -> HttpResponse:
    response = _json(
        405, "method_not_allowed", _("This address takes %(methods)s.") % {"methods": allowed}
    )
    response["Allow"] = allowed
    return response


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """429 by one of allauth's limits, and when it has passed at the latest."""
    match = request.resolver_match
    action = LIMITED.get(str(match and match.url_name), "")
    durations = [
        int(count or 1) * _UNITS[unit]
        for count, unit in _DURATION.findall(str(allauth.RATE_LIMITS.get(action) or ""))
    ]
    wait = timedelta(seconds=max(durations, default=60))
    minutes = -(-wait // timedelta(minutes=1))
    response = render(request, "429.html", {"minutes": minutes}, status=429)
    response["Retry-After"] = str(int(wait.total_seconds()))
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """503 where the database has failed us, 500 for everything else."""
    response = outage(request, sys.exception())
    if response is not None:
        return response
    if _is_api(request):
        return _json(500, "server_error", _("Something went wrong on our side. Try again."))
    return _failure(request, "500.html", 500)


def outage(request: HttpRequest, exception: BaseException | None) -> HttpResponse | None:
    """503 and when to come again, if it is the database that failed; None for other faults."""
    state = getattr(getattr(exception, "__cause__", None), "sqlstate", None) or ""
    is_databases = isinstance(exception, OperationalError | InterfaceError)
    if isinstance(exception, LedgerBusy) or (is_databases and state in TIMEOUTS):
        # Nothing was done: the same request may be made again.
        answer = _json(503, "busy", _("Busy just now. Nothing was done; try again."))
        wait = BUSY_FOR
    elif is_databases and (state in AWAY or state[:2] in {"", "08"}):
        logger.error("The database can't be reached: %s", exception)
        answer = _json(503, "unavailable", _("We can't answer just now. Try again in a minute."))
        wait = AWAY_FOR
    else:
        return None
    response = answer if _is_api(request) else _failure(request, "503.html", 503)
    response["Retry-After"] = str(wait)
    return response


def _failure(request: HttpRequest, template: str, status: int) -> HttpResponse:
    """A page that needs neither a session nor a user, and is a plain one if all else fails."""
    theme = request.COOKIES.get("theme", "")
    context = {
        "shell": "failure.html",
        "site_name": settings.SITE_NAME,
        "theme": theme if theme in {"light", "dark"} else "",
        "may_repeat": request.method == "GET",
    }
    try:
        page: str = render_to_string(template, context)
    except Exception:
        logger.exception("The page for a %s failed as well", status)
        page = _LAST
    return HttpResponse(page, status=status)


_LAST: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Something broke</title>"
    "<h1>Something broke on our side</h1><p>What you paid is safe: credits that were bought always"
    ' arrive. Please try again in a minute.<p><a href="/">Back to the start</a></html>'
)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def _json(status: int, code: str, error: str) -> JsonResponse:
    return JsonResponse({"error": error, "code": code}, status=status)
