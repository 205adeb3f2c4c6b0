"""Every check and test, on a throw-away PostgreSQL.

Arguments go to pytest, which then runs alone.
"""

import os
import secrets
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import postgres

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "CI", "CHROME", "AXE_SCRIPT", "PLAYWRIGHT_NODEJS_PATH")
MINIMUM_COVERAGE = 90


def environment() -> dict[str, str]:
    """The tests' own settings: neither `.env` nor the caller's reach them."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    kept["PATH"] = f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {
        "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
        "BASE_URL": "http://127.0.0.1:8000",
        "DEBUG": "off",
        # Playwright runs an event loop in the thread of the tests.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
        "DEFAULT_FROM_EMAIL": "shop@example.com",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "EMAIL_URL": "consolemail://",
        "EMAIL_VERIFICATION": "optional",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "STRIPE_API_BASE": "http://127.0.0.1:9",  # nothing is there; tests bring their own
        "STRIPE_SECRET_KEY": f"sk_test_{secrets.token_urlsafe(24)}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_urlsafe(24)}",
    }


def main(arguments: list[str]) -> int:
    env = environment()
    failed = []

    def step(title: str, *command: str) -> None:
        print(f"\n=== {title}", flush=True)
        start = time.monotonic()
        if subprocess.run(command, cwd=ROOT, env=env).returncode:
            failed.append(title)
        print(f"    {time.monotonic() - start:.1f} s", flush=True)

    with ExitStack() as stack:
        url = os.environ.get("TEST_DATABASE_URL")
        env["DATABASE_URL"] = url or stack.enter_context(postgres.throwaway())
        if not arguments:
            templates = subprocess.run(
                ["git", "ls-files", "*.html"], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.split()
            step("Lint", "ruff", "check")
            step("Format", "ruff", "format", "--check")
            step("Templates", "djade", "--check", "--target-version", "5.2", *templates)
            step("Imports", "lint-imports")
            step("Types", "mypy")
            step("Migrations", "python", "manage.py", "makemigrations", "--check", "--dry-run")
            step("System checks", "python", "manage.py", "check", "--fail-level", "WARNING")
        step("Static files", "python", "manage.py", "collectstatic", "--noinput", "-v0")
        if arguments:
            step("Tests", "pytest", *arguments)
        else:
            step("Tests", "coverage", "run", "-m", "pytest", "-q")
            step("Coverage data", "coverage", "combine", "-q")
            step("Coverage", "coverage", "report", f"--fail-under={MINIMUM_COVERAGE}")
    print("\n" + (f"FAILED: {', '.join(failed)}" if failed else "All checks and tests passed."))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
