"""API v1: its parts, and what it answers where one fails."""

from typing import NoReturn

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import ValidationError

from api import balance
from api.reading import first_fault
from billing.api import Refusal

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
api.add_router("", balance.router)


@api.exception_handler(Refusal)
def _refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return refusal.response()


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return first_fault(error.errors).response()


@api.exception_handler(Exception)
def _failed(request: HttpRequest, error: Exception) -> NoReturn:
    raise error  # for `config.middleware`, in place of ninja's own page under DEBUG
