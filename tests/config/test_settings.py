"""The settings file, started as a process of its own with the environment of each case."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SAFE = {
    "SECRET_KEY": "a-long-random-string-of-the-tests-own-making",
    "BASE_URL": "https://credits.example",
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
    "STRIPE_SECRET_KEY": "sk_test_of_the_tests",
    "STRIPE_WEBHOOK_SECRET": "whsec_of_the_tests",
    "EMAIL_URL": "smtp://127.0.0.1:25",
    "DEFAULT_FROM_EMAIL": "shop@credits.example",
}


def start(expression: str = "'started'", **environment: str | None) -> subprocess.CompletedProcess:
    merged = {name: value for name, value in (SAFE | environment).items() if value is not None}
    # Only what the case names: the settings of this test run must not leak in.
    merged |= {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    code = f"from config import settings; print({expression})"
    return subprocess.run(
        [sys.executable, "-c", code], env=merged, cwd=ROOT, capture_output=True, text=True
    )


def test_a_whole_environment_starts():
    assert start().stdout == "started\n"


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"BASE_URL": None}, "BASE_URL"),
        ({"BASE_URL": "http://credits.example"}, "BASE_URL"),
        ({"BASE_URL": "credits.example"}, "BASE_URL"),
        ({"BASE_URL": "https://credits.example/shop"}, "BASE_URL"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"DATABASE_URL": None}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:///db"}, "DATABASE_URL"),
        ({"STRIPE_SECRET_KEY": None}, "STRIPE_SECRET_KEY"),
        ({"STRIPE_WEBHOOK_SECRET": None}, "STRIPE_WEBHOOK_SECRET"),
        ({"STRIPE_WEBHOOK_SECRET": " , "}, "STRIPE_WEBHOOK_SECRET"),
        (
            {"STRIPE_SECRET_KEY": "sk_" + "live_x", "STRIPE_API_BASE": "http://127.0.0.1:1"},
            "STRIPE_API_BASE",
        ),
        ({"STRIPE_LOG": "debug"}, "STRIPE_LOG"),
        ({"EMAIL_URL": None}, "EMAIL_URL"),
        ({"DEFAULT_FROM_EMAIL": None}, "DEFAULT_FROM_EMAIL"),
        ({"SUPPORT_EMAIL": "https://credits.example/help"}, "SUPPORT_EMAIL"),
        ({"SUPPORT_EMAIL": "Help <help@credits.example>"}, "SUPPORT_EMAIL"),
        ({"DEFAULT_FROM_EMAIL": "nobody"}, "SUPPORT_EMAIL"),
        ({"MINIMUM_CHARGE_CENTS": "49"}, "MINIMUM_CHARGE_CENTS"),
        ({"MINIMUM_CHARGE_CENTS": "a lot"}, "MINIMUM_CHARGE_CENTS"),
        ({"ADJUSTMENT_LIMIT": "-1"}, "ADJUSTMENT_LIMIT"),
        ({"LOW_BALANCE_CREDITS": "-1"}, "LOW_BALANCE_CREDITS"),
        ({"LOW_BALANCE_CREDITS": "few"}, "LOW_BALANCE_CREDITS"),
        ({"GIFTS_AFTER_DAYS": "-1"}, "GIFTS_AFTER_DAYS"),
        ({"GIFTS_RETURN_AFTER_DAYS": "0"}, "GIFTS_RETURN_AFTER_DAYS"),
        ({"GIFTS_CREDITS_PER_DAY": "many"}, "GIFTS_CREDITS_PER_DAY"),
        ({"GIFTS_PER_DAY": "-1"}, "GIFTS_PER_DAY"),
        ({"API_REQUESTS_PER_MINUTE": "0"}, "API_REQUESTS_PER_MINUTE"),
        ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES"),
        ({"EMAIL_VERIFICATION": "maybe"}, "EMAIL_VERIFICATION"),
        ({"DATABASE_URL": "foo"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:port/none"}, "DATABASE_URL"),
        ({"EMAIL_URL": "foo"}, "EMAIL_URL"),
        ({"EMAIL_URL": "smtp://127.0.0.1:port"}, "EMAIL_URL"),
        ({"BASE_URL": "https://["}, "BASE_URL"),
        ({"BASE_URL": "https://credits.example?a=1"}, "BASE_URL"),
        ({"BASE_URL": "https://credits.example#a"}, "BASE_URL"),
        ({"BASE_URL": "https://a:b@credits.example"}, "BASE_URL"),
        ({"BASE_URL": "https://credits.example:port"}, "BASE_URL"),
        ({"BILLING_PORTAL_RETURN_URL": "http://["}, "BILLING_PORTAL_RETURN_URL"),
        ({"STRIPE_SECRET_KEY": "pk_" + "test_x"}, "STRIPE_SECRET_KEY"),
        ({"STRIPE_API_BASE": "ftp:x"}, "STRIPE_API_BASE"),
        (
            {"STRIPE_REDIRECT_ORIGINS": "https://a; script-src 'unsafe-inline'"},
            "STRIPE_REDIRECT_ORIGINS",
        ),
        ({"LOGIN_RATE_LIMIT": "foo"}, "LOGIN_RATE_LIMIT"),
        ({"GOOGLE_CLIENT_ID": "id"}, "GOOGLE_CLIENT_ID"),
        ({"GITHUB_CLIENT_SECRET": "secret"}, "GITHUB_CLIENT_ID"),
        ({"BILLING_PORTAL_RETURN_URL": "/dashboard"}, "BILLING_PORTAL_RETURN_URL"),
    ],
)
def test_a_missing_or_unsafe_setting_stops_the_start_with_one_line(environment, named):
    result = start(**environment)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Settings: {named} ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("expression", "environment", "value"),
    [
        ("settings.SITE_NAME", {}, "Dynamic Credits"),
        ("settings.SITE_NAME", {"SITE_NAME": "Tokens & Co"}, "Tokens & Co"),
        ("settings.COMPANY_NAME", {"SITE_NAME": "Tokens & Co"}, "Tokens & Co"),
        ("settings.COMPANY_NAME", {"COMPANY_NAME": "Tokens & Co Ltd"}, "Tokens & Co Ltd"),
        ("settings.DEBUG", {}, "False"),
        ("settings.ACCOUNT_EMAIL_VERIFICATION", {}, "mandatory"),
        ("settings.ACCOUNT_EMAIL_VERIFICATION", {"DEBUG": "on"}, "optional"),
        ("settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE", {}, "True True"),
        ("settings.SESSION_COOKIE_SECURE", {"BASE_URL": "http://127.0.0.1:8000"}, "False"),
        ("settings.SECURE_HSTS_SECONDS > 0", {}, "True"),
        ("settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN", {}, "False"),
        (
            "settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN",
            {"BASE_URL": "http://127.0.0.1:8000"},
            "True",
        ),
        ("settings.BILLING_PORTAL_RETURN_URL", {}, "https://credits.example/dashboard"),
        (
            "settings.BILLING_PORTAL_RETURN_URL",
            {"BILLING_PORTAL_RETURN_URL": "https://app.example/billing"},
            "https://app.example/billing",
        ),
        ("settings.STRIPE_WEBHOOK_SECRETS", {"STRIPE_WEBHOOK_SECRET": "a, b"}, "['a', 'b']"),
        ("settings.STRIPE_LIVEMODE", {}, "False"),
        ("settings.ADJUSTMENT_LIMIT", {}, "10000"),
        ("settings.SUPPORT_EMAIL", {}, "shop@credits.example"),
        (
            "settings.SUPPORT_EMAIL",
            {"DEFAULT_FROM_EMAIL": "Tokens & Co <shop@credits.example>"},
            "shop@credits.example",
        ),
        (
            "settings.SUPPORT_EMAIL",
            {"SUPPORT_EMAIL": "help@credits.example"},
            "help@credits.example",
        ),
        ("settings.LOW_BALANCE_CREDITS", {}, "100"),
        ("settings.GIFTS_RETURN_AFTER_DAYS, settings.GIFTS_MAY_BE_GIVEN_ON", {}, "30 False"),
        ("settings.GIFTS_MAY_BE_GIVEN_ON", {"GIFTS_MAY_BE_GIVEN_ON": "on"}, "True"),
        ("settings.API_REQUESTS_PER_MINUTE", {}, "600"),
        ("settings.OUTGOING_PRIVATE_ADDRESSES", {}, "False"),
        ("settings.OUTGOING_PRIVATE_ADDRESSES", {"OUTGOING_PRIVATE_ADDRESSES": "yes?"}, "False"),
        ("settings.OUTGOING_PRIVATE_ADDRESSES", {"OUTGOING_PRIVATE_ADDRESSES": "on"}, "True"),
        ("settings.LOW_BALANCE_CREDITS", {"LOW_BALANCE_CREDITS": "0"}, "0"),
        ("settings.ADJUSTMENT_LIMIT", {"ADJUSTMENT_LIMIT": "0"}, "0"),
        ("settings.STRIPE_LIVEMODE", {"STRIPE_SECRET_KEY": "rk_" + "live_x"}, "True"),
        ("settings.STRIPE_API_BASE", {}, "https://api.stripe.com"),
        ("settings.SOCIALACCOUNT_PROVIDERS", {}, "{}"),
        (
            "settings.SOCIALACCOUNT_PROVIDERS",
            {"GITHUB_CLIENT_ID": "id", "GITHUB_CLIENT_SECRET": "secret"},
            "{'github': {'APP': {'client_id': 'id', 'secret': 'secret'}}}",
        ),
        (
            "settings.CONTENT_SECURITY_POLICY['DIRECTIVES']['form-action'][-1]",
            {"GITHUB_CLIENT_ID": "id", "GITHUB_CLIENT_SECRET": "secret"},
            "https://github.com",
        ),
    ],
)
def test_what_a_setting_becomes(expression, environment, value):
    result = start(expression, **environment)
    assert result.stderr == ""
    assert result.stdout.strip() == value
