"""Two-step sign-in: apps, recovery codes, and who may turn it off.

A browser adds passkeys and signs in with them: see `tests/browser/test_second_step.py`.
"""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import closing, preferences
from accounts.models import User
from tests.second_step import StaffClient, add_app, code_of, unused_codes

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
ON = {"totp", "recovery_codes"}


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("ada@example.com", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


@pytest.fixture
def browser(user) -> Client:
    """Signed in by the password."""
    browser = Client()
    sign_in(browser)
    return browser


def sign_in(browser: Client, **more: str):
    form = {"login": "ada@example.com", "password": PASSWORD, **more}
    return browser.post("/accounts/login/", form)


def is_signed_in(browser: Client) -> bool:
    return browser.get("/dashboard").status_code == 200


def confirm(browser: Client, **form: str):
    page = "reauthenticate" if "password" in form else "2fa/reauthenticate"
    return browser.post(f"/accounts/{page}/", {"next": "/accounts/2fa/", **form})


def kinds(user: User) -> set[str]:
    return set(Authenticator.objects.filter(user=user).values_list("type", flat=True))


def new_app(browser: Client) -> str:
    """Answers the secret that the page shows."""
    page = browser.get("/accounts/2fa/totp/activate/")
    assert page.status_code == 200
    return str(page.context["form"].secret)


# --- Setting it up ------------------------------------------------------------------------------


def test_an_app_is_added_and_asked_for(browser, user):
    page = browser.get("/accounts/2fa/")
    assert page.context["is_mfa_enabled"] is False
    assert browser.get("/accounts/2fa/totp/activate/")["Location"] == (
        "/accounts/reauthenticate/?next=%2Faccounts%2F2fa%2Ftotp%2Factivate%2F"
    )
    confirm(browser, password=PASSWORD)
    page = browser.get("/accounts/2fa/totp/activate/")
    text = page.content.decode()
    secret = page.context["form"].secret
    assert " ".join(re.findall("....", secret)) in text  # to type it
    assert f"otpauth://totp/ada%40example.com?secret={secret}&amp;issuer=Dynamic%20Credits" in text
    assert 'src="data:image/svg+xml;base64,' in text
    assert " style=" not in text

    answer = browser.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)})
    assert answer["Location"] == "/accounts/2fa/recovery-codes/"
    assert kinds(user) == ON
    text = browser.get("/accounts/2fa/recovery-codes/").content.decode()
    assert all(code in text for code in unused_codes(user))
    assert "10 of 10 are left." in text
    assert "10 left" in browser.get("/accounts/2fa/").content.decode()

    other = Client()
    answer = sign_in(other, next="/credits?credits=1234")
    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    assert not is_signed_in(other)
    assert "no-store" in other.get("/accounts/2fa/authenticate/")["Cache-Control"]
    answer = other.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    assert answer["Location"] == "/credits?credits=1234"
    assert is_signed_in(other)


@pytest.mark.django_db(transaction=True)
def test_each_change_is_mailed(browser, user):
    confirm(browser, password=PASSWORD)
    mail.outbox.clear()
    browser.post("/accounts/2fa/totp/activate/", {"code": code_of(new_app(browser))})
    browser.post("/accounts/2fa/recovery-codes/generate/")
    browser.post("/accounts/2fa/totp/deactivate/")
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["ada@example.com"], f"[Dynamic Credits] {subject}")
        for subject in (
            "An authenticator app was added",
            "New recovery codes",
            "The authenticator app was removed",
        )
    ]
    assert "Signing in asks for its code from now on." in mail.outbox[0].body


def test_a_wrong_code_adds_nothing(browser, user):
    confirm(browser, password=PASSWORD)
    secret = new_app(browser)
    page = browser.post("/accounts/2fa/totp/activate/", {"code": "000000"})
    assert "This code is wrong, has run out or was used already." in page.content.decode()
    assert page.context["form"].secret == secret  # what was scanned still counts
    assert kinds(user) == set()
    browser.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)})
    assert kinds(user) == ON


def test_an_app_is_added_once(browser, user):
    confirm(browser, password=PASSWORD)
    form = {"code": code_of(new_app(browser))}
    browser.post("/accounts/2fa/totp/activate/", form)
    assert browser.post("/accounts/2fa/totp/activate/", form)["Location"] == "/accounts/2fa/"
    assert Authenticator.objects.count() == 2


def test_who_has_not_confirmed_the_address_is_asked_to_first(browser, user):
    confirm(browser, password=PASSWORD)
    EmailAddress.objects.update(verified=False)
    for page in ("totp/activate", "webauthn/add"):
        assert browser.get(f"/accounts/2fa/{page}/")["Location"] == "/accounts/2fa/"
    page = browser.get("/accounts/2fa/").content.decode()
    assert "Confirm your email address first" in page
    assert "/accounts/2fa/totp/activate/" not in page


@pytest.mark.parametrize(
    "page",
    ["", "totp/activate/", "totp/deactivate/", "recovery-codes/", "recovery-codes/generate/",
     "recovery-codes/download/", "webauthn/add/", "webauthn/keys/1/edit/",
     "webauthn/keys/1/remove/", "reauthenticate/", "webauthn/reauthenticate/"],
)  # fmt: skip
def test_visitors_are_sent_to_sign_in(client, page):
    for answer in (client.get(f"/accounts/2fa/{page}"), client.post(f"/accounts/2fa/{page}")):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


# --- Signing in ---------------------------------------------------------------------------------


def test_a_code_signs_in_once(user):
    secret = add_app(user)
    first, second = Client(), Client()
    sign_in(first)
    sign_in(second)
    code = code_of(secret)
    first.post("/accounts/2fa/authenticate/", {"code": code})
    assert is_signed_in(first)
    page = second.post("/accounts/2fa/authenticate/", {"code": code})
    assert "was used already" in page.content.decode()
    assert not is_signed_in(second)


def test_each_recovery_code_signs_in_once(user):
    add_app(user)
    code = unused_codes(user)[3]
    first, second = Client(), Client()
    sign_in(first)
    first.post("/accounts/2fa/authenticate/", {"code": f" {code[:4]} {code[4:]} "})
    assert is_signed_in(first)
    assert len(unused_codes(user)) == 9
    sign_in(second)
    second.post("/accounts/2fa/authenticate/", {"code": code})
    assert not is_signed_in(second)


def test_somebody_elses_code_is_none(user, other_user):
    add_app(user)
    other = add_app(other_user)
    browser = Client()
    sign_in(browser)
    for code in (code_of(other), unused_codes(other_user)[0]):
        browser.post("/accounts/2fa/authenticate/", {"code": code})
    assert not is_signed_in(browser)
    assert len(unused_codes(other_user)) == 10


def test_codes_can_not_be_guessed_for_long(user):
    secret = add_app(user)
    for _ in range(5):
        browser = Client()
        sign_in(browser)
        browser.post("/accounts/2fa/authenticate/", {"code": "000000"})
    page = browser.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    assert "Too many" in page.content.decode()
    assert not is_signed_in(browser)


def test_nor_by_confirming_again_and_again(browser, user):
    confirm(browser, password=PASSWORD)
    browser.get("/accounts/2fa/")
    secret = add_app(user)
    for _ in range(10):
        answer = browser.post("/accounts/2fa/reauthenticate/", {"code": "000000"})
    answer = browser.post("/accounts/2fa/reauthenticate/", {"code": code_of(secret)})
    assert answer.status_code == 429
    assert "429.html" in [template.name for template in answer.templates]


def test_a_passkey_that_is_none_signs_nobody_in(client, user):
    options = client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    assert options.json()["request_options"]["publicKey"]["userVerification"] == "required"
    for credential in ("", "nonsense", "1", '"a"', "[1]", "{}", '{"id": 1, "response": 2}',
                       '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}',
                       FORGED % ("AA", '""'), FORGED % ("Mw", '"Mw"')):  # fmt: skip
        form = {"credential": credential, "next": "/credits"}
        answer = client.post("/accounts/2fa/webauthn/login/", form)
        assert answer["Location"] == "/accounts/login/?next=%2Fcredits"
        page = client.get(answer["Location"]).content.decode()
        assert "The passkey was not accepted. Please try again." in page
    assert not is_signed_in(client)


FORGED = (
    '{"id": "AA", "rawId": "%s", "type": "public-key", "clientExtensionResults": {}, "response":'
    ' {"clientDataJSON": "e30", "authenticatorData": "e30", "signature": "AA", "userHandle": %s}}'
)


def test_passkeys_can_not_be_tried_for_ever(client, settings):
    settings.MFA_RATE_LIMITS = {"webauthn_login": "2/m/ip"}
    for _ in range(2):
        assert client.post("/accounts/2fa/webauthn/login/", {}).status_code == 302
    assert client.post("/accounts/2fa/webauthn/login/", {}).status_code == 429


def test_the_sign_in_page_offers_passkeys(client):
    page = client.get("/accounts/login/?next=/credits").content.decode()
    assert 'form="mfa_login"' in page
    form = page[page.index('id="mfa_login"') :]
    assert 'data-options-from="/accounts/2fa/webauthn/login/"' in form
    assert '<input type="hidden" name="next" value="/credits"' in form


# --- Recovery codes and the end of it -----------------------------------------------------------


def test_recovery_codes_are_shown_to_who_confirms(browser, user):
    secret = add_app(user)
    pages = ("", "download/", "generate/")
    for page in pages:
        answer = browser.get(f"/accounts/2fa/recovery-codes/{page}")
        assert answer["Location"].startswith("/accounts/reauthenticate/")
    confirm(browser, code=code_of(secret))
    codes = unused_codes(user)
    file = browser.get("/accounts/2fa/recovery-codes/download/")
    assert file["Content-Disposition"] == 'attachment; filename="recovery-codes.txt"'
    assert file.content.decode().split("\n\n")[1].split() == codes
    assert "of ada@example.com at Dynamic Credits" in file.content.decode()

    page = browser.get("/accounts/2fa/recovery-codes/generate/").content.decode()
    assert "The 10 codes that you have left stop working at once." in page
    browser.post("/accounts/2fa/recovery-codes/generate/")
    assert not set(unused_codes(user)) & set(codes)


def test_there_are_none_without_a_second_step(browser, user):
    confirm(browser, password=PASSWORD)
    assert browser.get("/accounts/2fa/recovery-codes/").status_code == 404
    page = browser.post("/accounts/2fa/recovery-codes/generate/").content.decode()
    assert "Recovery codes come with an authenticator app or a passkey." in page
    assert kinds(user) == set()


def test_when_all_are_used_the_page_says_so(browser, user):
    add_app(user)
    codes = Authenticator.objects.get(type="recovery_codes")
    codes.data["used_mask"] = 2**9 - 1
    codes.save()
    confirm(browser, password=PASSWORD)
    assert "Make new ones before you run out." in browser.get("/accounts/2fa/").content.decode()
    assert "1 of 10 is left." in browser.get("/accounts/2fa/recovery-codes/").content.decode()
    codes.data["used_mask"] = 2**10 - 1
    codes.save()
    assert "All codes are used." in browser.get("/accounts/2fa/recovery-codes/").content.decode()


def test_the_app_is_removed_and_the_codes_go_too(browser, user):
    secret = add_app(user)
    answer = browser.get("/accounts/2fa/totp/deactivate/")
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert browser.post("/accounts/2fa/totp/deactivate/").status_code == 302
    assert kinds(user) == ON
    # What was posted is done after confirming.
    answer = browser.post(
        "/accounts/2fa/reauthenticate/",
        {"code": code_of(secret), "next": "/accounts/2fa/totp/deactivate/"},
    )
    assert answer["Location"] == "/accounts/2fa/"
    assert kinds(user) == set()
    assert mail.outbox[-1].subject == "[Dynamic Credits] The authenticator app was removed"
    fresh = Client()
    sign_in(fresh)
    assert is_signed_in(fresh)


def passkey(user: User, name: str = "Laptop") -> Authenticator:
    data = {"name": name, "credential": {"clientExtensionResults": {"credProps": {"rk": True}}}}
    return Authenticator.objects.create(user=user, type="webauthn", data=data)


def test_a_passkey_is_renamed_and_removed_by_its_owner(browser, user, other_user):
    mine, theirs = passkey(user), passkey(other_user, "Theirs")
    confirm(browser, password=PASSWORD)
    page = browser.get("/accounts/2fa/").content.decode()
    assert "Laptop" in page
    assert "Theirs" not in page
    url = f"/accounts/2fa/webauthn/keys/{mine.pk}"
    assert browser.post(f"{url}/edit/", {"name": "<b>Blue</b>"}).status_code == 302
    assert "&lt;b&gt;Blue&lt;/b&gt;" in browser.get("/accounts/2fa/").content.decode()
    for name in ("", "x" * 61):
        assert browser.post(f"{url}/edit/", {"name": name}).status_code == 200
    mine.refresh_from_db()
    assert mine.data["name"] == "<b>Blue</b>"
    for page in ("edit", "remove"):
        foreign = f"/accounts/2fa/webauthn/keys/{theirs.pk}/{page}/"
        assert browser.get(foreign).status_code == 404
        assert browser.post(foreign, {"name": "Mine"}).status_code == 404
    assert browser.get(f"{url}/remove/").status_code == 200
    assert kinds(user) == {"webauthn"}
    assert browser.post(f"{url}/remove/")["Location"] == "/accounts/2fa/webauthn/"
    assert kinds(user) == set()
    assert mail.outbox[-1].subject == "[Dynamic Credits] A passkey was removed"
    theirs.refresh_from_db()
    assert theirs.data["name"] == "Theirs"


def test_a_closed_account_has_none_left(user, other_user):
    add_app(user)
    add_app(other_user)
    mark = closing.begin(user)
    user.refresh_from_db()
    closing.erase(user, mark)
    assert (kinds(user), kinds(other_user)) == (set(), ON)


# --- When everything is lost --------------------------------------------------------------------


def url_of(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/second-step/"


def test_staff_turn_it_off_for_a_customer_on_record(client, staff, user, other_user):
    secret = add_app(user)
    add_app(other_user)
    client.force_login(staff)
    change = client.get(f"/admin/accounts/user/{user.pk}/change/").content.decode()
    assert url_of(user) in change
    page = client.get(url_of(user)).content.decode()
    assert "Authenticator app" in page
    assert secret not in page
    assert kinds(user) == ON
    mail.outbox.clear()

    client.post(url_of(user), REMOTE_ADDR="203.0.113.7")
    assert (kinds(user), kinds(other_user)) == (set(), ON)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(user.pk))
    assert entry.change_message == "Turned two-step sign-in off"
    (message,) = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "We have turned two-step sign-in off" in message.body
    assert "203.0.113.7" not in message.body  # where staff sit is theirs

    assert client.post(url_of(user)).status_code == 403  # there is nothing left to turn off
    assert LogEntry.objects.count() == 1


def test_the_customer_is_told_in_their_own_language(client, staff, user):
    add_app(user)
    preferences.choose(user, language="de")
    preferences.choose(staff, language="en")
    client.force_login(staff)
    mail.outbox.clear()
    client.post(url_of(user))
    ((html, _),) = mail.outbox[0].alternatives
    assert '<html lang="de">' in html


def test_only_superusers_do_it_for_staff_and_nobody_for_oneself(client, staff, user):
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    rights = User._meta.get_field("user_permissions").related_model
    helper.user_permissions.set(rights.objects.filter(codename__in=["change_user", "view_user"]))
    for person in (helper, staff):
        add_app(person)
    client.force_login(helper)
    for person in (helper, staff):
        assert client.get(url_of(person)).status_code == 403
        assert client.post(url_of(person)).status_code == 403
        assert kinds(person) == ON
    client.force_login(staff)
    assert client.post(url_of(staff)).status_code == 403
    assert client.post(url_of(helper)).status_code == 302
    assert (kinds(helper), kinds(staff)) == (set(), ON)


def test_nobody_reads_secrets_in_the_admin(client, staff, user):
    add_app(user)
    client.force_login(staff)
    for page in ("", "1/change/", "add/"):
        assert client.get(f"/admin/mfa/authenticator/{page}").status_code == 404
    assert "uthenticator" not in client.get("/admin/").content.decode()


def test_the_last_administrator_is_helped_by_a_command(staff, other_user, capsys):
    add_app(staff)
    add_app(other_user)
    call_command("remove_second_step", "ADMIN@example.com")
    assert (kinds(staff), kinds(other_user)) == (set(), ON)
    call_command("remove_second_step", "admin@example.com")
    assert capsys.readouterr().out == (
        "Two-step sign-in is off for admin@example.com.\n"
        "Two-step sign-in was not on for admin@example.com.\n"
    )
    with pytest.raises(CommandError, match="There is no user nobody@"):
        call_command("remove_second_step", "nobody@example.com")


def test_the_helper_of_the_tests_is_what_signing_in_makes(client, staff):
    """Its session is told from a real one by nothing that the guard looks at."""
    staff.set_password(PASSWORD)
    staff.save()
    secret = add_app(staff)
    real, made = Client(), StaffClient()
    sign_in(real, login=staff.email)
    real.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    made.force_login(staff)
    keys = ("account_authentication_methods", "account_authentication_methods_user")
    theirs, ours = ([session[key] for key in keys] for session in (real.session, made.session))
    assert theirs[1] == ours[1]
    assert {**theirs[0][-1], "at": 0} == {**ours[0][-1], "at": 0}
