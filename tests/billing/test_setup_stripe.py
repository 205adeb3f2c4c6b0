"""`manage.py setup_stripe`, with `--check` and `--update`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing import stripe_api, webhook_endpoint
from billing.stripe_api import API_VERSION
from billing.webhooks import HANDLERS

pytestmark = pytest.mark.django_db
KIND = "webhook_endpoint"


def setup(*options: str) -> str:
    told = StringIO()
    call_command("setup_stripe", *options, stdout=told)
    return told.getvalue()


def check() -> list[str]:
    """The lines about what is off."""
    told = StringIO()
    with pytest.raises(CommandError):
        call_command("setup_stripe", "--check", stdout=told)
    return [" ".join(line.split()) for line in told.getvalue().splitlines()]


@pytest.fixture
def endpoint(sandbox, settings):
    settings.BASE_URL = "https://credits.example"
    setup()
    return sandbox.objects(KIND)[0]["id"]


def change(id: str, **fields) -> None:
    stripe_api.client().v1.webhook_endpoints.update(id, fields)


def test_it_is_made_with_our_events_and_version(sandbox, settings):
    settings.BASE_URL = "https://credits.example"
    told = setup()
    (made,) = sandbox.objects(KIND)
    assert made["url"] == "https://credits.example/api/billing/webhook"
    assert made["enabled_events"] == list(HANDLERS)
    assert made["api_version"] == API_VERSION
    (line,) = [line for line in told.splitlines() if "STRIPE_WEBHOOK_SECRET=whsec_" in line]
    assert len(line.split("=")[1]) == len("whsec_") + 24
    assert "restart" in told
    assert setup("--check").startswith("All as it should be: https://credits.example/api/")


def test_a_second_one_is_refused(sandbox, endpoint):
    with pytest.raises(CommandError) as refused:
        setup()
    for words in (endpoint, "--check", "STRIPE_WEBHOOK_SECRET=<new>,<old>"):
        assert words in str(refused.value)
    assert len(sandbox.objects(KIND)) == 1


def test_endpoints_of_other_sites_are_no_concern(sandbox, endpoint, settings):
    settings.BASE_URL = "https://other.example"
    assert check() == ["endpoint There is none for https://other.example/api/billing/webhook."]
    with pytest.raises(CommandError, match="There is no endpoint"):
        setup("--update")
    setup()
    assert len(sandbox.objects(KIND)) == 2


def test_a_lost_answer_makes_no_second_one_and_loses_no_secret(sandbox, settings):
    settings.BASE_URL = "https://credits.example"
    sandbox.add_fault(method="POST", path="/v1/webhook_endpoints", kind="lose_reply", times=1)
    assert "STRIPE_WEBHOOK_SECRET=whsec_" in setup()
    assert len(sandbox.objects(KIND)) == 1


def test_what_is_off_is_told_and_mended(sandbox, endpoint):
    change(
        endpoint,
        enabled_events=[*(set(HANDLERS) - {"invoice.paid"}), "product.created"],
        disabled=True,
    )
    assert check() == [
        "status It is disabled: no event comes.",
        "events invoice.paid is missing.",
        "events product.created isn't used.",
    ]
    assert "All as it should be" in setup("--update")
    (mended,) = sandbox.objects(KIND)
    assert (mended["status"], mended["enabled_events"]) == ("enabled", list(HANDLERS))

    change(endpoint, enabled_events=["*"])
    assert check() == ["events It sends all there are, and only some are used."]


def test_another_version_can_only_be_made_anew(sandbox, settings):
    settings.BASE_URL = "https://credits.example"
    for version in ({}, {"api_version": "2024-06-20"}):
        made = stripe_api.client().v1.webhook_endpoints.create(
            {"url": webhook_endpoint.url(), "enabled_events": list(HANDLERS), **version}
        )
        with pytest.raises(CommandError) as refused:
            setup("--check")
        assert "1 is off" in str(refused.value)
        assert "can't change an endpoint's API version" in str(refused.value)
        before = version.get("api_version", "the account's default")
        assert check() == [f"API version It is {before} instead of {API_VERSION}."]
        stripe_api.client().v1.webhook_endpoints.delete(made.id)


def test_two_at_one_address_are_told(endpoint):
    made = stripe_api.client().v1.webhook_endpoints.create(
        {
            "url": webhook_endpoint.url(),
            "enabled_events": list(HANDLERS),
            "api_version": API_VERSION,
        }
    )
    (line,) = check()
    assert line == f"endpoint There are 2 for {webhook_endpoint.url()}: {made.id}, {endpoint}."


def test_one_of_the_other_mode_is_told(endpoint, settings):
    settings.STRIPE_LIVEMODE = True
    assert check() == ["mode It is of test mode and the key is live, or the reverse."]


def test_a_right_that_the_key_lacks_is_told(sandbox, endpoint):
    sandbox.add_fault(method="GET", path="/v1/charges", kind="error", status=403, times=9)
    assert check() == ["key It may not read charges."]


def test_every_right_is_asked_for(sandbox, endpoint):
    before = len(sandbox.requests())
    setup("--check")
    # The endpoints themselves, and each kind once.
    assert len(sandbox.requests()) - before == 1 + len(webhook_endpoint.READS)


def test_stripe_itself_reaches_no_loopback(sandbox, settings):
    settings.PAYMENTS_ARE_SANDBOX = False
    for base in ("http://127.0.0.1:8000", "http://localhost", "https://[::1]:8443"):
        settings.BASE_URL = base
        for options in ([], ["--check"], ["--update"]):
            with pytest.raises(CommandError, match="stripe listen --forward-to") as refused:
                setup(*options)
            assert f"{base}/api/billing/webhook" in str(refused.value)
    assert sandbox.requests() == []


def test_outages_and_refusals_are_told(sandbox, dead_stripe, settings):
    with pytest.raises(CommandError, match="doesn't answer"):
        setup()
    settings.STRIPE_API_BASE = sandbox.base_url
    settings.STRIPE_SECRET_KEY = "rk_of_nobody"
    with pytest.raises(CommandError, match="must be allowed to write webhook endpoints") as refused:
        setup("--check")
    assert "rk_of_nobody" not in str(refused.value)
    assert sandbox.objects(KIND) == []
