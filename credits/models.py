"""The ledger's tables, the requests to adjust, and the sums of closed months.

Only `credits.ledger` writes the ledger's; the rules are in the database.

What books is PL/pgSQL in `credits/sql/`, installed by the migrations. In the database the keys of
all that belongs to a wallet begin with the wallet, so that it can live on one shard
(docs/decisions/0002-keys-begin-with-the-wallet.md); where a model has an `id` of its own, it comes
from a sequence, is unique by that, and is what Django goes by.
"""

import uuid
from typing import Final

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext_lazy as _

from credits.numbers import credits_in_words, number, signed

MAX_CREDITS: Final = 2**53 - 1
"""The largest balance: JavaScript reads every integer up to here exactly."""


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
    GIFT_RETURNED = "gift_returned", _("Gift returned")
    GIFT_RECALLED = "gift_recalled", _("Gift taken back")
    SPEND = "spend", _("Spent")
    SPEND_REPAID = "spend_repaid", _("Owed spending repaid")
    REFUND = "refund", _("Refund")
    DISPUTE = "dispute", _("Dispute")
    RESTORAL = "restoral", _("Given back")
    REPAYMENT = "repayment", _("Debt repaid")
    EXPIRY = "expiry", _("Expired")
    ADJUSTMENT = "adjustment", _("Adjustment")


ACCOUNT_OF: Final[dict[str, str]] = {
    Kind.PURCHASE: Account.ISSUED,
    Kind.RENEWAL: Account.ISSUED,
    Kind.PROMOTION: Account.ISSUED,
    Kind.GIFT_SENT: Account.ESCROW,
    Kind.GIFT_RECEIVED: Account.ESCROW,
    Kind.GIFT_RETURNED: Account.ESCROW,
    Kind.GIFT_RECALLED: Account.ESCROW,
    Kind.SPEND: Account.SPENT,
    Kind.SPEND_REPAID: Account.SPENT,
    Kind.REFUND: Account.REVOKED,
    Kind.DISPUTE: Account.REVOKED,
    Kind.RESTORAL: Account.REVOKED,
    Kind.REPAYMENT: Account.REVOKED,
    Kind.EXPIRY: Account.EXPIRED,
    Kind.ADJUSTMENT: Account.ADJUSTED,
}
SALES: Final = [
    "purchase", "renewal", "promotion", "refund", "dispute", "repayment", "restoral"
]  # fmt: skip
"""What brings money in, or takes it out."""

CLAWBACKS: Final = [Kind.REFUND, Kind.DISPUTE]
"""What may take more than there is: the rest is owed."""


class Category(models.TextChoices):
    PAID = "paid", _("Paid")
    PROMOTIONAL = "promotional", _("Promotional")


class Wallet(models.Model):
    """What one owner has, in whole credits.

    `held` is the part of `balance` that is reserved, `owed` what a clawback could not take or was
    spent without being there, `overspent` the latter part of it. The row is as of the wallet's last
    entry: what has expired since is in it until that is booked. What to show is `ledger.standing`.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, verbose_name=_("customer")
    )
    balance = models.BigIntegerField(_("balance"), default=0)
    held = models.BigIntegerField(_("held"), default=0)
    owed = models.BigIntegerField(_("owed"), default=0)
    overspent = models.BigIntegerField(_("overspent"), default=0, db_default=0)

    class Meta:
        verbose_name = _("wallet")
        verbose_name_plural = _("wallets")
        permissions = [("adjust_wallet", "Can adjust balances")]
        constraints = [
            models.CheckConstraint(
                condition=Q(held__gte=0, balance__gte=F("held"), balance__lte=MAX_CREDITS),
                name="credits_wallet_covered",
            ),
            models.CheckConstraint(
                condition=Q(overspent__gte=0, owed__gte=F("overspent")), name="credits_wallet_owed"
            ),
        ]

    def __str__(self) -> str:
        return str(self.user)


class Entry(models.Model):
    """One movement between one wallet and one account of the house. Append-only.

    `owed` is the change of the wallet's debt: a clawback or a spend adds what it could not take, a
    repayment lowers it by its amount. `about_id` is the entry that a clawback, a restoral or a
    repayment is about.
    """

    wallet = models.ForeignKey(Wallet, models.PROTECT, db_index=False, related_name="entries")
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    account = models.CharField(_("account"), max_length=10, choices=Account.choices)
    amount = models.BigIntegerField(_("credits"), help_text=_("Plus is into the wallet."))
    owed = models.BigIntegerField(_("owed"), default=0)
    balance = models.BigIntegerField(_("balance after"))
    key = models.CharField(_("key"), max_length=200)
    about_id = models.BigIntegerField(_("about"), null=True, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("by"),
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("entry")
        verbose_name_plural = _("entries")
        permissions = [("view_revenue", "Can view the revenue report")]
        # What each kind may do: `credits_is_sound` in `credits/sql/0012_gifts.sql`.
        constraints = [
            models.UniqueConstraint(fields=["wallet", "key"], name="credits_entry_wallet_key"),
            models.CheckConstraint(condition=Q(balance__gte=0), name="credits_entry_balance"),
        ]
        indexes = [
            # The statement of some days; its other order, by id, is the primary key.
            models.Index(fields=["wallet", "created_at"], name="credits_entry_time"),
            # The statement of some kinds. Spends are most of the entries, so that looking through
            # all of them finds spends soon; without them this costs the hot path nothing.
            models.Index(
                fields=["wallet", "kind", "id"],
                condition=~Q(kind=Kind.SPEND),
                name="credits_entry_kind",
            ),
            # All wallets at once, newest first, for staff.
            models.Index(fields=["id"], name="credits_entry_newest"),
            # What somebody has booked, in a wallet: an organisation's is drawn on by many.
            models.Index(
                fields=["actor", "wallet", "id"],
                condition=Q(actor__isnull=False),
                name="credits_entry_of_actor",
            ),
            # What was sold and went back lately, in all wallets (`credits.sales`).
            models.Index(
                fields=["created_at"], condition=Q(kind__in=SALES), name="credits_entry_sales"
            ),
        ]

    def __str__(self) -> str:
        return f"{signed(self.amount)} {self.get_kind_display()}"


class Lot(models.Model):
    """What one incoming entry left to spend; a gift brings a lot for each that it was drawn from.

    Spent in this order: priority, soonest expiry, promotional before paid, oldest. `held` is what
    open holds have reserved of it, `revoked` how much of it a clawback has claimed (wherever that
    was found), `paid` what the whole lot cost. What came as a gift, or came back, is a part of the
    lot that a grant or a restoral opened, in whatever wallet: its origin.
    """

    wallet = models.ForeignKey(
        Wallet,
        models.PROTECT,
        db_index=False,
        db_constraint=False,
        verbose_name=_("wallet"),
        related_name="lots",
    )
    entry_id = models.BigIntegerField(_("entry"))
    amount = models.BigIntegerField(_("credits"), validators=[MinValueValidator(1)])
    remaining = models.BigIntegerField(_("remaining"))
    held = models.BigIntegerField(_("held"), default=0)
    revoked = models.BigIntegerField(_("revoked"), default=0)
    category = models.CharField(_("category"), max_length=11, choices=Category.choices)
    priority = models.SmallIntegerField(_("priority"), default=50)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    paid = models.BigIntegerField(_("paid"), default=0, help_text=_("In minor currency units."))
    origin_wallet_id = models.BigIntegerField(null=True, editable=False)
    origin_lot_id = models.BigIntegerField(null=True, editable=False)
    # The indexes hold to this and not to `remaining`, which every spend changes: so an update of a
    # lot leaves them alone, until it is used up.
    is_open = models.GeneratedField(
        expression=GreaterThan(F("remaining"), 0),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        verbose_name = _("lot")
        verbose_name_plural = _("lots")
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    remaining__gte=0,
                    held__gte=0,
                    amount__gt=0,
                    amount__gte=F("remaining") + F("held"),
                ),
                name="credits_lot_remaining",
            ),
            models.CheckConstraint(
                condition=Q(revoked__gte=0, revoked__lte=F("amount")), name="credits_lot_revoked"
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
            models.Index(fields=["wallet", "entry_id"], name="credits_lot_entry"),
            # The open lots of a wallet, in the order of spending.
            models.Index(
                F("wallet"),
                F("priority"),
                F("expires_at"),
                F("category").desc(),
                F("id"),
                condition=Q(is_open=True),
                name="credits_lot_open",
            ),
            # What was given of a lot.
            models.Index(
                fields=["origin_wallet_id", "origin_lot_id"],
                condition=Q(origin_lot_id__isnull=False),
                name="credits_lot_origin",
            ),
            # What has expired: of one wallet, and of all.
            models.Index(
                fields=["wallet", "expires_at"],
                condition=Q(is_open=True, expires_at__isnull=False),
                name="credits_lot_expiring",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(is_open=True, expires_at__isnull=False),
                name="credits_lot_due",
            ),
        ]

    def __str__(self) -> str:
        values = {"left": number(self.remaining), "all": number(self.amount)}
        return str(_("%(left)s of %(all)s") % values)


class Draw(models.Model):
    """How much an outgoing entry took from a lot, and the part of its cost. Append-only."""

    pk = models.CompositePrimaryKey("wallet_id", "entry_id", "lot_id")
    wallet = models.ForeignKey(
        Wallet, models.PROTECT, db_index=False, db_constraint=False, related_name="draws"
    )
    entry_id = models.BigIntegerField()
    lot_id = models.BigIntegerField()
    amount = models.BigIntegerField()
    paid = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="credits_draw_amount"),
            models.CheckConstraint(condition=Q(paid__gte=0), name="credits_draw_cost"),
        ]

    def __str__(self) -> str:
        return f"#{self.lot_id}: {self.amount}"


class Hold(models.Model):
    """Credits reserved for work whose cost is not known yet.

    It has drawn its lots: neither expiry nor clawback reaches into it. Past `expires_at` an open
    hold counts as released, whether or not that is on record yet.
    """

    class Status(models.TextChoices):
        OPEN = "open", _("Open")
        CAPTURED = "captured", _("Captured")
        RELEASED = "released", _("Released")
        LAPSED = "lapsed", _("Lapsed")

    wallet = models.ForeignKey(
        Wallet, models.PROTECT, db_index=False, verbose_name=_("wallet"), related_name="holds"
    )
    key = models.CharField(_("key"), max_length=200)
    amount = models.BigIntegerField(_("credits"), validators=[MinValueValidator(1)])
    status = models.CharField(
        _("status"), max_length=8, choices=Status.choices, default=Status.OPEN
    )
    expires_at = models.DateTimeField(_("lapses"))
    # The entry of what was captured.
    entry_id = models.BigIntegerField(_("entry"), null=True, blank=True)
    created_at = models.DateTimeField(_("placed"))
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        constraints = [
            models.UniqueConstraint(fields=["wallet", "key"], name="credits_hold_wallet_key"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="credits_hold_amount"),
            models.CheckConstraint(
                condition=Q(status="open", closed_at__isnull=True)
                | (~Q(status="open") & Q(closed_at__isnull=False)),
                name="credits_hold_closed",
            ),
            models.CheckConstraint(
                condition=Q(status="captured", entry_id__isnull=False)
                | (~Q(status="captured") & Q(entry_id__isnull=True)),
                name="credits_hold_captured",
            ),
        ]
        indexes = [
            models.Index(
                fields=["wallet", "expires_at"],
                condition=Q(status="open"),
                name="credits_hold_open",
            ),
            models.Index(
                fields=["expires_at"], condition=Q(status="open"), name="credits_hold_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{credits_in_words(self.amount)}, {self.get_status_display()}"


class HoldDraw(models.Model):
    """How much a hold has reserved of a lot. Append-only."""

    pk = models.CompositePrimaryKey("wallet_id", "hold_id", "lot_id")
    wallet = models.ForeignKey(
        Wallet, models.PROTECT, db_index=False, db_constraint=False, related_name="+"
    )
    hold_id = models.BigIntegerField()
    lot_id = models.BigIntegerField()
    amount = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="credits_holddraw_amount")
        ]

    def __str__(self) -> str:
        return f"#{self.lot_id}: {self.amount}"


class Transfer(models.Model):
    """Credits on their way from one wallet to another, or back: what is in escrow.

    They left `wallet` by the entry `entry_id`, and arrive in `to_wallet` by `to_entry_id`.
    """

    pk = models.CompositePrimaryKey("wallet_id", "entry_id")
    wallet = models.ForeignKey(
        Wallet, models.PROTECT, db_index=False, db_constraint=False, related_name="transfers"
    )
    entry_id = models.BigIntegerField()
    amount = models.BigIntegerField(_("credits"))
    to_wallet = models.ForeignKey(
        Wallet, models.PROTECT, null=True, db_constraint=False, related_name="+"
    )
    to_entry_id = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="credits_transfer_amount"),
            models.CheckConstraint(
                condition=Q(to_wallet__isnull=True, to_entry_id__isnull=True)
                | Q(to_wallet__isnull=False, to_entry_id__isnull=False),
                name="credits_transfer_arrival",
            ),
        ]
        indexes = [
            models.Index(
                fields=["wallet"],
                condition=Q(to_wallet__isnull=True),
                name="credits_transfer_open",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.entry_id}: {self.amount}"


class Gift(models.Model):
    """Credits for the owner of an email address, who may have no account yet.

    They are in escrow until they are claimed, or go back; the transfer that carries them is the one
    of `wallet` and `entry_id`. One that is bought is written with its order, and sent when that is
    paid.
    """

    class Status(models.TextChoices):
        ORDERED = "ordered", _("Waiting for payment")
        OPEN = "open", _("Not claimed yet")
        CLAIMED = "claimed", _("Claimed")
        CANCELLED = "cancelled", _("Cancelled")
        RETURNED = "returned", _("Returned")
        RECALLED = "recalled", _("Taken back")
        KEPT = "kept", _("Not sent")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, verbose_name=_("from"), related_name="gifts"
    )
    wallet = models.ForeignKey(Wallet, models.PROTECT, db_index=False, related_name="+")
    # Empty once who it was has closed the account.
    recipient = models.CharField(_("to"), max_length=254, blank=True)
    credits = models.BigIntegerField(_("credits"), validators=[MinValueValidator(1)])
    message = models.CharField(_("message"), max_length=500, blank=True)
    status = models.CharField(_("status"), max_length=9, choices=Status.choices)
    # How many a refund or a lost dispute of what they were bought with has fetched back.
    recalled = models.BigIntegerField(_("taken back"), default=0)
    # SHA-256 of what the link in the mail ends with.
    token_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001 (unique)
    entry_id = models.BigIntegerField(_("entry"), null=True, blank=True)
    request_id = models.UUIDField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("time"), db_default=Now())
    expires_at = models.DateTimeField(_("returns"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("claimed by"),
        related_name="gifts_received",
    )
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("cancelled by"),
        related_name="+",
    )
    reason = models.CharField(_("reason"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("gift")
        verbose_name_plural = _("gifts")
        permissions = [("cancel_gift", "Can cancel gifts")]
        constraints = [
            models.UniqueConstraint(fields=["sender", "request_id"], name="credits_gift_request"),
            models.UniqueConstraint(fields=["wallet", "entry_id"], name="credits_gift_transfer"),
            models.CheckConstraint(
                condition=Q(credits__gt=0, recalled__gte=0, recalled__lte=F("credits")),
                name="credits_gift_credits",
            ),
            # Each case in full: a comparison with NULL would let a row pass.
            models.CheckConstraint(
                condition=Q(status__in=["ordered", "kept"], entry_id__isnull=True)
                | Q(
                    status="open",
                    entry_id__isnull=False,
                    token_hash__isnull=False,
                    expires_at__isnull=False,
                    closed_at__isnull=True,
                    claimed_by__isnull=True,
                )
                | Q(
                    status="claimed",
                    entry_id__isnull=False,
                    closed_at__isnull=False,
                    claimed_by__isnull=False,
                )
                | Q(
                    status__in=["cancelled", "returned", "recalled"],
                    entry_id__isnull=False,
                    closed_at__isnull=False,
                ),
                name="credits_gift_status",
            ),
        ]
        indexes = [
            models.Index(fields=["sender", "-created_at"], name="credits_gift_sent"),
            models.Index(fields=["claimed_by", "-closed_at"], name="credits_gift_claimed"),
            models.Index(fields=["recipient"], name="credits_gift_recipient"),
            models.Index(fields=["-created_at"], name="credits_gift_newest"),
            models.Index(
                fields=["expires_at"], condition=Q(status="open"), name="credits_gift_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{credits_in_words(self.credits)}, {self.get_status_display()}"

    @property
    def number(self) -> str:
        """What the history and both sides call it by."""
        return self.pk.hex[:8]

    @property
    def is_open(self) -> bool:
        return self.status == self.Status.OPEN


class Adjustment(models.Model):
    """An adjustment over the limit of one staff member, which a second one decides.

    Who asked can withdraw it. Nobody decides on what they asked for or on their own balance. An
    approved one is booked by an entry with the same key.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        APPROVED = "approved", _("Approved")
        REJECTED = "rejected", _("Rejected")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("customer"),
        related_name="adjustments",
    )
    amount = models.BigIntegerField(_("credits"), help_text=_("Plus is into the wallet."))
    reason = models.CharField(_("reason"), max_length=500)
    key = models.CharField(_("key"), max_length=200)
    status = models.CharField(
        _("status"), max_length=9, choices=Status.choices, default=Status.WAITING
    )
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, verbose_name=_("asked by"), related_name="+"
    )
    asked_at = models.DateTimeField(_("asked"), db_default=Now())
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("decided by"),
        related_name="+",
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    answer = models.CharField(
        _("answer"), max_length=500, blank=True, help_text=_("Why it was rejected.")
    )

    class Meta:
        verbose_name = _("adjustment")
        verbose_name_plural = _("adjustments")
        permissions = [("approve_adjustment", "Can approve adjustments that others asked for")]
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="credits_adjustment_user_key"),
            models.CheckConstraint(condition=~Q(amount=0), name="credits_adjustment_moves"),
            # Each case in full: a comparison with NULL would let a row pass.
            models.CheckConstraint(
                condition=Q(status="waiting", decided_by__isnull=True, decided_at__isnull=True)
                | Q(status="withdrawn", decided_by__isnull=False, decided_at__isnull=False)
                & Q(decided_by=F("asked_by"))
                | Q(
                    status__in=["approved", "rejected"],
                    decided_by__isnull=False,
                    decided_at__isnull=False,
                )
                & ~Q(decided_by=F("asked_by"))
                & ~Q(decided_by=F("user")),
                name="credits_adjustment_second_person",
            ),
            models.CheckConstraint(
                condition=~Q(status="rejected") | ~Q(answer=""),
                name="credits_adjustment_answer",
            ),
        ]
        indexes = [
            models.Index(
                fields=["asked_at"],
                condition=Q(status="waiting"),
                name="credits_adjustment_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user}: {signed(self.amount)}"


class MonthTotal(models.Model):
    """What of one kind moved in or out in a month that is over, all wallets together.

    Summed up from the entries, which don't change, by `credits.revenue`. It may be emptied at any
    time: it is filled again from them.
    """

    month = models.DateField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    is_in = models.BooleanField()
    credits = models.BigIntegerField()
    cost = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["month", "kind", "is_in"], name="credits_month_total_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.kind}"
