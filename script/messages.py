"""The catalogues under `locale/`: what there is to translate, and what of it is translated.

Texts are found by Django's own reading of its templates and Babel's of Python, so neither xgettext
nor msgfmt has to be there. The compiled `.mo` is committed beside each `.po`: nothing is compiled
where the site runs.
"""

import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "locale"
# Theirs is not read by customers or staff.
NOT_TRANSLATED = {"bench", "stripe_sandbox", "tests"}
KEYWORDS = DEFAULT_KEYWORDS | {
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
COMMENT = "Translators:"
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[a-z]|\{\w+\}|</?\w+[^>]*>|%%")


def main(languages: list[str]) -> int:
    unfinished = 0
    for language in languages or known_languages():
        catalog = updated(language, extracted())
        po_of(language).parent.mkdir(parents=True, exist_ok=True)
        po_of(language).write_bytes(po_bytes(catalog))
        mo_of(language).write_bytes(mo_bytes(catalog))
        left = [f"  {problem}" for problem in problems(catalog)]
        print(f"{language}: {len(catalog)} texts, {len(left)} to look at", *left, sep="\n")
        unfinished += len(left)
    return 1 if unfinished else 0


def known_languages() -> list[str]:
    """Those that have a catalogue; English is in the code."""
    return sorted(path.parent.parent.name for path in LOCALE.glob("*/LC_MESSAGES/django.po"))


def po_of(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def mo_of(language: str) -> Path:
    return po_of(language).with_suffix(".mo")


def extracted() -> Catalog:
    """All that is marked for translation, in Python and in templates."""
    found = Catalog(charset="utf-8")
    for path in sources():
        text = path.read_text()
        if path.suffix != ".py":
            # What Django makes of a template is made for xgettext, which minds no indentation.
            lines = templatize(text, origin=str(path)).splitlines()
            text = "\n".join(line.lstrip() for line in lines)
        source = BytesIO(text.encode())
        for _, id, comments, context in extract("python", source, KEYWORDS, [COMMENT]):
            found.add(
                id, locations=[(str(path.relative_to(ROOT)), 0)], auto_comments=comments,
                context=context,
            )  # fmt: skip
    return found


def sources() -> Iterator[Path]:
    """In the order that a catalogue keeps its files in."""
    apps = sorted(
        folder.parent
        for folder in ROOT.glob("*/__init__.py")
        if folder.parent.name not in NOT_TRANSLATED
    )
    paths = (path for folder in [*apps, ROOT / "templates"] for path in folder.rglob("*"))
    for path in sorted(paths, key=str):
        if path.suffix in {".py", ".html", ".txt"} and "migrations" not in path.parts:
            yield path


def updated(language: str, template: Catalog) -> Catalog:
    """A language's catalogue with the texts of now; what they are in it is kept."""
    catalog = read(language) if po_of(language).exists() else Catalog(locale=language)
    catalog.update(template)
    catalog.obsolete.clear()
    for message in catalog:
        if message.id and not any(message.string or ()):  # nothing that was like something else
            message.flags.discard("fuzzy")
    return catalog


def read(language: str) -> Catalog:
    with po_of(language).open("rb") as file:
        return read_po(file, locale=language)


def po_bytes(catalog: Catalog) -> bytes:
    """With the files that a text is in, without lines and dates: a change shows what changed."""
    body = BytesIO()
    write_po(body, catalog, width=100, omit_header=True, sort_by_file=True, include_lineno=False)
    header = "".join(f'"{name}: {value}\\n"\n' for name, value in _header(catalog))
    return f'msgid ""\nmsgstr ""\n{header}\n'.encode() + body.getvalue().strip() + b"\n"


def mo_bytes(catalog: Catalog) -> bytes:
    """Compiled; the same for the same texts, so that a test can compare."""
    lean = _Lean(locale=catalog.locale, charset="utf-8")
    for message in catalog:
        if message.id and not message.fuzzy:
            lean[message.id] = message
    body = BytesIO()
    write_mo(body, lean)
    return body.getvalue()


class _Lean(Catalog):
    """A catalogue whose header says neither when nor by which version it was made."""

    mime_headers = property(lambda self: _header(self))  # type: ignore[assignment]


def _header(catalog: Catalog) -> list[tuple[str, str]]:
    return [
        ("Language", str(catalog.locale_identifier)),
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "8bit"),
        ("Plural-Forms", catalog.plural_forms),
    ]


def problems(catalog: Catalog) -> list[str]:
    """What is not translated, or not as it has to be."""
    return [
        f"{problem}: {shown(message)}"
        for message in catalog
        if message.id
        for problem in problems_of(message, catalog.num_plurals)
    ]


def problems_of(message: Message, plurals: int) -> Iterator[str]:
    originals = message.id if isinstance(message.id, (list, tuple)) else (message.id,)
    texts = message.string if isinstance(message.string, (list, tuple)) else (message.string or "",)
    if message.fuzzy:
        yield "fuzzy"
    if not all(texts):
        yield "not translated"
        return
    if len(originals) > 1 and len(texts) != plurals:
        yield "a plural form is missing"
        return
    for number, text in enumerate(texts):
        original = originals[min(number, len(originals) - 1)]
        there, wanted = placeholders(text), placeholders(original)
        # "Your credit" for one and "your %(count)s credits" for more: either may be the pattern.
        allowed = [wanted] if len(originals) == 1 else [wanted, placeholders(originals[-1])]
        if there not in allowed:
            yield f"placeholders differ ({' '.join(there) or 'none'})"


def placeholders(text: str) -> list[str]:
    return sorted(_PLACEHOLDER.findall(text))


def shown(message: Message) -> str:
    id = message.id[0] if isinstance(message.id, (list, tuple)) else message.id
    return f"{id!r}" if message.context is None else f"{id!r} ({message.context})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
