from typing import Any, ClassVar

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import Q
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
    """Someone who signs in by email. The address is unique without regard to case.

    Or the account of an `Organisation`, which nobody signs in to.
    """

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
    # `accounts.organisations`' to write.
    is_organisation = models.BooleanField(
        _("organisation"), default=False, db_default=False, editable=False
    )

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
            ),
            # Whatever would sign in asks for one of these.
            models.CheckConstraint(
                name="accounts_user_organisation_never_signs_in",
                condition=Q(is_organisation=False)
                | Q(
                    is_active=False,
                    is_staff=False,
                    is_superuser=False,
                    password__startswith=UNUSABLE_PASSWORD_PREFIX,
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def known_as(self) -> str:
        """What others are told of whom something is from: an address, or an organisation's name."""
        return self.organisation.name if self.is_organisation else self.email


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


class Period(models.TextChoices):
    """How often a spending limit starts anew, in UTC: at midnight, on Monday, on the first."""

    DAY = "day", _("a day")
    WEEK = "week", _("a week")
    MONTH = "month", _("a month")


class Limited(models.Model):
    """May spend so many credits a period; none named, as many as there are."""

    limit_credits = models.PositiveBigIntegerField(
        _("spending limit"), null=True, blank=True, help_text=_("Credits. Empty is no limit.")
    )
    limit_period = models.CharField(
        _("per"), max_length=5, choices=Period.choices, blank=True, default=""
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                name="%(app_label)s_%(class)s_limit_has_period",
                condition=Q(limit_credits__isnull=True, limit_period="")
                | Q(limit_credits__gt=0, limit_period__in=["day", "week", "month"]),
            )
        ]


class ApiKey(Limited):
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
            *Limited.Meta.constraints,
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


class Organisation(models.Model):
    """A company, say, with credits of its own that its members draw on.

    It is an account that nobody signs in to: wallet, purchases, keys and all else that an account
    has hang on `account`, whose id is the organisation's
    (docs/decisions/0033-organisations-are-accounts.md).
    """

    account = models.OneToOneField(
        User, models.PROTECT, primary_key=True, related_name="organisation", editable=False,
        verbose_name=_("account"),
    )  # fmt: skip
    name = models.CharField(_("name"), max_length=80)
    billing_email = models.EmailField(
        _("billing address"), help_text=_("Where receipts and invoices are sent.")
    )
    made_by = models.ForeignKey(
        User, models.PROTECT, related_name="+", editable=False, verbose_name=_("made by")
    )
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)
    # Of the form that made it: sent twice, it makes one organisation.
    request_id = models.UUIDField(editable=False)

    class Meta:
        verbose_name = _("organisation")
        verbose_name_plural = _("organisations")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["made_by", "request_id"], name="accounts_organisation_request"
            )
        ]

    def __str__(self) -> str:
        return self.name or str(self.account_id)  # of one that is closed


class Role(models.TextChoices):
    """What a member may do; each may do what the next one may."""

    OWNER = "owner", pgettext_lazy("role", "Owner")
    BILLING = "billing", pgettext_lazy("role", "Billing")
    MEMBER = "member", pgettext_lazy("role", "Member")


class Membership(Limited):
    """Somebody who draws on an organisation's credits. It ends by being deleted.

    Of an organisation that is not closed at least one is an owner: the database holds it
    (`accounts/sql/0010_organisations.sql`).
    """

    organisation = models.ForeignKey(
        Organisation, models.PROTECT, related_name="memberships", verbose_name=_("organisation")
    )
    user = models.ForeignKey(
        User, models.PROTECT, related_name="memberships", verbose_name=_("user")
    )
    role = models.CharField(_("role"), max_length=7, choices=Role.choices)
    joined_at = models.DateTimeField(_("joined"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "user"], name="accounts_membership_once"
            ),
            models.CheckConstraint(
                name="accounts_membership_role",
                condition=Q(role__in=["owner", "billing", "member"]),
            ),
            *Limited.Meta.constraints,
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()}"

    @property
    def is_owner(self) -> bool:
        return self.role == Role.OWNER

    @property
    def may_buy(self) -> bool:
        """Whether they buy for it, see all of its history and set its members' limits."""
        return self.role in (Role.OWNER, Role.BILLING)

    @property
    def sees_of(self) -> int | None:
        """Whose entries they see, as a user's id; None: everybody's."""
        return None if self.may_buy else self.user_id


class Invitation(Limited):
    """A mail that asks somebody to join, until it is accepted, taken back or run out.

    Then it is deleted, with its address. `digest` is the SHA-256 of the link's secret.
    """

    organisation = models.ForeignKey(
        Organisation, models.CASCADE, related_name="invitations", verbose_name=_("organisation")
    )
    email = models.EmailField(_("email address"))
    role = models.CharField(_("role"), max_length=7, choices=Role.choices)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    invited_by = models.ForeignKey(User, models.PROTECT, related_name="+", editable=False)
    created_at = models.DateTimeField(_("sent"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(pgettext_lazy("invitation", "expires"))

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                "organisation", Lower("email"), name="accounts_invitation_once"
            ),
            models.CheckConstraint(
                name="accounts_invitation_role",
                condition=Q(role__in=["owner", "billing", "member"]),
            ),
            *Limited.Meta.constraints,
        ]

    def __str__(self) -> str:
        return f"{self.organisation_id}: {self.email}"

    @property
    def is_open(self) -> bool:
        return self.expires_at > timezone.now()


class Drawing(models.Model):
    """What somebody drew on an organisation's credits, or holds, on a day (UTC).

    By day, so that a limit may be changed to another period at any time; and of the user, so that
    who leaves and comes back has drawn it still.
    """

    organisation = models.ForeignKey(
        Organisation, models.PROTECT, related_name="drawings", db_index=False
    )
    user = models.ForeignKey(User, models.PROTECT, related_name="drawings")
    day = models.DateField()
    credits = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "user", "day"], name="accounts_drawing_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.organisation_id}, {self.user_id}, {self.day}: {self.credits}"
