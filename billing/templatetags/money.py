from django import template
from django.contrib.humanize.templatetags.humanize import intcomma

register = template.Library()


@register.filter
def money(cents: int) -> str:
    """Cents as dollars: 499 is $4.99."""
    sign, cents = ("\N{MINUS SIGN}", -cents) if cents < 0 else ("", cents)
    return f"{sign}${intcomma(cents // 100)}.{cents % 100:02}"


@register.filter
def signed(value: int) -> str:
    """A movement with its sign."""
    sign = "+" if value > 0 else "\N{MINUS SIGN}"
    return f"{sign}{intcomma(abs(value))}"


@register.filter
def number(value: int) -> str:
    """A whole number with its thousands grouped: 5,000."""
    return intcomma(value)
