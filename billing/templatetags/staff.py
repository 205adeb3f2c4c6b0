"""Bits of the staff's pages."""

from datetime import datetime
from typing import Any

from django import template
from django.template.context import RequestContext

from billing import mails, stripe_dashboard
from billing.admin.search import GROUPS
from billing.models import Mail
from credits.admin.cells import to_the_second

register = template.Library()


@register.inclusion_tag("admin/billing/id.html", name="id")
def show_id(id: Any) -> dict[str, Any]:
    """An id to copy, with the way to it in Stripe's dashboard."""
    text = str(id or "")
    return {"id": text, "address": stripe_dashboard.address_of(text)}


@register.filter
def moment(time: datetime | None) -> str:
    """A time as in the lists: to the second, with its zone."""
    return "" if time is None else to_the_second(time)


@register.filter
def kind_of_mail(mail: Mail) -> str:
    return mails.label_of(mail)


@register.simple_tag(takes_context=True)
def may_search(context: RequestContext) -> bool:
    """Whether there is anything that the one who looks could find."""
    user = context["user"]
    return any(user.has_perm(needs) for needs in GROUPS.values())
