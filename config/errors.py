"""What people and programs see when a request fails outside a view."""

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import resolve


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403; but what an endpoint refuses before it looks at CSRF is answered first."""
    if not _is_api(request):
        return render(request, "403_csrf.html", status=403)
    return _refused_before(request) or _json(
        403,
        "csrf_failed",
        "The CSRF token is missing or wrong. Send the csrftoken cookie's value as X-CSRFToken.",
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
    if _is_api(request):
        refused = _refused_before(request)
        if refused is not None:
            return refused
        if isinstance(exception, RequestDataTooBig):
            return _json(413, "payload_too_large", "The body is too large.")
        return _json(400, "bad_request", "The request could not be understood.")
    return render(request, "400.html", status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _is_api(request):
        return _json(403, "forbidden", "You may not do this.")
    return render(request, "403.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _is_api(request):
        return _json(404, "not_found", "There is nothing at this address.")
    return render(request, "404.html", status=404)


def no_endpoint(request: HttpRequest, rest: str) -> HttpResponse:
    """404 for the rest of `/api/`: in JSON also where `DEBUG` would make a page of it."""
    return not_found(request)


# Also without a CSRF token: what is nowhere is answered first.
no_endpoint.gate = not_found  # type: ignore[attr-defined]


def server_error(request: HttpRequest) -> HttpResponse:
    if _is_api(request):
        return _json(500, "server_error", "Something went wrong on our side. Try again.")
    # No context: whatever broke may break the context processors as well.
    return HttpResponse(_plain("500.html"), status=500)


def busy(request: HttpRequest) -> HttpResponse:
    """503: nothing was done, and the same request may be made again in a moment."""
    if _is_api(request):
        response: HttpResponse = _json(503, "busy", "Busy just now. Nothing was done; try again.")
    else:
        response = render(request, "503.html", status=503)
    response["Retry-After"] = "2"  # seconds
    return response


def _plain(template: str) -> str:
    from django.template.loader import render_to_string

    return render_to_string(template)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def _json(status: int, code: str, error: str) -> JsonResponse:
    return JsonResponse({"error": error, "code": code}, status=status)
