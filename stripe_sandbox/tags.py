"""Template filters of the stand-in's pages."""

from datetime import UTC, datetime

from django import template

register = template.Library()


@register.filter
def money(amount: int) -> str:
    """Cents as dollars."""
    return f"${amount // 100:,}.{amount % 100:02}"


@register.filter
def day(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%-d %B %Y}"


@register.filter
def moment(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%H:%M:%S}"
