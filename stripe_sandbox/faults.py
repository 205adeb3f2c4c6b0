"""Faults on order: hang, be slow, answer an error, or lose the reply after doing the work."""

import json
import time
from typing import Any

from stripe_sandbox import store

KINDS = {"hang", "slow", "error", "lose_reply", "reset"}

Fault = dict[str, Any]

_DEFAULTS: Fault = {
    "method": "POST",
    "after": 0,
    "times": 1,
    "status": 500,
    "seconds": 30,
    "code": None,
}


def add(fault: Fault) -> None:
    """Have the next `times` calls of a method (`*`: any) on a path (or below it) fail.

    The first `after` of them are let through.

    `hang` does nothing for some `seconds` and then hangs up; `slow` waits as long, does the work
    and answers; `reset` hangs up at once; `error` answers `status` without doing the work;
    `lose_reply` does it and then hangs up. Raises `ValueError`.
    """
    unknown = set(fault) - set(_DEFAULTS) - {"kind", "path"}
    if unknown:
        raise ValueError(f"A fault has no {', '.join(sorted(unknown))}.")
    if fault.get("kind") not in KINDS or not isinstance(fault.get("path"), str):
        raise ValueError(f"A fault has a path and one of the kinds {', '.join(sorted(KINDS))}.")
    kept = _DEFAULTS | fault
    for name, least, most in (
        ("after", 0, 1000),
        ("times", 1, 1000),
        ("status", 400, 599),
        ("seconds", 0, 600),
    ):
        if not isinstance(kept[name], int | float) or not least <= kept[name] <= most:
            raise ValueError(f"A fault's {name} is from {least} to {most}.")
    store.execute("INSERT INTO fault (body) VALUES (?)", json.dumps(kept))


def take(method: str, path: str) -> Fault | None:
    """The fault that this call has to suffer, counted down."""
    with store.transaction():
        for number, body in store.execute("SELECT n, body FROM fault ORDER BY n"):
            fault: Fault = json.loads(body)
            if fault["method"] not in {"*", method} or not path.startswith(fault["path"]):
                continue
            is_due = not fault["after"]
            fault["times" if is_due else "after"] -= 1
            if fault["times"] > 0:
                store.execute("UPDATE fault SET body = ? WHERE n = ?", json.dumps(fault), number)
            else:
                store.execute("DELETE FROM fault WHERE n = ?", number)
            if is_due:
                return fault
    return None


class Forgotten(Exception):
    """All was reset while the call waited: it is of a time that nobody knows of any more."""


def wait(fault: Fault) -> None:
    """Let the ordered time pass. Raises `Forgotten`."""
    begun = store.resets()
    time.sleep(fault["seconds"])
    if store.resets() != begun:
        raise Forgotten


def active() -> list[Fault]:
    return [json.loads(body) for (body,) in store.execute("SELECT body FROM fault ORDER BY n")]


def clear() -> None:
    store.execute("DELETE FROM fault")
