"""Photographs every page, of a site of its own with made-up data, to `var/screenshots`.

`--readme` makes the four pictures of the README in `docs/images` instead.
"""

import argparse
import html
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import check
import postgres
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "var" / "screenshots"
IMAGES = ROOT / "docs" / "images"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
THEMES = ("light", "dark")
README = {
    "shop-deal": [("desktop", "light"), ("phone", "light")],
    "dashboard": [("desktop", "dark")],
    "stand-in-pay": [("desktop", "light")],
}
LARGEST_IMAGE = 150 * 1024  # bytes, of the README's
START_TIMEOUT = 60  # seconds


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/screenshots", description=__doc__)
    parser.add_argument("--readme", action="store_true", help="only those of the README")
    for_readme = parser.parse_args(arguments).readme
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is cleaned up
    with ExitStack() as stack:
        state = stack.enter_context(TemporaryDirectory())
        env = _environment(Path(state), stack.enter_context(postgres.throwaway()))
        _manage(env, "migrate", "-v0")
        _manage(env, "collectstatic", "--noinput", "-v0")
        _start(stack, env, "-m", "stripe_sandbox")
        _start(stack, env, "-m", "gunicorn", "config.wsgi")
        _wait_for(f"{env['BASE_URL']}/healthz")
        _wait_for(f"{env['STRIPE_API_BASE']}/sandbox")
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=os.environ["CHROME"])
        stack.callback(browser.close)
        context = browser.new_context(
            reduced_motion="reduce", device_scale_factor=2 if for_readme else 1
        )
        os.environ.update(env)
        if for_readme:
            _photograph_for_readme(context.new_page(), env)
        else:
            _photograph_all(context.new_page(), env)


def _environment(state: Path, database: str) -> dict[str, str]:
    """Neither `.env` nor what runs here already is touched."""
    site, sandbox = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    return check.environment() | {
        "BASE_URL": f"http://{site}",
        "BIND": site,
        "DATABASE_URL": database,
        "LOG_LEVEL": "error",
        "STRIPE_API_BASE": f"http://{sandbox}",
        "STRIPE_REDIRECT_ORIGINS": f"http://{sandbox}",
        "STRIPE_SANDBOX_BIND": sandbox,
        "STRIPE_SANDBOX_STATE": str(state / "stripe-sandbox.sqlite3"),
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _manage(env: dict[str, str], *command: str) -> None:
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=env, check=True)


def _start(stack: ExitStack, env: dict[str, str], *command: str) -> None:
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env)
    stack.callback(process.wait, START_TIMEOUT)
    stack.callback(process.terminate)


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _photograph_all(tab: Tab, env: dict[str, str]) -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    names = []
    for name, address in _pages(tab, env):
        tab.goto(address)
        for size, (width, height) in SIZES.items():
            tab.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                tab.emulate_media(color_scheme=theme)
                names.append(f"{name}-{size}-{theme}.png")
                tab.screenshot(path=OUT / names[-1], full_page=True, animations="disabled")
    sheet = OUT / "index.html"
    sheet.write_text(_sheet(sorted(names)))
    print(f"{len(names)} pictures; to see all of them, open {sheet.relative_to(ROOT)}")


def _photograph_for_readme(tab: Tab, env: dict[str, str]) -> None:
    for name, address in _pages(tab, env, only=set(README)):
        tab.goto(address)
        for size, theme in README[name]:
            width, height = SIZES[size]
            tab.set_viewport_size({"width": width, "height": height})
            tab.emulate_media(color_scheme=theme)
            image = IMAGES / f"{name}-{size}-{theme}.webp"
            tab.screenshot(path=image, type="webp", quality=70, animations="disabled")
            if image.stat().st_size >= LARGEST_IMAGE:
                sys.exit(f"{image.relative_to(ROOT)} has {image.stat().st_size} bytes: too many")


def _pages(
    tab: Tab, env: dict[str, str], only: set[str] | None = None
) -> Iterator[tuple[str, str]]:
    """The name and the address of each page, for the tab as it then is."""
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    logging.disable()  # what goes wrong on purpose
    from django.db import connections

    from script.every_page import PAGES, PEOPLE, Page, bring
    from script.everybody import regular, settle_in

    stand_in = [
        Page("stand-in-controls", f"{env['STRIPE_API_BASE']}/sandbox"),
        Page("stand-in-pay", "{payment_page}"),
        Page("stand-in-portal", "/api/billing/portal-link", regular),
    ]
    try:
        accounts, places = settle_in(PEOPLE)
        pages = [page for page in [*PAGES, *stand_in] if only is None or page.name in only]
        for page in tqdm(pages, unit="page", disable=None):
            yield page.name, bring(tab, env["BASE_URL"], page, accounts, places)
    finally:
        connections.close_all()


def _sheet(names: list[str]) -> str:
    figures = "\n".join(
        f'<a href="{name}"><img src="{name}" alt="" loading="lazy">{html.escape(name)}</a>'
        for name in names
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Every page</title>
<style>
  body {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: 1rem; font: 13px system-ui; }}
  a {{ display: flex; flex-direction: column-reverse; justify-content: flex-end; }}
  img {{ width: 100%; max-height: 30rem; border: 1px solid; }}
  img {{ object-fit: cover; object-position: top; }}
</style>
{figures}
</html>
"""


if __name__ == "__main__":
    main(sys.argv[1:])
