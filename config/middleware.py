from collections.abc import Callable
from typing import Final

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import resolve
from django.utils import translation
from django.utils.cache import add_never_cache_headers

from config import errors

GetResponse = Callable[[HttpRequest], HttpResponse]


class HealthMiddleware:
    """Answer `/healthz` and `/readyz` before hosts are checked and requests are redirected.

    Load balancers ask by address and over plain HTTP.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == "/healthz":
            return JsonResponse({"status": "ok"})
        if request.path_info == "/readyz":
            return readiness()
        return self.get_response(request)


def readiness() -> HttpResponse:
    """200 when the database answers and every migration is applied, 503 otherwise."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return JsonResponse({"error": "No database", "code": "no_database"}, status=503)
    if pending:
        return JsonResponse(
            {"error": "Migrations are not applied", "code": "migrations_pending"}, status=503
        )
    return JsonResponse({"status": "ready"})


class PrivateMiddleware:
    """What a signed-in person gets is nobody else's: shared caches must not keep it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if "Cache-Control" not in response:
            add_never_cache_headers(response)
        return response


class BusyMiddleware:
    """503 and when to come again, where the database was waited for in vain or is away.

    What fails outside of a view comes to the same answer by `errors.server_error`.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return errors.outage(request, exception)


PROGRAMS: Final = "/api/v1/"
"""Where the addresses of the API for programs begin."""


class ProgramsMiddleware:
    """Answer the API for programs here, before anything that is for people.

    It knows no cookies, so no session is looked for, and it speaks English.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PROGRAMS):
            return self.get_response(request)
        request.get_host()  # refuses a name that isn't ours, as CommonMiddleware does
        translation.activate("en")  # as LocaleMiddleware does: the next request has its own
        response = self._answer(request)
        response.setdefault("Cache-Control", "no-store")
        response.setdefault("Content-Length", str(len(response.content)))
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            match = request.resolver_match = resolve(request.path_info)
            response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        except Http404:
            return errors.not_found(request)
        except Exception as error:
            answer = errors.outage(request, error)
            if answer is None:
                raise
            return answer
        if response.status_code == 405:
            return errors.method_not_allowed(response["Allow"])
        return response
