"""The pages about one's own API keys.

A key is made by a form that is sent once, and shown in the answer to it and nowhere else: no
address leads to it, and no session, message or cache holds it. The same form sent again, by a
reload say, makes and shows none.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import keys, preferences
from accounts.closing import AccountClosing
from accounts.models import ApiKey
from accounts.requests import SignedInRequest
from billing.key_forms import KeyForm

SOON: Final = timedelta(days=14)
"""How long before its expiry a key is marked."""

LATEST: Final = 20
"""How many of the keys that are over are shown."""


@dataclass(frozen=True)
class Row:
    """A key of the list, and what it has spent of its limit."""

    key: ApiKey
    spent: int | None

    @property
    def scopes(self) -> list[str]:
        return [str(ApiKey.Scope(scope).label) for scope in self.key.scopes]

    @property
    def ends_soon(self) -> bool:
        expires_at = self.key.expires_at
        return expires_at is not None and expires_at < timezone.now() + SOON


@never_cache
@login_required
@require_safe
def key_list(request: SignedInRequest) -> HttpResponse:
    found = list(keys.open_keys(request.user).order_by("-pk"))
    spent = keys.spent(found)
    others = ApiKey.objects.filter(user=request.user).exclude(pk__in=[key.pk for key in found])
    context = {
        "rows": [Row(key, spent.get(key.pk)) for key in found],
        "over": others.order_by("-pk")[:LATEST],
        "is_full": len(found) >= keys.MOST_OPEN,
        "most": keys.MOST_OPEN,
        "page": "account",
    }
    return render(request, "billing/keys.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@reauthentication_required
def make_key(request: SignedInRequest) -> HttpResponse:
    """GET is the form; POST makes the key, and its answer shows it, this once."""
    if request.method != "POST":
        return _form(request, KeyForm())
    preferences.answer_as_page(request)
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _form(request, form, status=400)
    try:
        key, token = keys.make(made_by=request.user, owner=request.user, **form.terms())
    except keys.MadeBefore:
        messages.warning(
            request,
            _(
                "This form has made its key already, and a key is shown only once. If you have "
                "no copy of it, revoke it and make another."
            ),
        )
        return HttpResponseRedirect(reverse("keys"), status=303)
    except keys.TooManyKeys:
        return HttpResponseRedirect(reverse("keys"), status=303)  # which says so
    except AccountClosing:
        problem = _("This account is being closed: no key was made.")
        return _form(request, form, problem, status=409)
    _tell(request, "account/email/key_made", key)
    context = {"key": Row(key, None), "token": token, "page": "account"}
    return render(request, "billing/key_made.html", context)


def _form(
    request: SignedInRequest, form: KeyForm, problem: str = "", status: int = 200
) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "problem": problem, "page": "account"}
    return render(request, "billing/key_new.html", context, status=status)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_key(request: SignedInRequest, key_id: int) -> HttpResponse:
    """GET asks, POST revokes."""
    key = get_object_or_404(ApiKey, pk=key_id, user=request.user)
    if request.method != "POST" and key.is_open:
        return render(request, "billing/key_revoke.html", {"key": key, "page": "account"})
    if request.method == "POST":
        if keys.revoke(key):
            _tell(request, "account/email/key_revoked", key)
        messages.success(request, _("“%(name)s” is revoked.") % {"name": key.name})
    return HttpResponseRedirect(reverse("keys"), status=303)


def _tell(request: SignedInRequest, mail: str, key: ApiKey) -> None:
    """Mail the owner, in case that it was somebody else."""
    get_adapter(request).send_notification_mail(
        mail, request.user, {"name": key.name, "prefix": key.prefix}
    )
