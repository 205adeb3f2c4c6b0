"""One settings file; every value that differs between installs comes from the environment.

All variables are listed in `.env.example`. With `DEBUG` off, a missing or unsafe one stops the
start with one line that names it.
"""

import os
import re
import sys
import warnings
from collections.abc import Callable
from email.utils import parseaddr
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}
STRIPE_API = "https://api.stripe.com"

# A variable that is set to nothing is not set: `.env.example` lists them all.
_set = {name: value for name, value in os.environ.items() if value}
environ.Env.ENVIRON = _set  # type: ignore[assignment]  # any mapping does
env = environ.Env()


def stop(problem: str) -> NoReturn:
    """End the start with one line a person can act on, not a traceback."""
    sys.exit(f"Settings: {problem}")


def required(name: str, why: str) -> str:
    value: str = env.str(name, default="").strip()
    if not value:
        stop(f"{name} is not set: {why}")
    return value


def whole_number(name: str, default: int, *, at_least: int) -> int:
    try:
        value: int = env.int(name, default=default)
    except ValueError:
        value = at_least - 1
    if value < at_least:
        stop(f"{name} must be a whole number of at least {at_least}")
    return value


def names(name: str, default: list[str]) -> list[str]:
    return [value.strip() for value in env.list(name, default=default) if value.strip()]


def origin(name: str, value: str) -> SplitResult:
    """The parts of an http(s) address that ends with its host and port."""
    try:
        parts = urlsplit(value)
        is_origin = value == f"{parts.scheme}://{parts.netloc}" and (parts.port or 1) > 0
    except ValueError:
        is_origin = False
    if not is_origin or parts.scheme not in {"http", "https"} or not parts.hostname:
        stop(f"{name} must be an http(s) address without a path, such as https://credits.example")
    if "@" in parts.netloc or not set(parts.netloc).isdisjoint(" ;,'\"\\\t"):
        stop(f"{name} must name a host and nothing else, such as https://credits.example")
    return parts


def address(name: str, parse: Callable[..., dict[str, Any]], example: str, **options: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # what it warns of is refused below
            return parse(name, **options)
    except (ValueError, KeyError, ImproperlyConfigured):
        stop(f"{name} can't be read: it must look like {example}")


def rate(name: str, default: str) -> str:
    value: str = env.str(name, default=default)
    if not re.fullmatch(r"([0-9]+/[0-9]*[smhd](/(ip|user|key))?(,|$))+", value):
        stop(f"{name} must look like {default}")
    return value


def social_app(id_name: str, secret_name: str) -> dict[str, Any] | None:
    """The keys of a provider to sign in by, None where they are not set."""
    client_id, secret = (env.str(name, default="").strip() for name in (id_name, secret_name))
    if bool(client_id) != bool(secret):
        stop(f"{id_name} and {secret_name} must be set both, or neither")
    return {"APP": {"client_id": client_id, "secret": secret}} if client_id else None


# --- What this install is ---------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
SITE_NAME = env.str("SITE_NAME", default="") or "Dynamic Credits"
# Who sells, in the terms and the like.
COMPANY_NAME = env.str("COMPANY_NAME", default="") or SITE_NAME
SECRET_KEY = required("SECRET_KEY", "a long random string that signs sessions")
if not DEBUG and len(SECRET_KEY) < 32:
    stop("SECRET_KEY is shorter than 32 characters")

BASE_URL = required("BASE_URL", "the address people open, such as https://credits.example").rstrip(
    "/"
)
_base = origin("BASE_URL", BASE_URL)
if _base.scheme == "http" and _base.hostname not in LOOPBACK_HOSTS:
    stop("BASE_URL must start with https:// unless its host is this machine")
HTTPS = _base.scheme == "https"

ALLOWED_HOSTS = names("ALLOWED_HOSTS", [_base.hostname or ""])
if "*" in ALLOWED_HOSTS and not DEBUG:
    stop("ALLOWED_HOSTS must name its hosts; * lets anyone forge links in mails")
CSRF_TRUSTED_ORIGINS = [BASE_URL]
TRUSTED_PROXIES = whole_number("TRUSTED_PROXIES", 0, at_least=0)

# --- Applications -----------------------------------------------------------------------------

INSTALLED_APPS = [
    "website",
    "api",
    "billing",
    "usage",
    "outgoing",
    "credits",
    "accounts",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.sitemaps",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.github",
    "allauth.usersessions",
    "csp",
]

MIDDLEWARE = [
    "config.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.PrivateMiddleware",
    "config.middleware.BusyMiddleware",
    "config.middleware.ProgramsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "accounts.sessions.AuthenticationMiddleware",
    "accounts.preferences.PreferencesMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.second_step.guard.StaffMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# A wrong address is a 404, not a redirect: our own routes have no trailing slash.
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "billing.pages.page_context",
            ],
        },
    }
]

# --- Data -------------------------------------------------------------------------------------

required("DATABASE_URL", "a PostgreSQL 15 or later, such as postgres://user:password@host/name")
DATABASES = {"default": address("DATABASE_URL", env.db, "postgres://user:password@host:5432/name")}
if DATABASES["default"].get("ENGINE") != "django.db.backends.postgresql":
    stop("DATABASE_URL must be a postgres:// address: the ledger's rules live in PostgreSQL")
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
# Seconds. A request that waits longer is told to come again (config/middleware.py); a command at a
# terminal waits as long as it takes (manage.py).
LOCK_TIMEOUT = whole_number("LOCK_TIMEOUT", 5, at_least=0)
STATEMENT_TIMEOUT = whole_number("STATEMENT_TIMEOUT", 30, at_least=0)
DATABASES["default"].setdefault("OPTIONS", {})["options"] = (
    f"-c lock_timeout={LOCK_TIMEOUT}s -c statement_timeout={STATEMENT_TIMEOUT}s"
)
CACHES = {
    # Shared by all workers: rate limits count in it.
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",
    },
    # Each process's own: parts of pages that are the same for everybody who reads a language.
    "texts": {
        "BACKEND": "django.core.cache.backends.dummy.DummyCache"
        if DEBUG
        else "django.core.cache.backends.locmem.LocMemCache",
    },
}

# --- Who may do what --------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
# Emails are unique without regard to case, by a constraint that this check does not know.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = env.str(
    "EMAIL_VERIFICATION", default="optional" if DEBUG else "mandatory"
)
if ACCOUNT_EMAIL_VERIFICATION not in {"optional", "mandatory"}:
    stop("EMAIL_VERIFICATION must be optional or mandatory")
ACCOUNT_LOGOUT_REDIRECT_URL = "home"
ACCOUNT_RATE_LIMITS = {
    "signup": rate("SIGNUP_RATE_LIMIT", "20/m/ip"),
    "login": rate("LOGIN_RATE_LIMIT", "30/m/ip"),
    # How soon the mail may be asked for again.
    "confirm_email": "1/m/key",
}
ACCOUNT_FORMS = {
    "login": "accounts.forms.LoginForm",
    "signup": "accounts.forms.SignupForm",
    "request_login_code": "accounts.forms.RequestLoginCodeForm",
    "confirm_login_code": "accounts.forms.ConfirmLoginCodeForm",
    "add_email": "accounts.forms.AddEmailForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
}
# One address. It changes once the new one is confirmed, and the old one is told.
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_LOGIN_BY_CODE_SUPPORTS_RESEND = True
ACCOUNT_LOGIN_BY_CODE_TIMEOUT = 10 * 60  # seconds; mails take their time
ACCOUNT_SESSION_REMEMBER = True  # for `SESSION_COOKIE_AGE`: two weeks
# No page tells whether an address has an account. With `EMAIL_VERIFICATION=optional` signing up
# does: who gets in at once can't be told that a mail says how to go on.
ACCOUNT_PREVENT_ENUMERATION = True

# A provider is offered where its keys are set. Who signs in by one gets into the account with the
# same address only if the provider and its owner have both confirmed it (accounts/adapter.py).
SOCIALACCOUNT_ADAPTER = "accounts.adapter.SocialAccountAdapter"
SOCIALACCOUNT_FORMS = {"signup": "accounts.forms.SocialSignupForm"}
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_PROVIDERS = {
    name: app
    for name, app in (
        ("google", social_app("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET")),
        ("github", social_app("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET")),
    )
    if app
}
SOCIAL_ORIGINS = {"google": "https://accounts.google.com", "github": "https://github.com"}
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
MFA_ADAPTER = "accounts.second_step.adapter.SecondStepAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = SITE_NAME
MFA_RATE_LIMITS = {"webauthn_login": ACCOUNT_RATE_LIMITS["login"]}
# Without https, which only this machine may do without (see BASE_URL).
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS
MFA_FORMS = {
    "activate_totp": "accounts.second_step.forms.AppForm",
    "authenticate": "accounts.second_step.forms.CodeForm",
    "reauthenticate": "accounts.second_step.forms.ConfirmingCodeForm",
    "add_webauthn": "accounts.second_step.forms.NewPasskeyForm",
    "edit_webauthn": "accounts.second_step.forms.PasskeyNameForm",
    "authenticate_webauthn": "accounts.second_step.forms.PasskeyForm",
    "login_webauthn": "accounts.second_step.forms.SigningInPasskeyForm",
    "reauthenticate_webauthn": "accounts.second_step.forms.ConfirmingPasskeyForm",
}
SESSION_ENGINE = "accounts.sessions"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "dashboard"

# --- Browser safety ---------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = HTTPS
CSRF_FAILURE_VIEW = "config.errors.csrf_failure"

# Chromium applies form-action to the redirect that follows a form's POST, so the pages that
# buying and signing in lead to have to be on the list.
STRIPE_REDIRECT_ORIGINS = names(
    "STRIPE_REDIRECT_ORIGINS", ["https://checkout.stripe.com", "https://billing.stripe.com"]
)
for _origin in STRIPE_REDIRECT_ORIGINS:
    origin("STRIPE_REDIRECT_ORIGINS", _origin)
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [
            SELF,
            *STRIPE_REDIRECT_ORIGINS,
            *(SOCIAL_ORIGINS[provider] for provider in SOCIALACCOUNT_PROVIDERS),
        ],
        "img-src": [SELF, "data:"],
    }
}

# --- Money ------------------------------------------------------------------------------------

MINIMUM_CHARGE_CENTS = whole_number("MINIMUM_CHARGE_CENTS", 50, at_least=50)
STRIPE_SECRET_KEY = required("STRIPE_SECRET_KEY", "the secret or restricted key of your account")
if STRIPE_SECRET_KEY.startswith(("pk_", "whsec_")):
    stop("STRIPE_SECRET_KEY must be the secret or a restricted key, not another of Stripe's")
STRIPE_LIVEMODE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
STRIPE_WEBHOOK_SECRETS = names("STRIPE_WEBHOOK_SECRET", [])
if not STRIPE_WEBHOOK_SECRETS:
    stop("STRIPE_WEBHOOK_SECRET is not set: without it anyone could report a payment")
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="").rstrip("/") or STRIPE_API
origin("STRIPE_API_BASE", STRIPE_API_BASE)
if STRIPE_API_BASE != STRIPE_API and not STRIPE_SECRET_KEY.startswith("sk_test_"):
    stop("STRIPE_API_BASE must be Stripe's own unless STRIPE_SECRET_KEY is a test key")
PAYMENTS_ARE_SANDBOX = STRIPE_API_BASE != STRIPE_API
BILLING_PORTAL_RETURN_URL = (
    env.str("BILLING_PORTAL_RETURN_URL", default="") or f"{BASE_URL}/dashboard"
)
# Its origin is checked, and a path may follow.
origin("BILLING_PORTAL_RETURN_URL", "/".join(BILLING_PORTAL_RETURN_URL.split("/", 3)[:3]))

# Days until credits of a category expire; 0 is never.
CREDITS_EXPIRE_AFTER_DAYS = {
    "paid": whole_number("PAID_CREDITS_DAYS", 0, at_least=0),
    "promotional": whole_number("PROMOTIONAL_CREDITS_DAYS", 90, at_least=0),
}

# Gifts: days until bought credits may be given, whether what was given may be given on, days until
# what nobody claimed returns, and what one user may send within 24 hours.
GIFTS_AFTER_DAYS = whole_number("GIFTS_AFTER_DAYS", 0, at_least=0)
GIFTS_MAY_BE_GIVEN_ON = env.bool("GIFTS_MAY_BE_GIVEN_ON", default=False)
GIFTS_RETURN_AFTER_DAYS = whole_number("GIFTS_RETURN_AFTER_DAYS", 30, at_least=1)
GIFTS_CREDITS_PER_DAY = whole_number("GIFTS_CREDITS_PER_DAY", 20_000, at_least=0)
GIFTS_PER_DAY = whole_number("GIFTS_PER_DAY", 20, at_least=0)

# Credits that one staff member may adjust on one balance within 24 hours without a second one.
ADJUSTMENT_LIMIT = whole_number("ADJUSTMENT_LIMIT", 10_000, at_least=0)

# Below how many credits a buyer who chose no other number gets a mail; 0 is never.
LOW_BALANCE_CREDITS = whole_number("LOW_BALANCE_CREDITS", 100, at_least=0)
# What the worker does for the apps above billing, which doesn't know them.
WORKER_JOBS = ["api.jobs.JOBS"]
# How many requests an API key may make, unless it has a number of its own.
API_REQUESTS_PER_MINUTE = whole_number("API_REQUESTS_PER_MINUTE", 600, at_least=1)
# Whether outgoing webhooks may go to this machine and private networks, and without https.
OUTGOING_PRIVATE_ADDRESSES = env.bool("OUTGOING_PRIVATE_ADDRESSES", default=False)

# --- Mail -------------------------------------------------------------------------------------

if not DEBUG:
    required("EMAIL_URL", "where mail goes out, such as smtp+tls://user:password@host:587")
    required("DEFAULT_FROM_EMAIL", "the sender of the mails")
EMAIL_CONFIG = address(
    "EMAIL_URL", env.email_url, "smtp+tls://user:password@host:587", default="consolemail://"
)
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="credits@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
# Whom people write to. The sender may have a name before its address.
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="") or parseaddr(DEFAULT_FROM_EMAIL)[1]
if not re.fullmatch(r"[^@\s<>\"?&]+@[^@\s<>\"?&]+", SUPPORT_EMAIL):
    stop("SUPPORT_EMAIL must be a mail address alone, such as help@credits.example")

# --- Language, time, files, logs --------------------------------------------------------------

LANGUAGE_CODE = "en"
# Each in its own words, for the switch at the foot of the page.
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "config.formats"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600  # seconds
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HTTPS
# Of who has none, neither by choice nor by what the browser says.
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "config.storage.ManifestStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# What a developer is shown of a failure, and what is logged of it.
DEFAULT_EXCEPTION_REPORTER = "config.secrecy.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.secrecy.ReporterFilter"
if _set.get("STRIPE_LOG"):
    stop("STRIPE_LOG must not be set: Stripe's SDK would print whole answers, names and cards too")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "config.secrecy.Formatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "billing": {"level": "INFO"},
        # At lower levels Stripe's SDK logs whole answers, with people's names and cards.
        "stripe": {"level": "WARNING"},
    },
}
