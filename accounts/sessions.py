"""Where sessions are kept: Django's own store in the database, plus whose each session is.

Every request of somebody who is signed in asks for both, so they come together, in one round trip.
"""

import functools
from typing import Any, Final, cast

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth import middleware as auth
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject

from accounts import rows
from accounts.models import Session, User


class SessionStore(DatabaseStore):
    owner: User | None = None
    """Whose session it is, by its row; None until it is read."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def load(self) -> dict[str, Any]:
        # A cookie may hold what the database can't: nobody's session.
        key = (self.session_key or "").replace("\0", "")
        with connection.cursor() as cursor:
            cursor.execute(_LIVE.format(owner=rows.columns(User, "owner")), [key, timezone.now()])
            found = cursor.fetchone()
        if found is None:
            self._session_key = None
            return {}
        data, *owner = found
        self.owner = rows.made_of(User, tuple(owner)) if owner[0] is not None else None
        session: dict[str, Any] = self.decode(data)
        return session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        session: Session = super().create_model_instance(data)  # type: ignore[assignment]  # `model` is ours
        session.user_id = data.get(SESSION_KEY)
        return session


_LIVE: Final = """
SELECT session.session_data, {owner}
FROM accounts_session AS session LEFT JOIN accounts_user AS owner ON owner.id = session.user_id
WHERE session.session_key = %s AND session.expire_date > %s"""


class AuthenticationMiddleware(auth.AuthenticationMiddleware):
    """Django's, which needs no query of its own where the session has brought its owner along."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.user = SimpleLazyObject(functools.partial(_user_of, request))  # type: ignore[assignment]  # as Django does


def _user_of(request: HttpRequest) -> User | AnonymousUser:
    # Only what is beyond doubt is decided here. All else is Django's: an account that was closed, a
    # password or a secret key that has changed, a session without an owner.
    session = cast(SessionStore, request.session)
    user_id = session.get(SESSION_KEY)  # reads it
    owner = session.owner
    if (
        owner is not None
        and owner.is_active
        and str(owner.pk) == user_id
        and session.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
        and constant_time_compare(
            session.get(HASH_SESSION_KEY) or "", owner.get_session_auth_hash()
        )
    ):
        return owner
    user: User | AnonymousUser = auth.get_user(request)
    return user
