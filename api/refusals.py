"""Every reason why the API refuses.

One shape for all: `{"error": "<a sentence>", "code": "<stable>", "field"?: "<name>"}`, and for some
codes what a program needs to go on. The sentences are English, for who writes the program.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, NotRequired

from django.conf import settings
from django.urls import reverse
from pydantic import Field
from typing_extensions import TypedDict

from accounts import keys, organisations
from accounts.closing import AccountClosed, AccountClosing
from api.prices import A_QUOTE, Quote
from billing import checkout
from billing.api import Refusal
from billing.bulk import orders, terms
from billing.bulk.lines import BadLines
from billing.stripe_api import StripeRefused, StripeUnavailable
from credits import errors
from usage.recording import UsageError


class LineProblem(TypedDict):
    """What is wrong with a line of a list."""

    line: Annotated[int | None, Field(description="Its place, from 1. null: the list as a whole.")]
    field: Annotated[str, Field(description="`email`, `user`, `credits`, `line` or `lines`.")]
    reason: Annotated[str, Field(description="A sentence in English.")]


class Error(TypedDict):
    """Why nothing was done."""

    error: Annotated[str, Field(description="A sentence in English for who writes the program.")]
    code: Annotated[str, Field(description="Stable: what the program may decide by.")]
    field: NotRequired[
        Annotated[str, Field(description="The field, parameter or header that it is about.")]
    ]
    scope: NotRequired[
        Annotated[str, Field(description="`missing_scope`: what the key would need.")]
    ]
    available: NotRequired[
        Annotated[int, Field(description="`insufficient_credits`: what can be spent now.")]
    ]
    needed: NotRequired[
        Annotated[int, Field(description="`insufficient_credits`: what was asked for.")]
    ]
    limit: NotRequired[Annotated[int, Field(description="`…_limit_reached`: credits a period.")]]
    spent: NotRequired[Annotated[int, Field(description="`…_limit_reached`: credits of them.")]]
    resets_at: NotRequired[
        Annotated[datetime, Field(description="`…_limit_reached`: when the next period begins.")]
    ]
    held: NotRequired[Annotated[int, Field(description="`hold_exceeded`: what the hold reserves.")]]
    owed: NotRequired[Annotated[int, Field(description="`credits_owed`: how many.")]]
    quote: NotRequired[Annotated[Quote, Field(description="`price_changed`: the new price.")]]
    url: NotRequired[
        Annotated[
            str,
            Field(description="`already_subscribed`: where the user changes the plan."),
        ]
    ]
    lines: NotRequired[
        Annotated[
            list[LineProblem], Field(description="`invalid_lines`: all that is wrong with them.")
        ]
    ]


@dataclass(frozen=True)
class Reason:
    """A code: its status, an example of its sentence, and what else such an answer holds."""

    status: int
    error: str
    extra: dict[str, Any] = field(default_factory=dict)


REASONS: Final = {
    "invalid_json": Reason(400, "The body is not valid JSON."),
    "bad_request": Reason(400, "The body broke off or can't be read."),
    "missing_api_key": Reason(401, "Send your API key in the header: Authorization: Bearer <key>."),
    "invalid_api_key": Reason(401, "There is no such API key."),
    "expired_api_key": Reason(401, "This API key has expired. Make another one."),
    "revoked_api_key": Reason(401, "This API key was revoked. Make another one."),
    "insufficient_credits": Reason(
        402,
        "5 credits are needed and 2 are available. Nothing was spent.",
        {"available": 2, "needed": 5},
    ),
    "missing_scope": Reason(
        403,
        "This API key may not do that. It would need the scope credits:spend.",
        {"scope": "credits:spend"},
    ),
    "spending_limit_reached": Reason(
        403,
        "This API key has spent 998 of its 1000 credits in this period. Nothing was spent.",
        {"limit": 1000, "spent": 998, "resets_at": "2027-01-01T00:00:00Z"},
    ),
    "member_limit_reached": Reason(
        403,
        "This member has drawn 480 of their 500 credits in this period. Nothing was spent.",
        {"limit": 500, "spent": 480, "resets_at": "2027-01-01T00:00:00Z"},
    ),
    "unknown_user": Reason(404, "There is no such user.", {"field": "user"}),
    "unknown_organisation": Reason(
        404,
        "There is no such organisation, or the user is no member of it.",
        {"field": "organisation"},
    ),
    "unknown_hold": Reason(404, "There is no such hold."),
    "unknown_purchase": Reason(404, "There is no such purchase."),
    "unknown_meter": Reason(404, "There is no such meter.", {"field": "meter"}),
    "inactive_meter": Reason(409, "This meter takes no usage.", {"field": "meter"}),
    "no_price_list": Reason(409, "This meter has no price list for 2026-11.", {"field": "meter"}),
    "idempotency_key_reused": Reason(
        409,
        "This key has answered another request. Nothing was done; use a new key.",
        {"field": "Idempotency-Key"},
    ),
    "hold_captured": Reason(409, "The hold was captured before. Nothing was done."),
    "hold_released": Reason(409, "The hold was released before. Nothing was done."),
    "hold_lapsed": Reason(409, "The time of the hold is up. Nothing was done."),
    "hold_exceeded": Reason(
        409, "Only 20 credits are held. Nothing was spent.", {"held": 20, "field": "amount"}
    ),
    "price_changed": Reason(
        409,
        "The price is 475 cents now. Nothing was charged.",
        {"field": "expected_total", "quote": A_QUOTE},
    ),
    "already_subscribed": Reason(
        409,
        "The user has a monthly plan already. Nothing was charged.",
        {"field": "mode", "url": f"{settings.BASE_URL}/dashboard/plan"},
    ),
    "order_replaced": Reason(
        409,
        "Another plan was ordered at the same moment, and its payment page is the one that is "
        "open. Nothing was charged.",
    ),
    "email_not_confirmed": Reason(
        409,
        "The user has not confirmed their email address yet. Nothing was charged.",
        {"field": "user"},
    ),
    "credits_owed": Reason(
        409,
        "The organisation owes 20 credits, which would be taken from what it buys for others. "
        "Nothing was charged; buy as many for itself first.",
        {"owed": 20},
    ),
    "invoices_not_approved": Reason(
        409,
        "The organisation doesn't pay by invoice: staff approve that. Nothing was ordered.",
        {"field": "payment"},
    ),
    "account_closing": Reason(409, "The account is being closed. Nothing was charged."),
    "payload_too_large": Reason(413, "The body is larger than 64 KB."),
    "unsupported_media_type": Reason(415, "Send JSON with Content-Type: application/json."),
    "invalid_request": Reason(422, "amount must be at least 1.", {"field": "amount"}),
    "credits_out_of_range": Reason(
        422, "The smallest purchase is 10 credits. Nothing was charged.", {"field": "credits"}
    ),
    "invalid_lines": Reason(
        422,
        "1 line can't be bought as it is. Nothing was kept or charged.",
        {
            "field": "lines",
            "lines": [{"line": 2, "field": "email", "reason": "The address is missing."}],
        },
    ),
    "too_late": Reason(422, "Usage is taken for 35 days.", {"field": "at"}),
    "too_early": Reason(422, "This time is in the future.", {"field": "at"}),
    "rate_limited": Reason(
        429, "Too many requests with this key. Nothing was done; try again later."
    ),
    "stripe_error": Reason(
        502, "The payment provider refused to open a payment page. Nothing was charged."
    ),
    "busy": Reason(503, "Busy just now. Nothing was done; try again."),
    "unavailable": Reason(503, "We can't answer just now. Try again in a minute."),
    "stripe_unavailable": Reason(
        503, "The payment provider doesn't answer just now. Nothing was charged; try again."
    ),
}

FIELD_OF: Final = {
    "unknown_meter": "meter", "inactive_meter": "meter", "no_price_list": "meter",
    "too_late": "at", "too_early": "at",
}  # fmt: skip


def of(error: Exception) -> Refusal | None:
    """What a client is told of it; None where it is no fault of the request."""
    match error:
        case Refusal():
            return error
        case UsageError(code="idempotency_key_reused"):
            return refusal(
                error.code,
                "This key has recorded another event. Nothing was recorded; use a new key.",
                field="idempotency_key",
            )
        case UsageError(code="invalid_quantity"):
            return refusal("invalid_request", str(error), field="quantity")
        case UsageError():
            return refusal(error.code, str(error), field=FIELD_OF.get(error.code))
        case organisations.LimitReached():
            return refusal(
                "member_limit_reached",
                f"This member has drawn {error.spent} of their {error.limit} credits in this "
                "period. Nothing was spent.",
                limit=error.limit,
                spent=error.spent,
                resets_at=error.resets_at,
            )
        case keys.LimitReached():
            return refusal(
                "spending_limit_reached",
                f"This API key has spent {error.spent} of its {error.limit} credits in this "
                "period. Nothing was spent.",
                limit=error.limit,
                spent=error.spent,
                resets_at=error.resets_at,
            )
        case errors.InsufficientCredits(available=available, needed=needed):
            return refusal(
                "insufficient_credits",
                f"{needed} credits are needed and {available} are available. Nothing was spent.",
                available=available,
                needed=needed,
            )
        case errors.KeyReused():
            return reused_key()
        case errors.HoldCaptured():
            return refusal("hold_captured")
        case errors.HoldReleased():
            return refusal("hold_released")
        case errors.HoldLapsed():
            return refusal("hold_lapsed")
        case errors.HoldExceeded(held=held):
            return refusal(
                "hold_exceeded", f"Only {held} credits are held. Nothing was spent.",
                field="amount", held=held,
            )  # fmt: skip
        case errors.UnknownHold():
            return refusal("unknown_hold")
    return _of_a_purchase(error)


def _of_a_purchase(error: Exception) -> Refusal | None:
    match error:
        case checkout.RequestIdReused():
            return reused_key()
        case BadLines(problems=problems):
            return refusal(
                "invalid_lines",
                f"{problems[0].reason} Nothing was kept or charged.",
                field="lines",
                lines=[asdict(problem) for problem in problems],
            )
        case terms.NotApproved():
            return refusal("invoices_not_approved", field="payment")
        case orders.OwesCredits(owed=owed):
            return refusal(
                "credits_owed",
                f"The organisation owes {owed} credits, which would be taken from what it buys for "
                "others. Nothing was charged; buy as many for itself first.",
                owed=owed,
            )
        case checkout.PriceChanged(quote=quote):
            return refusal(
                "price_changed",
                f"The price is {quote.total} cents now. Nothing was charged.",
                field="expected_total",
                quote=quote.as_dict(),
            )
        case checkout.AlreadySubscribed():
            url = f"{settings.BASE_URL}{reverse('plan')}"
            return refusal("already_subscribed", field="mode", url=url)
        case checkout.NoPlans():
            words = "An organisation buys one time. Nothing was charged."
            return refusal("invalid_request", words, field="mode")
        case checkout.OrderReplaced():
            return refusal("order_replaced")
        case AccountClosed():
            return refusal("unknown_user", field="user")
        case AccountClosing():
            return refusal("account_closing")
        case StripeUnavailable():
            return refusal("stripe_unavailable", headers={"Retry-After": "10"})
        case StripeRefused():
            return refusal("stripe_error")
    return None


def reused_key() -> Refusal:
    return refusal("idempotency_key_reused", field="Idempotency-Key")


def refusal(code: str, error: str = "", *, field: str | None = None, **extra: Any) -> Refusal:
    """Why a request is refused, in the words of its reason unless there are better ones."""
    reason = REASONS[code]
    return Refusal(reason.status, code, error or reason.error, field=field, **extra)
