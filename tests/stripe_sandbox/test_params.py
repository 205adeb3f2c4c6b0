"""Parameters are checked against the types that the SDK ships."""

import pytest
import stripe.params
import stripe.params.checkout

from stripe_sandbox.errors import ApiError
from stripe_sandbox.params import check, decode, listed, merged

CUSTOMER = stripe.params.CustomerCreateParams
SESSION = stripe.params.checkout.SessionCreateParams
EVENTS = stripe.params.EventListParams


def test_brackets_nest():
    assert decode("a[b][c]=1&a[d]=x%20y&e=") == {"a": {"b": {"c": "1"}, "d": "x y"}, "e": ""}


def test_lists_are_in_order_numbered_or_not():
    assert listed(decode("a[1]=y&a[0]=x")) == {"a": ["x", "y"]}
    assert listed(decode("a[10]=y&a[9]=x")) == {"a": ["x", "y"]}
    assert listed(decode("a[]=y&a[]=x")) == {"a": ["y", "x"]}


def test_values_get_the_type_that_is_declared():
    params = decode(
        "line_items[0][quantity]=2&line_items[0][price_data][currency]=usd"
        "&line_items[0][price_data][unit_amount]=500&metadata[0]=a&metadata[b]=7"
        "&allow_promotion_codes=true"
    )
    assert check(params, SESSION) == {
        "line_items": [{"quantity": 2, "price_data": {"currency": "usd", "unit_amount": 500}}],
        "metadata": {"0": "a", "b": "7"},
        "allow_promotion_codes": True,
    }


def test_numbers_may_be_the_names_of_metadata():
    assert check(decode("metadata[1]=a&metadata[0]=b"), CUSTOMER) == {
        "metadata": {"1": "a", "0": "b"}
    }


def test_a_union_takes_either_type():
    assert check(decode("created=5"), EVENTS) == {"created": 5}
    assert check(decode("created[gte]=5"), EVENTS) == {"created": {"gte": 5}}
    assert check(decode("metadata="), CUSTOMER) == {"metadata": ""}


@pytest.mark.parametrize(
    ("text", "shape", "param", "code", "words"),
    [
        (
            "colour=red", CUSTOMER, "colour", "parameter_unknown",
            "Received unknown parameter: colour",
        ),
        (
            "line_items[0][colour]=red", SESSION, "line_items[0][colour]", "parameter_unknown",
            "Received unknown parameter: line_items[0][colour]",
        ),
        (
            "line_items[0][price_data][unit_amount]=5", SESSION,
            "line_items[0][price_data][currency]", "parameter_missing",
            "Missing required param: line_items[0][price_data][currency].",
        ),
        (
            "line_items[0][price_data][unit_amount]=5.5&line_items[0][price_data][currency]=usd",
            SESSION, "line_items[0][price_data][unit_amount]", "parameter_invalid_integer",
            "Invalid integer: 5.5",
        ),
        ("limit=many", EVENTS, "limit", "parameter_invalid_integer", "Invalid integer: many"),
        ("limit=٣", EVENTS, "limit", "parameter_invalid_integer", "Invalid integer: ٣"),
        ("automatic_tax[enabled]=1", SESSION, "automatic_tax[enabled]", None, "Invalid boolean: 1"),
        ("line_items=x", SESSION, "line_items", None, "Invalid array"),
        ("line_items[a]=x", SESSION, "line_items", None, "Invalid array"),
        ("line_items[²]=x", SESSION, "line_items", None, "Invalid array"),
        ("payment_intent_data=x", SESSION, "payment_intent_data", None, "Invalid object"),
        ("email[a]=x", CUSTOMER, "email", None, "Invalid string: email"),
        (
            "mode=gift", SESSION, "mode", None,
            "Invalid mode: must be one of payment, setup, subscription",
        ),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(text, shape, param, code, words):
    with pytest.raises(ApiError) as raised:
        check(decode(text), shape)
    error = raised.value.body["error"]
    assert (error.get("param"), error.get("code"), error["message"]) == (param, code, words)
    assert (raised.value.status, error["type"]) == (400, "invalid_request_error")


def test_what_is_required_cannot_be_empty():
    name = "line_items[0][price_data][product_data][name]"
    text = f"line_items[0][price_data][currency]=usd&{name}="
    with pytest.raises(ApiError) as raised:
        check(decode(text), SESSION)
    error = raised.value.body["error"]
    assert (error["param"], error["code"]) == (name, "parameter_invalid_empty")


@pytest.mark.parametrize(
    "fields",
    [
        {f"key{number}": "x" for number in range(51)},
        {"k" * 41: "x"},
        {"key": "x" * 501},
    ],
)
def test_metadata_has_its_limits(fields):
    with pytest.raises(ApiError) as raised:
        check({"metadata": fields}, CUSTOMER)
    assert (raised.value.status, raised.value.body["error"]["param"]) == (400, "metadata")
    with pytest.raises(ApiError):
        check({"payment_intent_data": {"metadata": fields}}, SESSION)


def test_metadata_within_its_limits_is_taken():
    fields = {f"{number:040}": "x" * 500 for number in range(50)}
    assert check({"metadata": fields}, CUSTOMER) == {"metadata": fields}


def test_an_empty_value_takes_a_key_of_metadata_away():
    assert merged({"a": "1", "b": "2"}, {"a": "", "c": "3"}) == {"b": "2", "c": "3"}
    assert merged({"a": "1"}, "") == {}
