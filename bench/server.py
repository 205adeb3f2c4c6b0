"""The web server as `script/server` starts it, on a database of the benchmark's."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def served(database: str, **settings: str) -> Iterator[tuple[str, int]]:
    """Answers its address and process; `settings` are variables of its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "BASE_URL": f"http://{bind}",
        "BIND": bind,
        "DATABASE_URL": database,
        **settings,
    }
    command = [sys.executable, "-m", "gunicorn", "config.wsgi"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        while True:
            assert process.poll() is None, "the web server ended by itself"
            try:
                asked = HTTPConnection(bind, timeout=5)
                asked.request("GET", "/healthz")
                asked.getresponse()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://{bind}", process.pid
    finally:
        process.terminate()
        process.wait(timeout=40)
