"""Everything that is kept about a user, as JSON, for that user.

Version 1: times are ISO 8601 in UTC, credits whole numbers, money whole minor units (cents) beside
their currency. Lists are oldest first. Later versions may add fields and lists; `version` grows
when one changes its meaning.

It is read in batches, each a query of its own (`credits.statement` says why), and takes the memory
of one, however long the history is.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, QuerySet
from django.utils import timezone

from accounts.models import (
    ApiKey,
    ApiKeySpending,
    Drawing,
    Invitation,
    Membership,
    Session,
    User,
)
from billing.anonymity import customer_ids
from billing.models import (
    BalanceAlert,
    Charge,
    Dispute,
    Event,
    Mail,
    PlanChange,
    Purchase,
    Redemption,
    Refund,
    StripeCustomer,
    Subscription,
    TopUp,
    TopUpConsent,
)
from credits import ledger
from credits.models import Adjustment, Entry, Gift, Hold, Lot, Transfer, Wallet
from usage.models import Event as UsageEvent

VERSION: Final = 1
BATCH: Final = 2000
"""Rows that are in memory at a time."""

_EVENTS: Final = 50
"""Events at a time: each is up to a megabyte."""

Row = dict[str, Any]


def own_data(user: User) -> Iterator[str]:
    """The JSON in pieces; it begins at once."""
    head = {
        "version": VERSION,
        "exported_at": timezone.now(),
        "account": _account(user),
        "credits": _credits(user),
    }
    yield _json(head)[:-1]
    for name, batches in _lists(user):
        yield f', "{name}": ['
        separator = ""
        for batch in batches:
            yield separator + ",\n".join(_json(row) for row in batch)
            separator = ",\n"
        yield "]"
    yield "}\n"


def _json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def _account(user: User) -> Row:
    customer = StripeCustomer.objects.filter(user=user).first()
    alert = BalanceAlert.objects.filter(user=user).first()
    emails = EmailAddress.objects.filter(user=user).order_by("pk")
    # Their secrets are for signing in, not for a file that is mailed and forgotten.
    factors = Authenticator.objects.filter(user=user).order_by("pk")
    sessions = Session.objects.filter(user=user).order_by("expire_date")
    sign_ins = UserSession.objects.filter(user=user).order_by("pk")
    connected = SocialAccount.objects.filter(user=user).order_by("pk")
    return {
        "id": user.pk,
        "email": user.email,
        "language": user.language or None,
        "time_zone": user.time_zone or None,
        "joined": user.date_joined,
        "last_sign_in": user.last_login,
        "email_addresses": list(emails.values("email", "verified", "primary")),
        "second_step": [
            {"kind": kind, "name": name, "added": added, "last_used": used}
            for kind, name, added, used in factors.values_list(
                "type", "data__name", "created_at", "last_used_at"
            )
        ],
        "sessions": [{"ends": end} for end in sessions.values_list("expire_date", flat=True)],
        "sign_ins": list(sign_ins.values("created_at", "ip", "user_agent")),
        "connected_accounts": list(
            connected.values("provider", "uid", "extra_data", "date_joined", "last_login")
        ),
        "stripe_customer_id": customer.stripe_id if customer else None,
        "low_balance_alert": alert.threshold if alert else None,
    }


def _credits(user: User) -> Row:
    now = ledger.standing(user)
    return {
        "balance": now.balance,
        "held": now.held,
        "owed": now.owed,
        "available": now.available,
    }


def _lists(user: User) -> Iterator[tuple[str, Iterator[list[Row]]]]:
    # Its id is what the ledger's indexes begin with.
    wallet = Wallet.objects.filter(user=user).values_list("pk", flat=True).first()
    yield "purchases", _rows(
        Purchase.objects.filter(user=user), "id", "mode", "credits", "unit_price_e4", "total",
        "currency", "status", "language", "created_at", "paid_at", "stripe_session_id",
        "stripe_payment_id", "top_up_id",
    )  # fmt: skip
    yield "top_ups", _rows(
        TopUp.objects.filter(user=user), "id", "status", "reason", "payment_method_id",
        "card_brand", "card_last4", "declines", "next_try_at", "asks_until",
    )  # fmt: skip
    yield "top_up_consents", _rows(
        TopUpConsent.objects.filter(top_up__user=user), "id", "threshold", "credits", "total",
        "cap", "text", "given_at",
    )  # fmt: skip
    yield "redemptions", _rows(
        Redemption.objects.filter(user=user), "id", "code__code", "purchase_id", "credits",
        "status", "created_at", "kept_at", "freed_at",
    )  # fmt: skip
    yield "subscriptions", _rows(
        Subscription.objects.filter(user=user), "id", "stripe_id", "status", "credits", "total",
        "currency", "current_period_end", "cancel_at_period_end", "card_brand", "card_last4",
        "created_at",
    )  # fmt: skip
    yield "plan_changes", _rows(
        PlanChange.objects.filter(subscription__user=user), "id", "subscription__stripe_id",
        "credits", "unit_price_e4", "total", "currency", "created_at", "applied_at",
    )  # fmt: skip
    yield "charges", _rows(
        Charge.objects.filter(purchase__user=user), "id", "stripe_id", "purchase_id", "amount",
        "refunded", "withdrawn", "purchase__currency", "fetched_at",
    )  # fmt: skip
    yield "disputes", _rows(
        Dispute.objects.filter(charge__purchase__user=user), "id", "stripe_id",
        "charge__purchase_id", "amount", "status", "reason", "answer_by", "created_at",
    )  # fmt: skip
    yield "refunds", _rows(
        Refund.objects.filter(purchase__user=user), "id", "stripe_id", "purchase_id", "amount",
        "purchase__currency", "status", "reason", "created_at",
    )  # fmt: skip
    yield "entries", _rows(
        Entry.objects.filter(wallet=wallet), "id", "created_at", "kind", "amount", "owed",
        "balance", "note", "key", "about_id",
    )  # fmt: skip
    yield "lots", _rows(
        Lot.objects.filter(wallet=wallet), "id", "entry_id", "amount", "remaining", "held",
        "revoked", "category", "expires_at", "paid",
    )  # fmt: skip
    yield "holds", _rows(
        Hold.objects.filter(wallet=wallet), "id", "key", "amount", "status", "expires_at",
        "created_at", "closed_at",
    )  # fmt: skip
    yield "transfers", _rows(
        # Not whose wallet they arrived in.
        Transfer.objects.filter(wallet=wallet), "entry_id", "amount", "to_entry_id",
    )  # fmt: skip
    yield "gifts", _rows(
        Gift.objects.filter(sender=user), "id", "recipient", "credits", "message", "status",
        "recalled", "created_at", "expires_at", "closed_at",
    )  # fmt: skip
    yield "gifts_received", _rows(
        # Whose they were stands in their mails.
        Gift.objects.filter(claimed_by=user), "id", "recipient", "credits", "message", "status",
        "recalled", "closed_at",
    )  # fmt: skip
    yield "adjustments", _rows(
        Adjustment.objects.filter(user=user), "id", "amount", "reason", "status", "answer",
        "asked_at", "decided_at",
    )  # fmt: skip
    yield "api_keys", _rows(
        ApiKey.objects.filter(user=user), "id", "name", "prefix", "scopes", "created_at",
        "last_used_at", "expires_at", "revoked_at", "limit_credits", "limit_period",
    )  # fmt: skip
    yield "api_key_spending", _rows(
        ApiKeySpending.objects.filter(key__user=user), "id", "key_id", "begins_on", "credits",
    )  # fmt: skip
    yield "memberships", _rows(
        Membership.objects.filter(user=user), "id", "organisation_id", "organisation__name",
        "role", "limit_credits", "limit_period", "joined_at",
    )  # fmt: skip
    yield "drawn_on_organisations", _rows(
        Drawing.objects.filter(user=user), "id", "organisation_id", "day", "credits",
    )  # fmt: skip
    yield "invitations_sent", _rows(
        Invitation.objects.filter(invited_by=user), "id", "organisation_id", "email", "role",
        "created_at", "expires_at",
    )  # fmt: skip
    yield "usage_events", _rows(
        UsageEvent.objects.filter(user=user), "id", "meter__code", "key", "quantity", "at",
        "charged", "created_at",
    )  # fmt: skip
    yield "mails", _rows(
        Mail.objects.filter(user=user), "id", "kind", "key", "context", "created_at", "sent_at",
    )  # fmt: skip
    yield "stripe_events", _events(user)


def _rows(found: QuerySet[Model], key: str, *fields: str, size: int = BATCH) -> Iterator[list[Row]]:
    """The rows in batches, each after the last one's key."""
    rows = found.order_by(key).values(key, *fields)
    batch = list(rows[:size])
    while batch:
        last = batch[-1][key]
        yield [{name.replace("__", "_"): value for name, value in row.items()} for row in batch]
        batch = list(rows.filter(**{f"{key}__gt": last})[:size])


def _events(user: User) -> Iterator[list[Row]]:
    found = Event.objects.filter(customer_id__in=customer_ids(user))
    for batch in _rows(found, "id", "stripe_id", "type", "created_at", "payload", size=_EVENTS):
        yield [{**row, "payload": json.loads(row["payload"])} for row in batch]
