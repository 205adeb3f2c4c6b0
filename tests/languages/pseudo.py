"""A language in which every translated text is in ⟦brackets⟧: what has none was not translated."""

import re
from html.parser import HTMLParser

from django.utils.translation.trans_real import CONTEXT_SEPARATOR, DjangoTranslation

SHOWN = {"alt", "aria-description", "aria-label", "aria-valuetext", "label", "placeholder", "title"}
HIDDEN = {"code", "pre", "script", "style", "textarea"}
WORD = re.compile(r"[^\W\d_]+")


class Pseudo:
    """Stands in for a language's translations, and notes what they lack."""

    def __init__(self, real: DjangoTranslation) -> None:
        self.real = real
        self.missing: set[str] = set()

    def __getattr__(self, name: str):
        return getattr(self.real, name)

    def gettext(self, message: str) -> str:
        if not message:
            return ""
        if not self.real._catalog.get(message):
            self.missing.add(message)
        return bracketed(message)

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        try:
            self.real._catalog.plural(singular, number)
        except KeyError:
            self.missing.add(singular)
        return bracketed(singular if number == 1 else plural)


def bracketed(message: str) -> str:
    return f"⟦{message.rpartition(CONTEXT_SEPARATOR)[2]}⟧"


def untranslated(html: str, data: re.Pattern[str]) -> list[str]:
    """What people would read of a page that no translation has gone into, and that is no `data`."""
    return [text for text in Shown(without_brackets(html)).texts if WORD.search(data.sub("", text))]


def without_brackets(text: str) -> str:
    depth, kept = 0, []
    for part in re.split("([⟦⟧])", text):
        if part == "⟦":
            depth += 1
        elif part == "⟧":
            depth -= 1
        elif depth == 0:
            kept.append(part)
    assert depth == 0, text
    return "".join(kept)


class Shown(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag in HIDDEN:
            self._hidden.append(tag)
        given = dict(attrs)
        is_button = tag == "input" and given.get("type") in {"submit", "button"}
        names = SHOWN | {"value"} if is_button else SHOWN
        for name, value in given.items():
            if name in names or name.startswith("data-text"):
                self.texts.append(value or "")

    def handle_endtag(self, tag):
        if self._hidden[-1:] == [tag]:
            self._hidden.pop()

    def handle_data(self, data):
        if not self._hidden and data.strip():
            self.texts.append(data.strip())
