"""API v1: its parts, and what it answers where one fails."""

from typing import NoReturn

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import ValidationError

from accounts.keys import LimitReached
from api import balance, calling, entries, holds, quotes, refusals, spending
from api.reading import first_fault
from billing.api import Refusal
from credits.errors import LedgerError

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
for part in (calling, balance, entries, spending, holds, quotes):
    api.add_router("", part.router)


@api.exception_handler(Refusal)
def _refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return refusal.response()


@api.exception_handler(LedgerError)
def _ledger_refused(request: HttpRequest, error: LedgerError) -> HttpResponse:
    refusal = refusals.of_ledger(error)
    if refusal is None:
        raise error
    return refusal.response()


@api.exception_handler(LimitReached)
def _limit_reached(request: HttpRequest, error: LimitReached) -> HttpResponse:
    return refusals.of_limit(error).response()


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return first_fault(error.errors).response()


@api.exception_handler(Exception)
def _failed(request: HttpRequest, error: Exception) -> NoReturn:
    raise error  # for `config.middleware`, in place of ninja's own page under DEBUG
