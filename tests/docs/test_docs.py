"""What the documents say that the code can contradict."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from billing.stripe_api import API_VERSION
from billing.webhooks import HANDLERS

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IMAGES = sorted(path for path in (ROOT / "docs/images").iterdir())
APPS = ("accounts", "api", "billing", "config", "credits", "outgoing", "usage", "website")
LARGEST_IMAGE = 150 * 1024

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_EVENT = re.compile(r"^ *- `([a-z_]+(?:\.[a-z_]+)+)`$", re.MULTILINE)


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and fragment of each link and image that stays in the repository."""
    for address in _LINK.findall(page.read_text()):
        if "://" not in address and not address.startswith("mailto:"):
            path, _, fragment = unquote(address).partition("#")
            yield path, fragment


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_variable_is_in_the_table_and_no_other() -> None:
    example = re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    table = re.findall(r"^\| `([A-Z_]+)` \|", section("Configuration"), re.MULTILINE)
    assert len(example) > 20
    assert sorted(table) == sorted(example)


def test_every_event_that_is_handled_is_named_and_no_other() -> None:
    assert sorted(_EVENT.findall(section("Going live"))) == sorted(HANDLERS)


def test_the_api_version_is_ours() -> None:
    assert set(re.findall(r"\b20\d\d-\d\d-\d\d\.[a-z]+\b", README)) == {API_VERSION}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, fragment in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), path
        assert target.exists(), path
        if fragment:
            assert fragment in anchors(target), f"{path}#{fragment}"


def test_each_module_has_its_place_and_each_place_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text().partition("## Where each thing is")[2]
    named = set(re.findall(r"`([^`\s]+)`", text))
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if path.name in {"__init__.py", "apps.py"} or "/migrations/" in name:
                continue
            assert (path.stem if "/commands/" in name else name) in named, name
    places = {name for name in named if "/" in name and not name.startswith("management/")}
    assert {place for place in places if not (ROOT / place).exists()} == set()


def test_a_page_that_the_code_names_exists() -> None:
    named = {
        name
        for folder in (*APPS, "script", "stripe_sandbox")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {"", ".py", ".sql", ".sh"}
        for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text())
    }
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_every_image_is_small_and_shown(image: Path) -> None:
    assert image.stat().st_size < LARGEST_IMAGE
    assert any(
        (page.parent / path).resolve() == image for page in PAGES for path, _ in links(page) if path
    )


def test_every_app_is_in_the_image() -> None:
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) - {"locale", "static", "templates"} == set(APPS)
    folders = {folder.parent.name for folder in ROOT.glob("*/__init__.py")}
    assert folders - {"stripe_sandbox", "tests", "bench"} == set(APPS)
