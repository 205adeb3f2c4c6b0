"""Signing up and in, by password and by a code; where one comes out; and what nobody is told."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from accounts.models import User
from tests.accounts.conftest import PASSWORD

pytestmark = pytest.mark.django_db
CODE = r"[A-Z]{4}-[A-Z]{4}"
UNSAFE = ["https://evil.example/", "//evil.example", "javascript:alert(1)", "https:evil.example"]


def sign_up(client, email="ada@example.com", query=""):
    form = {"email": email, "password1": PASSWORD}
    return client.post(f"/accounts/signup/{query}", form)


def told(response) -> str:
    """What a page says, but for the address and what differs from request to request."""
    text = re.sub(r"(?s)<script.*?</script>|<[^>]+>", "", response.content.decode())
    return re.sub(r"\s+", " ", text)


def test_one_comes_out_where_one_wanted_to_go(client, member, sign_in):
    assert sign_in(query="?next=/credits%3Fcredits%3D1234")["Location"] == "/credits?credits=1234"


@pytest.mark.parametrize("next_url", UNSAFE)
def test_but_not_at_another_site(client, member, sign_in, next_url):
    assert sign_in(query=f"?next={next_url}")["Location"] == "/dashboard"
    client.logout()
    response = client.post(
        "/accounts/login/",
        {"login": "ada@example.com", "password": PASSWORD, "next": next_url},
    )
    assert response["Location"] == "/dashboard"
    client.logout()
    assert sign_up(client, "new@example.com", f"?next={next_url}")["Location"] == "/dashboard"


def test_one_stays_signed_in_for_two_weeks(client, member, sign_in):
    assert sign_in().cookies["sessionid"]["max-age"] == 14 * 24 * 3600


def test_after_five_wrong_passwords_the_right_one_has_to_wait(client, member, sign_in):
    for _ in range(5):
        assert "password is wrong" in sign_in(password="wrong").content.decode()
    assert "Too many tries" in sign_in().content.decode()
    assert client.get("/dashboard").status_code == 302


def test_where_one_wanted_to_go_is_kept_between_the_pages(client):
    query = "?next=/dashboard/account"
    for path in ("/accounts/login/", "/accounts/signup/", "/accounts/login/code/"):
        html = client.get(path + query).content.decode()
        assert '<input type="hidden" name="next" value="/dashboard/account">' in html
        links = re.findall(r'href="(/accounts/(?:login|signup)/[^"]*)"', html.partition("<main")[2])
        assert links
        assert all(link.endswith("?next=%2Fdashboard%2Faccount") for link in links)
    assert sign_up(client, query=query)["Location"] == "/dashboard/account"


def test_by_a_code(client, member, in_mail):
    response = client.post(
        "/accounts/login/code/", {"email": "ADA@example.com", "next": "/dashboard/account"}
    )
    assert response["Location"] == "/accounts/login/code/confirm/?next=%2Fdashboard%2Faccount"
    page = client.get(response["Location"]).content.decode()
    assert 'autocomplete="one-time-code"' in page
    assert page.count("ada@example.com is on its way") == 1
    assert client.get("/dashboard").status_code == 302
    code = in_mail(CODE)
    answer = client.post(response["Location"], {"code": code.lower().replace("-", " ")})
    assert answer["Location"] == "/dashboard/account"
    assert client.get("/dashboard/account").status_code == 200


def test_a_code_can_be_had_again_and_only_the_latest_counts(client, member, in_mail):
    client.post("/accounts/login/code/", {"email": "ada@example.com"})
    first = in_mail(CODE)
    client.post("/accounts/login/code/confirm/", {"action": "resend"})
    wrong = client.post("/accounts/login/code/confirm/", {"code": first})
    assert "not the code from the latest mail" in wrong.content.decode()
    assert client.get("/dashboard").status_code == 302
    client.post("/accounts/login/code/confirm/", {"code": in_mail(CODE)})
    assert client.get("/dashboard").status_code == 200


def test_three_wrong_codes_end_it(client, member, in_mail):
    client.post("/accounts/login/code/", {"email": "ada@example.com"})
    for _ in range(2):
        client.post("/accounts/login/code/confirm/", {"code": "nope"})
    response = client.post("/accounts/login/code/confirm/", {"code": "nope"}, follow=True)
    assert "Too many tries" in response.content.decode()
    client.post("/accounts/login/code/confirm/", {"code": in_mail(CODE)})
    assert client.get("/dashboard").status_code == 302


def test_instead_of_the_code_another_way_can_be_taken(client, member, sign_in):
    client.post("/accounts/login/code/", {"email": "ada@example.com"})
    assert client.get("/accounts/login/")["Location"] == "/accounts/login/code/confirm/"
    response = client.post("/accounts/logout/", {"next": "/accounts/login/"})
    assert response["Location"] == "/accounts/login/"
    assert sign_in()["Location"] == "/dashboard"


@pytest.mark.usefixtures("mandatory")
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/accounts/signup/", {"password1": PASSWORD}),
        ("/accounts/password/reset/", {}),
        ("/accounts/login/code/", {}),
    ],
)
def test_no_page_tells_who_has_an_account(client, member, path, more):
    seen = []
    for email in ("ada@example.com", "eve@example.com"):
        client.cookies.clear()
        first = client.post(path, {"email": email, **more})
        second = client.get(first["Location"])
        headers = sorted(name for name in second.headers if name != "Content-Length")
        seen.append(
            (
                first.status_code,
                first["Location"],
                sorted(first.cookies),
                headers,
                told(second).replace(email, "…"),
            )
        )
        # Whoever reads its mails is told.
        assert mail.outbox[-1].to == [email]
    assert seen[0] == seen[1]
    subjects = [message.subject for message in mail.outbox]
    assert len(subjects) == 2
    assert len(set(subjects)) == 2


@pytest.mark.usefixtures("mandatory")
def test_signing_up_again_changes_nothing_and_tells_only_the_owner(client, member):
    sign_up(client)
    assert User.objects.get().check_password(PASSWORD)
    (message,) = mail.outbox
    assert message.subject == "[Dynamic Credits] You have an account already"
    # Nor does asking for that mail again, at once.
    again = client.post("/accounts/confirm-email/", follow=True)
    assert "less than a minute old" in again.content.decode()
    assert len(mail.outbox) == 1


def test_signing_in_on_an_account_that_is_switched_off(client, member, sign_in):
    User.objects.update(is_active=False)
    assert sign_in()["Location"] == "/accounts/inactive/"
    assert "password is wrong" in sign_in(password="wrong").content.decode()
    assert client.get("/dashboard").status_code == 302


def test_a_new_password_by_mail(client, member, in_mail, sign_in):
    client.post("/accounts/password/reset/", {"email": "ada@example.com"})
    link = in_mail(r"http\S+reset/key/\S+/")
    form = client.get(link, follow=True)
    assert form.redirect_chain[0][0].endswith("-set-password/")
    short = client.post(form.redirect_chain[0][0], {"password1": "short"})
    assert "too short" in short.content.decode()
    done = client.post(form.redirect_chain[0][0], {"password1": "another horse"}, follow=True)
    assert done.redirect_chain[-1][0] == "/accounts/password/reset/key/done/"
    assert mail.outbox[-1].subject == "[Dynamic Credits] Your password is changed"
    assert "no longer valid" in client.get(link, follow=True).content.decode()
    sign_in()
    assert client.get("/dashboard").status_code == 302
    assert sign_in(password="another horse")["Location"] == "/dashboard"


def test_changing_the_password(client, member, sign_in):
    sign_in()
    wrong = client.post(
        "/accounts/password/change/", {"oldpassword": "no", "password1": "another horse"}
    )
    assert "not your current password" in wrong.content.decode()
    assert User.objects.get().check_password(PASSWORD)
    response = client.post(
        "/accounts/password/change/", {"oldpassword": PASSWORD, "password1": "another horse"}
    )
    assert response["Location"] == "/dashboard/account"
    page = client.get("/dashboard/account")
    assert page.content.decode().count("Your password is changed.") == 1
    assert User.objects.get().check_password("another horse")
    assert mail.outbox[-1].to == ["ada@example.com"]


def test_who_has_no_password_sets_one(client, user):
    client.force_login(user)
    assert client.get("/accounts/password/change/")["Location"] == "/accounts/password/set/"
    assert "Set one" in client.get("/dashboard/account").content.decode()
    response = client.post("/accounts/password/set/", {"password1": PASSWORD})
    assert response["Location"] == "/dashboard/account"
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_signing_up_asks_for_the_address_to_be_confirmed(client):
    assert sign_up(client)["Location"] == "/dashboard"
    assert not EmailAddress.objects.get().verified
    page = client.get("/dashboard").content.decode()
    assert page.count("ada@example.com is on its way") == 1


@pytest.mark.parametrize("key", ["x" * 20, "x" * 5000, r'"xxxxxxxxxx\000xxxxxxxxx"'])
def test_a_cookie_that_is_no_session_is_nobody_s(client, key):
    response = client.get("/dashboard", headers={"Cookie": f"sessionid={key}"})
    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=/dashboard"
