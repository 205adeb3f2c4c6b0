"""What programs look for at addresses of their own: robots.txt, sitemap.xml, security.txt."""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.sitemaps import Sitemap
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

PUBLIC: Final = ["home", "buy", "help", "api_docs", "terms", "privacy", "refunds"]
PRIVATE: Final = ["/accounts/", "/admin", "/alerts/", "/api/", "/credits/success", "/dashboard"]
DAY: Final = 24 * 3600
SECURITY_TXT_LIFE: Final = timedelta(days=180)
"""RFC 9116 asks for less than a year."""


class PublicPages(Sitemap):
    """The pages that anybody may find."""

    protocol = urlsplit(settings.BASE_URL).scheme

    def items(self) -> list[str]:
        return PUBLIC

    def location(self, item: str) -> str:
        return reverse(item)

    def get_domain(self, site: Any = None) -> str:
        return urlsplit(settings.BASE_URL).netloc


@cache_control(public=True, max_age=DAY)
@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    # The one page among what is for programs; the first line that fits counts.
    allowed = f"Allow: {reverse('api_docs')}"
    lines = ["User-agent: *", allowed, *(f"Disallow: {path}" for path in PRIVATE)]
    return _text([*lines, "", f"Sitemap: {settings.BASE_URL}{reverse('sitemap')}"])


@cache_control(public=True, max_age=DAY)
@require_safe
def security(request: HttpRequest) -> HttpResponse:
    """Whom to tell of a hole (RFC 9116)."""
    expires = timezone.now().replace(microsecond=0) + SECURITY_TXT_LIFE
    return _text(
        [
            f"Contact: mailto:{settings.SUPPORT_EMAIL}",
            f"Expires: {expires.isoformat()}",
            f"Canonical: {settings.BASE_URL}{reverse('security_txt')}",
        ]
    )


def _text(lines: list[str]) -> HttpResponse:
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")
