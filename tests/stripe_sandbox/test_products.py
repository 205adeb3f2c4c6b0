"""Products, which have the id that their maker chooses."""

import pytest
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, subscribe


def test_a_product_has_the_id_that_was_chosen(sandbox, api):
    wanted = {"id": "credits_750", "name": "750 credits", "metadata": {"credits": "750"}}
    made = api.v1.products.create(wanted)
    assert (made.id, made.name, made.active) == ("credits_750", "750 credits", True)
    assert made.metadata.to_dict() == {"credits": "750"}
    assert api.v1.products.retrieve("credits_750").to_dict() == made.to_dict()
    (event,) = sandbox.events()
    assert (event["type"], event["data"]["object"]) == ("product.created", made.to_dict())


def test_a_product_without_a_chosen_id_gets_one(api):
    ids = {api.v1.products.create({"name": "Credits"}).id for _ in range(2)}
    assert len(ids) == 2
    assert all(id.startswith("prod_") for id in ids)


def test_an_id_is_taken_once(sandbox, api):
    _, customer = subscribe(sandbox)
    made = api.v1.products.create({"id": "credits_750", "name": "750 credits"})
    before = counts(sandbox)
    for id in ("credits_750", customer):
        with pytest.raises(stripe.InvalidRequestError, match="Product already exists") as raised:
            api.v1.products.create({"id": id, "name": "Another"})
        refusal = (400, "invalid_request_error", "resource_already_exists", None)
        assert error_of(raised.value) == refusal
    assert counts(sandbox) == before
    assert api.v1.products.retrieve("credits_750").to_dict() == made.to_dict()


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"name": ""}, 400, "parameter_invalid_empty", "name"),
        ({"colour": "red"}, 400, "parameter_unknown", "colour"),
        ({"metadata": {"a": "b" * 501}}, 400, None, "metadata"),
        ({"shippable": True}, 501, None, None),
    ],
)
def test_a_bad_product_is_refused(sandbox, api, change, status, code, param):
    with pytest.raises(stripe.StripeError) as raised:
        api.v1.products.create({"id": "credits_750", "name": "750 credits"} | change)
    found, _, *why = error_of(raised.value)
    assert (found, *why) == (status, code, param)
    assert counts(sandbox) == {}
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.products.retrieve("credits_750")
    assert error_of(raised.value) == (404, "invalid_request_error", "resource_missing", "id")


def test_the_same_key_makes_one_product_though_the_reply_was_lost(sandbox, api):
    sandbox.add_fault(path="/v1/products", kind="lose_reply")
    wanted = {"id": "credits_750", "name": "750 credits"}
    with pytest.raises(stripe.APIConnectionError):
        api.v1.products.create(wanted, {"idempotency_key": "k"})
    assert api.v1.products.create(wanted, {"idempotency_key": "k"}).id == "credits_750"
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        api.v1.products.create(wanted, {"idempotency_key": "another"})
    assert counts(sandbox)["product"] == 1
