"""One field that finds a customer: by address, name of an organisation, any id or an amount.

What was typed says what it is. An id finds its row and what belongs to it, and each group is shown
to those who may look at its rows. No search reads through the ledger: entries are found by wallet
and key.
"""

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, F, Func, Q, QuerySet
from django.db.models.functions import Lower
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.requests import SignedInRequest
from billing.models import Charge, Customer, Dispute, Event, Purchase, Refund, Subscription
from billing.stripe_objects import stripe_id, subscription_of, uuid_of
from credits.models import Entry

MOST: Final = 20
"""Rows of each group."""

LONGEST: Final = 255
SHORTEST: Final = 2
"""Of a part of an address: a single letter would find everybody."""

_STRIPE: Final = re.compile(
    r"(cus|cs|pi|py|ch|in|sub|re|pyr|dp|du|evt|reconcile)_[A-Za-z0-9_]+", re.ASCII
)
_KEY: Final = re.compile(r"(?:purchase|invoice|charge|refund):([^:]+)(?::.*)?")
"""The key of an entry, which names what it is about."""

_DOLLARS: Final = re.compile(r"\$ ?(\d[\d,]*)(?:\.(\d\d))?|(\d[\d,]*)\.(\d\d)", re.ASCII)
_COMMA: Final = re.compile(r"(\d[\d.]*),(\d\d) ?[$€]?", re.ASCII)
"""As it is written in other countries: 1.234,56."""
_CREDITS: Final = re.compile(r"(\d[\d,. ]*?) ?credits?|(\d{1,3}(?:,\d{3})+)", re.ASCII)
_NUMBER: Final = re.compile(r"#?(\d{1,15})", re.ASCII)


@dataclass
class Found:
    """Rows of each group, at most `MOST`, and one more where there are more."""

    customers: list[Customer] = field(default_factory=list)
    purchases: list[Purchase] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    named: Customer | Event | None = None
    """What the term names all by itself."""

    @property
    def groups(self) -> list[list[Any]]:
        return [
            self.customers, self.purchases, self.subscriptions, self.refunds, self.disputes,
            self.events, self.entries,
        ]  # fmt: skip

    @property
    def only(self) -> Any:
        """The one row to go to at once, if there is just one that is meant."""
        if self.named is not None:
            return self.named
        rows = [row for group in self.groups for row in group]
        return rows[0] if len(rows) == 1 else None


GROUPS: Final = {
    "customers": "billing.view_customer",
    "purchases": "billing.view_purchase",
    "subscriptions": "billing.view_subscription",
    "refunds": "billing.view_refund",
    "disputes": "billing.view_dispute",
    "events": "billing.view_event",
    "entries": "credits.view_entry",
}


def search_view(request: SignedInRequest) -> HttpResponse:
    """What `?q=` finds; one exact hit is gone to at once."""
    may = {name for name, needs in GROUPS.items() if request.user.has_perm(needs)}
    if not may:
        raise PermissionDenied
    term = clean(request.GET.get("q", ""))
    found = search(term, may)
    if found.only is not None:
        return HttpResponseRedirect(_address(found.only))
    context = {
        **admin.site.each_context(request),
        "title": _("Search"),
        "opts": Customer._meta,
        "term": term,
        "found": found,
        "is_empty": not any(found.groups),
        "is_stripe_id": _STRIPE.fullmatch(term) is not None,
        "is_short": 0 < len(term) < SHORTEST and not term.isdigit(),
        "most": MOST,
    }
    return TemplateResponse(request, "admin/billing/search.html", context)


def _address(row: Any) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return reverse(name, args=[row.pk])


def clean(text: str) -> str:
    """What was typed, on one line; PostgreSQL's text holds no NUL."""
    return " ".join(text.replace("\0", " ").split())[:LONGEST]


def is_id(term: str) -> bool:
    """Whether it looks like an id of Stripe's or of a row of ours, and like no address."""
    return bool(uuid_of(term) or _STRIPE.fullmatch(term) or _KEY.fullmatch(term))


def search(term: str, may: Collection[str]) -> Found:
    """The rows that a term means, of the groups that `may` be looked at."""
    key = _KEY.fullmatch(term)
    term = key[1] if key else term
    known_id = uuid_of(term)
    if known_id is not None:
        found = _by_id(known_id)
    elif _STRIPE.fullmatch(term):
        found = _by_stripe_id(term)
    elif (amount := _amount(term)) is not None:
        found = _by_amount(amount)
    elif number := _NUMBER.fullmatch(term):
        found = _by_number(int(number[1]), is_entry=term.startswith("#"))
    elif len(term) >= SHORTEST:
        found = _by_email(term)
    else:
        found = Found()
    for name in GROUPS.keys() - may:
        setattr(found, name, [])
    if found.named is not None and found.named not in [*found.customers, *found.events]:
        found.named = None
    return found


def _amount(term: str) -> Q | None:
    """The cents or the credits that a term states."""
    text = term.lower().removesuffix("usd").strip("+-\N{MINUS SIGN} ")
    if dollars := _DOLLARS.fullmatch(text):
        whole, cents = dollars[1] or dollars[3], dollars[2] or dollars[4] or "00"
        return Q(total=_digits(whole + cents))
    if comma := _COMMA.fullmatch(text):
        return Q(total=_digits(comma[1] + comma[2]))
    if credits := _CREDITS.fullmatch(text):
        return Q(credits=_digits(credits[1] or credits[2]))
    return None


def _digits(text: str) -> int:
    return int("".join(filter(str.isdigit, text))[:15])


def _by_amount(amount: Q) -> Found:
    ((name, value),) = amount.children  # type: ignore[misc]
    refunds = Refund.objects.filter(amount=value) if name == "total" else Refund.objects.none()
    disputes = Dispute.objects.filter(amount=value) if name == "total" else Dispute.objects.none()
    return Found(
        purchases=_some(Purchase.objects.filter(amount).select_related("user"), "-created_at"),
        subscriptions=_some(Subscription.objects.filter(amount).select_related("user"), "-id"),
        refunds=_some(refunds.select_related("purchase__user", "actor"), "-created_at"),
        disputes=_some(disputes.select_related("charge__purchase__user"), "-id"),
    )


def _by_email(term: str) -> Found:
    exact = Customer.objects.annotate(lower=Lower("email")).filter(lower=term.lower())  # an index
    named = list(exact.values_list("pk", flat=True))
    pks = named or list(
        Customer.objects.filter(Q(email__icontains=term) | Q(organisation__name__icontains=term))
        .order_by("-pk")
        .values_list("pk", flat=True)[: MOST + 1]
    )
    customers = _customers(pks)
    return Found(customers=customers, named=customers[0] if "@" in term and named else None)


def _by_number(number: int, *, is_entry: bool) -> Found:
    """The id of a user, a wallet or an entry, or an amount of credits; with # an entry's."""
    entries = _some(Entry.objects.filter(pk=number).select_related("wallet__user", "actor"), "-id")
    if is_entry:
        return Found(entries=entries)
    found = _by_amount(Q(credits=number))
    pks = [
        *Customer.objects.filter(pk=number).values_list("pk", flat=True),
        *Customer.objects.filter(wallet__pk=number).values_list("pk", flat=True),
    ]
    found.customers = _customers(pks)
    found.entries = entries
    return found


def _by_id(known_id: uuid.UUID) -> Found:
    """A purchase by its id or its request's, or a refund by its own."""
    refunds = _some(
        Refund.objects.filter(pk=known_id).select_related("purchase__user", "actor"), "-created_at"
    )
    pks = [
        *Purchase.objects.filter(Q(pk=known_id) | Q(request_id=known_id)).values_list(
            "pk", flat=True
        ),
        *(refund.purchase_id for refund in refunds),
    ]
    found = _belonging(pks, set(), set())
    found.refunds = refunds
    return found


def _by_stripe_id(term: str) -> Found:
    """Whatever Stripe calls by this id, and what events have told about it."""
    about = Q(stripe_id=term) | Q(object_id=term)
    told = list(Event.objects.filter(about).order_by("-id")[:MOST])
    ids = {term}.union(*map(_mentioned, told))
    pks = {
        *Purchase.objects.filter(
            Q(stripe_session_id__in=ids) | Q(stripe_payment_id__in=ids)
        ).values_list("pk", flat=True),
        *Charge.objects.filter(stripe_id__in=ids).values_list("purchase_id", flat=True),
        *Refund.objects.filter(stripe_id__in=ids).values_list("purchase_id", flat=True),
        *Dispute.objects.filter(stripe_id=term).values_list("charge__purchase_id", flat=True),
    }
    customers = {term, *(event.customer_id for event in told if event.customer_id)}
    found = _belonging(pks, ids, customers)
    found.refunds = _some(
        Refund.objects.filter(stripe_id=term).select_related("purchase__user", "actor"), "-pk"
    )
    found.disputes = _some(
        Dispute.objects.filter(Q(stripe_id=term) | Q(charge__stripe_id__in=ids)).select_related(
            "charge__purchase__user"
        ),
        "-id",
    )
    if term.startswith("cus_"):
        found.events = _some(Event.objects.filter(customer_id=term).defer("payload"), "-id")
        found.named = found.customers[0] if len(found.customers) == 1 else None
    else:
        found.events = told
        named = [event for event in told if event.stripe_id == term]
        found.named = named[0] if named else None
    return found


def _mentioned(event: Event) -> set[str]:
    """The ids of a payment that an event's object names."""
    found = event.object
    names = ("charge", "payment_intent", "subscription", "invoice", "id")
    ids = {stripe_id(found.get(name)) for name in names}
    if found.get("object") == "invoice":
        ids.add(subscription_of(found)[0])
    return {one for one in ids if one}


def _belonging(
    purchases: Collection[uuid.UUID], ids: Collection[str], customers: Collection[str]
) -> Found:
    """Purchases with their buyers, plans and entries; plans and buyers also by ids of Stripe's."""
    orders = _some(Purchase.objects.filter(pk__in=purchases).select_related("user"), "-created_at")
    plans = _some(Subscription.objects.filter(stripe_id__in=ids).select_related("user"), "-id")
    users = {row.user_id for row in [*orders, *plans]}
    users.update(
        Customer.objects.filter(stripe_customer__stripe_id__in=customers).values_list(
            "pk", flat=True
        )[: MOST + 1]
    )
    keys = [f"purchase:{order.pk}" for order in orders] + [f"invoice:{one}" for one in ids]
    entries = Entry.objects.filter(wallet__user__in=users, key__in=keys)
    return Found(
        customers=_customers(users),
        purchases=orders,
        subscriptions=plans,
        entries=_some(entries.select_related("wallet__user", "actor"), "-id") if users else [],
    )


def _customers(pks: Collection[int]) -> list[Customer]:
    # Worked out for those that are shown only.
    available = Func(F("pk"), function="credits_available", output_field=BigIntegerField())
    found = Customer.objects.filter(pk__in=pks).select_related("stripe_customer")
    shown: QuerySet[Any] = found.annotate(available=available).order_by("-pk")
    return list(shown[: MOST + 1])


def _some(rows: QuerySet[Any], order: str) -> list[Any]:
    return list(rows.order_by(order)[: MOST + 1])
