"""Buying for many: an organisation's list of recipients, its price, its payment, how far it is."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self, cast

from django.http import HttpResponse
from django.utils import translation
from ninja import Router
from pydantic import BeforeValidator, Field, WithJsonSchema

from accounts import preferences
from accounts.models import ApiKey, Organisation
from api.admission import ProgramRequest
from api.answers import begun_once, ledger_key
from api.entries import PageSize
from api.fields import ABSENT, Cents, Id, IdempotencyKey, Input, Output
from api.operations import WRITING, operation
from api.reading import Asked, SentMuch, number_in_query
from api.refusals import refusal
from billing import checkout, pricing
from billing.bulk import orders, results, terms
from billing.bulk.lines import MOST_LINES, BadLines, Line, Problem, of_request
from billing.models import MAX_CREDITS, BulkPurchase, Invoice
from billing.pricing import CURRENCY

router = Router(tags=["Bulk purchases"])

Status = Literal["draft", "ordered", "unpaid", "delivering", "done"]
LineStatus = Literal["waiting", "sent", "returned", "not_sent"]

OF_WHICH: Final = (
    "The organisation's id. A service key's calls have to name one; a key of the organisation's "
    "own may leave it out."
)

LINES: Final[dict[str, Any]] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_LINES,
    "items": {
        "title": "RecipientLine",
        "type": "object",
        "properties": {
            "email": {"type": "string", "format": "email", "maxLength": 254},
            "user": {"type": "integer", "minimum": 1},
            "credits": {"type": "integer", "minimum": 1, "maximum": MAX_CREDITS},
        },
        "required": ["credits"],
        "additionalProperties": False,
    },
    "description": (
        "Each names a recipient by `email`, or with a service key by the id of a `user`, and their "
        "`credits`. All of them are looked at: `invalid_lines` tells what is wrong with each."
    ),
}


class NewList(Input):
    lines: Annotated[
        list[Any],
        WithJsonSchema(LINES),
        Field(examples=[[{"email": "ada@example.com", "credits": 500}]]),
    ]
    organisation: Annotated[Id, Field(description=OF_WHICH, examples=[7])] = ABSENT


class NewBulkPurchase(NewList):
    expected_total: Annotated[
        Cents,
        Field(
            description="What the buyer was shown, in cents. Another price is refused.",
            examples=[475],
        ),
    ] = ABSENT
    payment: Annotated[
        Literal["checkout", "invoice"],
        Field(
            description=(
                "On a payment page, or by invoice within 30 days where that is approved for the "
                "organisation. Within its credit limit the credits come before the money."
            )
        ),
    ] = "checkout"
    po_number: Annotated[
        str,
        Field(
            max_length=40,
            pattern=r"^[^\x00-\x1f]*$",
            description="Your order number, for the invoice.",
            examples=["PO-2026-17"],
        ),
    ] = ""


class BulkInvoice(Output):
    """What pays for it, where that is no payment page."""

    number: str | None = Field(description="null: it is being made.", examples=["A1B2-0007"])
    status: Literal["making", "open", "paid", "uncollectible", "void"]
    due_at: datetime | None

    @classmethod
    def of(cls, invoice: Invoice) -> Self:
        is_made = invoice.status not in ("", "draft")
        return cls(
            number=invoice.number or None,
            status=cast(Any, invoice.status if is_made else "making"),
            due_at=invoice.due_at,
        )


class BulkQuote(Output):
    """What a list costs."""

    lines: int = Field(description="How many.", examples=[1])
    credits: int = Field(examples=[500])
    total: int = Field(description="In cents.", examples=[475])
    currency: str = Field(examples=["usd"])


class BulkOrder(Output):
    """A bulk purchase, and how far it is."""

    id: uuid.UUID = Field(examples=["0d9c5c3e-7c1b-4b0e-9f5e-3f2a7f0a4c11"])
    organisation: int = Field(examples=[7])
    status: Status = Field(
        description=(
            "`draft`: a list that is looked at on the site. `ordered`: to be paid. `unpaid`: it "
            "can't be any more. `delivering`: paid, and being handed out. `done`: every line is "
            "dealt with."
        )
    )
    credits: int = Field(examples=[500])
    total: int = Field(description="In cents.", examples=[475])
    currency: str = Field(examples=["usd"])
    lines: int = Field(description="How many.", examples=[1])
    sent: int = Field(description="How many of them.", examples=[0])
    not_sent: int = Field(description="How many of them.", examples=[0])
    purchase: uuid.UUID | None = Field(
        description="The purchase that pays for it. null: not ordered yet.",
        examples=["5b1f6f0e-31a4-4c6c-a7a5-1f0f5a1a9c22"],
    )
    url: str | None = Field(
        description="Where a person pays it. null: nothing can be paid there, any more or yet.",
        examples=["https://checkout.stripe.com/c/pay/cs_a1"],
    )
    invoice: BulkInvoice | None = Field(description="null: it is paid on a payment page.")
    created_at: datetime

    @classmethod
    def of(cls, bulk: BulkPurchase) -> Self:
        progress, purchase = results.progress_of(bulk), bulk.purchase
        invoice = getattr(bulk, "invoice", None)
        page = purchase.open_page if purchase else ""
        if invoice is not None:
            page = invoice.url if invoice.status in ("open", "uncollectible") else ""
        is_over = purchase is not None and purchase.status in ("expired", "failed")
        is_unpaid = bulk.status == BulkPurchase.Status.ORDERED and is_over
        total = purchase.total if purchase else pricing.quote(bulk.credits).total
        return cls(
            id=bulk.pk,
            organisation=bulk.organisation_id,
            status=cast(Status, "unpaid" if is_unpaid else bulk.status),
            credits=bulk.credits,
            total=total,
            currency=purchase.currency if purchase else CURRENCY,
            lines=progress.lines,
            sent=progress.sent,
            not_sent=progress.not_sent,
            purchase=purchase.pk if purchase else None,
            url=page or None,
            invoice=BulkInvoice.of(invoice) if invoice else None,
            created_at=bulk.created_at,
        )


@router.post(
    "/bulk-purchases/preview",
    operation_id="preview_bulk_purchase",
    summary="Price a list",
    **operation(
        BulkQuote, "invalid_json", "bad_request", "payload_too_large", "unsupported_media_type",
        "invalid_request", "unknown_organisation", "invalid_lines",
        scope=ApiKey.Scope.PURCHASES_WRITE, takes=NewList,
    ),
)  # fmt: skip
def preview(request: ProgramRequest, body: Annotated[NewList, SentMuch(...)]) -> BulkQuote:
    """What a list would cost, or all that is wrong with it. Nothing is kept.

    The price is that of all lines together.
    """
    _organisation(request.auth, body.organisation)
    lines = _read(request.auth, body.lines)
    credits = sum(line.credits for line in lines)
    return BulkQuote(
        lines=len(lines),
        credits=credits,
        total=pricing.quote(credits).total,
        currency=CURRENCY,
    )


@router.post(
    "/bulk-purchases",
    operation_id="open_bulk_purchase",
    summary="Buy for many",
    **operation(
        BulkOrder, *WRITING, "unknown_organisation", "invalid_lines", "price_changed",
        "credits_owed", "invoices_not_approved", "account_closing", "stripe_error",
        "stripe_unavailable",
        scope=ApiKey.Scope.PURCHASES_WRITE, status=201, takes=NewBulkPurchase,
    ),
)  # fmt: skip
def open_bulk_purchase(
    request: ProgramRequest, key: IdempotencyKey, body: Annotated[NewBulkPurchase, SentMuch(...)]
) -> HttpResponse:
    """Order credits for up to 1,000 recipients, and send somebody who pays to `url`.

    A bad line stops all of it. When it is paid, each recipient with a confirmed address here has
    the credits at once and everybody else a mail to claim them; both are `sent`, so that nobody
    learns who has an account. What nobody claims in time comes back to the organisation.
    """
    api_key = request.auth
    organisation = _organisation(api_key, body.organisation)
    lines = _read(api_key, body.lines)

    def order() -> BulkPurchase:
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{ledger_key(api_key, key)}:bulk")
        bulk = orders.draft(organisation, lines, by=None, id=name)
        with preferences.read_by(organisation.account):
            if body.payment == "checkout":
                orders.order(bulk, expected_total=body.expected_total)
            else:
                terms.place(
                    bulk, expected_total=body.expected_total, po_number=body.po_number.strip()
                )
        return BulkPurchase.objects.select_related("purchase", "invoice").get(pk=name)

    def page_of(bulk: BulkPurchase) -> BulkOrder:
        if hasattr(bulk, "invoice"):
            terms.make(bulk.invoice)
        elif bulk.purchase is not None:
            checkout.payment_page(bulk.purchase)
        return BulkOrder.of(bulk)

    return begun_once(request, key, body, order, page_of, status=201)


def _organisation(api_key: ApiKey, named: int | None) -> Organisation:
    """The one that a call is about: a service key names it, others are one's own."""
    if named is None and api_key.user_id is None:
        words = "Name the organisation by its id: a service key acts for any of them."
        raise refusal("invalid_request", words, field="organisation")
    pk = named if api_key.user_id is None else api_key.user_id
    is_other = named is not None and named != pk
    found = Organisation.objects.filter(pk=pk, account__closed_at=None).select_related("account")
    organisation = None if is_other else found.first()
    if organisation is None:
        raise refusal("unknown_organisation", field="organisation")
    return organisation


def _read(api_key: ApiKey, sent: list[Any]) -> list[Line]:
    """The lines, or all that is wrong with them, in English like all of the API."""
    with translation.override("en"):
        lines = of_request(sent)
        if api_key.user_id is None:
            orders.check_users(lines)
        elif named := [line for line in lines if line.user_id is not None]:
            # Who has which number is nobody's business but the shop's.
            reason = "Name recipients by email: only service keys name users."
            raise BadLines([Problem(line.number, "user", reason) for line in named])
    return lines


# --- How far it is ----------------------------------------------------------------------------


class BulkLineResult(Output):
    """A line, and what became of it."""

    line: int = Field(description="Its place in the list, from 1.", examples=[1])
    email: str | None = Field(
        description="null: it names a user, or the account was closed.",
        examples=["ada@example.com"],
    )
    user: int | None = Field(description="Where the line named one.", examples=[None])
    credits: int = Field(examples=[500])
    status: LineStatus = Field(
        description=(
            "`sent`: the recipient has the credits or a mail to claim them. `returned`: nobody "
            "claimed them, so they are the organisation's. `not_sent`: so are these; `reason` says "
            "why."
        )
    )
    reason: str | None = Field(
        description=(
            "`no_credits`: not enough of the purchase was left. `owed`: the organisation owes "
            "credits. `no_user`: there is no such user any more."
        ),
        examples=[None],
    )

    @classmethod
    def of(cls, found: results.Result) -> Self:
        line = found.line
        return cls(
            line=line.number,
            email=line.email or None,
            user=line.user_id,
            credits=line.credits,
            status=cast(LineStatus, found.status),
            reason=line.reason or None,
        )


class BulkAsked(Input):
    organisation: Annotated[Id, BeforeValidator(number_in_query), Field(description=OF_WHICH)] = (
        ABSENT
    )
    after: Annotated[
        Annotated[int, Field(ge=0, le=MAX_CREDITS)], BeforeValidator(number_in_query)
    ] = Field(default=0, description="Lines after the one of this number.")
    limit: PageSize = Field(default=25, description="How many lines at most.")


class BulkOrderWithLines(BulkOrder):
    """A bulk purchase with a page of its lines."""

    results: list[BulkLineResult]
    next: int | None = Field(
        description="There are more: what to send as `after` to get them. null: that was all.",
        examples=[None],
    )


@router.get(
    "/bulk-purchases/{uuid:bulk_id}",
    operation_id="get_bulk_purchase",
    summary="Get a bulk purchase",
    **operation(
        BulkOrderWithLines, "invalid_request", "unknown_organisation", "unknown_purchase",
        scope=ApiKey.Scope.PURCHASES_READ,
    ),
)  # fmt: skip
def bulk_purchase(
    request: ProgramRequest, bulk_id: uuid.UUID, asked: Annotated[BulkAsked, Asked(...)]
) -> BulkOrderWithLines:
    """How far it is, and what became of its lines, page by page."""
    organisation = _organisation(request.auth, asked.organisation)
    bulk = (
        BulkPurchase.objects.filter(pk=bulk_id, organisation=organisation)
        .select_related("purchase", "invoice")
        .first()
    )
    if bulk is None:
        raise refusal("unknown_purchase")
    lines, after = results.page_of(bulk, after=asked.after, limit=asked.limit)
    return BulkOrderWithLines(
        **BulkOrder.of(bulk).model_dump(),
        results=[BulkLineResult.of(found) for found in lines],
        next=after or None,
    )
