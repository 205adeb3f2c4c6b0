"""The local environment that script/server and script/manage run in.

What `.env` and the caller's environment set stays; the rest gets local defaults, with secrets that
are made once and kept in the ignored `var/`.
"""

import json
import os
import secrets
from pathlib import Path

import environ

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
ADMIN = "admin@example.com"


def environment() -> dict[str, str]:
    """The variables of the app, its database's apart."""
    if (ROOT / ".env").exists():
        environ.Env.read_env(ROOT / ".env")  # what is set already wins
    found = {name: value for name, value in os.environ.items() if value}
    kept = _secrets()
    bind = found.setdefault("BIND", "127.0.0.1:8000")
    found.setdefault("DEBUG", "on")
    found.setdefault("BASE_URL", f"http://{bind}")
    found.setdefault("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
    found.setdefault("SECRET_KEY", kept["SECRET_KEY"])
    found.setdefault("LOCAL_ADMIN_PASSWORD", kept["LOCAL_ADMIN_PASSWORD"])
    found["DJANGO_SETTINGS_MODULE"] = "config.settings"
    if not found.get("STRIPE_SECRET_KEY"):
        host, _, port = bind.rpartition(":")
        sandbox = found.setdefault("STRIPE_SANDBOX_BIND", f"{host}:{int(port) + 1}")
        found |= {
            "STRIPE_SECRET_KEY": f"sk_test_{kept['SANDBOX_KEY']}",
            "STRIPE_WEBHOOK_SECRET": f"whsec_{kept['WEBHOOK_SECRET']}",
            "STRIPE_API_BASE": f"http://{sandbox}",
            "STRIPE_REDIRECT_ORIGINS": f"http://{sandbox}",
            "STRIPE_SANDBOX_STATE": str(VAR / "stripe-sandbox.sqlite3"),
            "STRIPE_SANDBOX_WEBHOOK_URL": f"http://{bind}/api/billing/webhook",
        }
    return found


def uses_sandbox(env: dict[str, str]) -> bool:
    return "STRIPE_SANDBOX_STATE" in env


def _secrets() -> dict[str, str]:
    file = VAR / "secrets.json"
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        made = {
            name: secrets.token_urlsafe(size)
            for name, size in [
                ("SECRET_KEY", 48),
                ("WEBHOOK_SECRET", 24),
                ("SANDBOX_KEY", 24),
                ("LOCAL_ADMIN_PASSWORD", 12),
            ]
        }
    VAR.mkdir(exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(made, indent=1))
    draft.replace(file)  # whole or not at all, whenever it is ended
    return made
