"""No text for people stands in a template or in Python without being marked for translation.

`test_pages` looks at what is shown; this looks at what is written, in every branch of it.
"""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.template.base import Lexer, TokenType

from tests.languages.catalogue import messages

ATTRIBUTES = re.compile(
    r"title|alt|placeholder|aria-label|aria-description|aria-valuetext|data-text.*"
)
WORD = re.compile(r"[^\W\d_]{2,}")
# Names, and what is the same in every language.
NO_WORDS = {
    *("JSON", "UTC"),
    r"placeholder='ada@example.com, 100\ngrace@example.com, 250'",
}
# Where a text of Python's is for people: arguments by name, and by place.
NAMED = {
    *("description", "empty_label", "help_text", "label", "search_help_text", "subtitle", "title"),
    *("short_description", "verbose_name", "verbose_name_plural", "violation_error_message"),
}
PLACED = {"success": 1, "error": 1, "warning": 1, "info": 1, "add_message": 2}
SAID = {"ValidationError": 0, "Refusal": 2, "_json": 2}
EXACT = {"Unauthorized"}
"""Promised to programs as it is."""


class Words(HTMLParser):
    """What of a template's HTML people would read as it stands, but for what says of itself that it
    is English in every language."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag in {"style", "script", "code"} or ("lang", "en") in attrs or tag in self._hidden:
            self._hidden.append(tag)
        for name, value in attrs:
            is_button = tag == "input" and name == "value" and ("type", "submit") in attrs
            if (ATTRIBUTES.fullmatch(name) or is_button) and WORD.search(value or ""):
                self.found.append(f"{name}={value!r}")

    def handle_endtag(self, tag):
        if self._hidden[-1:] == [tag]:
            self._hidden.pop()

    def handle_data(self, data):
        if not self._hidden and WORD.search(data):
            self.found.append(data.strip())


def words_of(template: str, *, is_html: bool = True) -> list[str]:
    text, skipped = [], ""
    for token in Lexer(template).tokenize():
        if token.token_type == TokenType.BLOCK:
            name = token.split_contents()[0]
            if name in {"blocktranslate", "blocktrans", "comment"}:
                skipped = name
            elif name == f"end{skipped}":
                skipped = ""
        elif token.token_type == TokenType.TEXT and not skipped:
            text.append(token.contents)
    if is_html:
        return [found for found in Words("".join(text)).found if found not in NO_WORDS]
    return WORD.findall(re.sub(r"[?&]\w+=", "", "".join(text)))


def texts_of(source: str) -> Iterator[str]:
    """Texts for people in Python that aren't marked."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield from map(_plain, _said(node))
        elif isinstance(node, ast.FunctionDef) and node.name == "__str__":
            yield from (_plain(one.value) for one in ast.walk(node) if isinstance(one, ast.Return))
        elif isinstance(node, ast.Assign):
            names = {_name(target) for target in node.targets}
            if names & NAMED:
                yield _plain(node.value)


def _said(call: ast.Call) -> Iterator[ast.expr]:
    name = _name(call.func)
    yield from (keyword.value for keyword in call.keywords if keyword.arg in NAMED)
    is_messages = isinstance(call.func, ast.Attribute) and _name(call.func.value) == "messages"
    place = PLACED.get(name) if is_messages else SAID.get(name)
    if name.endswith("Field") and not name.startswith("Form"):
        place = 0
    if place is not None:
        yield from call.args[place : place + 1]


def _name(node: ast.expr) -> str:
    return getattr(node, "attr", None) or getattr(node, "id", "")


def _plain(node: ast.expr | None) -> str:
    """The words of a literal; none of what is marked or comes from elsewhere."""
    if isinstance(node, ast.JoinedStr):
        parts = [one.value for one in node.values if isinstance(one, ast.Constant)]
    else:
        parts = [node.value] if isinstance(node, ast.Constant) else []
    text = "…".join(part for part in parts if isinstance(part, str))
    return text if WORD.search(text) and text not in EXACT else ""


def counted_as_words(template: str) -> list[str]:
    """What a plural is chosen by, where `with` makes a text of it under the same name first: Django
    then finds no number, and the page fails."""
    found = []
    for token in Lexer(template).tokenize():
        parts = token.split_contents() if token.token_type == TokenType.BLOCK else []
        if "count" in parts and parts[0] in {"blocktranslate", "blocktrans"}:
            at = parts.index("count") + 1
            _, _, counted = parts[at].partition("=")
            others = {part.partition("=")[0] for part in parts[at + 1 :]}
            found += [counted] if counted.split(".")[0].split("|")[0] in others else []
    return found


SOURCES = sorted(messages.sources())


def is_for_programs(path: Path) -> bool:
    """The API answers and describes itself in English (decision 25), but for its page."""
    return path.parent == messages.ROOT / "api" and path.name != "reference.py"


def shown(path: Path) -> str:
    return str(path.relative_to(messages.ROOT))


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".html"], ids=shown)
def test_every_word_of_a_template_is_marked(path: Path):
    assert words_of(path.read_text()) == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix != ".py"], ids=shown)
def test_plurals_are_chosen_by_numbers(path: Path):
    assert counted_as_words(path.read_text()) == []


def test_a_plural_chosen_by_words_is_found():
    count = "{%% blocktranslate count n=%s with %s=sum|number %%}a{%% plural %%}b{%% end %%}"
    assert counted_as_words(count % ("sum", "count")) == []
    assert counted_as_words(count % ("sum", "sum")) == ["sum"]
    assert counted_as_words(count % ("sum.all", "sum")) == ["sum.all"]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".txt"], ids=shown)
def test_every_word_of_a_mails_text_is_marked(path: Path):
    assert words_of(path.read_text(), is_html=False) == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in SOURCES
        if path.suffix == ".py" and "management" not in path.parts and not is_for_programs(path)
    ],
    ids=shown,
)
def test_every_text_for_people_in_python_is_marked(path: Path):
    assert [text for text in texts_of(path.read_text()) if text] == []


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("<p>Hello</p>", ["Hello"]),
        ("<p>{% translate 'Hello' %}, you</p>", [", you"]),
        ("<a title='Hello'>{{ name }}</a>", ["title='Hello'"]),
        ("<form data-text-pay='Pay'></form>", ["data-text-pay='Pay'"]),
        ("<input type=submit value=Save>", ["value='Save'"]),
        ("{% if a %}Yes{% else %}{% translate 'No' %}{% endif %}", ["Yes"]),
        ("{% blocktranslate %}Hello <b>you</b>{% endblocktranslate %} · 4 / €{{ price }}", []),
        ("{# A comment #}<code>manage.py</code><style>p {}</style>", []),
        ("<div lang='en'>Body <div>{{ a }}, or</div> none</div> of it", ["of it"]),
    ],
)
def test_a_word_that_is_not_marked_is_found(template, words):
    assert words_of(template) == words


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("messages.success(request, 'Saved')", ["Saved"]),
        ("messages.success(request, _('Saved'))", []),
        ("raise Refusal(400, 'code', 'No number')", ["No number"]),
        ("raise ValidationError(f'No {thing}')", ["No "]),
        ("name = models.CharField('name', max_length=5)", ["name"]),
        ("x = admin.display(description='Total')", ["Total"]),
        ("class A:\n def __str__(self): return f'{self.n} credits'", [" credits"]),
        ("class Meta:\n verbose_name = 'wallet'", ["wallet"]),
    ],
)
def test_a_text_that_is_not_marked_is_found(source, texts):
    assert [text for text in texts_of(source) if text] == texts
