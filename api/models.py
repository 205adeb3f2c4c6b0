"""What API v1 keeps: what it answered, and what holds count for on the limits of keys."""

from typing import Final

from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiKey
from credits.models import Hold

LONGEST_KEY: Final = 128


class Answer(models.Model):
    """What a request under an Idempotency-Key was answered, written with what it did.

    `scope` is whose the name of the key is: a user's, for their personal keys, or the shop's, for
    all service keys (docs/decisions/0025-answers-are-kept.md). `fingerprint` is the SHA-256 of the
    request. A refusal is not kept: it has done nothing, and may turn out otherwise the next time.
    Without a status the request was begun, and the key stands for it (`api.answers.part_by_part`).
    """

    pk = models.CompositePrimaryKey("scope", "key")
    scope = models.CharField(max_length=30)
    key = models.CharField(max_length=LONGEST_KEY)
    fingerprint = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="api_answer_time")]

    def __str__(self) -> str:
        return f"{self.scope}: {self.key}"


class HeldCharge(models.Model):
    """What a hold counts for on the limit of the key that placed it, in which period.

    Gone with the hold: what was captured stays counted, the rest was given back.
    """

    hold = models.OneToOneField(Hold, models.PROTECT, primary_key=True, db_constraint=False)
    key = models.ForeignKey(ApiKey, models.PROTECT, related_name="+")
    begins_on = models.DateField()
    credits = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"{self.hold_id}: {self.credits}"
