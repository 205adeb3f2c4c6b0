"""Whom the pages of an organisation are for. For everybody else they are not there."""

from django.http import Http404

from accounts import organisations
from accounts.models import Membership, User


def member(user: User, organisation_id: int) -> Membership:
    """Raises `Http404` for who is no member."""
    try:
        return organisations.membership_of(user, organisation_id)
    except organisations.UnknownOrganisation:
        raise Http404 from None


def paying(user: User, organisation_id: int) -> Membership:
    """Raises `Http404` for who is neither owner nor billing member."""
    membership = member(user, organisation_id)
    if not membership.may_buy:
        raise Http404
    return membership


def owned(user: User, organisation_id: int) -> Membership:
    """Raises `Http404` for who is no owner."""
    membership = member(user, organisation_id)
    if not membership.is_owner:
        raise Http404
    return membership
