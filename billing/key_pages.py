"""The pages about one's own API keys, and about those of an organisation, for its owners.

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

from accounts import keys, organisations, preferences
from accounts.closing import AccountClosing
from accounts.models import ApiKey, Organisation, User
from accounts.requests import SignedInRequest
from billing.key_forms import KeyForm
from billing.members import owned

SOON: Final = timedelta(days=14)
"""How long before its expiry a key is marked."""

LATEST: Final = 20
"""How many of the keys that are over are shown."""


@dataclass(frozen=True)
class Keyring:
    """Whose keys a page is about: one's own, or an organisation's."""

    owner: User
    organisation: Organisation | None = None

    @property
    def path(self) -> str:
        return self._path("keys")

    @property
    def new_path(self) -> str:
        return self._path("key_new")

    def revoke_path(self, key: ApiKey) -> str:
        return self._path("key_revoke", key.pk)

    def _path(self, name: str, *args: int) -> str:
        if self.organisation is None:
            return reverse(name, args=args)
        return reverse(f"organisation_{name}", args=[self.organisation.pk, *args])

    @property
    def readers(self) -> list[User]:
        """Who is told of a key that is made or revoked."""
        if self.organisation is None:
            return [self.owner]
        return list(organisations.owners(self.organisation))


def _keyring(request: SignedInRequest, organisation_id: int | None) -> Keyring:
    """Raises `Http404` for an organisation that the user is no owner of."""
    if organisation_id is None:
        return Keyring(request.user)
    organisation = owned(request.user, organisation_id).organisation
    return Keyring(organisation.account, organisation)


@dataclass(frozen=True)
class Row:
    """A key of the list, what it has spent of its limit, and where to revoke it."""

    key: ApiKey
    spent: int | None = None
    revoke_path: str = ""

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
def key_list(request: SignedInRequest, organisation_id: int | None = None) -> HttpResponse:
    keyring = _keyring(request, organisation_id)
    found = list(keys.open_keys(keyring.owner).order_by("-pk"))
    spent = keys.spent(found)
    others = ApiKey.objects.filter(user=keyring.owner).exclude(pk__in=[key.pk for key in found])
    context = {
        "keyring": keyring,
        "rows": [Row(key, spent.get(key.pk), keyring.revoke_path(key)) for key in found],
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
def make_key(request: SignedInRequest, organisation_id: int | None = None) -> HttpResponse:
    """GET is the form; POST makes the key, and its answer shows it, this once."""
    keyring = _keyring(request, organisation_id)
    if request.method != "POST":
        return _form(request, keyring, KeyForm())
    preferences.answer_as_page(request)
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _form(request, keyring, form, status=400)
    try:
        key, token = keys.make(made_by=request.user, owner=keyring.owner, **form.terms())
    except keys.MadeBefore:
        messages.warning(
            request,
            _(
                "This form has made its key already, and a key is shown only once. If you have "
                "no copy of it, revoke it and make another."
            ),
        )
        return HttpResponseRedirect(keyring.path, status=303)
    except keys.TooManyKeys:
        return HttpResponseRedirect(keyring.path, status=303)  # which says so
    except AccountClosing:
        problem = _("This account is being closed: no key was made.")
        return _form(request, keyring, form, problem, status=409)
    _tell(request, keyring, "account/email/key_made", key)
    context = {"keyring": keyring, "key": Row(key), "token": token, "page": "account"}
    return render(request, "billing/key_made.html", context)


def _form(
    request: SignedInRequest,
    keyring: Keyring,
    form: KeyForm,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "keyring": keyring,
        "form": form,
        "problem": problem,
        "page": "account",
    }
    return render(request, "billing/key_new.html", context, status=status)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_key(
    request: SignedInRequest, key_id: int, organisation_id: int | None = None
) -> HttpResponse:
    """GET asks, POST revokes."""
    keyring = _keyring(request, organisation_id)
    key = get_object_or_404(ApiKey, pk=key_id, user=keyring.owner)
    if request.method != "POST" and key.is_open:
        context = {"keyring": keyring, "key": key, "page": "account"}
        return render(request, "billing/key_revoke.html", context)
    if request.method == "POST":
        if keys.revoke(key):
            _tell(request, keyring, "account/email/key_revoked", key)
        messages.success(request, _("“%(name)s” is revoked.") % {"name": key.name})
    return HttpResponseRedirect(keyring.path, status=303)


def _tell(request: SignedInRequest, keyring: Keyring, mail: str, key: ApiKey) -> None:
    """Mail the owner, in case that it was somebody else."""
    context = {"name": key.name, "prefix": key.prefix, "keyring": keyring}
    for reader in keyring.readers:
        get_adapter(request).send_notification_mail(mail, reader, context)
