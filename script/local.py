"""The local environment that script/server and script/manage run in.

What `.env` and the caller's environment set stays; the rest gets local defaults, with secrets that
are made once and kept in the ignored `var/`.
"""

import json
import os
import secrets
import sys
from contextlib import suppress
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
    host, port = address(found, "BIND", "127.0.0.1:8000")
    # What listens on every address of the machine is reached at its own.
    near = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    found.setdefault("DEBUG", "on")
    found.setdefault("BASE_URL", f"http://{near}:{port}")
    found.setdefault("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
    found.setdefault("SECRET_KEY", kept["SECRET_KEY"])
    found.setdefault("LOCAL_ADMIN_PASSWORD", kept["LOCAL_ADMIN_PASSWORD"])
    found["DJANGO_SETTINGS_MODULE"] = "config.settings"
    if not found.get("STRIPE_SECRET_KEY"):
        host, sandbox_port = address(found, "STRIPE_SANDBOX_BIND", f"127.0.0.1:{port + 1}")
        sandbox = f"{host}:{sandbox_port}"
        beyond_proxy = ["127.0.0.1", "localhost", "::1", *filter(None, [found.get("NO_PROXY")])]
        found |= {
            # The site and the sandbox talk to each other on this machine.
            "NO_PROXY": ",".join(beyond_proxy),
            "no_proxy": ",".join(beyond_proxy),
            "STRIPE_SECRET_KEY": f"sk_test_{kept['SANDBOX_KEY']}",
            "STRIPE_WEBHOOK_SECRET": f"whsec_{kept['WEBHOOK_SECRET']}",
            "STRIPE_API_BASE": f"http://{sandbox}",
            "STRIPE_REDIRECT_ORIGINS": f"http://{sandbox}",
            "STRIPE_SANDBOX_STATE": str(VAR / "stripe-sandbox.sqlite3"),
            "STRIPE_SANDBOX_WEBHOOK_URL": f"http://{near}:{port}/api/billing/webhook",
        }
    return found


def address(env: dict[str, str], variable: str, default: str = "") -> tuple[str, int]:
    """Host and port of a variable, which is set to the default if it isn't set."""
    value = env.setdefault(variable, default)
    host, _, port = value.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        sys.exit(f"{variable} must be HOST:PORT, such as 127.0.0.1:8000, and not {value!r}.")
    return host, int(port)


def has_own_admin(env: dict[str, str]) -> bool:
    """The administrator's password is the one that was made for this checkout."""
    return is_on(env["DEBUG"]) and env["LOCAL_ADMIN_PASSWORD"] == _secrets()["LOCAL_ADMIN_PASSWORD"]


def is_on(value: str) -> bool:
    return value.lower() in {"1", "on", "t", "true", "y", "yes", "ok"}


def uses_sandbox(env: dict[str, str]) -> bool:
    return "STRIPE_SANDBOX_STATE" in env


def _secrets() -> dict[str, str]:
    """Made at the first start and kept."""
    file = VAR / "secrets.json"
    if not file.exists():
        made = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "WEBHOOK_SECRET": secrets.token_urlsafe(24),
            "SANDBOX_KEY": secrets.token_urlsafe(24),
            "LOCAL_ADMIN_PASSWORD": secrets.token_urlsafe(12),
        }
        VAR.mkdir(exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(made, indent=1))
        with suppress(FileExistsError):  # another start was faster: its secrets count
            file.hardlink_to(draft)  # whole or not at all, whenever it is ended
        draft.unlink()
    kept: dict[str, str] = json.loads(file.read_text())
    return kept
