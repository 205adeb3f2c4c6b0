"""What the stand-in refuses to start with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def start(state: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stripe_sandbox", "--state", str(state), *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **settings},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:8001", "192.0.2.1:8001", "[::]:8001", "example.com:8001", ":8001", "8001"]
)
def test_it_serves_this_machine_only(tmp_path, bind):
    for ended in (
        start(tmp_path / "state.sqlite3", "--bind", bind),
        start(tmp_path / "state.sqlite3", STRIPE_SANDBOX_BIND=bind),
    ):
        assert ended.returncode == 1
        assert ended.stderr == (
            f"The sandbox takes payments from nobody: {bind} is not a loopback address.\n"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["sk_", "rk_"])
def test_it_refuses_a_live_key_and_does_not_repeat_it(tmp_path, prefix):
    key = prefix + "live_" + "x" * 24
    ended = start(tmp_path / "state.sqlite3", "--bind", "127.0.0.1:0", STRIPE_SECRET_KEY=key)
    assert ended.returncode == 1
    assert ended.stderr == (
        "STRIPE_SECRET_KEY is a live key: it has no business with a stand-in.\n"
    )
    assert list(tmp_path.iterdir()) == []
