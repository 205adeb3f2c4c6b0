import os

from allauth.account.models import EmailAddress
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import User


class Command(BaseCommand):
    help = "Make admin@example.com with LOCAL_ADMIN_PASSWORD, unless there is a superuser already."

    def handle(self, *args: object, **options: object) -> None:
        if User.objects.filter(is_superuser=True).exists():
            return
        password = os.environ.get("LOCAL_ADMIN_PASSWORD")
        if not password:
            raise CommandError("LOCAL_ADMIN_PASSWORD is not set.")
        with transaction.atomic():
            user = User.objects.create_superuser("admin@example.com", password)
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        self.stdout.write(f"Made the administrator {user.email}.")
