"""API v1: its parts, and what it answers where one fails."""

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import ValidationError

from api import balance, calling, entries, holds, quotes, refusals, reporting, spending
from api.reading import first_fault

api = NinjaAPI(
    title="Credits API",
    version="1",
    description=(
        "Read and spend prepaid credits from any product. All amounts are whole credits, all times "
        "UTC. What is refused has done nothing."
    ),
    docs_url=None,
    urls_namespace="api-v1",
)
for part in (calling, balance, entries, spending, holds, reporting, quotes):
    api.add_router("", part.router)


@api.exception_handler(Exception)
def _refused(request: HttpRequest, error: Exception) -> HttpResponse:
    refusal = refusals.of(error)
    if refusal is None:
        # In place of ninja's own page under DEBUG: `config.middleware` knows what to answer.
        raise error
    return refusal.response()


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return first_fault(error.errors).response()
