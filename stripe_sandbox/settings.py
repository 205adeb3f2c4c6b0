"""Django as this server's web framework. Nothing is shared with the product's settings."""

import os
import secrets
from pathlib import Path

HERE = Path(__file__).resolve().parent

DEBUG = False
SECRET_KEY = secrets.token_urlsafe(32)  # signs nothing that outlives a restart
ROOT_URLCONF = "stripe_sandbox.urls"
APPEND_SLASH = False
INSTALLED_APPS: list[str] = []
MIDDLEWARE = ["stripe_sandbox.pages.SafetyMiddleware"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
        "OPTIONS": {"builtins": ["stripe_sandbox.tags"]},
    }
]
USE_TZ = True
TIME_ZONE = "UTC"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

STATE = os.environ.get("STRIPE_SANDBOX_STATE", "var/stripe-sandbox.sqlite3")
BIND = os.environ.get("STRIPE_SANDBOX_BIND", "127.0.0.1:8001")
ORIGIN = f"http://{BIND}"
WEBHOOK_URL = os.environ.get("STRIPE_SANDBOX_WEBHOOK_URL", "")
WEBHOOK_SECRET = os.environ.get("STRIPE_WEBHOOK_SECRET", "").split(",")[0].strip()
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", BIND.rpartition(":")[0]]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {
        "stripe_sandbox": {"handlers": ["stderr"]},
        # Only what broke: a 404 or a 501 is an answer.
        "django.request": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}
MERCHANT = os.environ.get("SITE_NAME", "") or "Dynamic Credits"
