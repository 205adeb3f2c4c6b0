"""What API v1 keeps: what it answered, and what holds count for on limits."""

from typing import Final

from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiKey, Organisation, User
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


class MemberHold(models.Model):
    """A hold on an organisation's credits: by which member, and what it counts for on their limit.

    It stays when the hold `is_over`, to know whose it was; then what was captured is counted.
    """

    hold = models.OneToOneField(Hold, models.PROTECT, primary_key=True, db_constraint=False)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+", db_index=False)
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    day = models.DateField()
    credits = models.PositiveBigIntegerField()
    is_over = models.BooleanField(default=False)

    class Meta:
        indexes = [
            models.Index(
                fields=["hold"], condition=models.Q(is_over=False), name="api_memberhold_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hold_id}: {self.user_id}, {self.credits}"
