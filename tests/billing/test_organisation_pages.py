"""The pages of organisations: what members do there, and that nobody else finds them."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, Drawing, Invitation, Membership, Organisation, Role, User
from billing import closing
from billing.models import Mail, Purchase, StripeCustomer
from credits import ledger
from credits.models import Entry
from tests.organisations import found, join, somebody

pytestmark = pytest.mark.django_db
ALL = "/dashboard/organisations"


@pytest.fixture
def ada() -> User:
    return somebody("ada")


@pytest.fixture
def acme(ada) -> Organisation:
    """Ada's, with 1,000 credits."""
    acme = found(ada)
    ledger.grant(ledger.wallet_of(acme.account), 1000, key="purchase:1", kind="purchase", paid=950)
    return acme


@pytest.fixture
def as_() -> Callable[[User], Client]:
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def page(acme: Organisation, rest: str = "") -> str:
    return f"{ALL}/{acme.pk}{rest}"


def text(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def link_of_the_mail() -> str:
    (sent,) = mail.outbox
    return re.search(r"http\S+(/organisations/join/\S+)", sent.body)[1]


# --- What one does there ---------------------------------------------------------------------


def test_an_organisation_is_made_by_a_form_that_may_be_sent_twice(as_, ada):
    client = as_(ada)
    assert "You are in no organisation" in text(client.get(ALL))
    form = {"name": "Acme Ltd", "billing_email": "b@example.com", "request_id": uuid.uuid4()}
    first = client.post(f"{ALL}/new", form)
    again = client.post(f"{ALL}/new", form)
    organisation = Organisation.objects.get()
    assert first.url == again.url == page(organisation)
    assert (organisation.name, organisation.billing_email) == ("Acme Ltd", "b@example.com")
    assert "Acme Ltd" in text(client.get(ALL))


@pytest.mark.parametrize(
    "wrong", [{"name": " "}, {"name": "x" * 81}, {"billing_email": "x"}, {"request_id": "x"}]
)
def test_what_is_no_organisation_is_not_made(as_, ada, wrong):
    form = {"name": "Acme", "billing_email": "b@example.com", "request_id": uuid.uuid4()}
    assert as_(ada).post(f"{ALL}/new", form | wrong).status_code == 400
    assert not Organisation.objects.exists()


def test_from_the_invitation_to_a_member_with_a_limit(as_, ada, acme):
    owner = as_(ada)
    terms = {"email": "Bob@example.com", "role": "member", "limit_credits": "1,500"}
    sent = owner.post(page(acme, "/invite"), {**terms, "limit_period": "week"})
    assert sent.url == page(acme)
    assert mail.outbox[0].to == ["bob@example.com"]
    assert "ada@example.com has invited you to Acme Ltd" in mail.outbox[0].body
    link = link_of_the_mail()
    assert "bob@example.com" in text(owner.get(page(acme)))
    # Nobody is let in by opening it, and first of all one signs in.
    answer = Client().get(link)
    assert answer.url == f"/accounts/login/?next={link}"
    bob = as_(user := somebody("bob"))
    assert "1,500 credits a week" in text(bob.get(link))
    assert bob.head(link).status_code == 200
    assert not acme.memberships.filter(user=user).exists()
    assert bob.post(link).url == page(acme)
    member = acme.memberships.get(user=user)
    assert (member.role, member.limit_credits, member.limit_period) == ("member", 1500, "week")
    assert bob.post(link).status_code == 404
    assert "0 of 1,500 credits used this week" in text(bob.get(page(acme)))


@pytest.mark.parametrize("verified", [True, False])
def test_an_invitation_is_for_one_address(as_, ada, acme, verified):
    as_(ada).post(page(acme, "/invite"), INVITATION)
    link = link_of_the_mail()
    eve = somebody("eve")
    if not verified:
        EmailAddress.objects.create(user=eve, email="bob@example.com", verified=False)
    for ask in (as_(eve).get, as_(eve).post):
        response = ask(link)
        assert response.status_code == 403
        assert "Acme" not in text(response)
    assert not acme.memberships.filter(user=eve).exists()


INVITATION = {
    "email": "bob@example.com", "role": "owner", "limit_credits": "", "limit_period": "month",
}  # fmt: skip


def test_who_can_not_be_mailed_is_not_invited(as_, ada, acme, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 9, 1
    response = as_(ada).post(page(acme, "/invite"), INVITATION)
    assert response.status_code == 503
    assert "nobody was invited" in text(response)
    assert not Invitation.objects.exists()


def test_a_member_is_changed_and_removed(as_, ada, acme):
    join(acme, bob := somebody("bob"))
    owner = as_(ada)
    form = {"role": "billing", "limit_credits": "20", "limit_period": "day"}
    assert owner.post(page(acme, f"/members/{bob.pk}"), form).url == page(acme)
    member = acme.memberships.get(user=bob)
    assert (member.role, member.limit_credits, member.limit_period) == ("billing", 20, "day")
    bad = owner.post(page(acme, f"/members/{bob.pk}"), form | {"limit_credits": "0.5"})
    assert bad.status_code == 400
    assert owner.get(page(acme, f"/members/{bob.pk}/remove")).status_code == 200
    assert acme.memberships.count() == 2
    assert owner.post(page(acme, f"/members/{bob.pk}/remove")).url == page(acme)
    assert acme.memberships.count() == 1
    assert as_(bob).get(page(acme)).status_code == 404


def test_the_only_owner_stays_one(as_, ada, acme):
    owner = as_(ada)
    join(acme, somebody("bob"))
    form = {"role": "member", "limit_credits": "", "limit_period": "day"}
    changed = owner.post(page(acme, f"/members/{ada.pk}"), form)
    assert changed.status_code == 409
    assert "make somebody else an owner first" in text(changed)
    assert "You are its only owner" in text(owner.get(page(acme, f"/members/{ada.pk}/remove")))
    assert owner.post(page(acme, f"/members/{ada.pk}/remove")).status_code == 409
    assert acme.memberships.get(user=ada).role == Role.OWNER


def test_billing_members_set_limits_and_no_roles(as_, ada, acme):
    join(acme, bob := somebody("bob"), Role.BILLING)
    form = {"role": "owner", "limit_credits": "7", "limit_period": "day"}
    assert as_(bob).post(page(acme, f"/members/{bob.pk}"), form).url == page(acme)
    member = acme.memberships.get(user=bob)
    assert (member.role, member.limit_credits) == ("billing", 7)


def test_an_owner_makes_keys_for_it(as_, ada, acme, client):
    join(acme, bob := somebody("bob"), Role.OWNER)
    owner = as_(ada)
    session = owner.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": timezone.now().timestamp()}
    ]
    session.save()
    form = {
        "request_id": uuid.uuid4(), "name": "Night job", "scopes": "credits:spend",
        "expires_in": "90", "limit_credits": "", "limit_period": "month",
    }  # fmt: skip
    made = owner.post(page(acme, "/keys/new"), form)
    token = re.search(r"dcp_[\w-]+", text(made))[0]
    key = keys.admit(token)
    assert (key.user_id, key.made_by_id) == (acme.pk, ada.pk)
    assert sorted(to for one in mail.outbox for to in one.to) == [ada.email, bob.email]
    assert "of Acme Ltd" in mail.outbox[0].body
    assert page(acme, "/keys") in mail.outbox[0].body
    assert "Night job" in text(as_(bob).get(page(acme, "/keys")))
    assert "Night job" not in text(owner.get("/dashboard/account/keys"))
    assert owner.post(f"/dashboard/account/keys/{key.pk}/revoke").status_code == 404
    assert owner.post(page(acme, f"/keys/{key.pk}/revoke")).url == page(acme, "/keys")
    with pytest.raises(keys.KeyRevoked):
        keys.admit(token)


def test_members_see_what_they_drew_and_those_who_pay_see_all(as_, ada, acme, staff):
    join(acme, bob := somebody("bob"))
    wallet = ledger.wallet_of(acme.account)
    ledger.spend(wallet, 5, key="a", note="by Ada", actor=ada)
    ledger.spend(wallet, 7, key="b", note="by Bob", actor=bob)
    ledger.spend(wallet, 1, key="c", note="by a key of its own", actor=acme.account)
    ledger.adjust(wallet, 1, key="d", note="Sorry", actor=staff)
    for path in ("/history", "/history.csv"):
        seen = as_(ada).get(page(acme, path)).getvalue().decode()
        for words in ("by Ada", "by Bob", ada.email, bob.email):
            assert words in seen
        assert staff.email not in seen
        seen = as_(bob).get(page(acme, path)).getvalue().decode()
        assert "by Bob" in seen
        assert "by Ada" not in seen
        assert bob.email in seen
        assert "ada@" not in seen.replace("billing-of-ada@", "")
        assert "9.50" not in seen
    assert "bob@example.com" in text(as_(ada).get(page(acme)))
    assert "Purchases" not in text(as_(bob).get(page(acme)))


# --- Buying ----------------------------------------------------------------------------------


def test_credits_are_bought_for_it(as_, ada, acme, sandbox):
    owner = as_(ada)
    shop = owner.get(f"/credits?credits=1234&organisation={acme.pk}")
    assert "Order for Acme Ltd" in text(shop)
    assert 'value="subscription"' not in shop.content.decode()
    order = {
        "credits": "1234", "mode": "payment", "organisation": acme.pk,
        "request_id": uuid.uuid4(), "expected_total": "1172",
    }  # fmt: skip
    answer = owner.post("/credits", order)
    assert answer.status_code == 303
    purchase = Purchase.objects.get()
    assert (purchase.user, answer.url) == (acme.account, purchase.stripe_session_url)
    (told,) = sandbox.objects("customer")
    assert told["id"] == StripeCustomer.objects.get().stripe_id
    assert (told["email"], told["name"]) == ("billing-of-ada@example.com", "Acme Ltd")
    (opened,) = sandbox.objects("checkout.session")
    assert opened["cancel_url"].endswith(f"&organisation={acme.pk}")
    assert "1,234 credits for $11.72" in text(owner.get(page(acme)))
    assert "Go to Acme Ltd" in text(owner.get(f"/credits/success?purchase={purchase.pk}"))
    assert owner.get(f"/api/billing/purchases/{purchase.pk}").json()["balance"] == 1000
    monthly = owner.post("/credits", order | {"mode": "subscription", "request_id": uuid.uuid4()})
    assert monthly.status_code == 400
    assert Purchase.objects.count() == 1
    # A new name is told to Stripe.
    form = {"name": "Acme Inc", "billing_email": "pay@example.com"}
    assert owner.post(page(acme, "/details"), form).url == page(acme)
    (told,) = sandbox.objects("customer")
    assert (told["email"], told["name"]) == ("pay@example.com", "Acme Inc")


def test_who_may_not_buy_for_it_does_not(as_, ada, acme):
    join(acme, bob := somebody("bob"))
    eve = somebody("eve")
    order = {"credits": "100", "mode": "payment", "organisation": acme.pk}
    theirs = Purchase.objects.create(
        user=acme.account, mode="payment", credits=10, unit_price_e4=100, total=50,
        currency="usd", status="paid",
    )  # fmt: skip
    for user in (bob, eve):
        client = as_(user)
        assert client.get(f"/credits?organisation={acme.pk}").status_code == 404
        assert client.post("/credits", order).status_code == 404
        assert client.get(f"/credits/success?purchase={theirs.pk}").status_code == 404
        assert client.get(f"/api/billing/purchases/{theirs.pk}").status_code == 404
    for strange in (eve.pk, "x", "1" * 40, "²"):
        assert as_(eve).get("/credits", {"organisation": strange}).status_code == 404
    assert Client().get(f"/credits?organisation={acme.pk}").status_code == 302
    assert Purchase.objects.count() == 1


# --- Nobody else -----------------------------------------------------------------------------

PAGES = {
    "": (Role.MEMBER, "get"),
    "/history": (Role.MEMBER, "get"),
    "/history.csv": (Role.MEMBER, "get"),
    "/receipts/{entry}": (Role.BILLING, "get"),
    "/members/{member}": (Role.BILLING, "post"),
    "/members/{member}/remove": (Role.OWNER, "post"),
    "/details": (Role.OWNER, "post"),
    "/invite": (Role.OWNER, "post"),
    "/invitations/{invitation}/take-back": (Role.OWNER, "post"),
    "/keys": (Role.OWNER, "get"),
    "/keys/new": (Role.OWNER, "post"),
    "/keys/{key}/revoke": (Role.OWNER, "post"),
    "/close": (Role.OWNER, "post"),
}
"""Whom each is for, at least, and how it does the most."""


def test_all_pages_are_here():
    """But for bulk purchases, which `test_bulk_pages` asks for."""
    patterns = get_resolver().reverse_dict.getlist
    names = [name for name in get_resolver().reverse_dict if isinstance(name, str)]
    prefix = "dashboard/organisations/%(organisation_id)s"
    there_are = {
        form[0][len(prefix) :]
        for name in names
        for forms, *_ in patterns(name)
        for form in forms
        if form[0].startswith(prefix) and not form[0].startswith(f"{prefix}/bulk")
    }
    known = {re.sub(r"\{\w+\}", "*", path) for path in PAGES}
    assert {re.sub(r"%\(\w+\)s", "*", path) for path in there_are} == known


@pytest.fixture
def places(ada, acme) -> dict[str, int]:
    bob = join(acme, somebody("bob"))
    invitation = Invitation.objects.create(
        organisation=acme, email="x@example.com", role="owner", digest=b"x", invited_by=ada,
        expires_at=timezone.now(),
    )  # fmt: skip
    key, _ = keys.make(made_by=ada, owner=acme.account, name="k", scopes=[])
    entry = Entry.objects.get(kind="purchase")
    return {
        "member": bob.user_id, "invitation": invitation.pk, "key": key.pk, "entry": entry.pk,
    }  # fmt: skip


def everything() -> list[object]:
    tables = (Organisation, Membership, Invitation, Drawing, ApiKey, Entry, Mail, Purchase)
    return [list(table.objects.order_by("pk").values()) for table in tables]


@pytest.mark.parametrize("path", PAGES)
def test_each_is_for_members_of_a_role_and_for_nobody_else(path, as_, acme, places):
    least, method = PAGES[path]
    strangers = somebody("eve")
    other = found(strangers, "Eve's")
    below = [role for role in (Role.MEMBER, Role.BILLING) if role.value != least]
    below = below[: [Role.MEMBER, Role.BILLING, Role.OWNER].index(least)]
    users = [strangers]
    for role in below:
        users.append(user := somebody(f"a-{role}"))
        join(acme, user, role)
    address = page(acme, path.format(**places))
    before = everything()
    for user in users:
        client = as_(user)
        for ask in ("get", "post"):
            expected = (404,) if ask == method else (404, 405)
            assert getattr(client, ask)(address).status_code in expected
    assert Client().get(address).status_code in (302, 405)
    # Nor is what belongs to another organisation found under one's own.
    if "{" in path and least != Role.MEMBER:
        own = page(other, path.format(**places))
        response = getattr(as_(strangers), method)(own)
        assert response.status_code == (303 if "invitation" in path else 404)
    assert everything() == before


# --- Its end, and that of its owner ----------------------------------------------------------


def test_who_owns_one_alone_can_not_close_their_account(as_, ada, acme, sandbox):
    ada.set_password("Correct horse 9")
    ada.save()
    client = as_(ada)
    form = {"password": "Correct horse 9", "is_sure": "on"}
    shown = client.get("/dashboard/account/close")
    assert page(acme) in shown.content.decode()
    answer = client.post("/dashboard/account/close", form)
    assert answer.status_code == 409
    assert "the only owner of an organisation" in text(answer)
    ada.refresh_from_db()
    assert (ada.closed_at, ada.closing_at) == (None, None)
    join(acme, bob := somebody("bob"), Role.OWNER)
    assert client.post("/dashboard/account/close", form).status_code == 303
    assert [one.user for one in acme.memberships.all()] == [bob]


def test_an_owner_closes_it(as_, ada, acme, sandbox):
    join(acme, bob := somebody("bob"), Role.BILLING)
    join(acme, somebody("carl"))
    _, token = keys.make(made_by=ada, owner=acme.account, name="k", scopes=[])
    owner = as_(ada)
    assert "1,000 credits are lost" in text(owner.get(page(acme, "/close")))
    assert owner.post(page(acme, "/close")).status_code == 400
    assert owner.post(page(acme, "/close"), {"is_sure": "on"}).url == ALL
    account = User.objects.get(pk=acme.pk)
    acme.refresh_from_db()
    assert account.closed_at is not None
    assert account.email.endswith("@closed.invalid")
    assert (acme.name, acme.billing_email) == ("", "")
    assert not acme.memberships.exists()
    with pytest.raises(keys.KeyRefused):
        keys.admit(token)
    told = Mail.objects.filter(kind="organisation_closed").order_by("user")
    assert [one.user for one in told] == [ada, bob]
    assert owner.get(page(acme)).status_code == 404
    assert ledger.balance_of(account) == 1000


def test_what_is_held_while_it_is_closed_keeps_it_open(as_, ada, acme, monkeypatch):
    """A member places a hold while Stripe is asked."""
    wallet = ledger.wallet_of(acme.account)
    monkeypatch.setattr(
        closing,
        "_end_at_stripe",
        lambda user, clock: ledger.hold(wallet, 5, key="h", expires_in=timedelta(hours=1)),
    )
    before = everything()
    answer = as_(ada).post(page(acme, "/close"), {"is_sure": "on"})
    assert answer.status_code == 409
    assert "reserved for work" in text(answer)
    assert everything() == before
    account = User.objects.get(pk=acme.pk)
    assert (account.closed_at, account.closing_at) == (None, None)


@pytest.mark.parametrize("state", ["held", "owed"])
def test_what_is_not_settled_is_not_closed(as_, ada, acme, sandbox, state):
    wallet = ledger.wallet_of(acme.account)
    if state == "held":
        ledger.hold(wallet, 5, key="h", expires_in=timedelta(hours=1))
    else:
        ledger.spend(wallet, 1001, key="s", owe_up_to=10)
    before = everything()
    answer = as_(ada).post(page(acme, "/close"), {"is_sure": "on"})
    assert answer.status_code == 409
    assert "Nothing was closed" in text(answer)
    assert everything() == before
    assert User.objects.get(pk=acme.pk).closing_at is None
