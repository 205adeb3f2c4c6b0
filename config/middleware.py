from collections.abc import Callable

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

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
