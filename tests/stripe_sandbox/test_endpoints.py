"""Webhook endpoints: made, changed, listed, deleted."""

import pytest
import stripe

from tests.stripe_sandbox.helpers import counts, error_of

SHOP = {"url": "https://shop.example/webhook", "enabled_events": ["invoice.paid"]}


def test_only_the_answer_to_making_it_has_the_secret(api):
    made = api.v1.webhook_endpoints.create(
        {**SHOP, "api_version": stripe.api_version, "description": "Shop", "metadata": {"a": "b"}}
    )
    assert made.id.startswith("we_")
    assert made.secret.startswith("whsec_")
    found = api.v1.webhook_endpoints.retrieve(made.id).to_dict()
    assert found == {key: value for key, value in made.to_dict().items() if key != "secret"}
    assert (found["status"], found["livemode"], found["api_version"]) == (
        "enabled", False, stripe.api_version,
    )  # fmt: skip
    assert "secret" not in api.v1.webhook_endpoints.list().data[0].to_dict()


def test_it_is_changed_but_for_its_version(api):
    made = api.v1.webhook_endpoints.create(SHOP)
    assert made.to_dict()["api_version"] is None
    changed = api.v1.webhook_endpoints.update(
        made.id, {"enabled_events": ["invoice.paid", "charge.refunded"], "disabled": True}
    )
    assert (changed.enabled_events, changed.status) == (
        ["invoice.paid", "charge.refunded"], "disabled",
    )  # fmt: skip
    assert api.v1.webhook_endpoints.update(made.id, {"disabled": False}).status == "enabled"
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.webhook_endpoints.update(made.id, {"api_version": stripe.api_version})
    assert error_of(raised.value)[2:] == ("parameter_unknown", "api_version")


def test_deleted_is_gone(api):
    made = api.v1.webhook_endpoints.create(SHOP)
    assert api.v1.webhook_endpoints.delete(made.id).deleted is True
    assert api.v1.webhook_endpoints.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.webhook_endpoints.retrieve(made.id)
    assert error_of(raised.value)[:3] == (404, "invalid_request_error", "resource_missing")


@pytest.mark.parametrize(
    "change",
    [
        {"url": "shop.example/webhook"},
        {"url": "ftp://shop.example"},
        {"enabled_events": ["invoice.payed"]},
        {"api_version": "2026-10-28"},
        {"secret": "x"},
    ],
)
def test_what_is_wrong_is_refused(sandbox, api, change):
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.webhook_endpoints.create(SHOP | change)
    assert counts(sandbox) == {}


def test_sixteen_are_the_most(api):
    for _ in range(16):
        api.v1.webhook_endpoints.create(SHOP)
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        api.v1.webhook_endpoints.create(SHOP)
