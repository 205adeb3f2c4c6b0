import pytest

pytestmark = pytest.mark.django_db
URL = "/api/billing/quote"


def test_the_whole_quote(client, django_assert_num_queries):
    with django_assert_num_queries(1):
        response = client.get(URL, {"credits": "499"})

    assert response.status_code == 200
    assert response.json() == {
        "credits": 499,
        "currency": "usd",
        "unit_price": "0.0100",
        "discount_percent": 0,
        "list_total": 499,
        "total": 499,
        "minimum_charge": 50,
        "minimum_charge_applied": False,
        "tier": {"min": 10, "max": 499},
        "better_deal": {"credits": 500, "total": 475, "saves": 24},
    }


@pytest.mark.parametrize(
    ("credits", "total"),
    [
        ("10", 50), ("49", 50), ("50", 50), ("499", 499), ("500", 475), ("1999", 1899),
        ("2000", 1800), ("4999", 4499), ("5000", 4000), ("100000", 80000),
    ],
)  # fmt: skip
def test_boundaries(client, credits, total):
    answer = client.get(URL, {"credits": credits}).json()
    assert answer["total"] == total
    assert answer["minimum_charge_applied"] == (int(credits) < 50)
    assert (answer["better_deal"] is None) == (credits in {"50", "500", "2000", "5000", "100000"})


@pytest.mark.parametrize(
    ("credits", "code"),
    [
        ("9", "credits_out_of_range"),
        ("100001", "credits_out_of_range"),
        ("9" * 5000, "credits_out_of_range"),
        ("", "invalid_credits"),
        ("0", "invalid_credits"),
        ("0500", "invalid_credits"),
        ("+500", "invalid_credits"),
        ("-500", "invalid_credits"),
        ("5.5", "invalid_credits"),
        ("1e3", "invalid_credits"),
        (" 500", "invalid_credits"),
        ("5,000", "invalid_credits"),
        ("\u0665\u0660\u0660", "invalid_credits"),
        ("\uff15\uff10\uff10", "invalid_credits"),
        ("5\u00b20", "invalid_credits"),
    ],
)
def test_what_is_no_amount_is_refused(client, credits, code):
    response = client.get(URL, {"credits": credits})
    assert response.status_code == 400
    assert response.json()["code"] == code
    assert response.json()["field"] == "credits"


def test_a_missing_amount_is_refused(client):
    assert client.get(URL).json()["code"] == "invalid_credits"


def test_only_get(client):
    response = client.post(URL)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


def test_no_trailing_slash(client):
    response = client.get(f"{URL}/", {"credits": "499"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
