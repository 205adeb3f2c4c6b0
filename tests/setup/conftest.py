"""The scripts, run as their users run them: in processes of their own, in a checkout apart."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINKED = [
    *(folder.parent.name for folder in ROOT.glob("*/__init__.py") if folder.parent.name != "tests"),
    *("locale", "static", "templates"),
]
PATIENCE = 60  # seconds: two busy cores


@pytest.fixture
def checkout() -> Iterator[Path]:
    """The scripts in a folder of their own, whose `var/` is empty and which has no `.env`."""
    # pytest's own temporary folder is closed to the user whom root runs PostgreSQL as.
    folder = Path(tempfile.mkdtemp(prefix="setup-"))
    folder.chmod(0o755)
    shutil.copytree(ROOT / "script", folder / "script")
    for name in [*LINKED, "manage.py", "gunicorn.conf.py"]:
        (folder / name).symlink_to(ROOT / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def python(checkout: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Run Python in the checkout, with the scripts' modules and no settings but those given."""
    started = []

    def run(*arguments: str, **settings: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=checkout,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout / "script")} | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    def find(count: int) -> list[int]:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        return ports

    return find


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.1)

    return wait


@pytest.fixture
def processes_of() -> Callable[[Path], list[str]]:
    """The command lines of what runs from a folder."""

    def find(folder: Path) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(folder) in command or (process / "cwd").readlink().is_relative_to(folder):
                    found.append(command)
            except OSError:
                continue
        return found

    return find
