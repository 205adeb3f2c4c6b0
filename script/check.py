"""Every check and test, on a throw-away PostgreSQL.

`--coverage` alone also measures which code the tests run, for which they take half as long again.
Other arguments go to pytest, which then runs alone.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import postgres

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
KEPT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "CI", "CHROME", "AXE_SCRIPT", "PLAYWRIGHT_NODEJS_PATH"),
    "API_FUZZ",  # long: the API against its schema, thousands of requests of each kind
    "LEDGER_FUZZ",  # long: the ledger against its model and its races for half an hour
    "WEBHOOK_FUZZ",  # long: 10,000 mutated webhooks of each kind
    "PAYMENTS_SOAK",  # long: 1,000 purchases, each of their events delivered ten times
)
MINIMUM_COVERAGE = 90
COLLECT = ("python", "manage.py", "collectstatic", "--noinput", "-v0")
OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}


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
        "SECRET_KEY": secrets.token_urlsafe(48),
        "STRIPE_API_BASE": "http://127.0.0.1:9",  # nothing is there; tests bring their own
        "STRIPE_SECRET_KEY": f"sk_test_{secrets.token_urlsafe(24)}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_urlsafe(24)}",
    }


def main(arguments: list[str]) -> int:
    env = environment()
    failed: list[str] = []
    with_coverage = arguments == ["--coverage"]
    if with_coverage:
        arguments = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is cleaned up

    def step(title: str, *command: str) -> None:
        print(f"\n=== {title}", flush=True)
        start = time.monotonic()
        if subprocess.run(command, cwd=ROOT, env=env).returncode:
            failed.append(title)
        print(f"    {time.monotonic() - start:.1f} s", flush=True)

    def steps(*each: tuple[str, ...]) -> None:
        """Two at a time, each told when it has ended."""

        def run(command: tuple[str, ...]) -> tuple[subprocess.CompletedProcess[bytes], float]:
            start = time.monotonic()
            done = subprocess.run(
                command[1:], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            return done, time.monotonic() - start

        with ThreadPoolExecutor(2) as pool:
            for (title, *_), (done, took) in zip(each, pool.map(run, each), strict=True):
                print(f"\n=== {title}\n{done.stdout.decode()}    {took:.1f} s", flush=True)
                if done.returncode:
                    failed.append(title)

    with ExitStack() as stack:
        url = os.environ.get("TEST_DATABASE_URL")
        env["DATABASE_URL"] = url or stack.enter_context(postgres.throwaway())
        if not arguments:
            steps(
                ("Types", "mypy"),  # which takes as long as all the others
                ("Static files", *COLLECT),
                ("Lint", "ruff", "check"),
                ("Format", "ruff", "format", "--check"),
                ("Templates", "djade", "--check", "--target-version", "5.2", *_templates()),
                ("Imports", "lint-imports"),
                ("Migrations", "python", "manage.py", "makemigrations", "--check", "--dry-run"),
                ("System checks", "python", "manage.py", "check", "--fail-level", "WARNING"),
                # As behind a proxy that ends TLS. Its warnings are about HSTS for other sites of
                # the domain, which is its owner's to decide.
                (
                    "System checks of a public site",
                    *("env", "-u", "DJANGO_ALLOW_ASYNC_UNSAFE", "TRUSTED_PROXIES=1"),
                    *("BASE_URL=https://credits.example", "ALLOWED_HOSTS=credits.example"),
                    *("python", "manage.py", "check", "--deploy", "--fail-level", "ERROR"),
                ),
            )
        else:
            step("Static files", *COLLECT)
        report = Path(stack.enter_context(TemporaryDirectory())) / "tests.xml"
        if arguments:
            step("Tests", "pytest", *arguments)
        else:
            step(
                "Tests",
                *(("coverage", "run", "-m") if with_coverage else ()),
                *("pytest", "-q", "-n2", "--dist=worksteal", "--durations=40"),
                f"--junit-xml={report}",
            )
        if with_coverage:
            step("Coverage data", "coverage", "combine", "-q")
            step("Coverage", "coverage", "report", f"--fail-under={MINIMUM_COVERAGE}")
        print("\n" + (f"FAILED: {', '.join(failed)}" if failed else "All checks and tests passed."))
        if not arguments:
            print(_count(report))
    return 1 if failed else 0


def _templates() -> list[str]:
    # Without asking git, which refuses a checkout that somebody else owns.
    return [
        str(path)
        for folder in sorted(ROOT.glob("[!.]*/"))
        if folder.name not in {"var", "staticfiles"}
        for path in sorted(folder.rglob("*.html"))
    ]


def _count(report: Path) -> str:
    """What the tests came to, in pytest's words."""
    if not report.exists():
        return "0 passed, 0 failed: the tests did not run to their end"
    # A test that passes and whose clean-up then fails has two outcomes; the worse one counts.
    outcomes = Counter(
        next((word for tag, word in OUTCOMES.items() if case.find(tag) is not None), "passed")
        for case in ElementTree.parse(report).iter("testcase")
    )
    return ", ".join(f"{outcomes[word]} {word}" for word in ("passed", "failed", "skipped"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
