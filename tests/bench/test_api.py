"""The API's benchmark runs on a server with one process; its figures are `script/bench --api`'s."""

import pytest

from accounts import keys
from accounts.models import ApiKey
from bench import api, load
from credits import ledger
from credits.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(staff) -> str:
    terms = {"scopes": list(ApiKey.Scope.values), "requests_per_minute": api.UNLIMITED}
    return keys.make(made_by=staff, owner=None, name="Benchmark", **terms)[1]


def test_what_is_measured_has_happened(site_url, token, user, other_user):
    users = [user, other_user]
    for one in users:
        ledger.grant(ledger.wallet_of(one), 10_000, key="purchase:1", kind="purchase", paid=9500)
    sides = api.measure(site_url, token, [one.pk for one in users], rounds=1, seconds=0.2)
    spend = sides[api.SPEND]
    assert Entry.objects.filter(kind="spend").count() >= spend.answers >= api.CONNECTIONS
    assert sides[api.PING].answers >= api.CONNECTIONS
    found = api.report(sides, "About.", "Profile.")
    assert "| `POST /api/v1/spend` |" in found
    assert "Target: at least 0.5." in found


def test_another_answer_than_the_expected_one_ends_the_run(site_url, token, user):
    requests = api._spends(site_url, token, [user.pk])
    with pytest.raises(AssertionError, match="insufficient_credits"):
        load.repeat(site_url, requests, connections=2, seconds=5, status=201)
