"""In which language and time zone a user reads: by choice, else as the browser says."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from accounts.models import User

COOKIE: Final = "tz"
"""Where the browser says its time zone (`static/js/theme.js`)."""

REGIONS: Final = {
    "Africa": gettext_lazy("Africa"),
    "America": gettext_lazy("America"),
    "Antarctica": gettext_lazy("Antarctica"),
    "Arctic": gettext_lazy("Arctic"),
    "Asia": gettext_lazy("Asia"),
    "Atlantic": gettext_lazy("Atlantic"),
    "Australia": gettext_lazy("Australia"),
    "Europe": gettext_lazy("Europe"),
    "Indian": gettext_lazy("Indian Ocean"),
    "Pacific": gettext_lazy("Pacific"),
}
"""Of the zones that are offered; the others are old names and offsets."""


class PreferencesMiddleware:
    """What a signed-in user has chosen comes before what the browser says.

    Staff read times in UTC: they talk about them with each other, with logs and with Stripe.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user if request.user.is_authenticated else None
        if user is not None and user.language in languages():
            translation.activate(user.language)
            request.LANGUAGE_CODE = user.language
        zone = (user.time_zone if user is not None else "") or request.COOKIES.get(COOKIE, "")
        is_staffs = request.path_info.startswith(reverse("admin:index"))
        with timezone.override(None if is_staffs else zone_named(zone)):
            return self.get_response(request)


def languages() -> dict[str, str]:
    """The languages of the site by their codes, each in its own words."""
    return dict(settings.LANGUAGES)


def zone_named(name: str) -> ZoneInfo | None:
    """None for what is no time zone: then it is UTC."""
    return ZoneInfo(name) if name in _zones() else None


@functools.cache
def _zones() -> frozenset[str]:
    # Read once: it looks through hundreds of files.
    return frozenset(available_timezones())


def zones_by_region() -> dict[str, list[tuple[str, str]]]:
    """The zones to choose from, and what each is called within its region."""
    regions: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(_zones()):
        region, _, place = name.partition("/")
        if region in REGIONS:
            words = str(REGIONS[region])
            regions.setdefault(words, []).append((name, place.replace("_", " ")))
    return regions


def answer_as_page(request: HttpRequest) -> None:
    """Read and answer a form in the language of its page (its field `language`).

    Another may have been chosen in another window meanwhile, in which its numbers mean nothing.
    """
    code = request.POST.get("language", "")
    if code in languages():
        translation.activate(code)
        request.LANGUAGE_CODE = code


@require_POST
def switch_language(request: HttpRequest) -> HttpResponse:
    """Choose a language, here and in the account, and go on with the page that it was chosen on."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in languages():
        choose(request.user, language=code)
    return set_language(request)


def choose(user: User, **chosen: str) -> None:
    """Keep a `language`, or a `time_zone`; empty is what the browser says."""
    User.objects.filter(pk=user.pk).update(**chosen)
    for name, value in chosen.items():
        setattr(user, name, value)


def remember_language(user: User) -> None:
    """At sign-in, keep the language of the page for the mails, unless there is one already."""
    if not user.language:
        choose(user, language=translation.get_language() or "")


@contextmanager
def read_by(user: User) -> Iterator[None]:
    """Write what this user reads elsewhere than on the page that is being asked for."""
    known = user.language in languages()
    with (
        translation.override(user.language if known else settings.LANGUAGE_CODE),
        timezone.override(zone_named(user.time_zone)),
    ):
        yield
