from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """Someone who signs in by email. The address is unique without regard to case."""

    email = models.EmailField(_("email address"))
    is_staff = models.BooleanField(_("staff"), default=False)
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(_("joined"), db_default=Now())
    # Both are `accounts.preferences`' to write. Empty: what the browser says.
    language = models.CharField(
        _("language"), max_length=10, blank=True, default="", db_default="", editable=False
    )
    time_zone = models.CharField(
        _("time zone"), max_length=64, blank=True, default="", db_default="", editable=False
    )
    # Both are `accounts.closing`'s to write.
    closing_at = models.DateTimeField(_("closing since"), null=True, editable=False)
    closed_at = models.DateTimeField(_("closed"), null=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="accounts_user_email_unique",
                violation_error_message=_("There is an account with this email address already."),
            )
        ]

    def __str__(self) -> str:
        return self.email


class Session(AbstractBaseSession):
    """A session that knows whose it is, so that all of somebody's can be ended."""

    # Without a constraint: a user who is deleted takes down no request that still saves a session.
    user = models.ForeignKey(User, models.CASCADE, null=True, db_constraint=False)

    class Meta(AbstractBaseSession.Meta):
        abstract = False

    @classmethod
    def get_session_store_class(cls) -> Any:
        from accounts.sessions import SessionStore

        return SessionStore


class ApiKey(models.Model):
    """What a program acts with: on its owner's wallet, or, made by staff, on any user's.

    The key itself is shown once and not kept: `digest` is its SHA-256, `prefix` how it begins, to
    tell keys apart. A key is never deleted, so that what it did stays told.
    """

    class Kind(models.TextChoices):
        PERSONAL = "personal", _("Personal")
        SERVICE = "service", _("Service")

    class Scope(models.TextChoices):
        BALANCE_READ = "balance:read", _("Read balances and their history")
        CREDITS_SPEND = "credits:spend", _("Spend and reserve credits")
        USAGE_READ = "usage:read", _("Read usage")
        USAGE_WRITE = "usage:write", _("Report usage")
        PURCHASES_READ = "purchases:read", _("Read purchases")
        PURCHASES_WRITE = "purchases:write", _("Open payment pages, on which a person pays")

    class Period(models.TextChoices):
        DAY = "day", _("a day")
        WEEK = "week", _("a week")
        MONTH = "month", _("a month")

    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    user = models.ForeignKey(
        User, models.PROTECT, null=True, blank=True, related_name="api_keys",
        verbose_name=_("owner"), help_text=_("Of a personal key."),
    )  # fmt: skip
    made_by = models.ForeignKey(
        User, models.PROTECT, related_name="+", editable=False, verbose_name=_("made by")
    )
    name = models.CharField(_("name"), max_length=80)
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=20, choices=Scope.choices), verbose_name=_("scopes")
    )
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(pgettext_lazy("key", "expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(pgettext_lazy("key", "revoked"), null=True, editable=False)
    # To the minute: not every request writes it.
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    limit_credits = models.PositiveBigIntegerField(
        _("spending limit"), null=True, blank=True, help_text=_("Credits. Empty is no limit.")
    )
    limit_period = models.CharField(
        _("per"), max_length=5, choices=Period.choices, blank=True, default=""
    )
    requests_per_minute = models.PositiveIntegerField(
        _("requests a minute"), null=True, blank=True,
        help_text=_("Empty is what the site is set to."),
    )  # fmt: skip
    # Of the form that made it: sent twice, it makes one key.
    request_id = models.UUIDField(null=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        # A key is made by its owner, or as a service key; nobody deletes one.
        default_permissions = ("view", "change")
        permissions = [("make_service_key", "Can make service keys")]
        constraints = [
            models.UniqueConstraint(
                fields=["made_by", "request_id"], name="accounts_apikey_request"
            ),
            models.CheckConstraint(
                name="accounts_apikey_personal_has_owner",
                condition=models.Q(kind="personal", user__isnull=False)
                | models.Q(kind="service", user__isnull=True),
            ),
            models.CheckConstraint(
                name="accounts_apikey_limit_has_period",
                condition=models.Q(limit_credits__isnull=True, limit_period="")
                | models.Q(limit_credits__gt=0, limit_period__in=["day", "week", "month"]),
            ),
            models.CheckConstraint(
                name="accounts_apikey_rate_is_positive",
                condition=models.Q(requests_per_minute__isnull=True)
                | models.Q(requests_per_minute__gt=0),
            ),
        ]
        indexes = [models.Index(fields=["user", "-id"], name="accounts_apikey_of_user")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_open(self) -> bool:
        """Whether it is neither revoked nor expired."""
        is_expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not is_expired


class ApiKeyPace(models.Model):
    """When a key's requests will have been used up at its pace (GCRA). Not logged by the database:
    after a crash every key begins anew."""

    key = models.OneToOneField(ApiKey, models.CASCADE, primary_key=True, related_name="pace")
    full_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.key_id}: {self.full_at}"


class ApiKeySpending(models.Model):
    """What a key with a limit has spent, or holds, in a period, which begins at 0:00 UTC."""

    key = models.ForeignKey(ApiKey, models.PROTECT, related_name="spending")
    begins_on = models.DateField()
    credits = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["key", "begins_on"], name="accounts_apikeyspending_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.key_id}, {self.begins_on}: {self.credits}"
