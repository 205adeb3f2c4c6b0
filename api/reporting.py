"""Reporting usage, which is charged by its meter's prices, and what it came to."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self, cast

from django.http import HttpResponse
from ninja import Router
from pydantic import AwareDatetime, BeforeValidator, Discriminator, Field, Tag

from accounts.keys import LimitReached
from accounts.models import ApiKey, User
from api.admission import ProgramRequest, naming, whose
from api.answers import once, part_by_part
from api.fields import ABSENT, UNIQUE_NAME, IdempotencyKey, Input, Output, UserField, Whose
from api.operations import WRITING, operation
from api.reading import Asked, SentMuch
from api.refusals import Error, of, refusal
from billing.api import Refusal
from credits.errors import LedgerBusy, LedgerError
from credits.models import MAX_CREDITS
from usage import recording, summary
from usage.models import METER_CODE, Tariff
from usage.recording import MOST_AT_ONCE, Recorded, UsageError
from usage.summary import MeterMonth

router = Router(tags=["Usage"])

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def _written_time(value: Any) -> Any:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("at must be a time with its zone, such as 2026-11-25T09:00:00Z")
    return value


Code = Annotated[
    str, Field(pattern=f"^{METER_CODE.pattern}$", description="The meter.", examples=["tokens"])
]


class UsageEvent(Input):
    """Something that was used."""

    meter: Code
    quantity: Annotated[
        int, Field(ge=1, le=MAX_CREDITS, description="How many of its units.", examples=[1500])
    ]
    idempotency_key: Annotated[
        str,
        Field(
            pattern=UNIQUE_NAME,
            description=(
                "The event's own name, unique for the user: reported again, it is counted once. "
                "What a user's own keys report has other names than what service keys do. "
                "1 to 128 visible ASCII characters."
            ),
            examples=["job-8812"],
        ),
    ]
    at: Annotated[
        AwareDatetime,
        BeforeValidator(_written_time),
        Field(
            strict=False,
            description="When, up to 35 days ago; now where it is left out. Decides the month.",
            examples=["2026-11-25T09:00:00Z"],
        ),
    ] = ABSENT
    user: UserField = ABSENT


class UsageEvents(Input):
    events: Annotated[list[UsageEvent], Field(min_length=1, max_length=MOST_AT_ONCE)]


def _kind_of_report(value: Any) -> str:
    is_many = "events" in value if isinstance(value, dict) else isinstance(value, UsageEvents)
    return "many-events" if is_many else "one-event"


Reported = Annotated[
    Annotated[UsageEvent, Tag("one-event")] | Annotated[UsageEvents, Tag("many-events")],
    Discriminator(_kind_of_report),
]


class RecordedEvent(Output):
    """An event on record, and what it was charged."""

    id: int = Field(examples=[91])
    meter: str = Field(examples=["tokens"])
    quantity: int = Field(examples=[1500])
    at: datetime
    month_units: int = Field(description="Units of its month, with it.", examples=[4500])
    charged: int = Field(
        description="Credits. The month's price is rounded down, so an event may be free.",
        examples=[3],
    )
    is_duplicate: bool = Field(description="It had been reported before.", examples=[False])

    @classmethod
    def of(cls, recorded: Recorded) -> Self:
        event = recorded.event
        return cls(
            id=event.pk,
            meter=event.meter.code,
            quantity=event.quantity,
            at=event.at,
            month_units=event.units,
            charged=event.charged,
            is_duplicate=recorded.is_duplicate,
        )


class EventResult(Output):
    """What became of an event. One of `event` and `refusal` is null."""

    idempotency_key: str = Field(examples=["job-8812"])
    status: Literal["recorded", "duplicate", "refused"]
    event: RecordedEvent | None
    refusal: Error | None = Field(description="Why it was not recorded, and not charged.")


class EventResults(Output):
    """One for each event, in their order."""

    results: list[EventResult]


@router.post(
    "/usage/events",
    operation_id="report_usage",
    summary="Report usage",
    **operation(
        RecordedEvent | EventResults, *WRITING, "insufficient_credits", "spending_limit_reached",
        "unknown_user", "unknown_meter", "inactive_meter", "no_price_list", "too_late",
        "too_early", scope=ApiKey.Scope.USAGE_WRITE, takes=Reported,
    ),
)  # fmt: skip
def report(
    request: ProgramRequest, key: IdempotencyKey, body: Annotated[Reported, SentMuch(...)]
) -> HttpResponse:
    """Report one event, or up to 1,000 as `{"events": [...]}`, each of which is priced and charged.

    Of many, each is recorded or refused by itself, and the answer is 200 with a result for each.
    Where some were refused, the same request may be made again: what is recorded stays so and
    counts once.
    """
    if isinstance(body, UsageEvents):
        events = body.events
        for index, event in enumerate(events):
            naming(request.auth, event.user, f"events.{index}.user")
        return part_by_part(request, key, body, lambda: _all(request.auth, events))
    return once(
        request,
        key,
        body,
        lambda: RecordedEvent.of(_record(request.auth, whose(request.auth, body.user), body)),
    )


def _all(api_key: ApiKey, events: list[UsageEvent]) -> tuple[EventResults, bool]:
    results = list(_each(api_key, events))
    return EventResults(results=results), all(result.refusal is None for result in results)


def _each(api_key: ApiKey, events: list[UsageEvent]) -> Iterator[EventResult]:
    known: dict[int | str | None, User] = {}
    for event in events:
        refused = charged = None
        try:
            if event.user not in known:
                known[event.user] = whose(api_key, event.user)
            charged = RecordedEvent.of(_record(api_key, known[event.user], event))
        except LedgerBusy:
            words = "Busy just now. What is recorded stays so; make the same request again."
            raise refusal("busy", words, headers={"Retry-After": "2"}) from None
        except (Refusal, UsageError, LedgerError, LimitReached) as error:
            refused = of(error)
            if refused is None:
                raise
        yield EventResult(
            idempotency_key=event.idempotency_key,
            status=(
                "refused" if charged is None
                else "duplicate" if charged.is_duplicate
                else "recorded"
            ),
            event=charged,
            refusal=None if refused is None else cast(Error, refused.body),
        )  # fmt: skip


def _record(api_key: ApiKey, user: User, event: UsageEvent) -> Recorded:
    return recording.record(
        user,
        event.meter,
        event.quantity,
        key=event.idempotency_key,
        at=event.at,
        actor=user if api_key.user_id else None,
        api_key=api_key,
    )


# --- What it came to --------------------------------------------------------------------------


class SummaryAsked(Whose):
    month: Annotated[
        str,
        Field(
            pattern=r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$",
            description="A month (UTC), such as 2026-11; this one where it is left out.",
        ),
    ] = ABSENT
    meter: Code = ABSENT


class RateBand(Output):
    above: int = Field(description="Begins after so many units of the month.", examples=[0])
    credits: int = Field(description="What `per` units cost.", examples=[2])
    per: int = Field(examples=[1000])
    units: int = Field(description="Units of the month in it.", examples=[4500])


class MeterUsage(Output):
    """A meter's month of a user, and its price list."""

    meter: str = Field(examples=["tokens"])
    name: str = Field(examples=["Tokens"])
    unit: str = Field(examples=["tokens"])
    mode: Tariff.Mode = Field(
        description="Each unit costs what its band says, or all what the band reached says."
    )
    units: int = Field(examples=[4500])
    charged: int = Field(description="Credits.", examples=[9])
    bands: list[RateBand]

    @classmethod
    def of(cls, month: MeterMonth) -> Self:
        return cls(
            meter=month.meter.code,
            name=month.meter.name,
            unit=month.meter.unit,
            mode=Tariff.Mode(month.prices.mode),
            units=month.units,
            charged=month.charged,
            bands=[
                RateBand(
                    above=part.band.above,
                    credits=part.band.credits,
                    per=part.band.per,
                    units=part.units,
                )
                for part in month.parts
            ],
        )


class UsageSummary(Output):
    """A month's usage: meters that were used in it, and active ones."""

    user: int = Field(examples=[42])
    month: str = Field(examples=["2026-11"])
    meters: list[MeterUsage]


@router.get(
    "/usage/summary",
    operation_id="get_usage_summary",
    summary="Get a month's usage",
    **operation(
        UsageSummary,
        "invalid_request",
        "unknown_user",
        "unknown_meter",
        scope=ApiKey.Scope.USAGE_READ,
    ),
)
def summarize(request: ProgramRequest, asked: Annotated[SummaryAsked, Asked(...)]) -> UsageSummary:
    """What a user has used in a month and was charged for it, by meter."""
    user = whose(request.auth, asked.user)
    month = date.fromisoformat(f"{asked.month}-01") if asked.month else summary.this_month()
    if asked.meter is not None:
        recording.meter_of(asked.meter)
    months = summary.of_month(user, month, asked.meter)
    return UsageSummary(
        user=user.pk,
        month=f"{month:%Y-%m}",
        meters=[MeterUsage.of(meter_month) for meter_month in months],
    )
