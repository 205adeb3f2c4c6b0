"""Who calls: the key in the header, and the user whose credits the call is about."""

from typing import ClassVar, Final

from django.db import connection
from django.http import HttpRequest
from ninja.security.base import AuthBase

from accounts import keys
from accounts.models import ApiKey, User
from billing.api import Refusal

CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


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
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(
                401,
                "missing_api_key",
                "Send your API key in the header: Authorization: Bearer <key>.",
                headers=CHALLENGE,
            )
        try:
            key = keys.admit(token.strip())
        except keys.KeyRefused as error:
            raise Refusal(
                401,
                error.code,
                {
                    "expired_api_key": "This API key has expired. Make another one.",
                    "revoked_api_key": "This API key was revoked. Make another one.",
                }.get(error.code, "There is no such API key."),
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            ) from None
        except keys.TooFast as error:
            raise Refusal(
                429,
                "rate_limited",
                "Too many requests with this key. Nothing was done; try again later.",
                headers={"Retry-After": str(error.wait)},
            ) from None
        if self.scope is not None and self.scope not in key.scopes:
            raise Refusal(
                403,
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
            raise Refusal(
                422,
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
        raise Refusal(404, "unknown_user", "There is no such user.", field=field)
    return _known(row[0])


def _known(user_id: int) -> User:
    # No more of a user than the id is needed: to make one with all fields takes longer than to
    # look it up.
    return User.from_db(connection.alias, ["id"], [user_id])
