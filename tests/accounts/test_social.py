"""Signing in with Google and GitHub: real HTTP, to a stand-in for them."""

from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from allauth.socialaccount.providers.google.views import GoogleOAuth2Adapter
from django.core import mail

from accounts.models import User
from tests.accounts.conftest import PASSWORD
from tests.accounts.provider import Provider

pytestmark = pytest.mark.django_db
ADA = {"id": 17, "login": "ada-l", "name": "Ada Lovelace", "location": "London"}


@pytest.fixture
def provider(settings, monkeypatch):
    """Both providers, with keys, at one address."""
    app = {"APP": {"client_id": "id", "secret": "secret"}}
    settings.SOCIALACCOUNT_PROVIDERS = {"google": app, "github": app}
    provider = Provider()
    for adapter in (GitHubOAuth2Adapter, GoogleOAuth2Adapter):
        monkeypatch.setattr(adapter, "access_token_url", f"{provider.url}/token")
    monkeypatch.setattr(GitHubOAuth2Adapter, "profile_url", f"{provider.url}/user")
    monkeypatch.setattr(GitHubOAuth2Adapter, "emails_url", f"{provider.url}/emails")
    monkeypatch.setattr(GoogleOAuth2Adapter, "identity_url", f"{provider.url}/identity")
    provider.answers = {"/token": {"access_token": "token"}, "/user": ADA}
    says(provider, "ada@example.com", verified=True)
    yield provider
    provider.stop()


def says(provider: Provider, email: str, *, verified: bool) -> None:
    provider.answers["/emails"] = [{"email": email, "primary": True, "verified": verified}]
    provider.answers["/identity"] = {"id": "17", "email": email, "verified_email": verified}


def come_back(client, name="github", query="", **answer):
    """Press the button, and come back from the provider."""
    leaves = client.post(f"/accounts/{name}/login/{query}")
    assert leaves.status_code == 302
    state = parse_qs(urlsplit(leaves["Location"]).query)["state"][0]
    answer = answer or {"code": "code"}
    return client.get(f"/accounts/{name}/login/callback/", {"state": state, **answer})


def is_signed_in(client) -> bool:
    return client.get("/dashboard").status_code == 200


def test_without_keys_nothing_is_offered_and_nothing_is_there(client, member):
    for path in ("/accounts/login/", "/accounts/signup/"):
        assert "Continue with" not in client.get(path).content.decode()
    for name in ("google", "github"):
        assert client.get(f"/accounts/{name}/login/").status_code == 404
        assert client.post(f"/accounts/{name}/login/").status_code == 404
        assert client.get(f"/accounts/{name}/login/callback/?code=a&state=b").status_code == 404
    client.force_login(member)
    assert "Connect another" not in client.get("/accounts/3rdparty/").content.decode()


def test_with_keys_it_is_offered_and_keeps_where_one_wanted_to_go(client, member, provider):
    for path in ("/accounts/login/", "/accounts/signup/"):
        page = client.get(f"{path}?next=/credits").content.decode()
        for name in ("google", "github"):
            assert f'action="/accounts/{name}/login/?process=login&amp;next=%2Fcredits"' in page
    # A link to it changes nothing by itself.
    page = client.get("/accounts/github/login/").content.decode()
    assert "Go to GitHub" in page
    client.force_login(member)
    assert "/accounts/3rdparty/" in client.get("/dashboard/account").content.decode()


@pytest.mark.parametrize("name", ["google", "github"])
def test_somebody_new_gets_an_account(client, provider, mandatory, name):
    response = come_back(client, name, "?process=login&next=/credits")
    assert response["Location"] == "/credits"
    user = User.objects.get()
    assert (user.email, user.has_usable_password()) == ("ada@example.com", False)
    assert EmailAddress.objects.get().verified
    account = SocialAccount.objects.get()
    assert (account.provider, account.uid) == (name, "17")
    assert set(account.extra_data) <= {"name", "email", "login"}
    assert not SocialToken.objects.exists()
    assert mail.outbox == []
    client.logout()
    assert come_back(client, name)["Location"] == "/dashboard"
    assert User.objects.count() == 1
    assert set(SocialAccount.objects.get().extra_data) <= {"name", "email", "login"}


@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example"])
def test_nobody_is_led_to_another_site(client, provider, next_url):
    assert come_back(client, query=f"?next={next_url}")["Location"] == "/dashboard"


def test_an_address_that_the_provider_did_not_confirm_is_confirmed_here(
    client, provider, mandatory
):
    says(provider, "ada@example.com", verified=False)
    assert come_back(client)["Location"] == "/accounts/confirm-email/"
    assert not is_signed_in(client)
    assert mail.outbox[0].to == ["ada@example.com"]


def test_an_account_whose_address_both_have_confirmed_is_the_same_ones(client, member, provider):
    assert come_back(client)["Location"] == "/dashboard"
    assert User.objects.count() == 1
    assert SocialAccount.objects.get().user == member
    member.refresh_from_db()
    assert member.check_password(PASSWORD)


@pytest.mark.parametrize("verification", ["mandatory", "optional"])
def test_it_is_not_taken_over_if_the_provider_has_not(
    client, member, provider, settings, verification
):
    settings.ACCOUNT_EMAIL_VERIFICATION = verification
    says(provider, "ada@example.com", verified=False)
    come_back(client)
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()
    assert User.objects.count() == 1
    if verification == "mandatory":
        assert mail.outbox[0].subject == "[Dynamic Credits] You have an account already"
    else:
        form = client.post("/accounts/3rdparty/signup/", {"email": "ada@example.com"})
        assert "Sign in to it first, then connect GitHub" in form.content.decode()
        assert not SocialAccount.objects.exists()


def test_nor_is_one_entered_whose_owner_has_not(client, provider, mandatory):
    """It may be somebody else's, who waits for the owner of the address to come by."""
    squatter = User.objects.create_user("ada@example.com", PASSWORD)
    EmailAddress.objects.create(user=squatter, email=squatter.email, primary=True)
    come_back(client)
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()
    assert not EmailAddress.objects.get().verified


def test_one_that_is_switched_off_stays_so(client, member, provider):
    User.objects.update(is_active=False)
    assert come_back(client)["Location"] == "/accounts/inactive/"
    assert not is_signed_in(client)


def test_without_an_address_one_is_asked_for_it(client, provider):
    provider.answers["/emails"] = []
    assert come_back(client, query="?next=/credits")["Location"] == "/accounts/3rdparty/signup/"
    page = client.get("/accounts/3rdparty/signup/").content.decode()
    assert "You are signed in with GitHub." in page
    wrong = client.post("/accounts/3rdparty/signup/", {"email": "ada"})
    assert "valid email" in wrong.content.decode()
    response = client.post("/accounts/3rdparty/signup/", {"email": "ada@example.com"})
    assert response["Location"] == "/credits"
    assert not EmailAddress.objects.get().verified


def test_coming_back_without_signing_in(client, provider):
    response = come_back(client, error="access_denied")
    assert response["Location"] == "/accounts/3rdparty/login/cancelled/"
    assert not User.objects.exists()


@pytest.mark.parametrize("fault", ["token", "state", "silence"])
def test_a_provider_that_fails_is_no_error_of_ours(client, provider, fault):
    if fault == "token":
        del provider.answers["/token"]
        response = come_back(client)
    elif fault == "silence":
        provider.stop()
        response = come_back(client)
    else:
        response = client.get("/accounts/github/login/callback/?code=code&state=forged")
    assert response.status_code == 401
    assert "GitHub didn" in response.content.decode()
    assert not User.objects.exists()


def test_connecting_and_disconnecting(client, member, provider, sign_in):
    sign_in()
    says(provider, "other@example.com", verified=True)
    response = come_back(client, query="?process=connect")
    assert response["Location"] == "/accounts/reauthenticate/"
    response = client.post("/accounts/reauthenticate/", {"password": PASSWORD}, follow=True)
    assert response.redirect_chain[-1][0] == "/accounts/3rdparty/"
    page = response.content.decode()
    assert page.count("It is connected") == 1
    assert "ada-l" in page
    account = SocialAccount.objects.get(user=member)
    assert mail.outbox[-1].subject == "[Dynamic Credits] An account is connected"
    response = client.post("/accounts/3rdparty/", {"account": account.pk}, follow=True)
    assert "It is disconnected." in response.content.decode()
    assert not SocialAccount.objects.exists()
    assert User.objects.get().email == "ada@example.com"


def test_the_last_way_in_stays(client, provider):
    come_back(client)
    account = SocialAccount.objects.get()
    response = client.post("/accounts/3rdparty/", {"account": account.pk})
    assert "Set a password first" in response.content.decode()
    assert SocialAccount.objects.exists()


def test_nobody_disconnects_another_ones(client, member, other_user, sign_in):
    account = SocialAccount.objects.create(user=other_user, provider="github", uid="1")
    sign_in()
    client.post("/accounts/3rdparty/", {"account": account.pk})
    assert SocialAccount.objects.filter(user=other_user).exists()


def test_one_that_is_somebody_elses_is_not_connected(client, member, other_user, provider, sign_in):
    SocialAccount.objects.create(user=other_user, provider="github", uid="17")
    sign_in()
    response = come_back(client, query="?process=connect")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert SocialAccount.objects.get().user == other_user
    assert response.status_code == 302
