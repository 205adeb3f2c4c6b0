from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.second_step import removal


class Command(BaseCommand):
    help = (
        "Turn two-step sign-in off for one user: for the administrator who has lost phone, key "
        "and codes, and has nobody to ask."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, email: str, **options: Any) -> None:
        user = User.objects.filter(email__iexact=email).first()
        if user is None:
            raise CommandError(f"There is no user {email}.")
        if removal.remove_all(user):
            self.stdout.write(f"Two-step sign-in is off for {user.email}.")
        else:
            self.stdout.write(f"Two-step sign-in was not on for {user.email}.")
