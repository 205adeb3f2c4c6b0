"""Once is once: a request that is made again gets the answer of the first time.

The answer is written in the transaction of what it tells of, so there is both or neither, whenever
a process ends (docs/decisions/0025-answers-are-kept.md).
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from ninja.responses import NinjaJSONEncoder
from pydantic import BaseModel

from accounts.models import ApiKey
from api.admission import ProgramRequest
from api.models import Answer
from api.refusals import reused_key

KEPT_FOR: Final = timedelta(days=30)

T = TypeVar("T")


def scope_of(api_key: ApiKey) -> str:
    """Whose an Idempotency-Key is. Not the API key's, which may be replaced between two tries."""
    return "shop" if api_key.user_id is None else f"user:{api_key.user_id}"


def ledger_key(api_key: ApiKey, key: str) -> str:
    """What is booked or ordered under: when the answer is forgotten, it is still once."""
    return f"api:{scope_of(api_key)}:{key}"


def once(
    request: ProgramRequest,
    key: str,
    body: BaseModel,
    do: Callable[[], BaseModel],
    *,
    status: int = 200,
) -> HttpResponse:
    """Do it in a transaction and answer, unless the key has answered this request before.

    What `do` raises leaves nothing behind, so that the request may be made again. Raises `Refusal`
    where the key has answered another request.
    """
    scope, fingerprint = scope_of(request.auth), fingerprint_of(request, body)
    with transaction.atomic():
        kept = _claim(scope, key)
        if kept is not None:
            return response_of(kept, fingerprint)
        answer = Answer.objects.create(
            scope=scope, key=key, fingerprint=fingerprint, status=status, body=_json(do())
        )
    return response_of(answer, fingerprint)


def _claim(scope: str, key: str) -> Answer | None:
    """What the key has answered; else it is this transaction's, and others wait for its end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM api_claim(%s, %s)", [scope, key])
        row = cursor.fetchone()
    return None if row is None else answer_of(row)


def answer_of(row: tuple[Any, ...]) -> Answer:
    """Of a row of its table, from a function in SQL."""
    return Answer.from_db(connection.alias, _FIELDS, row)


_FIELDS: Final = [field.attname for field in Answer._meta.concrete_fields]


def part_by_part(
    request: ProgramRequest, key: str, body: BaseModel, do: Callable[[], tuple[BaseModel, bool]]
) -> HttpResponse:
    """Do what is too much for one transaction, and may be done again: each part happens once.

    `do` also answers whether that was all. If not, or if it breaks off, the same request under this
    key does the rest, and another request is refused as by `once`.
    """
    return _step_by_step(request, key, body, lambda: None, lambda _: do(), 200)


def begun_once(
    request: ProgramRequest,
    key: str,
    body: BaseModel,
    begin: Callable[[], T],
    finish: Callable[[T], BaseModel],
    *,
    status: int = 200,
) -> HttpResponse:
    """Do what can't be done within a transaction, such as to ask another server.

    `begin` is called in the transaction that takes the key: where it raises, the key is free as
    before. `finish` comes after it. Both may come again under this key, until there is an answer,
    and must do nothing twice.
    """
    return _step_by_step(request, key, body, begin, lambda begun: (finish(begun), True), status)


def _step_by_step(
    request: ProgramRequest,
    key: str,
    body: BaseModel,
    begin: Callable[[], T],
    go_on: Callable[[T], tuple[BaseModel, bool]],
    status: int,
) -> HttpResponse:
    scope, fingerprint = scope_of(request.auth), fingerprint_of(request, body)
    answers = Answer.objects.filter(scope=scope, key=key)
    with transaction.atomic():
        answer = _claim(scope, key)
        if answer is not None and (answer.status or bytes(answer.fingerprint) != fingerprint):
            return response_of(answer, fingerprint)
        begun = begin()
        if answer is None:
            answer = answers.create(scope=scope, key=key, fingerprint=fingerprint, status=None)
    done, is_all = go_on(begun)
    answer.status, answer.body = status, _json(done)
    # Of two at the same moment, both answer what the first to end has answered.
    if is_all and not answers.filter(status=None).update(status=status, body=answer.body):
        answer = answers.get()
    return response_of(answer, fingerprint)


def _json(answer: BaseModel) -> str:
    return json.dumps(answer.model_dump(), cls=NinjaJSONEncoder)


def fingerprint_of(request: HttpRequest, body: BaseModel) -> bytes:
    """Of what was asked for: the order of fields and blanks between them make no other request."""
    text = f"{request.method} {request.path_info} {body.model_dump_json(exclude_unset=True)}"
    return hashlib.sha256(text.encode()).digest()


def response_of(answer: Answer, fingerprint: bytes) -> HttpResponse:
    if bytes(answer.fingerprint) != fingerprint:
        raise reused_key()
    return HttpResponse(
        answer.body, status=answer.status, content_type="application/json; charset=utf-8"
    )


def forget_old() -> int:
    """What is older than `KEPT_FOR` goes; answers how many did."""
    return Answer.objects.filter(created_at__lt=Now() - KEPT_FOR).delete()[0]
