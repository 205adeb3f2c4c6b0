"""Portal configurations: made, changed, listed, and what the portal's page makes of them."""

import pytest
import requests
import stripe

from tests.stripe_sandbox.helpers import counts, error_of, subscribe

ALL = {
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
    "subscription_update": {"enabled": False},
}


def configurations(api):
    return api.v1.billing_portal.configurations


def test_a_configuration_has_stripes_shape(api):
    made = configurations(api).create(
        {
            "name": "Shop",
            "default_return_url": "https://shop.example/dashboard",
            "features": ALL,
            "metadata": {"type": "x"},
            "business_profile": {"privacy_policy_url": "https://shop.example/privacy"},
        }
    )
    found = configurations(api).retrieve(made.id).to_dict()
    assert found == made.to_dict()
    assert made.id.startswith("bpc_")
    assert (found["object"], found["active"], found["is_default"], found["livemode"]) == (
        "billing_portal.configuration", True, False, False,
    )  # fmt: skip
    assert found["features"]["subscription_cancel"]["mode"] == "at_period_end"
    assert found["features"]["customer_update"] == {"allowed_updates": [], "enabled": False}
    assert found["business_profile"]["headline"] is None
    assert found["login_page"] == {"enabled": False, "url": None}


def test_features_that_are_not_named_are_off_and_stay_so(api):
    made = configurations(api).create({"features": {"invoice_history": {"enabled": True}}})
    assert made.features.subscription_cancel.enabled is False
    changed = configurations(api).update(
        made.id, {"name": "Shop", "features": {"subscription_cancel": {"enabled": True}}}
    )
    assert changed.features.subscription_cancel.enabled is True
    assert changed.features.invoice_history.enabled is True
    assert changed.name == "Shop"


def test_the_list_filters_by_active(api):
    made = [configurations(api).create({"features": ALL}).id for _ in range(2)]
    configurations(api).update(made[0], {"active": False})
    listed = configurations(api).list({"active": True})
    assert [each.id for each in listed.data] == [made[1]]
    assert listed.url == "/v1/billing_portal/configurations"
    assert len(configurations(api).list().data) == 2


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        (
            {"features": {"subscription_cancel": {"mode": "at_period_end"}}},
            400,
            "features[subscription_cancel][enabled]",
        ),
        ({"features": ALL, "default_return_url": "/x"}, 400, "default_return_url"),
        (
            {"features": ALL, "business_profile": {"privacy_policy_url": "http://x.example"}},
            400,
            "business_profile[privacy_policy_url]",
        ),
        ({"features": {"subscription_update": {"enabled": True}}}, 501, None),
        (
            {"features": {"subscription_cancel": {"enabled": True, "mode": "immediately"}}},
            501,
            None,
        ),
        ({"features": {"customer_update": {"enabled": True}}}, 501, None),
        ({"features": ALL, "login_page": {"enabled": True}}, 501, None),
    ],
)
def test_what_is_wrong_or_not_played_is_refused(sandbox, api, change, status, param):
    with pytest.raises(stripe.StripeError) as raised:
        configurations(api).create(change)
    assert (raised.value.http_status, error_of(raised.value)[3]) == (status, param)
    assert counts(sandbox) == {}


def test_an_unknown_configuration_is_refused(sandbox, api):
    customer = api.v1.customers.create()
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.billing_portal.sessions.create({"customer": customer.id, "configuration": "bpc_x"})
    assert error_of(raised.value) == (
        400, "invalid_request_error", "resource_missing", "configuration",
    )  # fmt: skip
    assert "billing_portal.session" not in counts(sandbox)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        configurations(api).update("bpc_x", {"name": "Shop"})
    assert error_of(raised.value)[:3] == (404, "invalid_request_error", "resource_missing")


def test_one_that_is_not_active_is_refused(api):
    customer = api.v1.customers.create()
    made = configurations(api).create({"features": ALL})
    configurations(api).update(made.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError) as raised:
        api.v1.billing_portal.sessions.create({"customer": customer.id, "configuration": made.id})
    assert raised.value.param == "configuration"


def test_the_page_is_as_its_configuration(sandbox, api):
    subscription, customer = subscribe(sandbox)

    def page(**features) -> tuple[str, str]:
        made = configurations(api).create(
            {"features": ALL | features, "default_return_url": "https://shop.example/back"}
        )
        session = api.v1.billing_portal.sessions.create(
            {"customer": customer, "configuration": made.id}
        )
        assert (session.configuration, session.return_url) == (made.id, "https://shop.example/back")
        return session.url, requests.get(session.url, timeout=20).text

    _, whole = page()
    assert "Cancel plan" in whole
    assert "SANDBOX-0001" in whole
    url, bare = page(invoice_history={"enabled": False}, subscription_cancel={"enabled": False})
    assert "Cancel plan" not in bare
    assert "SANDBOX-0001" not in bare
    requests.post(url, {"wish": "cancel", "subscription": subscription}, timeout=20)
    assert api.v1.subscriptions.retrieve(subscription).cancel_at_period_end is False
