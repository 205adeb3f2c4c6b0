"""Organisations: who belongs to one, as what, and how much of its credits they draw.

Every change locks the organisation's account first, as closing it does, and looks again at who
asks for it: of two owners who remove each other at once, one stays. Whoever is to become a member
is locked before that.
"""

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db import connection, models, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Lower
from django.utils import timezone

from accounts import closing, limits
from accounts.models import Drawing, Invitation, Membership, Organisation, Role, User

INVITED_FOR: Final = timedelta(days=7)
MOST_MADE: Final = 25
"""How many organisations somebody may have made that are not closed."""

MOST_INVITED: Final = 100
"""How many invitations of an organisation may be open."""

_RANDOM_BYTES: Final = 32


class OrganisationError(Exception):
    """Nothing was changed."""


class UnknownOrganisation(OrganisationError):
    """There is none, or none that this user is a member of: nobody learns which."""


class NotAllowed(OrganisationError):
    """Their role doesn't let them do this (any more)."""


class LastOwner(OrganisationError):
    """It would have no owner."""


class TooMany(OrganisationError):
    """`MOST_MADE` organisations, `MOST_INVITED` invitations."""


class MemberAlready(OrganisationError):
    """Whoever has this address is a member."""


class InvitationOver(OrganisationError):
    """There is no such invitation (any more)."""


class OtherAddress(OrganisationError):
    """The invitation is for an address that this user has not confirmed as theirs."""


class LimitReached(limits.LimitReached):
    """The member's limit."""


# --- Organisations ----------------------------------------------------------------------------


@transaction.atomic
def found(user: User, *, name: str, billing_email: str, request_id: UUID) -> Organisation:
    """A new organisation, with the user as its owner; the same `request_id` answers the same one.

    Raises `TooMany`, `AccountClosing`.
    """
    closing.check_open(user)
    made = Organisation.objects.filter(made_by=user)
    earlier = made.filter(request_id=request_id).first()
    if earlier is not None:
        return earlier
    if made.filter(account__closed_at=None).count() >= MOST_MADE:
        raise TooMany
    # Nobody has this address, so nothing that is mailed or asked for by address finds the account.
    address = f"organisation-{uuid.uuid4().hex}@organisations.invalid"
    account = User.objects.create_user(
        address, is_organisation=True, is_active=False, language=user.language
    )
    organisation = Organisation.objects.create(
        account=account,
        name=name,
        billing_email=billing_email,
        made_by=user,
        request_id=request_id,
    )
    Membership.objects.create(organisation=organisation, user=user, role=Role.OWNER)
    return organisation


def account_of(organisation_id: int) -> User:
    """Raises `UnknownOrganisation`."""
    account = User.objects.filter(pk=organisation_id, is_organisation=True, closed_at=None).first()
    if account is None:
        raise UnknownOrganisation
    return account


def membership_of(user: User, organisation_id: int) -> Membership:
    """The user's membership, with its organisation. Raises `UnknownOrganisation`."""
    membership = (
        Membership.objects.filter(user=user, organisation=organisation_id)
        .select_related("organisation__account")
        .first()
    )
    if membership is None:
        raise UnknownOrganisation
    return membership


def memberships_of(user: User) -> QuerySet[Membership]:
    return (
        Membership.objects.filter(user=user)
        .select_related("organisation__account")
        .order_by("organisation__name", "pk")
    )


def owned_alone(user: User) -> QuerySet[Organisation]:
    """The organisations that would have no owner without this user."""
    others = Membership.objects.filter(organisation=models.OuterRef("pk"), role=Role.OWNER)
    return Organisation.objects.filter(
        ~models.Exists(others.exclude(user=user)),
        memberships__user=user,
        memberships__role=Role.OWNER,
    ).order_by("name", "pk")


def who_reads_for(account: User) -> QuerySet[User]:
    """Whom the mails to an organisation's account go to: its owners and billing members."""
    readers = Membership.objects.filter(
        organisation=account.pk, role__in=[Role.OWNER, Role.BILLING], user__closed_at=None
    )
    return User.objects.filter(pk__in=readers.values("user")).order_by("pk")


def owners(organisation: Organisation) -> QuerySet[User]:
    return User.objects.filter(
        memberships__organisation=organisation, memberships__role=Role.OWNER
    ).order_by("pk")


def buys_for(user: User, account: User) -> bool:
    """Whether an account is one's own, or that of an organisation that one buys for."""
    if user.pk == account.pk:
        return True
    return Membership.objects.filter(
        organisation=account.pk, user=user, role__in=[Role.OWNER, Role.BILLING]
    ).exists()


@transaction.atomic
def change_details(organisation_id: int, *, by: User, name: str, billing_email: str) -> None:
    """Raises `UnknownOrganisation`, `NotAllowed`, `AccountClosing`."""
    _lock(organisation_id, by, Role.OWNER)
    Organisation.objects.filter(pk=organisation_id).update(name=name, billing_email=billing_email)


def _lock(organisation_id: int, by: User, *roles: Role) -> Membership:
    """Lock the organisation, and answer the membership of who acts, in one of these roles."""
    closing.check_open(account_of(organisation_id))
    membership = membership_of(by, organisation_id)
    if membership.role not in roles:
        raise NotAllowed
    return membership


# --- Members ----------------------------------------------------------------------------------


@transaction.atomic
def change_member(
    organisation_id: int,
    member_id: int,
    *,
    by: User,
    role: str,
    limit_credits: int | None,
    limit_period: str,
) -> None:
    """Give a member, named by their user's id, another role or limit.

    Billing members change limits only. Raises `UnknownOrganisation`, `NotAllowed`, `LastOwner`,
    `AccountClosing`.
    """
    actor = _lock(organisation_id, by, Role.OWNER, Role.BILLING)
    member = membership_of(User(pk=member_id), organisation_id)
    if role != member.role and not actor.is_owner:
        raise NotAllowed
    if member.is_owner and role != Role.OWNER:
        _check_other_owner(member)
    member.role, member.limit_credits, member.limit_period = role, limit_credits, limit_period
    member.save(update_fields=["role", "limit_credits", "limit_period"])


@transaction.atomic
def remove_member(organisation_id: int, member_id: int, *, by: User) -> None:
    """End a membership: by an owner, or one's own. From then on they draw nothing.

    Raises `UnknownOrganisation`, `NotAllowed`, `LastOwner`, `AccountClosing`.
    """
    actor = _lock(organisation_id, by, *Role)
    member = membership_of(User(pk=member_id), organisation_id)
    if member.user_id != by.pk and not actor.is_owner:
        raise NotAllowed
    if member.is_owner:
        _check_other_owner(member)
    member.delete()


def _check_other_owner(member: Membership) -> None:
    owners = Membership.objects.filter(organisation=member.organisation_id, role=Role.OWNER)
    if not owners.exclude(pk=member.pk).exists():
        raise LastOwner


def leave_all(user: User) -> None:
    """End all memberships of a user whose account is closed in this transaction.

    Raises `LastOwner`.
    """
    Invitation.objects.filter(invited_by=user).delete()
    for organisation_id in (
        Membership.objects.filter(user=user)
        .order_by("organisation")
        .values_list("organisation", flat=True)
    ):
        closing.lock(User(pk=organisation_id))
        member = membership_of(user, organisation_id)
        if member.is_owner:
            _check_other_owner(member)
        member.delete()


def dissolve(account: User) -> None:
    """End all memberships of an organisation whose account is closed in this transaction.

    Its name and address are forgotten. What its members drew stays, for their own export.
    """
    Invitation.objects.filter(organisation=account.pk).delete()
    Membership.objects.filter(organisation=account.pk).delete()
    Organisation.objects.filter(pk=account.pk).update(name="", billing_email="")


# --- Invitations ------------------------------------------------------------------------------


@transaction.atomic
def invite(
    organisation_id: int,
    *,
    by: User,
    email: str,
    role: str,
    limit_credits: int | None = None,
    limit_period: str = "",
) -> tuple[Invitation, str]:
    """Invite whoever has this address; answers also the link's secret, which is not kept.

    Invited again, they get another link, and the one before opens nothing. Raises
    `UnknownOrganisation`, `NotAllowed`, `MemberAlready`, `TooMany`, `AccountClosing`.
    """
    actor = _lock(organisation_id, by, Role.OWNER)
    email = email.strip().lower()
    is_member = Q(user__email__iexact=email) | Q(user__in=_confirmed_by(email).values("user"))
    if Membership.objects.filter(is_member, organisation=organisation_id).exists():
        raise MemberAlready
    others = Invitation.objects.filter(organisation=organisation_id).exclude(email=email)
    if others.filter(expires_at__gt=timezone.now()).count() >= MOST_INVITED:
        raise TooMany
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    invitation, _ = Invitation.objects.update_or_create(
        organisation=actor.organisation,
        email=email,
        defaults={
            "role": role,
            "limit_credits": limit_credits,
            "limit_period": limit_period,
            "digest": _digest(token),
            "invited_by": by,
            "created_at": timezone.now(),
            "expires_at": timezone.now() + INVITED_FOR,
        },
    )
    return invitation, token


def _confirmed_by(email: str) -> QuerySet[EmailAddress]:
    # Not `iexact`, which compares capitals: those of some letters are those of others.
    confirmed = EmailAddress.objects.filter(verified=True)
    return confirmed.annotate(address=Lower("email")).filter(address=email)


@transaction.atomic
def take_back(organisation_id: int, invitation_id: int, *, by: User) -> None:
    """From now on its link opens nothing. One that is over already stays so.

    Raises `UnknownOrganisation`, `NotAllowed`, `AccountClosing`.
    """
    _lock(organisation_id, by, Role.OWNER)
    Invitation.objects.filter(pk=invitation_id, organisation=organisation_id).delete()


def invitation_of(user: User, token: str) -> Invitation:
    """What a link invites this user to. Raises `InvitationOver`, `OtherAddress`."""
    found = Invitation.objects.filter(digest=_digest(token)).select_related("organisation__account")
    invitation = found.first()
    if invitation is None or not invitation.is_open:
        raise InvitationOver
    if not _confirmed_by(invitation.email).filter(user=user).exists():
        raise OtherAddress
    return invitation


@transaction.atomic
def accept(user: User, token: str) -> Organisation:
    """Become a member. Who is one already stays what they are.

    Raises `InvitationOver`, `OtherAddress`, `AccountClosing`.
    """
    closing.check_open(user)
    organisation = invitation_of(user, token).organisation
    closing.check_open(organisation.account)
    # It may have been taken back, or sent anew, until the organisation was locked.
    invitation = invitation_of(user, token)
    Membership.objects.get_or_create(
        organisation=organisation,
        user=user,
        defaults={
            "role": invitation.role,
            "limit_credits": invitation.limit_credits,
            "limit_period": invitation.limit_period,
        },
    )
    invitation.delete()
    return organisation


def forget_expired() -> int:
    """Invitations that have run out go, with their addresses; answers how many did."""
    return Invitation.objects.filter(expires_at__lte=timezone.now()).delete()[0]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


# --- What members draw ------------------------------------------------------------------------


def draw(user: User, organisation_id: int, credits: int) -> date:
    """Count credits against a member's limit, in the transaction that spends or holds them.

    Answers the day that they count for, for `give_back`. Of draws at once the second waits for the
    first, so the limit is exact. Raises `UnknownOrganisation`, `LimitReached`.
    """
    day = limits.today()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT accounts_draw(%s, %s, %s, %s)", [organisation_id, user.pk, day, credits]
        )
        (is_counted,) = cursor.fetchone()
    if is_counted is None:
        raise UnknownOrganisation
    if not is_counted:
        raise limit_reached(membership_of(user, organisation_id), day)
    return day


def limit_reached(member: Membership, day: date) -> LimitReached:
    begins_on = limits.begin_of(member.limit_period, day)
    since = Drawing.objects.filter(
        organisation=member.organisation_id, user=member.user_id, day__gte=begins_on
    )
    spent = since.aggregate(credits=models.Sum("credits"))["credits"] or 0
    return LimitReached(member.limit_credits or 0, spent, limits.resets_at(member, begins_on))


def give_back(organisation_id: int, user_id: int, day: date, credits: int) -> None:
    """Count no more what was held on that day and neither spent nor kept."""
    Drawing.objects.filter(organisation=organisation_id, user=user_id, day=day).update(
        credits=F("credits") - credits
    )


def drawn(members: Sequence[Membership]) -> dict[int, int]:
    """Credits that each of the members has drawn in this period of their limit, or this month where
    they have none; by the membership's id."""
    with connection.cursor() as cursor:
        cursor.execute(_DRAWN, [limits.today(), [member.pk for member in members]])
        return dict(cursor.fetchall())


_DRAWN: Final = """
    SELECT member.id, coalesce(sum(drawing.credits), 0)::bigint
    FROM accounts_membership AS member LEFT JOIN accounts_drawing AS drawing
        ON drawing.organisation_id = member.organisation_id AND drawing.user_id = member.user_id
        AND drawing.day >= date_trunc(coalesce(nullif(member.limit_period, ''), 'month'), %s::date)
    WHERE member.id = ANY (%s) GROUP BY member.id"""
