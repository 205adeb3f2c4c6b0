"""How every JSON endpoint refuses: the same order, the same shape.

`{"error": "<a sentence for a person>", "code": "<stable>", "field"?: "<name>"}`, checked in this
order: method, sign-in, CSRF, size, media type, JSON, fields.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import resolve_url
from django.utils.translation import gettext as _

JSON_LIMIT: Final = 64 * 1024
"""The largest JSON body taken, in bytes."""

_MANY_DIGITS: Final = 10**20
"""Stands for any longer integer: beyond every limit, and quick to make from hostile input."""

View = Callable[..., HttpResponse]


class Refusal(Exception):
    """An answer that ends the request: nothing was done."""

    def __init__(
        self,
        status: int,
        code: str,
        error: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: object,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers
        self.body: dict[str, object] = {"error": error, "code": code}
        if field is not None:
            self.body["field"] = field
        self.body |= extra

    def response(self) -> JsonResponse:
        return JsonResponse(self.body, status=self.status, headers=self.headers)


def endpoint(*methods: str, public: bool = False, page: bool = False) -> Callable[[View], View]:
    """Make a JSON endpoint of a view.

    `public` lets visitors in. `page` sends a browser that navigates here without being signed in
    to the sign-in page, and back. The wrapped view carries `gate`, the checks that come before
    CSRF's, so that its failure view can answer in the documented order (`config/errors.py`).
    """

    def decorate(view: View) -> View:
        def gate(request: HttpRequest) -> HttpResponse | None:
            if request.method not in methods:
                response = Refusal(
                    405,
                    "method_not_allowed",
                    _("This address takes %(methods)s.") % {"methods": ", ".join(methods)},
                ).response()
                response["Allow"] = ", ".join(methods)
                return response
            if public or request.user.is_authenticated:
                return None
            is_navigation = "text/html" in request.headers.get("Accept", "")
            if page and request.method == "GET" and is_navigation:
                query = urlencode({"next": request.get_full_path()})
                return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
            return Refusal(401, "unauthorized", "Unauthorized").response()

        @functools.wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            response = gate(request)
            if response is None:
                try:
                    response = view(request, *args, **kwargs)
                except Refusal as refusal:
                    response = refusal.response()
            if "Cache-Control" not in response:
                response["Cache-Control"] = "no-store"
            return response

        wrapped.gate = gate  # type: ignore[attr-defined]
        return wrapped

    return decorate


def json_body(request: HttpRequest, *fields: str) -> dict[str, Any]:
    """The request's JSON object; raises `Refusal` unless it has only these fields, each once."""
    data = json_object(request, raw_body(request, JSON_LIMIT))
    for name in data:
        if name not in fields:
            raise Refusal(
                400,
                "unknown_field",
                _("There is no such field here; it takes %(fields)s.")
                % {"fields": ", ".join(fields) or _("none")},
                field=name[:100],
            )
    return data


def json_object(request: HttpRequest, body: bytes) -> dict[str, Any]:
    """The JSON object that a request's body is, no name twice in it; raises `Refusal`."""
    if request.content_type != "application/json":
        raise Refusal(
            415, "unsupported_media_type", _("Send JSON with Content-Type: application/json.")
        )
    try:
        data = json.loads(
            body.decode(),
            object_pairs_hook=_unique_names,
            parse_constant=_no_constant,
            parse_int=lambda digits: int(digits) if len(digits) <= 20 else _MANY_DIGITS,
        )
    except (ValueError, RecursionError):
        raise Refusal(400, "invalid_json", _("The body is not valid JSON.")) from None
    if not isinstance(data, dict):
        raise Refusal(400, "invalid_json", _("The body must be a JSON object."))
    return data


def raw_body(request: HttpRequest, limit: int) -> bytes:
    """The request's body as sent.

    Raises `Refusal`: 413 past `limit` bytes, without reading on; 400 where it can't be read.
    """
    try:
        declared = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        declared = 0
    # Django takes a body without Content-Length for none; gunicorn knows where its chunks end.
    chunked = "Content-Length" not in request.headers and "Transfer-Encoding" in request.headers
    source = request.META["wsgi.input"] if chunked else request
    try:
        body = b"" if declared > limit else source.read(limit + 1)
    except Exception:  # noqa: BLE001 (each web server has its own for chunks that are none)
        raise Refusal(400, "bad_request", _("The body broke off or can't be read.")) from None
    if declared > limit or len(body) > limit:
        raise Refusal(
            413,
            "payload_too_large",
            _("The body is larger than %(limit)s KB.") % {"limit": limit // 1024},
        )
    return body


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a name stands twice")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
