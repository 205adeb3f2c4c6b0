"""API v1: its parts, and how it answers where one fails."""

import functools
import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET
from ninja import NinjaAPI
from ninja.errors import ValidationError

from api import (
    balance,
    bulk,
    calling,
    entries,
    holds,
    purchases,
    quotes,
    refusals,
    reporting,
    spending,
)
from api.reading import first_fault

api = NinjaAPI(
    title="Credits API",
    version="1",
    description=(
        "Read and spend prepaid credits from any product. All amounts are whole credits, all times "
        "UTC. What is refused has done nothing."
    ),
    # The schema is made once and not at each request; the reference page is ours.
    openapi_url=None,
    docs_url=None,
    urls_namespace="api-v1",
    servers=[{"url": settings.BASE_URL}],
    openapi_extra={
        "tags": [
            {"name": "Keys", "description": "Who calls."},
            {"name": "Credits", "description": "What a user has, had and spends."},
            {"name": "Holds", "description": "Reserve first, spend when it is known how much."},
            {"name": "Usage", "description": "Report what was used; its meter's prices charge it."},
            {"name": "Prices", "description": "What credits cost to buy."},
            {"name": "Purchases", "description": "Sell credits in your own place."},
            {"name": "Bulk purchases", "description": "An organisation buys for many at once."},
        ]
    },
)
for part in (calling, balance, entries, spending, holds, reporting, quotes, purchases, bulk):
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


@require_GET
@cache_control(public=True, max_age=300)
def openapi(request: HttpRequest) -> HttpResponse:
    """What all of this is, for programs that write programs."""
    return HttpResponse(schema_text(), content_type="application/json")


@functools.cache
def schema_text() -> str:
    return json.dumps(api.get_openapi_schema())
