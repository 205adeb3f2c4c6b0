"""What is told. Entries of the ledger are told by the database itself (`outgoing/sql/`)."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import User
from outgoing import endpoints
from outgoing.models import Delivery, Endpoint, Message

TEST: Final = "endpoint.test"
"""The event that staff send to see whether an endpoint works; no endpoint can leave it out."""

KEPT: Final = timedelta(days=30)
"""How long messages can be looked at and sent again."""

BATCH: Final = 1000


def tell(event: str, user_id: int, data: Mapping[str, Any]) -> None:
    """Have the endpoints that want it told, once this transaction is committed.

    `data` names the user by number and nothing else: what is told leaves the house, and an account
    that is closed must be nobody's.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT outgoing_tell(%s, %s, statement_timestamp(), %s::json)",
            [event, user_id, _json({"user": user_id, **data})],
        )


def tell_test(endpoint: Endpoint) -> str:
    """Have one endpoint sent a message that means nothing. Answers the message's id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT outgoing_keep(%s, NULL, statement_timestamp(), %s::json, %s)",
            [TEST, _json({"endpoint": endpoint.pk}), [endpoint.pk]],
        )
        message_id: str = cursor.fetchone()[0]
    return message_id


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False)


def send_again(messages: QuerySet[Message]) -> int:
    """Have messages sent once more to whom they went, delivered or not. Answers how many will be.

    They keep their ids, so who has had one knows it again. An endpoint that is off gets nothing.
    """
    chosen = Delivery.objects.filter(message__in=messages, endpoint__is_enabled=True)
    return chosen.update(
        status=Delivery.Status.WAITING,
        tries=0,
        since=Now(),
        next_at=Now(),
        delivered_at=None,
        code=None,
        answer="",
        error="",
    )


def forget_answers(user: User) -> None:
    """Delete what receivers have answered about a user: it may name them, as no message does."""
    Delivery.objects.filter(message__user=user).exclude(answer="").update(answer="")


def forget_old() -> int:
    """Delete messages that are older than `KEPT`, and secrets that sign no more.

    Answers how many messages.
    """
    endpoints.forget_old_secrets()
    old = Message.objects.filter(created_at__lt=Now() - KEPT).order_by("created_at")
    deleted = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH]):
        Delivery.objects.filter(message__in=ids).delete()
        Message.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
    return deleted
