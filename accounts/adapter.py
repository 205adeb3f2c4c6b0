from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings

from accounts.second_step import guard


class AccountAdapter(DefaultAccountAdapter):
    def format_email_subject(self, subject: str) -> str:
        return f"[{settings.SITE_NAME}] {subject}"

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        return guard.reauthentication_methods(user, super().get_reauthentication_methods(user))
