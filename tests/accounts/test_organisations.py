"""Organisations: who belongs to one, who may do what, and how much they draw."""

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import authenticate
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts import closing, organisations
from accounts.models import Drawing, Invitation, Membership, Organisation, Role, User
from accounts.organisations import (
    InvitationOver,
    LastOwner,
    LimitReached,
    MemberAlready,
    NotAllowed,
    OtherAddress,
    TooMany,
    UnknownOrganisation,
)
from tests.organisations import found, join, somebody

pytestmark = pytest.mark.django_db
WEDNESDAY = datetime(2026, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def ada() -> User:
    return somebody("ada")


@pytest.fixture
def bob() -> User:
    return somebody("bob")


@pytest.fixture
def acme(ada) -> Organisation:
    return found(ada)


def everything() -> list[object]:
    tables = (Organisation, Membership, Invitation, Drawing)
    return [list(table.objects.order_by("pk").values()) for table in tables]


def refused(error: type[Exception], call: Callable[[], object]) -> None:
    before = everything()
    with pytest.raises(error), transaction.atomic():
        call()
    assert everything() == before


# --- The account ------------------------------------------------------------------------------


def test_an_organisation_is_an_account_that_nobody_signs_in_to(ada, acme):
    account = acme.account
    assert (acme.pk, account.is_organisation, account.is_active) == (account.pk, True, False)
    assert account.email.endswith("@organisations.invalid")
    assert not account.has_usable_password()
    assert not EmailAddress.objects.filter(user=account).exists()
    member = organisations.membership_of(ada, acme.pk)
    assert (member.role, member.limit_credits) == (Role.OWNER, None)
    account.set_password("Correct horse 9")
    assert authenticate(email=account.email, password="Correct horse 9") is None


@pytest.mark.parametrize(
    "change",
    [
        {"is_active": True},
        {"is_staff": True},
        {"is_superuser": True},
        {"password": "pbkdf2_sha256$1$a$b"},
        {"password": ""},
    ],
)
def test_the_database_lets_nobody_sign_in_to_it(acme, change):
    with pytest.raises(IntegrityError, match="organisation_never_signs_in"), transaction.atomic():
        User.objects.filter(pk=acme.pk).update(**change)


def test_a_form_makes_one_organisation(ada, bob):
    form = {"name": "Acme Ltd", "billing_email": "b@example.com", "request_id": uuid.uuid4()}
    first = organisations.found(ada, **form)
    assert organisations.found(ada, **form) == first
    assert organisations.found(bob, **form) != first
    assert Organisation.objects.count() == 2


def test_nobody_makes_too_many(ada, monkeypatch):
    monkeypatch.setattr(organisations, "MOST_MADE", 2)
    first = found(ada)
    found(ada)
    refused(TooMany, lambda: found(ada))
    User.objects.filter(pk=first.pk).update(closed_at=timezone.now())
    found(ada)


def test_who_is_closing_their_account_makes_none(ada):
    closing.begin(ada)
    refused(closing.AccountClosing, lambda: found(ada))


def test_whose_an_organisation_is_nobody_else_learns(ada, bob, acme):
    other = found(bob, "Bob's")
    for unknown in (other.pk, ada.pk, 2**40):
        with pytest.raises(UnknownOrganisation):
            organisations.membership_of(ada, unknown)
    assert [m.organisation for m in organisations.memberships_of(ada)] == [acme]


# --- Members and roles ------------------------------------------------------------------------


def change(organisation: Organisation, member: User, by: User, role: str, limit=None) -> None:
    organisations.change_member(
        organisation.pk,
        member.pk,
        by=by,
        role=role,
        limit_credits=limit,
        limit_period="month" if limit else "",
    )


def test_an_owner_changes_roles_and_limits(ada, bob, acme):
    join(acme, bob)
    change(acme, bob, ada, Role.BILLING, 500)
    member = organisations.membership_of(bob, acme.pk)
    assert (member.role, member.limit_credits, member.limit_period) == ("billing", 500, "month")


def test_billing_members_set_limits_and_nothing_else(ada, bob, acme):
    join(acme, bob, Role.BILLING)
    join(acme, eve := somebody("eve"))
    change(acme, eve, bob, Role.MEMBER, 100)
    assert organisations.membership_of(eve, acme.pk).limit_credits == 100
    refused(NotAllowed, lambda: change(acme, eve, bob, Role.OWNER))
    refused(NotAllowed, lambda: change(acme, bob, bob, Role.OWNER))
    refused(NotAllowed, lambda: organisations.remove_member(acme.pk, eve.pk, by=bob))
    refused(NotAllowed, lambda: invite(acme, bob))
    refused(NotAllowed, lambda: rename(acme, bob))


def test_members_change_nothing(ada, bob, acme):
    join(acme, bob)
    refused(NotAllowed, lambda: change(acme, bob, bob, Role.MEMBER, 10**6))
    refused(NotAllowed, lambda: change(acme, bob, bob, Role.OWNER))
    refused(NotAllowed, lambda: organisations.remove_member(acme.pk, ada.pk, by=bob))
    refused(NotAllowed, lambda: invite(acme, bob))
    refused(NotAllowed, lambda: rename(acme, bob))


def test_strangers_change_nothing(ada, bob, acme):
    found(bob, "Bob's")
    refused(UnknownOrganisation, lambda: change(acme, ada, bob, Role.MEMBER))
    refused(UnknownOrganisation, lambda: organisations.remove_member(acme.pk, ada.pk, by=bob))
    refused(UnknownOrganisation, lambda: invite(acme, bob))
    refused(UnknownOrganisation, lambda: rename(acme, bob))
    _, _token = invite(acme, ada)
    invitation = Invitation.objects.get()
    refused(UnknownOrganisation, lambda: organisations.take_back(acme.pk, invitation.pk, by=bob))
    organisations.take_back(Membership.objects.get(user=bob).organisation_id, invitation.pk, by=bob)
    assert Invitation.objects.get() == invitation
    # Nor is anybody's account taken for an organisation.
    refused(UnknownOrganisation, lambda: change(Organisation(account=bob), bob, bob, Role.MEMBER))


def rename(organisation: Organisation, by: User) -> None:
    organisations.change_details(
        organisation.pk, by=by, name="Evil Ltd", billing_email="evil@example.com"
    )


def test_the_last_owner_stays(ada, bob, acme):
    join(acme, bob, Role.BILLING)
    refused(LastOwner, lambda: organisations.remove_member(acme.pk, ada.pk, by=ada))
    refused(LastOwner, lambda: change(acme, ada, ada, Role.MEMBER))
    assert list(organisations.owned_alone(ada)) == [acme]
    change(acme, bob, ada, Role.OWNER)
    assert list(organisations.owned_alone(ada)) == []
    organisations.remove_member(acme.pk, ada.pk, by=ada)
    assert list(organisations.owned_alone(bob)) == [acme]
    assert [m.user for m in acme.memberships.all()] == [bob]


def check_now() -> None:
    """What the database looks at when a transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET role = 'member'"])
def test_the_database_keeps_an_owner(ada, acme, statement):
    with connection.cursor() as cursor:
        cursor.execute(statement.format("accounts_membership"))
    with pytest.raises(IntegrityError, match="would have no owner"), transaction.atomic():
        check_now()
    Membership.objects.all().delete()
    join(acme, ada, Role.OWNER)


def test_the_database_wants_an_owner_from_the_start(ada):
    account = User.objects.create_user("o@example.com", is_organisation=True, is_active=False)
    organisation = Organisation.objects.create(
        account=account, made_by=ada, request_id=uuid.uuid4()
    )
    with pytest.raises(IntegrityError, match="would have no owner"), transaction.atomic():
        check_now()
    join(organisation, ada, Role.OWNER)


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_end_each_other_s_membership_one_stays(ada, bob, acme, at_once):
    join(acme, bob, Role.OWNER)
    pairs = [(ada, bob), (bob, ada)]
    at_once(2, lambda n: organisations.remove_member(acme.pk, pairs[n][0].pk, by=pairs[n][1]))
    assert acme.memberships.get().role == Role.OWNER


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_leave_at_once_one_stays_also_by_the_database(ada, bob, acme, at_once):
    join(acme, bob, Role.OWNER)
    users = [ada, bob]

    def leave(index: int) -> None:
        with transaction.atomic():
            Membership.objects.filter(user=users[index]).delete()

    results = at_once(2, leave)
    assert sorted(type(result).__name__ for result in results) == ["IntegrityError", "NoneType"]
    assert acme.memberships.get().role == Role.OWNER


# --- Invitations ------------------------------------------------------------------------------


def invite(
    organisation: Organisation, by: User, email="bob@example.com", role=Role.MEMBER, **terms
):
    return organisations.invite(organisation.pk, by=by, email=email, role=role, **terms)


def test_who_is_invited_joins_on_the_terms_of_the_invitation(ada, bob, acme):
    invitation, token = invite(
        acme, ada, " Bob@Example.com", Role.BILLING, limit_credits=9, limit_period="day"
    )
    assert token not in str(vars(invitation))
    assert invitation.expires_at - timezone.now() > timedelta(days=6, hours=23)
    assert organisations.invitation_of(bob, token) == invitation
    assert organisations.accept(bob, token) == acme
    member = organisations.membership_of(bob, acme.pk)
    assert (member.role, member.limit_credits, member.limit_period) == ("billing", 9, "day")
    refused(InvitationOver, lambda: organisations.accept(bob, token))
    assert not Invitation.objects.exists()


def test_only_whose_address_it_is_accepts(ada, bob, acme):
    _, token = invite(acme, ada)
    refused(OtherAddress, lambda: organisations.accept(somebody("eve"), token))
    # PostgreSQL writes the i without a dot as I, like the other one.
    _, token_of_mike = invite(acme, ada, "mike@example.com")
    mike = somebody("m\N{LATIN SMALL LETTER DOTLESS I}ke")
    refused(OtherAddress, lambda: organisations.accept(mike, token_of_mike))
    EmailAddress.objects.filter(user=bob).update(verified=False)
    refused(OtherAddress, lambda: organisations.accept(bob, token))
    # Under a verified address of theirs, which is another than they sign in by.
    EmailAddress.objects.filter(user=bob).update(verified=True)
    User.objects.filter(pk=bob.pk).update(email="robert@example.com")
    organisations.accept(User.objects.get(pk=bob.pk), token)


def test_what_is_over_opens_nothing(ada, bob, acme):
    _, token = invite(acme, ada)
    for wrong in ("", "x", token[:-1], token.lower(), "\0", "é" * 1000):
        refused(InvitationOver, lambda wrong=wrong: organisations.accept(bob, wrong))
    _, newer = invite(acme, ada)
    refused(InvitationOver, lambda: organisations.accept(bob, token))
    Invitation.objects.update(expires_at=timezone.now())
    refused(InvitationOver, lambda: organisations.accept(bob, newer))
    assert organisations.forget_expired() == 1
    _, newest = invite(acme, ada)
    organisations.take_back(acme.pk, Invitation.objects.get().pk, by=ada)
    refused(InvitationOver, lambda: organisations.accept(bob, newest))


def test_an_invitation_changes_no_membership(ada, bob, acme):
    _, token = invite(acme, ada, role=Role.OWNER)
    join(acme, bob, limit_credits=5, limit_period="day")
    organisations.accept(bob, token)
    member = organisations.membership_of(bob, acme.pk)
    assert (member.role, member.limit_credits) == (Role.MEMBER, 5)
    refused(MemberAlready, lambda: invite(acme, ada))


def test_there_are_so_many_invitations_at_most(ada, acme, monkeypatch):
    monkeypatch.setattr(organisations, "MOST_INVITED", 2)
    invite(acme, ada, "a@example.com")
    invite(acme, ada, "b@example.com")
    refused(TooMany, lambda: invite(acme, ada, "c@example.com"))
    invite(acme, ada, "b@example.com")
    Invitation.objects.filter(email="a@example.com").update(expires_at=timezone.now())
    invite(acme, ada, "c@example.com")


@pytest.mark.django_db(transaction=True)
def test_accepted_and_taken_back_at_once_one_wins(ada, bob, acme, at_once):
    invitation, token = invite(acme, ada)
    acts = [
        lambda: organisations.accept(bob, token),
        lambda: organisations.take_back(acme.pk, invitation.pk, by=ada),
        lambda: organisations.accept(bob, token),
    ]
    results = at_once(3, lambda index: acts[index]())
    accepted = [result for result in results if result == acme]
    assert len(accepted) == acme.memberships.filter(user=bob).count() <= 1
    assert not Invitation.objects.exists()


# --- Drawing ----------------------------------------------------------------------------------


@pytest.fixture
def on(monkeypatch) -> Callable[[datetime], None]:
    return lambda moment: monkeypatch.setattr(timezone, "now", lambda: moment)


@pytest.mark.parametrize(
    ("period", "first", "same", "following", "resets"),
    [
        ("day", (2026, 4, 1), (2026, 4, 1), (2026, 4, 2), (2026, 4, 2)),
        ("week", (2026, 3, 30), (2026, 4, 5), (2026, 4, 6), (2026, 4, 6)),
        ("month", (2026, 4, 1), (2026, 4, 30), (2026, 5, 1), (2026, 5, 1)),
    ],
)
def test_a_limit_is_for_a_period(bob, acme, on, period, first, same, following, resets):
    join(acme, bob, limit_credits=10, limit_period=period)
    on(datetime(*first, tzinfo=UTC))
    assert organisations.draw(bob, acme.pk, 6) == date(*first)
    on(datetime(*same, 23, 59, tzinfo=UTC))
    with pytest.raises(LimitReached) as reached:
        organisations.draw(bob, acme.pk, 5)
    assert (reached.value.limit, reached.value.spent) == (10, 6)
    assert reached.value.resets_at == datetime(*resets, tzinfo=UTC)
    organisations.draw(bob, acme.pk, 4)
    with pytest.raises(LimitReached):
        organisations.draw(bob, acme.pk, 1)
    on(datetime(*following, tzinfo=UTC))
    organisations.draw(bob, acme.pk, 10)


def test_another_limit_counts_what_was_drawn_before(ada, bob, acme, on):
    member = join(acme, bob)
    on(WEDNESDAY)
    organisations.draw(bob, acme.pk, 70)
    assert organisations.drawn([member]) == {member.pk: 70}
    change(acme, bob, ada, Role.MEMBER, 100)
    on(WEDNESDAY + timedelta(days=1))
    organisations.draw(bob, acme.pk, 30)
    with pytest.raises(LimitReached):
        organisations.draw(bob, acme.pk, 1)
    Membership.objects.filter(pk=member.pk).update(limit_period="day")
    organisations.draw(bob, acme.pk, 70)
    assert organisations.drawn([member]) == {member.pk: 100}
    with pytest.raises(LimitReached):
        organisations.draw(bob, acme.pk, 1)


def test_who_is_removed_draws_nothing_and_has_drawn_it_still_when_back(ada, bob, acme):
    join(acme, bob, limit_credits=10, limit_period="month")
    organisations.draw(bob, acme.pk, 8)
    organisations.remove_member(acme.pk, bob.pk, by=ada)
    refused(UnknownOrganisation, lambda: organisations.draw(bob, acme.pk, 1))
    join(acme, bob, limit_credits=10, limit_period="month")
    refused(LimitReached, lambda: organisations.draw(bob, acme.pk, 3))
    organisations.draw(bob, acme.pk, 2)


def test_what_is_given_back_can_be_drawn_again(bob, acme):
    join(acme, bob, limit_credits=10, limit_period="day")
    day = organisations.draw(bob, acme.pk, 10)
    organisations.give_back(acme.pk, bob.pk, day, 4)
    refused(LimitReached, lambda: organisations.draw(bob, acme.pk, 5))
    organisations.draw(bob, acme.pk, 4)
    with pytest.raises(IntegrityError), transaction.atomic():
        organisations.give_back(acme.pk, bob.pk, day, 11)


@pytest.mark.django_db(transaction=True)
def test_a_limit_is_exact_however_many_draw_at_once(bob, acme, at_once):
    join(acme, bob, limit_credits=37, limit_period="week")

    def draw(_: int) -> object:
        with transaction.atomic():
            return organisations.draw(bob, acme.pk, 5)

    results = at_once(20, draw)
    assert [isinstance(result, date) for result in results].count(True) == 7
    assert [type(result) for result in results].count(LimitReached) == 13
    assert Drawing.objects.get().credits == 35
