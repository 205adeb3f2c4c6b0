"""The benchmark runs from end to end; what it finds is for a quiet machine and the full run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_short_form_runs_and_no_ratio_is_far_off():
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "script/bench.py", "--short"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("`ledger.spend` from Python", "one hot wallet", "first page of the history"):
        assert what in done.stdout
