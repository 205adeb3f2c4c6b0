"""`script/messages.py`, which is a program and no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "script"))

import messages

__all__ = ["messages"]
