"""Spending limits: so many credits a day, week or month, which begin at 0:00 UTC."""

from datetime import UTC, date, datetime, timedelta

from django.utils import timezone

from accounts.models import Limited


class LimitReached(Exception):
    """The limit leaves less than was asked for. Nothing was counted."""

    def __init__(self, limit: int, spent: int, resets_at: datetime) -> None:
        super().__init__(f"{spent} of {limit} credits are spent.")
        self.limit, self.spent, self.resets_at = limit, spent, resets_at


def today() -> date:
    return timezone.now().astimezone(UTC).date()


def begin_of(period: str, day: date) -> date:
    """The first day of the period that the day is in."""
    match period:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
    return day


def resets_at(limited: Limited, begins_on: date) -> datetime:
    """When the next period begins."""
    match limited.limit_period:
        case "week":
            end = begins_on + timedelta(days=7)
        case "month":
            end = (begins_on + timedelta(days=31)).replace(day=1)
        case _:
            end = begins_on + timedelta(days=1)
    return datetime.combine(end, datetime.min.time(), UTC)
