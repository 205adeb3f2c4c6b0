"""What every page owes its readers: light, calm, inside the screen, and usable by everybody."""

import functools
import gzip
import os
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from playwright.sync_api import Page

HEIGHT = 900
WIDTHS = (1280, 320, 390)  # CSS pixels
LOADED_AT = (1280, 320)
LOOK = Path(__file__).with_name("budgets.js").read_text()
# The sum of all layout shifts from the start of each page on.
COUNT_SHIFTS = """
window.shifts = {
  sum: 0,
  add(list) { for (const each of list) this.sum += each.value; },
};
window.shifts.observer = new PerformanceObserver((list) => window.shifts.add(list.getEntries()));
window.shifts.observer.observe({ type: 'layout-shift', buffered: true });
"""

# 24 by 24 px, but for links in a sentence and what has room around it (WCAG 2.5.8).
TARGETS = {"target-size": {"enabled": True}}
# Knows no picture as a label, as of the admin's search; the rule `label` does.
TITLES = {"label-title-only": {"enabled": False}}
ALL_RULES = {"rules": TARGETS | TITLES}
COLOURS = {"runOnly": ["color-contrast"]}
PLACES = {"runOnly": ["color-contrast", "target-size"]}
# All of them once, and then what another theme or another width may change.
AXE = [
    (320, "light", ALL_RULES),
    (320, "dark", COLOURS),
    (1280, "dark", COLOURS),
    (1280, "light", PLACES),
]
# Colours that are on their way to others are there first.
RUN_AXE = """async (options) => {
  if (!window.axe && !window.loadAxe) return null;
  if (!window.axe) window.loadAxe();
  for (const each of document.getAnimations()) each.cancel();
  const { violations } = await axe.run({ ...options, resultTypes: ['violations'], preload: false });
  return violations.flatMap(
    ({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`),
  );
}"""


@dataclass(frozen=True)
class Budget:
    """The most a page may take: bytes as they are sent, but CSS and scripts gzipped."""

    weight: int = 40 * 1024
    requests: int = 8
    css: int = 10 * 1024
    js: int = 10 * 1024
    shift: float = 0


PEOPLE = Budget()
# Django's admin brings jQuery and some twenty files. This is what it takes; ours adds little to it.
# Its head grows to the left while it comes in, by less than anybody sees.
STAFF = Budget(weight=128 * 1024, requests=24, css=20 * 1024, js=90 * 1024, shift=0.005)


def prepare(page: Page) -> None:
    """Have what `faults` needs in each document that the page will load."""
    page.add_init_script(COUNT_SHIFTS)
    # To send it to each when it is needed takes five times as long.
    page.add_init_script(f"window.loadAxe = () => {{ {axe()}\n }};")


def faults(page: Page, address: str, complaints: list[str], budget: Budget = PEOPLE) -> list[str]:
    """All that is wrong with what is at an address, in words. `complaints` is what the browser says
    by itself; what is there afterwards has been told.

    The page is loaded at the widest and at the narrowest, as it may move while it loads; all else
    is looked at without loading it again.
    """
    found: list[str] = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        if width in LOADED_AT:
            page.goto(address)
        seen = page.evaluate(LOOK)
        if width == WIDTHS[0]:
            found += over(budget, seen["weight"], seen["files"])
        if seen["shift"] > budget.shift and width in LOADED_AT:
            found.append(f"at {width} px it moves while it loads, by {seen['shift']:.4f}")
        if seen["excess"] > 0:
            found.append(f"at {width} px it is {seen['excess']} px wider than the screen")
        found += [f"at {width} px the focus does not show on {one}" for one in seen["without"]]
    for width, theme, rules in AXE:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme=theme)
        found += [f"at {width} px in {theme} {one}" for one in violations(page, rules)]
    found += dict.fromkeys(complaints)
    complaints.clear()
    return [f"{address}: {one}" for one in found]


def over(budget: Budget, weight: int, files: list[str]) -> list[str]:
    took = Budget(
        weight=weight,
        requests=1 + len(files),
        css=sum(zipped(file) for file in files if file.endswith(".css")),
        js=sum(zipped(file) for file in files if file.endswith(".js")),
    )
    return [
        f"it takes {amount} of {name}, and may take {most}"
        for (name, amount), most in zip(asdict(took).items(), astuple(budget), strict=True)
        if amount > most
    ]


@functools.cache
def zipped(address: str) -> int:
    name = urlsplit(address).path.removeprefix(settings.STATIC_URL)
    return len(gzip.compress((settings.STATIC_ROOT / name).read_bytes(), mtime=0))


def violations(page: Page, rules: Mapping[str, Any] = ALL_RULES) -> list[str]:
    """What axe finds, each with the element."""
    found: list[str] | None = page.evaluate(RUN_AXE, rules)
    if found is None:
        page.evaluate(axe())
        found = page.evaluate(RUN_AXE, rules)
    assert found is not None
    return found


def axe() -> str:
    return Path(os.environ["AXE_SCRIPT"]).read_text()
