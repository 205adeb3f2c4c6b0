"""Each language says all that the code and the templates say. `script/messages` mends the most."""

import pytest
from babel.messages.catalog import Catalog, Message
from django.conf import settings

from tests.languages.catalogue import messages

LANGUAGES = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
RUN = "run script/messages, and translate what it names"


@pytest.fixture(scope="module")
def found() -> Catalog:
    return messages.extracted()


def keys(catalog: Catalog) -> set:
    return {
        (message.context, tuple(message.id) if message.pluralizable else message.id)
        for message in catalog
        if message.id
    }


def test_each_language_of_the_site_has_a_catalogue():
    assert sorted(LANGUAGES) == messages.known_languages()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_what_the_code_says_and_nothing_else(language, found):
    assert keys(messages.read(language)) ^ keys(found) == set(), RUN


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_translated(language):
    assert messages.problems(messages.read(language)) == [], RUN


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language):
    catalog = messages.read(language)
    assert messages.mo_of(language).read_bytes() == messages.mo_bytes(catalog), RUN
    assert messages.po_of(language).read_bytes() == messages.po_bytes(catalog), RUN


@pytest.mark.parametrize(
    ("id", "string", "flags", "problem"),
    [
        ("Save", "", [], "not translated"),
        ("Save", "Speichern", ["fuzzy"], "fuzzy"),
        ("%(count)s credits", "%(cuont)s Credits", [], "placeholders differ (%(cuont)s)"),
        ("%(count)s credits", "Credits", [], "placeholders differ (none)"),
        ("%s of %s", "%s", [], "placeholders differ (%s)"),
        ("{min} credits", "{max} Credits", [], "placeholders differ ({max})"),
        ("<strong>Now</strong>", "<em>Jetzt</em>", [], "placeholders differ (</em> <em>)"),
        (("%(n)s day", "%(n)s days"), ("%(n)s Tag",), [], "a plural form is missing"),
        (("%(n)s day", "%(n)s days"), ("%(n)s Tag", ""), [], "not translated"),
        (("%(n)s day", "%(n)s days"), ("Tag", "%(n)s Tage"), [], "placeholders differ (none)"),
        (("one day", "%(n)s days"), ("ein Tag", "Tage"), [], "placeholders differ (none)"),
        ("20%% off", "20 % weniger", [], "placeholders differ (none)"),
    ],
)
def test_a_fault_is_found(id, string, flags, problem):
    message = Message(id, string, flags=flags)
    assert list(messages.problems_of(message, 2)) == [problem]


@pytest.mark.parametrize(
    ("id", "string"),
    [
        ("%(count)s of %(all)s", "von %(all)s %(count)s"),
        (("one day", "%(n)s days"), ("ein Tag", "%(n)s Tage")),
        (("one day", "%(n)s days"), ("%(n)s Tag", "%(n)s Tage")),
        ("A <a href='x'>link</a>", "Ein <a href='x'>Link</a>"),
        ("20%% off", "20\u00a0%% weniger"),
    ],
)
def test_a_good_translation_is_no_fault(id, string):
    assert list(messages.problems_of(Message(id, string), 2)) == []


def test_a_change_keeps_translations_and_marks_what_has_changed(monkeypatch, tmp_path):
    monkeypatch.setattr(messages, "LOCALE", tmp_path)
    before = Catalog(locale="de")
    before.add("Keep", "Behalten")
    before.add("The card is tried again within some days.", "Die Karte wird wieder versucht.")
    before.add("Gone", "Weg")
    messages.po_of("de").parent.mkdir(parents=True)
    messages.po_of("de").write_bytes(messages.po_bytes(before))
    template = Catalog()
    template.add("Keep")
    template.add("The card is tried again within days.")
    template.add("Ω")
    after = messages.updated("de", template)
    assert {message.id: message.string or "" for message in after if message.id} == {
        "Keep": "Behalten",
        "The card is tried again within days.": "Die Karte wird wieder versucht.",
        "Ω": "",
    }
    assert messages.problems(after) == [
        "fuzzy: 'The card is tried again within days.'",
        "not translated: 'Ω'",
    ]
    assert b"Gone" not in messages.po_bytes(after)
