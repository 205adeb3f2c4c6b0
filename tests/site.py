"""The site as it is served: the real web server as a process, on the tests' database."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from django.db import connection

ROOT = Path(__file__).parent.parent


@contextmanager
def serve(**settings: str) -> Iterator[str]:
    """Answers its address; the settings are those of its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    url = f"http://{bind}"
    environment = os.environ | {
        "BASE_URL": url,
        "BIND": bind,
        "DATABASE_URL": database_url(),
        "LOG_LEVEL": "error",
        **settings,
    }
    command = [sys.executable, "-m", "gunicorn", "config.wsgi"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, "the web server ended by itself"
            assert time.monotonic() < deadline, "the web server doesn't answer"
            try:
                requests.get(f"{url}/healthz", timeout=5)
                break
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=40)


def database_url() -> str:
    """The tests' database, for another process."""
    database = connection.settings_dict
    host = database["OPTIONS"].get("host") or database["HOST"]
    return (
        f"postgres://{database['USER']}:{database['PASSWORD']}@/{database['NAME']}"
        f"?host={host}&port={database['PORT'] or 5432}"
    )
