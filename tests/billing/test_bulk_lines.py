"""Lists of recipients and credits: how they are read, and what is said of each bad line."""

import pytest

from billing.bulk.lines import BadLines, Line, of_file, of_request, of_text

A, B = Line(1, 10, "ann@example.com"), Line(2, 20, "bob@example.com")


def problems(read, source) -> list[tuple]:
    with pytest.raises(BadLines) as raised:
        read(source)
    return [(found.line, found.field, found.reason) for found in raised.value.problems]


@pytest.mark.parametrize(
    "content",
    [
        b"ann@example.com,10\nbob@example.com,20\n",
        b"ann@example.com;10\r\nbob@example.com;20",
        b"ann@example.com\t10\rbob@example.com\t20\r",
        b'\xef\xbb\xbf"Ann@Example.com",10,,\n bob@example.com , "20" ,',
    ],
)
def test_commas_semicolons_tabs_quotes_and_a_byte_order_mark(content):
    assert of_file(content) == [A, B]


def test_a_header_and_blank_lines_count_as_lines_only():
    text = "Recipient;Credits\n\nann@example.com;10\n;;\n \nbob@example.com;20\n"
    assert of_text(text) == [Line(3, 10, "ann@example.com"), Line(6, 20, "bob@example.com")]


def test_every_bad_line_is_told_with_its_number_and_reason():
    text = "\n".join(
        [
            "ann@example.com,10",
            "nobody,10",
            "bob@example.com,",
            ",5",
            "eve@example.com,1.5",
            "eva@example.com,-3",
            "max@example.com,0",
            "mia@example.com,100001",
            "ann@example.com,3,4",
            "ANN@example.com,7",
            "x,y",
            "leo@example.com,\u0661\u0660",
        ]
    )
    whole = "is no whole number of credits, written in digits only."
    limits = "A line takes from 1 to 100,000 credits."
    assert problems(of_text, text) == [
        (2, "email", "“nobody” is no email address."),
        (3, "credits", "The credits are missing."),
        (4, "email", "The address is missing."),
        (5, "credits", f"“1.5” {whole}"),
        (6, "credits", f"“-3” {whole}"),
        (7, "credits", limits),
        (8, "credits", limits),
        (9, "line", "It has more than two values. It takes an address and credits."),
        (10, "email", "The same recipient stands in line 1 already."),
        (11, "email", "“x” is no email address."),
        (11, "credits", f"“y” {whole}"),
        (12, "credits", f"“\u0661\u0660” {whole}"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "There are no lines. Each takes an address and credits."),
        (b"email,credits\n", "There are no lines. Each takes an address and credits."),
        (b"\xff\xfe\x00", "The file can't be read as text. Save it as CSV in UTF-8, then choose "
         "it again."),
        (b" " * (256 * 1024 + 1), "The list is larger than 256 KB."),
        (b"ann@example.com,9", "The lines come to 9 credits; one purchase takes from 10 to "
         "100,000."),
        (b"ann@example.com,99999\nb@example.com,2", "The lines come to 100,001 credits; one "
         "purchase takes from 10 to 100,000."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_all_of_it_names_no_line(content, reason):
    ((line, _field, told),) = problems(of_file, content)
    assert (line, told) == (None, reason)


def test_a_thousand_lines_are_read_and_one_more_is_not():
    text = "".join(f"user{place}@example.com,100\n" for place in range(1000))
    assert len(of_text(text)) == 1000
    told = "There are 1,001 lines; one purchase takes at most 1,000. Split the list."
    assert problems(of_text, text + "one@example.com,1") == [(None, "lines", told)]


def test_a_quote_that_never_ends_is_told_and_so_is_a_nul():
    told = problems(of_text, 'ann@example.com,10\n"bob@example.com,20\neve@example.com,3\n')
    assert [(line, field) for line, field, _reason in told] == [(2, "email"), (2, "credits")]
    assert [line for line, *_ in problems(of_text, "a\0nn@example.com,10")] == [1]
    assert [line for line, *_ in problems(of_text, "ann@example.com,10\n" + "x" * 200_000)] == [2]


def test_the_lines_of_a_request_name_users_or_addresses():
    lines = [{"email": "Ann@example.com", "credits": 10}, {"user": 7, "credits": 20}]
    assert of_request(lines) == [Line(1, 10, "ann@example.com"), Line(2, 20, user_id=7)]


def test_bad_lines_of_a_request_are_told_by_their_place():
    lines = [
        {"email": "ann@example.com", "user": 7, "credits": 1},
        {"credits": 1},
        {"user": True, "credits": 1},
        {"user": 7, "credits": "5"},
        {"email": ["x"], "credits": True},
        "ann@example.com",
        {"email": "ann@example.com", "credits": 1, "note": "x"},
        {"user": 7, "credits": 10**20},
    ]
    assert [(line, field) for line, field, _reason in problems(of_request, lines)] == [
        (1, "email"), (2, "email"), (3, "user"), (4, "credits"), (5, "email"), (5, "credits"),
        (6, "line"), (7, "line"), (8, "credits"), (8, "user"),
    ]  # fmt: skip
