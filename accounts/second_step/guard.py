"""The administration opens for a second step only, outside `DEBUG`.

Who works here has an authenticator app or a passkey, and has shown it in this session.
"""

from collections.abc import Callable, Container
from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from accounts.models import User

WANTED: Final = "wanted_admin_page"
"""In the session: the page of the administration that waits for the second step."""

STEPS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""What is a second step by itself; recovery codes only stand in for one of these."""


class StaffMiddleware:
    """Leads staff to set a second step up, or to show it, before any page of the administration."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        # Whatever the administration's addresses are, and however its views are wrapped.
        match = request.resolver_match
        if match is None or "admin" not in match.app_names or match.view_name == "admin:logout":
            return None
        user = request.user
        if not isinstance(user, User) or not is_required_of(user):
            return None  # who isn't staff gets no further than to the sign-in or a 403
        factors = dict(Authenticator.objects.filter(user=user).values_list("pk", "type"))
        has_step = not set(STEPS).isdisjoint(factors.values())
        if has_step and has_shown_one_of(factors, request, user):
            request.session.pop(WANTED, None)
            return None
        is_page = request.method in {"GET", "HEAD"}
        wanted = request.get_full_path() if is_page else reverse("admin:index")
        request.session[WANTED] = wanted
        if not has_step:
            return redirect("mfa_index")  # which says why
        method = get_adapter(request).get_reauthentication_methods(user)[0]
        return redirect(f"{method['url']}?{urlencode({'next': wanted})}")


def is_required_of(user: User | AnonymousUser) -> bool:
    return user.is_staff and not settings.DEBUG


def has_shown_one_of(factors: Container[int], request: HttpRequest, user: User) -> bool:
    """Whether this session has shown a factor that its user still has.

    A session from before it was set up hasn't, and one whose factor was removed has no longer.
    """
    records = get_authentication_records(request, user)
    return any(record["method"] == "mfa" and record.get("id") in factors for record in records)


def reauthentication_methods(user: User, methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of allauth's ways to confirm who one is, those that will do, the best first, in our words.

    Where a second step is required the password is not enough: with it alone, one could add a
    second step of one's own to somebody's account, or take theirs away.
    """
    if not methods:  # nobody is signed in
        return []
    kinds = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
    if is_required_of(user) and kinds.intersection(STEPS):
        methods = [method for method in methods if method["id"] != "reauthenticate"]
    if Authenticator.Type.TOTP not in kinds:
        # A passkey is at hand more often than a recovery code.
        methods.sort(key=lambda method: method["id"] == "mfa_reauthenticate")
    names = {
        "mfa_reauthenticate": _("Use a code"),
        "mfa_reauthenticate:webauthn": _("Use a passkey"),
    }
    return [
        method | {"description": names.get(method["id"], method["description"])}
        for method in methods
    ]
