"""Who calls: the key in the header, and the user whose credits the call is about."""

from dataclasses import dataclass
from typing import ClassVar

from django.db import connection
from django.http import HttpRequest
from ninja.security.base import AuthBase

from accounts import keys, organisations
from accounts.models import ApiKey, Membership, User
from api.refusals import refusal


class ProgramRequest(HttpRequest):
    """A request that was let in; for types."""

    auth: ApiKey


class BearerKey(AuthBase):
    """`Authorization: Bearer <key>`, and what the key has to be allowed to do.

    Cookies open nothing here, so that no other site's page can call in its visitor's name.
    """

    openapi_type: ClassVar[str] = "http"
    openapi_scheme: ClassVar[str] = "bearer"
    openapi_description: ClassVar[str] = (
        "A personal key (`dcp_…`) acts on its owner's credits, a service key (`dcs_…`) on those of "
        "the `user` that the call names."
    )

    def __init__(self, scope: ApiKey.Scope | None = None) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> ApiKey:
        scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise refusal("missing_api_key", headers={"WWW-Authenticate": "Bearer"})
        try:
            key = keys.admit(token)
        except keys.KeyRefused as error:
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise refusal(error.code, headers=challenge) from None
        except keys.TooFast as error:
            raise refusal("rate_limited", headers={"Retry-After": str(error.wait)}) from None
        if self.scope is not None and self.scope not in key.scopes:
            raise refusal(
                "missing_scope",
                f"This API key may not do that. It would need the scope {self.scope}.",
                scope=self.scope,
            )
        return key


def whose(key: ApiKey, named: int | str | None) -> User:
    """The user whom a call is about: the key's owner, or the one that a service key's call names.

    Nobody learns by a personal key who else has an account. No more of the user than the id is
    loaded. Raises `Refusal`.
    """
    user_id = key.user_id
    if user_id is None or named is not None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT api_user(%s, %s, %s)", naming(key, named))
            (user_id,) = cursor.fetchone()
    if user_id is None:
        raise refusal("unknown_user", field="user")
    return User.from_db(connection.alias, ["id"], [user_id])


@dataclass(frozen=True)
class Party:
    """Whose credits a call is about; an organisation's are drawn by `member`, unless it calls
    itself."""

    account: User
    member: Membership | None = None

    def actor(self, key: ApiKey) -> User | None:
        """Who did it, for the ledger: a service key's calls are the shop's."""
        if self.member is not None:
            return self.member.user
        return self.account if key.user_id else None

    def is_users_own(self, key: ApiKey) -> bool:
        """Whether no member of an organisation can have to do with it. A service key may also name
        an organisation's account."""
        return self.member is None and key.user_id is not None


def party(key: ApiKey, user: int | str | None, organisation: int | None) -> Party:
    """Raises `Refusal`; nobody learns which organisations there are that they are not in."""
    caller = whose(key, user)
    if organisation is None:
        return Party(caller)
    try:
        if organisation == caller.pk:
            return Party(organisations.account_of(organisation))
        member = organisations.membership_of(caller, organisation)
    except organisations.UnknownOrganisation:
        raise refusal("unknown_organisation", field="organisation") from None
    return Party(member.organisation.account, member)


def naming(
    key: ApiKey, named: int | str | None, field: str = "user"
) -> tuple[int | None, int | None, str | None]:
    """What `api_user` finds the user by: the key's owner, an id, an email.

    Raises `Refusal` where a service key names nobody; `field` is where it should have.
    """
    if named is None and key.user_id is None:
        words = "Name the user by id or email: a service key acts for any of them."
        raise refusal("invalid_request", words, field=field)
    if isinstance(named, str):
        return key.user_id, None, named
    return key.user_id, named, None
