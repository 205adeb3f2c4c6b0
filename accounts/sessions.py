"""Where sessions are kept: Django's own store in the database, plus whose each session is."""

from typing import Any, Final

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

from accounts.models import Session


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def _get_session_from_db(self) -> Session | None:
        # As the store itself does, but as SQL: every request of somebody who is signed in asks for
        # it, and to put it together through models takes longer than to run it.
        key = self.session_key or ""
        # A cookie may hold what the database can't: nobody's session.
        found = Session.objects.raw(_LIVE, [key.replace("\0", ""), timezone.now()])
        session = next(iter(found), None)
        if session is None:
            self._session_key = None
        return session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        session: Session = super().create_model_instance(data)  # type: ignore[assignment]  # `model` is ours
        session.user_id = data.get(SESSION_KEY)
        return session


_LIVE: Final = "SELECT * FROM accounts_session WHERE session_key = %s AND expire_date > %s"
