import pytest

pytestmark = pytest.mark.django_db


def test_the_same_quote_as_the_shop_s(program, client):
    for credits in (10, 49, 499, 500, 100_000):
        answer = program.get("quote", credits=credits)
        assert answer.status_code == 200
        assert answer.json() == client.get("/api/billing/quote", {"credits": credits}).json()


@pytest.mark.parametrize("credits", ["9", "100001", "", "0500", "1e3", "9" * 5000, "x"])
def test_what_is_no_amount_is_refused(program, credits):
    answer = program.get("quote", credits=credits)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["field"] == "credits"


def test_an_amount_has_to_be_named(program):
    assert program.get("quote").json() == {
        "error": "credits is missing.", "code": "invalid_request", "field": "credits",
    }  # fmt: skip
