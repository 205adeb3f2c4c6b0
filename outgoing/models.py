"""Webhooks to the owner's own product: who gets them, what they say, and how it went.

What writes the messages about entries is a trigger (`outgoing/sql/0002_tell.sql`), so that none can
be missed or told twice (docs/decisions/0027-outgoing-webhooks.md).
"""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class EventType(models.TextChoices):
    """What is told. The ledger's kinds are given theirs by `outgoing_event_of`, in the database."""

    GRANTED = "credits.granted", _("Credits came in: bought, renewed or given")
    SPENT = "credits.spent", _("Credits were spent")
    EXPIRED = "credits.expired", _("Credits expired")
    REVOKED = "credits.revoked", _("A refund, a dispute or a debt took credits back")
    RESTORED = "credits.restored", _("Credits that were taken back came in again")
    ADJUSTED = "credits.adjusted", _("Staff corrected a balance")
    SENT = "credits.sent", _("Credits left as a gift")
    RECEIVED = "credits.received", _("A gift of credits came in")
    LOW = "credits.low", _("A balance fell below its owner's threshold")
    DEPLETED = "credits.depleted", _("A balance came to nothing")
    SUBSCRIPTION_CHANGED = "subscription.changed", _("A monthly plan began, changed or ended")


class Endpoint(models.Model):
    """An address that gets webhooks.

    Switched off it gets no new ones, and what waits for it goes on waiting; it is never deleted, so
    that no booking can meet one that is just going. While a secret is rolled the old one signs as
    well, until `old_secret_until`.
    """

    url = models.CharField(_("address"), max_length=500)
    description = models.CharField(_("description"), max_length=200, blank=True)
    events = ArrayField(
        models.CharField(max_length=40, choices=EventType.choices),
        verbose_name=_("events"),
        blank=True,
        default=list,
        help_text=_("None is all, those to come included."),
    )
    is_enabled = models.BooleanField(_("switched on"), default=True)
    off_because = models.CharField(_("switched off because"), max_length=200, blank=True)
    secret = models.CharField(max_length=100, editable=False)
    old_secret = models.CharField(max_length=100, blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, editable=False)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="+",
        editable=False,
        verbose_name=_("made by"),
    )
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)
    # Since its first failure after the last success, and until when it is left alone.
    failing_since = models.DateTimeField(_("failing since"), null=True, editable=False)
    rests_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        constraints = [
            models.CheckConstraint(
                condition=Q(old_secret="", old_secret_until__isnull=True)
                | ~Q(old_secret="") & Q(old_secret_until__isnull=False),
                name="outgoing_endpoint_old_secret",
            ),
            models.CheckConstraint(
                condition=Q(is_enabled=False) | Q(off_because=""),
                name="outgoing_endpoint_off_because",
            ),
        ]

    def __str__(self) -> str:
        return self.description or self.url


class Message(models.Model):
    """What is told, once for all endpoints. `payload` is sent as it stands here."""

    id = models.CharField(primary_key=True, max_length=40)
    type = models.CharField(_("event"), max_length=40)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        verbose_name=_("customer"),
        related_name="+",
    )
    payload = models.TextField(_("content"))
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("webhook message")
        verbose_name_plural = _("webhook messages")
        permissions = [("resend_message", "Can send webhooks again")]
        indexes = [models.Index(fields=["created_at"], name="outgoing_message_time")]

    def __str__(self) -> str:
        return self.id


class Delivery(models.Model):
    """A message on its way to one endpoint. `code`, `answer` and `error` are of the last try."""

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        DELIVERED = "delivered", _("Delivered")
        GIVEN_UP = "given_up", _("Given up")

    message = models.ForeignKey(Message, models.CASCADE, db_index=False, related_name="deliveries")
    endpoint = models.ForeignKey(
        Endpoint,
        models.PROTECT,
        db_index=False,
        related_name="deliveries",
        verbose_name=_("webhook endpoint"),
    )
    status = models.CharField(
        _("status"), max_length=9, choices=Status.choices, default=Status.WAITING
    )
    tries = models.PositiveIntegerField(_("tries"), default=0)
    # When it was first to be sent, or staff had it sent again: from then on it has three days.
    since = models.DateTimeField(db_default=Now())
    next_at = models.DateTimeField(_("next try"), db_default=Now())
    delivered_at = models.DateTimeField(_("delivered"), null=True)
    code = models.PositiveSmallIntegerField(_("status code"), null=True)
    answer = models.TextField(_("answer"), blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [
            models.UniqueConstraint(fields=["message", "endpoint"], name="outgoing_delivery_once"),
            models.CheckConstraint(
                condition=Q(status="delivered", delivered_at__isnull=False)
                | Q(status__in=["waiting", "given_up"], delivered_at__isnull=True),
                name="outgoing_delivery_delivered",
            ),
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "next_at"],
                condition=Q(status="waiting"),
                name="outgoing_delivery_due",
            ),
            models.Index(
                fields=["since"], condition=Q(status="given_up"), name="outgoing_delivery_lost"
            ),
        ]

    def __str__(self) -> str:
        return self.get_status_display()

    @property
    def is_waiting(self) -> bool:
        return self.status == self.Status.WAITING
