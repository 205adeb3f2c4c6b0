"""Selling credits: a payment page for a user, and what became of it."""

import uuid
from datetime import datetime
from typing import Annotated, Literal, Self, cast

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from ninja import Router
from pydantic import Field

from accounts import addresses, preferences
from accounts.models import ApiKey, User
from api.admission import ProgramRequest, whose
from api.answers import begun_once, ledger_key
from api.entries import PageSize
from api.fields import ABSENT, Cents, IdempotencyKey, Input, Output, UserField, Whose
from api.operations import WRITING, operation
from api.reading import Asked, Sent
from api.refusals import refusal
from billing import checkout
from billing.models import MAX_CREDITS, MIN_CREDITS, Charge, Mode, Purchase

router = Router(tags=["Purchases"])

# Inline in the schema, which has another Mode by name: that of a price list.
PurchaseMode = Literal["payment", "subscription"]
Status = Literal[
    "pending", "settling", "paid", "refunded", "expired", "failed", "review", "settled"
]
"""Those of `Purchase`, and that all of the money went back."""


class NewPurchase(Input):
    # Its range is looked at by hand: what is outside has a code of its own, as in the shop.
    credits: Annotated[
        int,
        Field(
            description="How many to buy, once or every month.",
            examples=[500],
            json_schema_extra={"minimum": MIN_CREDITS, "maximum": MAX_CREDITS},
        ),
    ]
    mode: Annotated[PurchaseMode, Field(description="Once, or as many every month.")] = "payment"
    expected_total: Annotated[
        Cents,
        Field(
            description="What the buyer was shown, in cents. Another price is refused.",
            examples=[475],
        ),
    ] = ABSENT
    user: UserField = ABSENT


class Order(Output):
    """A purchase, and how it stands. It costs what it did when it was made."""

    id: uuid.UUID = Field(examples=["0d9c5c3e-7c1b-4b0e-9f5e-3f2a7f0a4c11"])
    status: Status = Field(
        description=(
            "`settling`: a bank payment is under way, for some days. `review`: the payment is "
            "looked at by hand. `settled`: that is done. `refunded`: all that was paid once went "
            "back."
        )
    )
    credits: int = Field(examples=[500])
    mode: PurchaseMode
    total: int = Field(description="In cents; of a plan, each month.", examples=[475])
    currency: str = Field(examples=["usd"])
    returned: int = Field(
        description="What went back to the buyer by refunds and disputes, in cents.", examples=[0]
    )
    url: str | None = Field(
        description=(
            "The payment page, to send the buyer to. null: nothing can be paid there, any more or "
            "yet."
        ),
        examples=["https://checkout.stripe.com/c/pay/cs_a1"],
    )
    created_at: datetime
    expires_at: datetime = Field(description="Until when the payment page is open.")
    paid_at: datetime | None = Field(description="null: not yet.")

    @classmethod
    def of(cls, purchase: Purchase) -> Self:
        charges = purchase.charges.all()
        returned = sum(_returned(charge) for charge in charges)
        # Of a plan's months only those are known here of which something went back.
        is_refunded = (
            purchase.is_paid
            and purchase.mode == Mode.PAYMENT
            and 0 < returned == sum(charge.amount for charge in charges)
        )
        return cls(
            id=purchase.pk,
            status=cast(Status, "refunded" if is_refunded else purchase.status),
            credits=purchase.credits,
            mode=cast(PurchaseMode, purchase.mode),
            total=purchase.total,
            currency=purchase.currency,
            returned=returned,
            url=purchase.open_page or None,
            created_at=purchase.created_at,
            expires_at=purchase.payable_until,
            paid_at=purchase.paid_at,
        )


def _returned(charge: Charge) -> int:
    return min(charge.refunded + charge.withdrawn, charge.amount)


@router.post(
    "/purchases",
    operation_id="open_purchase",
    summary="Open a payment page",
    **operation(
        Order, *WRITING, "unknown_user", "credits_out_of_range", "price_changed",
        "already_subscribed", "order_replaced", "email_not_confirmed", "account_closing",
        "stripe_error", "stripe_unavailable",
        scope=ApiKey.Scope.PURCHASES_WRITE, status=201, takes=NewPurchase,
    ),
)  # fmt: skip
def open_purchase(
    request: ProgramRequest, key: IdempotencyKey, body: Annotated[NewPurchase, Sent(...)]
) -> HttpResponse:
    """Open a page on which a user buys credits, and answer its `url` to send them to.

    Nothing is charged by this: a person pays there, and sees what it costs. The credits arrive when
    the payment is confirmed, whether or not the buyer comes back.
    """
    _check_range(body.credits)
    api_key = request.auth

    def order() -> Purchase:
        user = _buyer(api_key, body.user)
        with preferences.read_by(user):  # as the page and its receipt are
            return checkout.place_order(
                user,
                body.credits,
                body.mode,
                request_id=uuid.uuid5(uuid.NAMESPACE_URL, ledger_key(api_key, key)),
                expected_total=body.expected_total,
            )

    def page_of(purchase: Purchase) -> Order:
        checkout.payment_page(purchase)
        return Order.of(purchase)

    return begun_once(request, key, body, order, page_of, status=201)


def _check_range(credits: int) -> None:
    if MIN_CREDITS <= credits <= MAX_CREDITS:
        return
    which, limit = ("smallest", MIN_CREDITS) if credits < MIN_CREDITS else ("largest", MAX_CREDITS)
    words = f"The {which} purchase is {limit} credits. Nothing was charged."
    raise refusal("credits_out_of_range", words, field="credits")


def _buyer(api_key: ApiKey, named: int | str | None) -> User:
    """With all that an order needs to know of them.

    Who owns a personal key has signed in. Whoever else has an account may not be who they say until
    they have confirmed their address, and couldn't buy in the shop either.
    """
    user = User.objects.get(pk=whose(api_key, named).pk)
    if api_key.user_id is None and not addresses.is_confirmed(user):
        raise refusal("email_not_confirmed", field="user")
    return user


@router.get(
    "/purchases/{uuid:purchase_id}",
    operation_id="get_purchase",
    summary="Get a purchase",
    **operation(
        Order, "invalid_request", "unknown_user", "unknown_purchase",
        scope=ApiKey.Scope.PURCHASES_READ,
    ),
)  # fmt: skip
def purchase(
    request: ProgramRequest, purchase_id: uuid.UUID, asked: Annotated[Whose, Asked(...)]
) -> Order:
    """How it stands, also of one that was begun in the shop."""
    return Order.of(_one_of(whose(request.auth, asked.user), purchase_id))


class PurchasesAsked(Whose):
    before: Annotated[
        uuid.UUID, Field(strict=False, description="Purchases before the one with this id.")
    ] = ABSENT
    limit: PageSize = Field(default=25, description="How many at most.")


class Orders(Output):
    purchases: list[Order]
    next: uuid.UUID | None = Field(
        description=(
            "There may be more: what to send as `before` to get them. null: that was all."
        ),
        examples=["0d9c5c3e-7c1b-4b0e-9f5e-3f2a7f0a4c11"],
    )


@router.get(
    "/purchases",
    operation_id="list_purchases",
    summary="List purchases",
    **operation(
        Orders, "invalid_request", "unknown_user", "unknown_purchase",
        scope=ApiKey.Scope.PURCHASES_READ,
    ),
)  # fmt: skip
def purchases(request: ProgramRequest, asked: Annotated[PurchasesAsked, Asked(...)]) -> Orders:
    """A user's purchases, newest first, page by page; those made in the shop as well."""
    user = whose(request.auth, asked.user)
    found = _of(user).order_by("-created_at", "-pk")
    if asked.before is not None:
        last = _one_of(user, asked.before)
        found = found.filter(created_at__lte=last.created_at).filter(
            Q(created_at__lt=last.created_at) | Q(pk__lt=last.pk)
        )
    orders = [Order.of(each) for each in found[: asked.limit + 1]]
    page = orders[: asked.limit]
    return Orders(purchases=page, next=page[-1].id if len(orders) > len(page) else None)


def _one_of(user: User, purchase_id: uuid.UUID) -> Purchase:
    found = _of(user).filter(pk=purchase_id).first()
    if found is None:
        raise refusal("unknown_purchase")
    return found


def _of(user: User) -> QuerySet[Purchase]:
    return Purchase.objects.filter(user=user).prefetch_related("charges")
