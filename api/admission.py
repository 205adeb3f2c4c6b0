"""Who calls: the key in the header, and the user whose credits the call is about."""

from typing import ClassVar

from django.db import connection
from django.http import HttpRequest
from ninja.security.base import AuthBase

from accounts import keys
from accounts.models import ApiKey, User
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


def whose(key: ApiKey, named: int | str | None, field: str = "user") -> User:
    """The user whom a call is about: the key's owner, or the one that a service key's call names.

    Nobody learns by a personal key who else has an account. Raises `Refusal`.
    """
    if named is None:
        if key.user_id is None:
            raise refusal(
                "invalid_request",
                "Name the user by id or email: a service key acts for any of them.",
                field=field,
            )
        return _known(key.user_id)
    column = "id = %s" if isinstance(named, int) else "lower(email) = lower(%s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM accounts_user WHERE is_active AND {column}",  # noqa: S608 (ours)
            [named],
        )
        row = cursor.fetchone()
    if row is None or key.user_id not in (None, row[0]):
        raise refusal("unknown_user", field=field)
    return _known(row[0])


def _known(user_id: int) -> User:
    # No more of a user than the id is needed: to make one with all fields takes longer than to
    # look it up.
    return User.from_db(connection.alias, ["id"], [user_id])
