from django import template

from credits.models import Adjustment

register = template.Library()


@register.simple_tag
def waiting_adjustments() -> int:
    """How many adjustments wait for somebody to decide them."""
    return Adjustment.objects.filter(status=Adjustment.Status.WAITING).count()
