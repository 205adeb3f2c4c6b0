"""`manage.py configure_portal`, and the portal that it configures."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from billing import stripe_api
from billing.models import PortalConfiguration

pytestmark = pytest.mark.django_db
CONFIGURATIONS = "billing_portal.configuration"


def configure() -> str:
    told = StringIO()
    call_command("configure_portal", stdout=told)
    return told.getvalue()


def open_portal(user) -> str:
    client = Client()
    client.force_login(user)
    response = client.get("/api/billing/portal-link")
    assert response.status_code == 303
    return response["Location"]


def test_it_is_made_as_the_shop_needs_it(sandbox, settings):
    told = configure()
    (made,) = sandbox.objects(CONFIGURATIONS)
    assert told == f"Created portal configuration {made['id']}, which the portal uses.\n"
    features = made["features"]
    assert {name for name, feature in features.items() if feature["enabled"]} == {
        "invoice_history",
        "payment_method_update",
        "subscription_cancel",
    }
    assert features["subscription_cancel"]["mode"] == "at_period_end"
    assert made["default_return_url"] == settings.BILLING_PORTAL_RETURN_URL
    assert made["metadata"] == {"type": "dynamic_credits"}
    stored = PortalConfiguration.objects.get()
    assert (stored.stripe_id, stored.livemode) == (made["id"], False)


def test_again_it_is_updated(sandbox):
    configure()
    (made,) = sandbox.objects(CONFIGURATIONS)
    stripe_api.client().v1.billing_portal.configurations.update(
        made["id"], {"active": False, "features": {"invoice_history": {"enabled": False}}}
    )
    assert configure() == f"Updated portal configuration {made['id']}, which the portal uses.\n"
    (now,) = sandbox.objects(CONFIGURATIONS)
    assert (now["active"], now["features"]) == (True, made["features"])
    assert PortalConfiguration.objects.count() == 1


def test_a_lost_row_is_found_again_by_our_mark(sandbox):
    stripe_api.client().v1.billing_portal.configurations.create(
        {"features": {"invoice_history": {"enabled": True}}}
    )
    configure()
    made = PortalConfiguration.objects.get().stripe_id
    PortalConfiguration.objects.all().delete()
    assert configure().startswith(f"Updated portal configuration {made}")
    PortalConfiguration.objects.update(stripe_id="bpc_of_another_account")
    assert configure().startswith(f"Updated portal configuration {made}")
    assert PortalConfiguration.objects.get().stripe_id == made
    assert len(sandbox.objects(CONFIGURATIONS)) == 2


def test_one_of_another_account_is_made_anew(sandbox):
    PortalConfiguration.objects.create(livemode=False, stripe_id="bpc_of_another_account")
    PortalConfiguration.objects.create(livemode=True, stripe_id="bpc_of_live_mode")
    assert configure().startswith("Created")
    (made,) = sandbox.objects(CONFIGURATIONS)
    assert dict(PortalConfiguration.objects.values_list("livemode", "stripe_id")) == {
        False: made["id"],
        True: "bpc_of_live_mode",
    }


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_answer_makes_no_second_one(sandbox, times):
    sandbox.add_fault(
        method="POST", path="/v1/billing_portal/configurations", kind="lose_reply", times=times
    )
    if times == 2:
        with pytest.raises(CommandError, match="Run this again"):
            configure()
        assert PortalConfiguration.objects.count() == 0
        configure()
    else:
        configure()
    assert len(sandbox.objects(CONFIGURATIONS)) == 1
    assert PortalConfiguration.objects.count() == 1


def test_what_stripe_refuses_is_told(sandbox, dead_stripe, settings):
    with pytest.raises(CommandError, match="Stripe doesn't answer"):
        configure()
    settings.STRIPE_API_BASE = sandbox.base_url
    settings.STRIPE_SECRET_KEY = "rk_of_nobody"
    with pytest.raises(CommandError, match="must be allowed to write") as refused:
        configure()
    assert "rk_of_nobody" not in str(refused.value)
    assert PortalConfiguration.objects.count() == 0


def test_the_portal_uses_it(sandbox, user):
    open_portal(user)
    configure()
    open_portal(user)
    now, before = sandbox.objects("billing_portal.session")
    assert now["configuration"] == PortalConfiguration.objects.get().stripe_id
    assert before["configuration"] == "bpc_sandbox"


def test_the_portal_opens_as_its_default_when_the_configuration_is_gone(sandbox, user, caplog):
    PortalConfiguration.objects.create(livemode=False, stripe_id="bpc_gone")
    assert open_portal(user) == sandbox.objects("billing_portal.session")[0]["url"]
    assert "bpc_gone any more" in caplog.text
    assert "manage.py configure_portal" in caplog.text
    sessions = [each for each in sandbox.requests() if each["path"].endswith("portal/sessions")]
    assert [each["status"] for each in sessions] == [400, 200]


def test_the_configuration_of_the_other_mode_is_not_used(sandbox, user):
    PortalConfiguration.objects.create(livemode=True, stripe_id="bpc_of_live_mode")
    open_portal(user)
    assert sandbox.objects("billing_portal.session")[0]["configuration"] == "bpc_sandbox"
