import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("python", "complaint"),
    [
        ("exit 1", "setup: needs Python 3.11 or later as python3\n"),
        ('[ "$1" = -c ]', "setup: needs pip for "),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, python: str, complaint: str) -> None:
    (tmp_path / "script").mkdir()
    shutil.copy(ROOT / "script/setup", tmp_path / "script/setup")
    shutil.copy(ROOT / "requirements-dev.lock", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("python3", "python3.11"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    result = subprocess.run(
        ["bash", "script/setup"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}/bin:{os.defpath}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(complaint)
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_by_hash_and_name_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    for requirement in text.replace("\\\n", "").splitlines():
        if requirement.strip() and not requirement.strip().startswith("#"):
            assert "==" in requirement
            assert "--hash=sha256:" in requirement


def test_npm_lock_pins_by_hash_and_names_no_index() -> None:
    text = (ROOT / "package-lock.json").read_text()
    assert "resolved" not in text
    assert text.count('"integrity": "sha512-') == text.count('"node_modules/')


def test_what_runs_is_locked_alike_in_both() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.split()[0] for line in lines if line[:1].isalnum()}

    assert pins("requirements.lock") < pins("requirements-dev.lock")


def test_settings_of_the_caller_do_not_reach_the_tests(tmp_path: Path) -> None:
    program = "import check, json; print(json.dumps(check.environment()))"
    caller = {"DATABASE_URL": "theirs", "STRIPE_SECRET_KEY": "theirs", "SITE_NAME": "theirs"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "script")} | caller,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "theirs" not in result.stdout


def test_browser_starts_and_has_a_font() -> None:
    # In a process of its own: the browser tests keep theirs, and one process can't have two.
    program = """
import os
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=os.environ["CHROME"])
    page = browser.new_page()
    page.set_content("<span>mmmm</span><br><span>iiii</span>")
    print(page.evaluate("[...document.querySelectorAll('span')].map(e => e.offsetWidth)"))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    wide, narrow = map(int, result.stdout.strip("[]\n").split(", "))
    assert wide > narrow > 0
