from django import template

from billing.models import Event

register = template.Library()


@register.simple_tag
def events_at_hand() -> int:
    """How many events from Stripe have failed or are in quarantine."""
    status = Event.Status
    return Event.objects.filter(status__in=(status.FAILED, status.QUARANTINED)).count()
