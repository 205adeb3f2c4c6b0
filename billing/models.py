"""What was sold, to whom, and what Stripe said about it. Money is in minor units (cents)."""

import json
import re
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.models import Organisation, User
from credits.models import Gift
from credits.numbers import credits_in_words, number

MIN_CREDITS: Final = 10
MAX_CREDITS: Final = 100_000
MAX_UNIT_PRICE: Final = 90_000
"""Ten-thousandths: a dear order still fits what Stripe charges at most, $999,999.99."""

MAX_PERCENT: Final = 1000
"""Of a bonus: ten times the order on top is the most that makes sense."""


class PriceTier(models.Model):
    """From this many credits on, each credit of an order costs this much.

    A tier ends where the next one begins, the last one at `MAX_CREDITS`, so that tiers can't
    overlap. That the first one starts at `MIN_CREDITS` and that prices never rise is enforced by
    a deferred trigger (`billing/sql/`).
    """

    min_credits = models.PositiveIntegerField(
        _("from this many credits"),
        unique=True,
        validators=[MinValueValidator(MIN_CREDITS), MaxValueValidator(MAX_CREDITS)],
    )
    unit_price_e4 = models.PositiveIntegerField(
        _("price of a credit"),
        validators=[MinValueValidator(1), MaxValueValidator(MAX_UNIT_PRICE)],
        help_text=_("In ten-thousandths of a dollar: 95 is $0.0095."),
    )

    class Meta:
        verbose_name = _("price tier")
        verbose_name_plural = _("price tiers")
        ordering = ["min_credits"]
        constraints = [
            models.CheckConstraint(
                condition=Q(min_credits__gte=MIN_CREDITS, min_credits__lte=MAX_CREDITS),
                name="billing_pricetier_range",
            ),
            models.CheckConstraint(
                condition=Q(unit_price_e4__gt=0, unit_price_e4__lte=MAX_UNIT_PRICE),
                name="billing_pricetier_price",
            ),
        ]

    def __str__(self) -> str:
        return str(_("from %(count)s credits on") % {"count": number(self.min_credits)})

    def clean(self) -> None:
        from billing.pricing import PricingError, tiers_of

        if self.min_credits is None or self.unit_price_e4 is None:
            return  # the fields' own validation has said so
        others = PriceTier.objects.exclude(pk=self.pk)
        rows = [(tier.min_credits, tier.unit_price_e4) for tier in others]
        try:
            tiers_of(sorted([*rows, (self.min_credits, self.unit_price_e4)]))
        except PricingError as error:
            raise ValidationError(str(error)) from error


class Customer(User):
    """A user as staff of the shop look at one: balance, purchases, events. The same row."""

    class Meta:
        proxy = True
        verbose_name = _("customer")
        verbose_name_plural = _("customers")


class StripeCustomer(models.Model):
    """A user's customer at Stripe.

    The row is written before Stripe is asked, and what it sends never changes under one
    idempotency key: `<id>:<attempt>`. So a lost answer can't make a second customer.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="stripe_customer"
    )
    email = models.EmailField(_("email address at the time"))
    # Of an organisation.
    name = models.CharField(
        _("name at the time"), max_length=80, blank=True, default="", db_default=""
    )
    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True, null=True)  # noqa: DJ001 (unique)
    attempt = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return self.stripe_id or str(_("not made yet"))


class Mode(models.TextChoices):
    PAYMENT = "payment", _("One time")
    SUBSCRIPTION = "subscription", _("Every month")


class Purchase(models.Model):
    """One order: so many credits at this price. Written before Stripe is called."""

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting for payment")
        SETTLING = "settling", _("Bank payment under way")
        PAID = "paid", _("Paid")
        EXPIRED = "expired", _("Expired")
        FAILED = "failed", _("Payment failed")
        REVIEW = "review", _("Being checked")
        SETTLED = "settled", _("Settled by hand")

    WAITING: Final = (Status.PENDING, Status.SETTLING)

    PAYABLE: Final = timedelta(hours=24)
    """After which nothing can be paid on a page of Stripe's any more."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("customer"),
        related_name="purchases",
    )
    mode = models.CharField(_("mode"), max_length=12, choices=Mode.choices)
    credits = models.PositiveIntegerField(_("credits"))
    unit_price_e4 = models.PositiveIntegerField(_("price of a credit, in ten-thousandths"))
    total = models.PositiveIntegerField(_("total, in cents"))
    currency = models.CharField(_("currency"), max_length=3)
    status = models.CharField(
        _("status"), max_length=8, choices=Status.choices, default=Status.PENDING
    )
    # For whom it was bought, if for somebody.
    gift = models.OneToOneField(
        Gift,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("gift"),
        related_name="purchase",
    )
    # Of the payment page: it is the same however often it is asked for.
    language = models.CharField(_("language"), max_length=10, blank=True, default="", db_default="")
    request_id = models.UUIDField(_("id of the request"), null=True, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    stripe_session_id = models.CharField(
        _("payment page"), max_length=255, unique=True, null=True, blank=True
    )
    stripe_session_url = models.TextField(_("address of the payment page"), blank=True)
    stripe_payment_id = models.CharField(
        _("payment intent or subscription"), max_length=255, unique=True, null=True, blank=True
    )
    # Set where nobody ordered it: a saved card was charged, or is about to be.
    top_up = models.ForeignKey(
        "TopUp",
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("automatic top-up"),
        related_name="purchases",
    )
    created_at = models.DateTimeField(_("time"), db_default=Now())
    paid_at = models.DateTimeField(_("paid at"), null=True, blank=True)

    class Meta:
        verbose_name = _("purchase")
        verbose_name_plural = _("purchases")
        constraints = [
            models.UniqueConstraint(fields=["user", "request_id"], name="billing_purchase_request"),
            models.CheckConstraint(
                condition=Q(credits__gte=MIN_CREDITS, credits__lte=MAX_CREDITS),
                name="billing_purchase_credits",
            ),
            models.CheckConstraint(condition=Q(total__gt=0), name="billing_purchase_total"),
            # One charge at a time, whoever looks and however often.
            models.UniqueConstraint(
                fields=["top_up"],
                condition=Q(status__in=["pending", "settling"]),
                name="billing_purchase_one_top_up",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "-created_at"], name="billing_purchase_user"),
            models.Index(
                fields=["created_at"],
                condition=Q(status__in=["pending", "settling"]),
                name="billing_purchase_pending",
            ),
            # What staff look for and what waits for them.
            models.Index(fields=["request_id"], name="billing_purchase_by_request"),
            models.Index(fields=["total", "-created_at"], name="billing_purchase_by_total"),
            models.Index(fields=["credits", "-created_at"], name="billing_purchase_by_credits"),
            models.Index(
                fields=["created_at"],
                condition=Q(status="review"),
                name="billing_purchase_review",
            ),
        ]

    def __str__(self) -> str:
        return f"{credits_in_words(self.credits)}, {self.get_status_display()}"

    @property
    def is_paid(self) -> bool:
        return self.status == self.Status.PAID

    @property
    def payable_until(self) -> datetime:
        return self.created_at + self.PAYABLE

    @property
    def open_page(self) -> str:
        """The address of the payment page, as long as something can be paid there; else empty."""
        is_open = self.status == self.Status.PENDING and self.payable_until > timezone.now()
        return self.stripe_session_url if is_open else ""

    @property
    def bonus(self) -> int:
        """The credits that its promo code brings on top, once."""
        redemption: Redemption | None = getattr(self, "redemption", None)
        return redemption.credits if redemption else 0


class Promotion(models.Model):
    """What its codes give: more credits with a purchase, or credits without one (a voucher).

    Who may redeem one, and what it brings, is in `billing.promotions`. `used` counts what is
    reserved or kept; that it stays within `max_uses` is the database's rule.
    """

    class Kind(models.TextChoices):
        BONUS = "bonus", _("Bonus on a purchase")
        VOUCHER = "voucher", _("Voucher: credits without a purchase")

    name = models.CharField(_("name"), max_length=100, help_text=_("For staff only."))
    kind = models.CharField(_("kind"), max_length=7, choices=Kind.choices, default=Kind.BONUS)
    percent = models.PositiveIntegerField(
        _("percent more"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    credits = models.PositiveIntegerField(
        _("credits"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    max_bonus = models.PositiveIntegerField(
        _("at most this many credits"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    min_credits = models.PositiveIntegerField(
        _("smallest order, in credits"), null=True, blank=True
    )
    first_purchase_only = models.BooleanField(_("first purchase only"), default=False)
    starts_at = models.DateTimeField(_("starts"), null=True, blank=True)
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True)
    max_uses = models.PositiveIntegerField(_("uses in all"), null=True, blank=True)
    max_uses_per_user = models.PositiveIntegerField(
        _("uses per customer"), default=1, validators=[MinValueValidator(1)]
    )
    expires_after_days = models.PositiveIntegerField(
        _("days until the credits expire"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
    )
    is_active = models.BooleanField(_("active"), default=True)
    used = models.PositiveIntegerField(_("used"), default=0, editable=False)
    created_at = models.DateTimeField(_("made"), db_default=Now())

    class Meta:
        verbose_name = _("promotion")
        verbose_name_plural = _("promotions")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                # Written out, because a CHECK that comes to NULL holds.
                condition=Q(percent__isnull=False, credits__isnull=True)
                & Q(percent__gte=1, percent__lte=MAX_PERCENT)
                | Q(percent__isnull=True, credits__isnull=False)
                & Q(credits__gte=1, credits__lte=MAX_CREDITS),
                name="billing_promotion_bonus",
                violation_error_message=_("Give either percent or credits."),
            ),
            models.CheckConstraint(
                condition=Q(max_bonus=None)
                | Q(max_bonus__gte=1, max_bonus__lte=MAX_CREDITS, percent__isnull=False),
                name="billing_promotion_max_bonus",
                violation_error_message=_("Only a bonus in percent has a maximum."),
            ),
            models.CheckConstraint(
                condition=Q(kind="bonus")
                | Q(
                    kind="voucher",
                    credits__isnull=False,
                    min_credits=None,
                    first_purchase_only=False,
                ),
                name="billing_promotion_voucher",
                violation_error_message=_(
                    "A voucher gives a fixed number of credits, and needs no purchase."
                ),
            ),
            models.CheckConstraint(
                condition=Q(min_credits=None)
                | Q(min_credits__gte=MIN_CREDITS, min_credits__lte=MAX_CREDITS),
                name="billing_promotion_min_credits",
            ),
            models.CheckConstraint(
                condition=Q(starts_at=None) | Q(ends_at=None) | Q(ends_at__gt=F("starts_at")),
                name="billing_promotion_times",
                violation_error_message=_("It must end after it starts."),
            ),
            models.CheckConstraint(
                condition=Q(max_uses=None) | Q(max_uses__gte=F("used")),
                name="billing_promotion_uses",
                violation_error_message=_("It has been used more often than that."),
            ),
            models.CheckConstraint(
                condition=Q(max_uses_per_user__gte=1), name="billing_promotion_per_user"
            ),
            models.CheckConstraint(
                condition=Q(expires_after_days=None)
                | Q(expires_after_days__gte=1, expires_after_days__lte=3650),
                name="billing_promotion_expiry",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class PromoCode(models.Model):
    """What a customer types for a promotion, in capitals without spaces and hyphens.

    Those of one batch were made together and have its id.
    """

    promotion = models.ForeignKey(
        Promotion, models.PROTECT, verbose_name=_("promotion"), related_name="codes"
    )
    code = models.CharField(_("code"), max_length=40, unique=True)
    batch = models.UUIDField(_("batch"), null=True, blank=True, db_index=True, editable=False)
    max_uses = models.PositiveIntegerField(_("uses of this code"), null=True, blank=True)
    used = models.PositiveIntegerField(_("used"), default=0, editable=False)
    created_at = models.DateTimeField(_("made"), db_default=Now())

    class Meta:
        verbose_name = _("promo code")
        verbose_name_plural = _("promo codes")
        permissions = [("download_promocode", "Can download promo codes")]
        constraints = [
            models.CheckConstraint(
                condition=Q(code__regex=r"^[A-Z0-9]{4,40}$"),
                name="billing_promocode_code",
                violation_error_message=_("A code is 4 to 40 letters A to Z and digits."),
            ),
            models.CheckConstraint(
                condition=Q(max_uses=None) | Q(max_uses__gte=F("used")),
                name="billing_promocode_uses",
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def grouped(self) -> str:
        """As it is handed out: a random one in groups of four, to be read and typed."""
        groups = [self.code[at : at + 4] for at in range(0, len(self.code), 4)]
        return "-".join(groups) if self.batch else self.code


class Redemption(models.Model):
    """One use of a code: reserved by an order, kept when it is paid, freed when it won't be.

    That of a voucher has no purchase and is kept from the start. `credits` is what the buyer saw.
    """

    class Status(models.TextChoices):
        RESERVED = "reserved", _("Waiting for payment")
        KEPT = "kept", _("Redeemed")
        FREED = "freed", _("Not used after all")
        BEYOND = "beyond", _("Redeemed beyond the limit")

    COUNTED: Final = (Status.RESERVED, Status.KEPT)
    """What `used` of its code and promotion counts."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.ForeignKey(
        PromoCode, models.PROTECT, verbose_name=_("code"), related_name="redemptions"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("customer"),
        related_name="redemptions",
    )
    purchase = models.OneToOneField(
        Purchase, models.PROTECT, null=True, verbose_name=_("purchase"), related_name="redemption"
    )
    credits = models.PositiveIntegerField(_("credits"))
    status = models.CharField(
        _("status"), max_length=8, choices=Status.choices, default=Status.RESERVED
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("time"), db_default=Now())
    kept_at = models.DateTimeField(_("redeemed"), null=True)
    freed_at = models.DateTimeField(_("freed"), null=True)

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")
        constraints = [
            models.CheckConstraint(condition=Q(credits__gt=0), name="billing_redemption_credits"),
            models.CheckConstraint(
                condition=Q(purchase__isnull=False) | Q(status="kept"),
                name="billing_redemption_voucher",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["kept", "beyond"], kept_at__isnull=False)
                | Q(status__in=["reserved", "freed"], kept_at=None),
                name="billing_redemption_kept",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code}, {self.get_status_display()}"


class Charge(models.Model):
    """What a payment of ours came to at Stripe, as last fetched, in minor units."""

    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True)
    purchase = models.ForeignKey(Purchase, models.PROTECT, related_name="charges")
    # The ledger's entry that it paid for: a subscription's purchase has one each month.
    entry_key = models.CharField(_("key of the entry"), max_length=200)
    amount = models.PositiveIntegerField(_("charged"))
    refunded = models.PositiveIntegerField(_("refunded"), default=0)
    withdrawn = models.PositiveIntegerField(_("withdrawn by disputes"), default=0)
    fetched_at = models.DateTimeField(_("as of"))

    class Meta:
        verbose_name = _("charge")
        verbose_name_plural = _("charges")

    def __str__(self) -> str:
        return self.stripe_id


class Dispute(models.Model):
    """A payment that the buyer's bank takes back or asks about, as Stripe last described it.

    To look at only: what it takes back is told by its movements of money (`Charge.withdrawn`).
    """

    TO_ANSWER: Final = ("needs_response", "warning_needs_response")
    """As `status`: lost unless the shop sends evidence to Stripe in time."""

    LABELS: Final = {
        "needs_response": _("To be answered"),
        "under_review": _("At the bank"),
        "warning_needs_response": _("Inquiry to be answered"),
        "warning_under_review": _("Inquiry at the bank"),
        "warning_closed": _("Inquiry closed"),
        "won": _("Won"),
        "lost": _("Lost"),
        "prevented": _("Prevented"),
    }

    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True)
    charge = models.ForeignKey(
        Charge, models.PROTECT, verbose_name=_("charge"), related_name="disputes"
    )
    amount = models.PositiveIntegerField(_("amount, in cents"))
    status = models.CharField(_("status"), max_length=30)
    reason = models.CharField(_("reason"), max_length=60, blank=True)
    answer_by = models.DateTimeField(_("answer by"), null=True, blank=True)
    created_at = models.DateTimeField(_("opened"), null=True, blank=True)

    class Meta:
        verbose_name = _("dispute")
        verbose_name_plural = _("disputes")
        indexes = [
            models.Index(
                fields=["answer_by"],
                condition=Q(status__in=["needs_response", "warning_needs_response"]),
                name="billing_dispute_to_answer",
            )
        ]

    def __str__(self) -> str:
        return self.stripe_id

    @property
    def status_label(self) -> str:
        return str(self.LABELS.get(self.status, self.status))


class Refund(models.Model):
    """Money that staff sent back, in minor units. Written before Stripe is asked to.

    Its credits leave when Stripe reports the money's way, as with any other refund
    (`billing.clawback`).
    """

    REFUSED: Final = "refused"
    """As `status`: Stripe answered that it won't. Its own words are `pending`, `succeeded` …"""

    NOT_THROUGH: Final = (REFUSED, "failed", "canceled")

    LABELS: Final = {
        "": _("Waiting for Stripe's answer"),
        REFUSED: _("Refused by Stripe"),
        "pending": _("On its way"),
        "requires_action": _("Waiting for the customer"),
        "succeeded": _("Refunded"),
        "failed": _("Failed: the money came back"),
        "canceled": _("Cancelled"),
    }

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    purchase = models.ForeignKey(
        Purchase, models.PROTECT, verbose_name=_("purchase"), related_name="refunds"
    )
    entry_key = models.CharField(_("key of the entry"), max_length=200)
    amount = models.PositiveIntegerField(_("amount, in cents"))
    reason = models.CharField(_("reason"), max_length=500)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, verbose_name=_("by"), related_name="+"
    )
    attempt = models.PositiveIntegerField(default=1)
    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True, null=True)  # noqa: DJ001 (unique)
    status = models.CharField(_("status at Stripe"), max_length=30, blank=True)
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        permissions = [("refund_purchase", "Can refund purchases")]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="billing_refund_amount")
        ]

    def __str__(self) -> str:
        return self.stripe_id or str(_("not made yet"))

    @property
    def status_label(self) -> str:
        return str(self.LABELS.get(self.status, self.status))


class InvoiceTerms(models.Model):
    """What staff allow an organisation: to pay by invoice, and how much before it has paid.

    `credit_limit` is in cents: as long as its open invoices come to no more, what they sell is
    credited at once.
    """

    TAX_IDS: Final = {
        "eu_vat": _("VAT number (EU)"),
        "gb_vat": _("VAT number (United Kingdom)"),
        "ch_vat": _("VAT number (Switzerland)"),
        "no_vat": _("VAT number (Norway)"),
        "us_ein": _("EIN (United States)"),
        "au_abn": _("ABN (Australia)"),
        "ca_bn": _("BN (Canada)"),
    }
    """As `tax_id_type`, by Stripe's names."""

    organisation = models.OneToOneField(
        Organisation, models.PROTECT, primary_key=True, related_name="invoice_terms",
        verbose_name=_("organisation"),
    )  # fmt: skip
    is_approved = models.BooleanField(_("may pay by invoice"), default=False)
    credit_limit = models.PositiveIntegerField(
        _("credit limit, in cents"),
        default=0,
        help_text=_("Credited before it is paid, up to this sum of open invoices. 0 is never."),
    )
    tax_id_type = models.CharField(
        _("kind of tax number"), max_length=20, blank=True, choices=TAX_IDS
    )
    tax_id = models.CharField(_("tax number"), max_length=30, blank=True)

    class Meta:
        verbose_name = _("invoice terms")
        verbose_name_plural = _("invoice terms")
        constraints = [
            models.CheckConstraint(
                condition=Q(tax_id="", tax_id_type="") | ~Q(tax_id="") & ~Q(tax_id_type=""),
                name="billing_invoiceterms_tax_id",
                violation_error_message=_("A tax number needs its kind, and the reverse."),
            )
        ]

    def __str__(self) -> str:
        return str(self.organisation)


class BulkPurchase(models.Model):
    """Credits for many, bought by an organisation in one purchase and handed out to each.

    All that money is about is its `purchase`, of the organisation's account: once that is granted,
    the worker hands out that very lot (`billing.bulk.delivery`). Until it is ordered it is a draft,
    to look at, and is forgotten after some days.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", _("Not ordered")
        ORDERED = "ordered", _("Waiting for payment")
        DELIVERING = "delivering", _("Being sent")
        DONE = "done", _("Done")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(
        Organisation, models.PROTECT, related_name="bulk_purchases",
        verbose_name=_("organisation"),
    )  # fmt: skip
    # Whoever listed it; empty where that was a program of the owner's.
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+",
        verbose_name=_("made by"),
    )  # fmt: skip
    purchase = models.OneToOneField(
        Purchase, models.PROTECT, null=True, related_name="bulk", verbose_name=_("purchase")
    )
    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.DRAFT
    )
    credits = models.PositiveIntegerField(_("credits"))
    lines_count = models.PositiveIntegerField(_("lines"))
    po_number = models.CharField(_("order number"), max_length=40, blank=True)
    created_at = models.DateTimeField(_("time"), db_default=Now())
    # Of handing out: when it goes on, how often in a row that has failed, and why.
    due_at = models.DateTimeField(_("due"), db_default=Now())
    tries = models.PositiveIntegerField(_("tries"), default=0)
    error = models.CharField(_("error"), max_length=500, blank=True)
    done_at = models.DateTimeField(_("done"), null=True, blank=True)

    class Meta:
        verbose_name = _("bulk purchase")
        verbose_name_plural = _("bulk purchases")
        permissions = [("retry_bulkpurchase", "Can have bulk purchases tried again")]
        constraints = [
            models.CheckConstraint(
                condition=Q(credits__gte=MIN_CREDITS, credits__lte=MAX_CREDITS),
                name="billing_bulkpurchase_credits",
            ),
            models.CheckConstraint(
                condition=Q(status="draft", purchase=None)
                | ~Q(status="draft") & Q(purchase__isnull=False),
                name="billing_bulkpurchase_ordered",
            ),
        ]
        indexes = [
            models.Index(fields=["organisation", "-created_at"], name="billing_bulk_organisation"),
            models.Index(
                fields=["due_at"], condition=Q(status="delivering"), name="billing_bulk_due"
            ),
            models.Index(
                fields=["created_at"], condition=Q(status="draft"), name="billing_bulk_drafts"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organisation}: {credits_in_words(self.credits)}"

    def get_absolute_url(self) -> str:
        return reverse("bulk", args=[self.organisation_id, self.pk])

    @property
    def number(self) -> str:
        """What histories call it by."""
        return self.pk.hex[:8]

    @property
    def is_draft(self) -> bool:
        return self.status == self.Status.DRAFT

    @property
    def grant_key(self) -> str:
        """The key of the entry that its payment brings into the organisation's wallet."""
        invoice = getattr(self, "invoice", None)
        return f"invoice:{invoice.stripe_id}" if invoice else f"purchase:{self.purchase_id}"


class BulkLine(models.Model):
    """So many credits of a bulk purchase for one recipient: an address, or a user by number.

    A recipient with an account has them at once, and anyone else is sent a gift to claim. Whoever
    bought is told the same of both: who has an account is nobody else's business.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENT = "sent", _("Sent")
        NOT_SENT = "not_sent", _("Not sent")

    class Reason(models.TextChoices):
        """Why a line was not sent."""

        NO_CREDITS = "no_credits", _("Not enough of the purchase was left")
        OWED = "owed", _("The organisation owes credits")
        NO_USER = "no_user", _("There is no such user any more")

    bulk = models.ForeignKey(BulkPurchase, models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField(_("line"))
    email = models.EmailField(_("recipient"), blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+",
        verbose_name=_("user"),
    )  # fmt: skip
    credits = models.PositiveIntegerField(_("credits"))
    status = models.CharField(
        _("status"), max_length=8, choices=Status.choices, default=Status.WAITING
    )
    reason = models.CharField(_("reason"), max_length=10, choices=Reason.choices, blank=True)

    class Meta:
        verbose_name = _("line")
        verbose_name_plural = _("lines")
        constraints = [
            models.UniqueConstraint(fields=["bulk", "number"], name="billing_bulkline_number"),
            models.CheckConstraint(condition=Q(credits__gt=0), name="billing_bulkline_credits"),
        ]
        indexes = [
            models.Index(
                fields=["bulk", "number"],
                condition=Q(status="waiting"),
                name="billing_bulkline_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.number}: {credits_in_words(self.credits)}"

    @property
    def key(self) -> str:
        """What its credits are booked under."""
        return f"bulk:{self.bulk_id}:{self.number}"


class Invoice(models.Model):
    """What a bulk purchase is paid by where staff have approved that, as Stripe last had it.

    Written before Stripe is asked. `is_credited` says that it was within the credit limit, so that
    its credits come before its money.
    """

    PAYABLE: Final = ("", "draft", "open", "uncollectible")
    """As `status`: what counts on the credit limit. Empty is not made yet."""

    LABELS: Final = {
        "": _("Being made"),
        "draft": _("Being made"),
        "open": _("Open"),
        "paid": _("Paid"),
        "uncollectible": _("Written off"),
        "void": _("Void"),
    }

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    bulk = models.OneToOneField(BulkPurchase, models.PROTECT, related_name="invoice")
    total = models.PositiveIntegerField(_("total, in cents"))
    is_credited = models.BooleanField(_("credited at once"), default=False)
    attempt = models.PositiveIntegerField(default=1)
    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True, null=True)  # noqa: DJ001 (unique)
    number = models.CharField(_("number"), max_length=60, blank=True)
    url = models.TextField(_("its page"), blank=True)
    status = models.CharField(_("status at Stripe"), max_length=20, blank=True)
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("invoice")
        verbose_name_plural = _("invoices")

    def __str__(self) -> str:
        return self.number or str(_("not made yet"))

    @property
    def purchase(self) -> Purchase:
        return Purchase.objects.get(bulk=self.bulk_id)

    @property
    def status_label(self) -> str:
        return str(self.LABELS.get(self.status, self.status))


def _a_month(count: int) -> str:
    words = ngettext("%(count)s credit a month", "%(count)s credits a month", count)
    return words % {"count": number(count)}


_BRANDS: Final = {
    "amex": "American Express",
    "cartes_bancaires": "Cartes Bancaires",
    "diners": "Diners Club",
    "discover": "Discover",
    "eftpos_au": "Eftpos Australia",
    "jcb": "JCB",
    "mastercard": "Mastercard",
    "unionpay": "UnionPay",
    "visa": "Visa",
}


def _card_label(brand: str, last4: str) -> str:
    if not last4:
        return ""
    values = {"brand": _BRANDS.get(brand) or _("Card"), "digits": last4}
    return str(_("%(brand)s ending %(digits)s") % values)


class Subscription(models.Model):
    """A monthly plan as Stripe last described it."""

    LIVE: Final = ("active", "trialing", "past_due", "unpaid", "paused")
    OVERDUE: Final = ("past_due", "unpaid")

    LABELS: Final = {
        "active": _("Active"),
        "trialing": _("Active"),
        "past_due": _("Payment failed"),
        "unpaid": _("Payment failed"),
        "paused": _("Paused"),
        "incomplete": _("Waiting for payment"),
        "incomplete_expired": _("Not started"),
        "canceled": _("Ended"),
    }

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("customer"),
        related_name="subscriptions",
    )
    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True)
    status = models.CharField(_("status"), max_length=30)
    credits = models.PositiveIntegerField(_("credits a month"))
    total = models.PositiveIntegerField(_("price a month, in cents"))
    currency = models.CharField(_("currency"), max_length=3)
    current_period_end = models.DateTimeField(_("paid until"), null=True)
    cancel_at_period_end = models.BooleanField(_("ends then"), default=False)
    # With defaults in the database: the version before this one goes on writing rows for a while.
    card_brand = models.CharField(
        _("brand of the card"), max_length=30, blank=True, default="", db_default=""
    )
    card_last4 = models.CharField(
        _("last digits of the card"), max_length=4, blank=True, default="", db_default=""
    )
    fetched_at = models.DateTimeField(_("as of"))
    created_at = models.DateTimeField(_("since"), db_default=Now())

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")

    def __str__(self) -> str:
        return f"{_a_month(self.credits)}, {self.status_label}"

    @property
    def is_live(self) -> bool:
        return self.status in self.LIVE

    @property
    def is_overdue(self) -> bool:
        """Whether a renewal wasn't paid; Stripe tries the card again for a while."""
        return self.status in self.OVERDUE

    @property
    def is_paused(self) -> bool:
        """Whether Stripe neither charges nor ends it: it lacks a way to pay."""
        return self.status == "paused"

    @property
    def is_changeable(self) -> bool:
        """Whether another amount can be agreed: it will be renewed, and nothing is due."""
        return self.status in {"active", "trialing"} and not self.cancel_at_period_end

    @property
    def card_label(self) -> str:
        """The card that pays, as its owner knows it; empty where Stripe names none."""
        return _card_label(self.card_brand, self.card_last4)

    @property
    def status_label(self) -> str:
        if self.status == "active" and self.cancel_at_period_end:
            return str(_("Ending"))
        return str(self.LABELS.get(self.status, self.status))


class PlanChange(models.Model):
    """Another monthly amount that a subscriber chose, at the price of that time.

    Written before Stripe is asked. Renewals are recognised by their product, which Stripe has under
    an id that we choose: an invoice that was drafted before the change still sells the amount of
    before.
    """

    _PRODUCT: Final = re.compile("credits_([0-9a-f]{32})")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="changes")
    credits = models.PositiveIntegerField(_("credits a month"))
    unit_price_e4 = models.PositiveIntegerField(_("price of a credit, in ten-thousandths"))
    total = models.PositiveIntegerField(_("price a month, in cents"))
    currency = models.CharField(_("currency"), max_length=3)
    attempt = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(_("chosen"), db_default=Now())
    applied_at = models.DateTimeField(_("agreed by Stripe"), null=True, blank=True)
    # The period that was paid for when Stripe agreed ends then.
    starts_at = models.DateTimeField(_("first renewal"), null=True, blank=True)

    class Meta:
        verbose_name = _("plan change")
        verbose_name_plural = _("plan changes")
        constraints = [
            models.CheckConstraint(
                condition=Q(credits__gte=MIN_CREDITS, credits__lte=MAX_CREDITS),
                name="billing_planchange_credits",
            ),
            models.CheckConstraint(condition=Q(total__gt=0), name="billing_planchange_total"),
        ]

    def __str__(self) -> str:
        return _a_month(self.credits)

    @property
    def stripe_product_id(self) -> str:
        return f"credits_{self.pk.hex}"

    @classmethod
    def id_of(cls, product_id: str | None) -> uuid.UUID | None:
        """The id of the change that a product at Stripe was made for; None for other products."""
        found = cls._PRODUCT.fullmatch(product_id or "")
        return uuid.UUID(found[1]) if found else None


class Event(models.Model):
    """An event from Stripe, kept as it came. Its unique id makes it count once."""

    class Status(models.TextChoices):
        RECEIVED = "received", _("Received")
        DONE = "done", _("Done")
        IGNORED = "ignored", _("Nothing to do")
        FAILED = "failed", _("Failed")
        QUARANTINED = "quarantined", _("Quarantined")
        SETTLED = "settled", _("Settled by staff")

    stripe_id = models.CharField(_("Stripe id"), max_length=255, unique=True)
    type = models.CharField(_("type"), max_length=100, db_index=True)
    status = models.CharField(
        _("status"), max_length=11, choices=Status.choices, default=Status.RECEIVED, db_index=True
    )
    error = models.TextField(_("error"), blank=True)
    object_id = models.CharField(_("about"), max_length=255, blank=True, db_index=True)
    customer_id = models.CharField(_("Stripe customer"), max_length=255, blank=True, db_index=True)
    payload = models.TextField(_("payload"))
    livemode = models.BooleanField(_("of live mode"), default=False)
    created_at = models.DateTimeField(_("received"), db_default=Now())
    done_at = models.DateTimeField(_("done"), null=True, blank=True)
    settled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("settled by"),
        related_name="+",
    )
    settled_reason = models.CharField(_("how it was settled"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        permissions = [
            ("replay_event", "Can replay events"),
            ("settle_event", "Can settle quarantined events"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"

    @property
    def object(self) -> dict[str, Any]:
        """What the event is about, as Stripe sent it."""
        found: dict[str, Any] = json.loads(self.payload)["data"]["object"]
        return found


class PortalConfiguration(models.Model):
    """How Stripe's customer portal looks for this shop; made by `manage.py configure_portal`."""

    livemode = models.BooleanField(unique=True)
    stripe_id = models.CharField(_("Stripe id"), max_length=255)

    def __str__(self) -> str:
        return self.stripe_id


class Reconciliation(models.Model):
    """What comparing Stripe's records with ours found and mended, and what still differs."""

    since = models.DateTimeField(_("compared since"))
    started_at = models.DateTimeField(_("started"), db_default=Now())
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    counts = models.JSONField(_("counts"), default=dict)
    differences = models.JSONField(_("differences"), default=list)

    class Meta:
        verbose_name = _("reconciliation")
        verbose_name_plural = _("reconciliations")

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"


class Mail(models.Model):
    """A mail to a user about one business fact, written with that fact and sent after it.

    The key makes each kind of mail tell a fact once; what can't be sent is tried again later
    (`billing.mails`).
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("customer"),
        related_name="mails",
    )
    kind = models.CharField(_("kind"), max_length=30)
    key = models.CharField(_("key"), max_length=200)
    context = models.JSONField(_("what it tells"), default=dict)
    created_at = models.DateTimeField(_("written"), db_default=Now())
    due_at = models.DateTimeField(_("due"), db_default=Now())
    tries = models.PositiveIntegerField(_("tries"), default=0)
    error = models.CharField(_("error"), max_length=500, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)

    class Meta:
        verbose_name = _("mail")
        verbose_name_plural = _("mails")
        constraints = [
            models.UniqueConstraint(fields=["user", "kind", "key"], name="billing_mail_key"),
        ]
        permissions = [("resend_mail", "Can send mails again")]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(sent_at__isnull=True), name="billing_mail_due"
            ),
        ]

    def __str__(self) -> str:
        return self.key


class BalanceAlert(models.Model):
    """Below how many credits a user gets a mail, and whether they are.

    0 is never; without a threshold the shop's default holds (`LOW_BALANCE_CREDITS`). A mail goes
    out when `is_low` becomes true (`billing.low_balance`).
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="balance_alert"
    )
    threshold = models.PositiveIntegerField(_("credits"), null=True, blank=True)
    is_low = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"< {self.threshold}"


class TopUp(models.Model):
    """A saved card that buys credits whenever its owner runs low, as far as they have agreed.

    One row a user, also while it is off: the card may be saved before, and what was charged stays.
    """

    class Status(models.TextChoices):
        OFF = "off", _("Off")
        ON = "on", _("On")
        SUSPENDED = "suspended", _("Suspended")

    class Reason(models.TextChoices):
        """Why it is suspended."""

        DECLINED = "declined", _("The card was declined three times")
        NO_CARD = "no_card", _("The card can't be charged any more")
        PRICE = "price", _("The price has risen")
        MONEY_BACK = "money_back", _("A payment was refunded or disputed")
        STAFF = "staff", _("Turned off by staff")

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("customer"),
        related_name="top_up",
    )
    status = models.CharField(
        _("status"), max_length=9, choices=Status.choices, default=Status.OFF, db_index=True
    )
    reason = models.CharField(_("reason"), max_length=10, choices=Reason.choices, blank=True)
    consent = models.ForeignKey(
        "TopUpConsent",
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("agreed"),
        related_name="+",
    )
    # A card belongs to one customer at Stripe; the user's may be another one by now.
    stripe_customer_id = models.CharField(_("Stripe customer"), max_length=255, blank=True)
    payment_method_id = models.CharField(_("saved card"), max_length=255, blank=True, db_index=True)
    card_brand = models.CharField(_("brand of the card"), max_length=30, blank=True)
    card_last4 = models.CharField(_("last digits of the card"), max_length=4, blank=True)
    # When its saving began at Stripe: news of an earlier one changes nothing.
    card_from = models.DateTimeField(_("card of"), null=True, blank=True)
    # Cards that are still to be let go at Stripe.
    to_detach = models.JSONField(default=list, blank=True)
    declines = models.PositiveIntegerField(_("declined in a row"), default=0)
    next_try_at = models.DateTimeField(_("next look"), null=True, blank=True)
    # Until when its buyer may pay the charge that waits on a page, having been asked to.
    asks_until = models.DateTimeField(_("waits for its owner until"), null=True, blank=True)

    class Meta:
        verbose_name = _("automatic top-up")
        verbose_name_plural = _("automatic top-ups")
        permissions = [("suspend_topup", "Can turn automatic top-ups off")]
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="on") | Q(consent__isnull=False) & ~Q(payment_method_id=""),
                name="billing_topup_agreed",
            ),
            models.CheckConstraint(
                condition=Q(status="suspended") & ~Q(reason="")
                | ~Q(status="suspended") & Q(reason=""),
                name="billing_topup_reason",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], condition=~Q(to_detach=[]), name="billing_topup_to_detach"),
        ]

    def __str__(self) -> str:
        return str(self.get_status_display())

    @property
    def is_on(self) -> bool:
        return self.status == self.Status.ON

    @property
    def is_off(self) -> bool:
        return self.status == self.Status.OFF

    @property
    def is_suspended(self) -> bool:
        return self.status == self.Status.SUSPENDED

    @property
    def card_label(self) -> str:
        """The saved card as its owner knows it; empty without one."""
        return _card_label(self.card_brand, self.card_last4)


class TopUpConsent(models.Model):
    """What a user has agreed to, in the words that they read. Never changed: the next is a new one.

    `total` is the price of `credits` at that time; a higher one is never charged on it.
    """

    top_up = models.ForeignKey(TopUp, models.PROTECT, related_name="consents")
    threshold = models.PositiveIntegerField(_("below this many credits"))
    credits = models.PositiveIntegerField(_("credits"))
    total = models.PositiveIntegerField(_("price at the time, in cents"))
    cap = models.PositiveIntegerField(_("at most a month, in cents"))
    text = models.TextField(_("agreed to"))
    given_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("consent to automatic top-up")
        verbose_name_plural = _("consents to automatic top-up")
        constraints = [
            models.CheckConstraint(
                condition=Q(credits__gte=MIN_CREDITS, credits__lte=MAX_CREDITS),
                name="billing_topupconsent_credits",
            ),
            # So that one charge is enough to be above it again.
            models.CheckConstraint(
                condition=Q(threshold__gt=0, threshold__lte=F("credits")),
                name="billing_topupconsent_threshold",
            ),
            models.CheckConstraint(
                condition=Q(total__gt=0, cap__gte=F("total")), name="billing_topupconsent_cap"
            ),
        ]

    def __str__(self) -> str:
        return credits_in_words(self.credits)
