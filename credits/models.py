"""The ledger's tables. Only `credits.ledger` writes them; the rules are in the database.

The PL/pgSQL functions that book are in `credits/sql/`, installed by the migrations.
"""

from typing import Final

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Account(models.TextChoices):
    """The house's accounts: the other side of every entry."""

    ISSUED = "issued", _("Issued")
    SPENT = "spent", _("Spent")
    EXPIRED = "expired", _("Expired")
    REVOKED = "revoked", _("Revoked")
    ADJUSTED = "adjusted", _("Adjusted")
    ESCROW = "escrow", _("Escrow")


class Kind(models.TextChoices):
    """Why credits moved."""

    PURCHASE = "purchase", _("Purchase")
    RENEWAL = "renewal", _("Monthly renewal")
    PROMOTION = "promotion", _("Promotion")
    GIFT_SENT = "gift_sent", _("Gift sent")
    GIFT_RECEIVED = "gift_received", _("Gift received")
    SPEND = "spend", _("Spent")
    REFUND = "refund", _("Refund")
    DISPUTE = "dispute", _("Dispute")
    EXPIRY = "expiry", _("Expired")
    ADJUSTMENT = "adjustment", _("Adjustment")


ACCOUNT_OF: Final[dict[str, str]] = {
    Kind.PURCHASE: Account.ISSUED,
    Kind.RENEWAL: Account.ISSUED,
    Kind.PROMOTION: Account.ISSUED,
    Kind.GIFT_SENT: Account.ESCROW,
    Kind.GIFT_RECEIVED: Account.ESCROW,
    Kind.SPEND: Account.SPENT,
    Kind.REFUND: Account.REVOKED,
    Kind.DISPUTE: Account.REVOKED,
    Kind.EXPIRY: Account.EXPIRED,
    Kind.ADJUSTMENT: Account.ADJUSTED,
}


class Category(models.TextChoices):
    PAID = "paid", _("Paid")
    PROMOTIONAL = "promotional", _("Promotional")


class Wallet(models.Model):
    """What one owner has, in whole credits. `held` is the part of `balance` that is reserved."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT)
    balance = models.BigIntegerField(_("balance"), default=0)
    held = models.BigIntegerField(_("held"), default=0)
    owed = models.BigIntegerField(_("owed"), default=0)

    class Meta:
        permissions = [("adjust_wallet", "Can adjust balances")]
        constraints = [
            models.CheckConstraint(
                condition=Q(held__gte=0, balance__gte=F("held")), name="credits_wallet_covered"
            ),
            models.CheckConstraint(condition=Q(owed__gte=0), name="credits_wallet_owed"),
        ]

    def __str__(self) -> str:
        return str(self.user)

    @property
    def available(self) -> int:
        """Credits that can be spent now."""
        return self.balance - self.held


class Entry(models.Model):
    """One movement between one wallet and one account of the house. Append-only.

    In the database the primary key is `(wallet_id, id)`, so that a wallet and all that belongs to
    it can live on one shard; `id` alone comes from a sequence and is what Django goes by
    (docs/decisions/0002-keys-begin-with-the-wallet.md).
    """

    wallet = models.ForeignKey(Wallet, models.PROTECT, db_index=False, related_name="entries")
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    account = models.CharField(_("account"), max_length=10, choices=Account.choices)
    amount = models.BigIntegerField(_("credits"), help_text=_("Plus is into the wallet."))
    balance = models.BigIntegerField(_("balance after"))
    key = models.CharField(_("key"), max_length=200)
    note = models.CharField(_("note"), max_length=500, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            models.UniqueConstraint(fields=["wallet", "key"], name="credits_entry_wallet_key"),
            models.CheckConstraint(condition=~Q(amount=0), name="credits_entry_moves"),
            models.CheckConstraint(condition=Q(balance__gte=0), name="credits_entry_balance"),
            models.CheckConstraint(
                condition=Q(
                    *[Q(kind=kind, account=account) for kind, account in ACCOUNT_OF.items()],
                    _connector=Q.OR,
                ),
                name="credits_entry_account",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount:+} {self.kind}"


class Lot(models.Model):
    """What one incoming entry left to spend. Its `id` is that entry's.

    Spent in this order: priority, soonest expiry, promotional before paid, oldest.
    """

    id = models.BigIntegerField(primary_key=True)
    wallet = models.ForeignKey(Wallet, models.PROTECT, db_index=False, related_name="lots")
    amount = models.BigIntegerField(_("credits"), validators=[MinValueValidator(1)])
    remaining = models.BigIntegerField(_("remaining"))
    category = models.CharField(_("category"), max_length=11, choices=Category.choices)
    priority = models.SmallIntegerField(_("priority"), default=50)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    paid = models.BigIntegerField(_("paid"), default=0, help_text=_("In minor currency units."))

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(remaining__gte=0, remaining__lte=F("amount"), amount__gt=0),
                name="credits_lot_remaining",
            ),
            models.CheckConstraint(
                condition=Q(priority__gte=0, priority__lte=100), name="credits_lot_priority"
            ),
            models.CheckConstraint(
                condition=Q(category=Category.PAID) | Q(category=Category.PROMOTIONAL, paid=0),
                name="credits_lot_paid",
            ),
            models.CheckConstraint(condition=Q(paid__gte=0), name="credits_lot_cost"),
        ]
        indexes = [
            # The open lots of a wallet, in the order of spending.
            models.Index(
                F("wallet"),
                F("priority"),
                F("expires_at"),
                F("category").desc(),
                F("id"),
                condition=Q(remaining__gt=0),
                name="credits_lot_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.remaining} of {self.amount}"


class Draw(models.Model):
    """How much an outgoing entry took from a lot. Append-only."""

    wallet = models.ForeignKey(Wallet, models.PROTECT, db_index=False, related_name="draws")
    entry_id = models.BigIntegerField()
    lot_id = models.BigIntegerField()
    amount = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "entry_id", "lot_id"], name="credits_draw_once"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="credits_draw_amount"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} from lot {self.lot_id}"
