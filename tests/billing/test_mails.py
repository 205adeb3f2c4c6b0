import re
import socket
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from billing import mails
from billing.models import Mail, Purchase
from credits import ledger
from tests.billing.test_fulfilment import COMPLETED, order
from tests.organisations import found, join, somebody
from tests.smtp import MailServer
from tests.stripe_events import event, post, session_of

pytestmark = pytest.mark.django_db

PURCHASED_AT = "2026-03-01T23:30:00.123456+00:00"
CONTEXTS = {
    "purchase": {"credits": 1234, "total": 117_205, "currency": "usd", "mode": "payment"},
    "renewal": {"credits": 5000, "total": 4000},
    "payment_failed": {"credits": 5000, "total": 4000},
    "refund": {"credits": 617, "owed": 200, "money": 586, "purchased_at": PURCHASED_AT},
    "dispute": {"credits": 1234, "owed": 0, "money": 1172, "purchased_at": PURCHASED_AT},
    "dispute_won": {"credits": 1234},
    "restored": {"credits": 1},
    "low_balance": {"available": 87, "threshold": 1000, "off": "/alerts/off/1:abc"},
    "bulk_received": {"credits": 1234, "sender": "Acme & Söhne"},
    "gift": {
        "email": "bob@example.org",
        "language": "",
        "credits": 1234,
        "sender": "ada@example.com",
        "message": "Happy <b>birthday</b>",
        "link": "/gifts/abc",
        "returns": "2026-03-31T23:30:00+00:00",
    },
    "gift_withdrawn": {
        "email": "bob@example.org",
        "language": "",
        "credits": 1234,
        "sender": "ada@example.com",
    },
    "gift_claimed": {"credits": 1234, "to": "bob@example.org"},
    "gift_returned": {"credits": 1234, "to": "bob@example.org", "why": "returned"},
    "gift_bought": {"credits": 1234, "total": 1111, "to": "bob@example.org", "is_sent": True},
    "gift_recalled": {"credits": 1234, "why": "refund"},
    "account_closed": {"email": "ada@example.org"},
    "organisation_closed": {"name": "Acme Ltd"},
}
SITE = "http://127.0.0.1:8000"


@pytest.fixture
def mail_server(settings):
    """A real mail server, to which the site sends."""
    server = MailServer()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_TIMEOUT = 5
    yield server
    server.stop()


@pytest.fixture
def dead_mail_server(settings):
    """An address where nothing listens."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.EMAIL_HOST, settings.EMAIL_PORT = free.getsockname()


class Reader(HTMLParser):
    """What one sees of an HTML mail, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self._text: list[str] = []
        self._hidden = False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self._text)).strip()

    def handle_starttag(self, tag, attrs):
        self._hidden = tag in {"style", "title"}
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self._text.append(data)


def told(user: User, kind: str, **changed: object) -> tuple[str, str, Reader]:
    """Subject, text and HTML of a mail."""
    mails.tell(user, kind, "key", **{**CONTEXTS[kind], **changed})
    message = mails.message_of(Mail.objects.get(kind=kind))
    ((html, mimetype),) = message.alternatives
    assert mimetype == "text/html"
    return message.subject, message.body, Reader(html)


def due(**fields: object) -> None:
    Mail.objects.update(due_at=timezone.now() - timedelta(seconds=1), **fields)


# --- What they say ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", mails.KINDS)
def test_each_kind_of_mail_has_text_and_html_that_say_the_same(user, settings, kind):
    settings.SITE_NAME = "Tokens & Co"
    subject, text, html = told(user, kind)
    assert subject.startswith("[Tokens & Co] ")
    assert "\n" not in subject
    for part in (subject, text, html.text):
        assert not re.search(r"\{[{%#]|[%#}]\}|&amp;|&#|None|%\(", part)
    links = re.findall(r"https?://\S+", text)
    assert all(link.startswith(SITE) for link in [*links, *html.links])
    assert sorted(links) == sorted(html.links)
    assert text.endswith(f"\n\n-- \nTokens & Co\n{SITE}\n")
    # Each sentence of the text is in the HTML.
    for line in text.rpartition("\n-- \n")[0].splitlines():
        if line and not line.startswith("http"):
            assert line.removesuffix(":") in html.text


@pytest.mark.parametrize(
    ("kind", "changed", "subject", "sentences", "link"),
    [
        ("purchase", {}, "1,234 credits added",
         ["You paid $1,172.05 USD, and 1,234 credits are in your balance."], "/dashboard"),
        ("purchase", {"mode": "subscription", "total": 1172},
         "Your monthly plan has started: 1,234 credits added",
         ["Every month brings 1,234 more for $11.72, until you cancel."], "/dashboard"),
        ("renewal", {}, "Your monthly plan: 5,000 credits added",
         ["You paid $40.00, and 5,000 credits are in your balance."], "/dashboard"),
        ("payment_failed", {}, "Your payment failed",
         ["The payment of $40.00 for this month", "Nothing was charged, and no credits were",
          "tried again by itself"], "/api/billing/portal-link"),
        ("payment_failed", {"credits": None}, "Your payment failed",
         ["s payment of $40.00 failed. Nothing was charged"], "/api/billing/portal-link"),
        ("payment_failed", {"mode": "payment"}, "Your payment failed",
         ["The bank debit of $40.00 for 5,000 credits failed. Nothing was charged"],
         "/credits?credits=5000"),
        ("refund", {}, "$5.86 refunded",
         ["We have sent $5.86 of your purchase of 1 March 2026 back",
          "The 617 credits that it had paid for have been taken back",
          "200 of them had been spent already and are owed"], "/dashboard"),
        ("refund", {"credits": 1, "owed": 1}, "$5.86 refunded",
         ["The credit that it had paid for has been taken back",
          "1 of them had been spent already and is owed"], "/dashboard"),
        ("dispute", {}, "A payment of $11.72 is disputed",
         ["Your bank has taken back $11.72 that you had paid us on 1 March 2026",
          "The 1,234 credits that it had paid for have been taken back",
          "please ask your bank to withdraw it"], "/dashboard"),
        ("dispute_won", {}, "1,234 credits are back", ["the payment stands"], "/dashboard"),
        ("restored", {}, "1 credit is back", ["A refund to you could not be delivered"],
         "/dashboard"),
        ("low_balance", {}, "87 credits left", ["fewer than the 1,000 at which"], "/credits"),
        ("low_balance", {}, "87 credits left", ["No more of these mails"], "/alerts/off/1:abc"),
        ("gift", {}, "1,234 credits for you",
         ["ada@example.com has sent you 1,234 credits as a gift.", "Happy <b>birthday</b>",
          "What is not claimed by 31 March 2026"], "/gifts/abc"),
        ("gift_withdrawn", {}, "A gift was taken back",
         ["The gift of 1,234 credits from ada@example.com was not claimed"], ""),
        ("gift_claimed", {}, "Your gift was claimed",
         ["bob@example.org has claimed the 1,234 credits"], "/dashboard/gifts"),
        ("gift_claimed", {"to": ""}, "Your gift was claimed",
         ["The 1,234 credits that you had sent were claimed."], "/dashboard/gifts"),
        ("gift_returned", {}, "1,234 credits of a gift are back",
         ["your gift to bob@example.org", "Nobody has claimed it in time"], "/dashboard/gifts"),
        ("gift_returned", {"why": "cancelled"}, "1,234 credits of a gift are back",
         ["You have cancelled it"], "/dashboard/gifts"),
        ("gift_returned", {"why": "staff"}, "1,234 credits of a gift are back",
         ["We have cancelled it"], "/dashboard/gifts"),
        ("gift_returned", {"why": "refund", "credits": 1}, "1 credit of a gift is back",
         ["was refunded. 1 credit of it was fetched back"], "/dashboard/gifts"),
        ("gift_returned", {"why": "dispute"}, "1,234 credits of a gift are back",
         ["is disputed. 1,234 credits of it were fetched back"], "/dashboard/gifts"),
        ("gift_bought", {}, "Your gift is on its way",
         ["You paid $11.11.", "are on their way to bob@example.org"], "/dashboard/gifts"),
        ("gift_bought", {"is_sent": False}, "Your gift was not sent",
         ["could not be sent to bob@example.org", "Nothing is lost"], "/dashboard/gifts"),
        ("gift_recalled", {}, "1,234 credits of a gift were taken back",
         ["was refunded. So 1,234 credits of it", "you owe nothing for it"], "/dashboard"),
        ("gift_recalled", {"why": "dispute"}, "1,234 credits of a gift were taken back",
         ["is disputed. So 1,234 credits of it"], "/dashboard"),
        ("account_closed", {}, "Your account is closed", ["nothing more will be charged"], ""),
        ("organisation_closed", {}, "Acme Ltd is closed", ["nothing more will be charged"], ""),
    ],
)  # fmt: skip
def test_what_a_mail_says(user, kind, changed, subject, sentences, link):
    title, text, html = told(user, kind, **changed)
    assert title == f"[Dynamic Credits] {subject}"
    for sentence in sentences:
        assert sentence in text
        assert sentence in html.text
    assert SITE + link in text.split()
    assert SITE + link in html.links


@pytest.mark.parametrize("kind", ["refund", "dispute"])
def test_a_clawback_of_nothing_speaks_of_no_credits(user, kind):
    _, text, html = told(user, kind, credits=0, owed=0)
    for part in (text, html.text):
        assert "taken back." not in part
        assert "owed" not in part


def test_the_site_name_is_escaped_in_html_and_cannot_break_a_header(user, settings):
    settings.SITE_NAME = "<b>Us</b>"
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    message = mails.message_of(Mail.objects.get())
    assert "<b>" not in message.alternatives[0][0]
    assert "&lt;b&gt;Us&lt;/b&gt;" in message.alternatives[0][0]
    assert "\n<b>Us</b>\n" in message.body


def test_only_the_mail_about_a_low_balance_can_be_switched_off_by_the_mailbox(user):
    for kind, context in CONTEXTS.items():
        mails.tell(user, kind, "key", **context)
    for mail in Mail.objects.all():
        headers = mails.message_of(mail).extra_headers
        is_low = mail.kind == "low_balance"
        off = f"<{SITE}/alerts/off/1:abc>" if is_low else None
        assert headers.get("List-Unsubscribe") == off
        assert ("List-Unsubscribe-Post" in headers) == is_low
        assert headers["Auto-Submitted"] == "auto-generated"


# --- Telling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("birthday", {}),
        ("renewal", {"credits": 1}),
        ("renewal", {"credits": 1, "total": 1, "mode": "payment"}),
    ],
)
def test_a_mail_that_could_not_be_written_fails_where_it_is_told(user, kind, context):
    with pytest.raises(ValueError, match=kind):
        mails.tell(user, kind, "key", **context)
    assert not Mail.objects.exists()


def test_a_fact_is_told_once_by_each_kind_of_mail(user, other_user):
    for someone in (user, user, other_user):
        mails.tell(someone, "renewal", "invoice:in_1", credits=10, total=50)
    mails.tell(user, "payment_failed", "invoice:in_1", credits=10, total=50)
    assert Mail.objects.filter(user=user).count() == 2
    assert Mail.objects.count() == 3


def test_what_is_rolled_back_is_not_told(user, mail_server):
    with transaction.atomic():
        mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
        transaction.set_rollback(True)
    assert mails.send_due() == 0
    assert mail_server.connections == 0


# --- Sending ----------------------------------------------------------------------------------


def test_what_is_due_is_sent_once(user, mail_server):
    mails.tell(user, "renewal", "one", **CONTEXTS["renewal"])
    mails.tell(user, "refund", "two", **CONTEXTS["refund"])
    assert mails.send_due() == 2
    assert mails.send_due() == 0
    first, second = mail_server.mails
    assert mail_server.connections == 1
    assert first["Subject"] == "[Dynamic Credits] Your monthly plan: 5,000 credits added"
    assert (first["To"], first["From"]) == ("ada@example.com", "shop@example.com")
    assert first["Message-ID"] != second["Message-ID"]
    assert [part.get_content_type() for part in first.iter_parts()] == ["text/plain", "text/html"]
    sent = Mail.objects.get(key="one")
    assert (sent.tries, sent.error) == (1, "")
    assert timezone.now() - sent.sent_at < timedelta(minutes=1)


def test_mails_that_are_not_due_wait(user, mail_server):
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    Mail.objects.update(due_at=timezone.now() + timedelta(minutes=1))
    assert mails.send_due() == 0
    assert mail_server.mails == []


def test_a_round_is_bounded_and_the_next_one_goes_on(user, mail_server, monkeypatch):
    monkeypatch.setattr(mails, "BATCH", 2)
    for number in range(3):
        mails.tell(user, "renewal", str(number), **CONTEXTS["renewal"])
    assert (mails.send_due(), mails.send_due()) == (2, 1)


def test_a_dead_mail_server_loses_neither_the_purchase_nor_the_mail(
    client, user, dead_mail_server, settings
):
    purchase = order(user)
    key = f"purchase:{purchase.pk}"
    with transaction.atomic():
        mails.tell(user, "purchase", key, **CONTEXTS["purchase"])
        post(client, event(COMPLETED, session_of(purchase)))
    assert Purchase.objects.get().status == "paid"
    assert ledger.balance_of(user) == 1234
    assert mails.send_due() == 0
    mail = Mail.objects.get()
    assert (mail.tries, mail.sent_at) == (1, None)
    assert mail.error == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert mails.send_due() == 0
    mail.refresh_from_db()
    assert mail.tries == 1  # not due again yet

    server = MailServer()
    settings.EMAIL_PORT = server.port
    due()
    assert mails.send_due() == 1
    server.stop()
    mail.refresh_from_db()
    assert (mail.tries, mail.error) == (2, "")
    assert [one["To"] for one in server.mails] == ["ada@example.com"]


def test_the_pauses_grow_to_six_hours_and_end_after_three_days(user, dead_mail_server):
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    pauses = []
    for _ in range(30):
        due()
        mails.send_due()
        mail = Mail.objects.get()
        if len(pauses) == mail.tries:
            break
        pauses.append(mail.due_at - timezone.now())
    minutes = [round(pause.total_seconds() / 60) for pause in pauses]
    assert minutes == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[360] * 11]
    assert timedelta(days=2, hours=20) < timedelta(minutes=sum(minutes[:-1])) < timedelta(days=3)
    assert Mail.objects.get().sent_at is None


def test_a_dead_server_is_asked_once_a_round(user, mail_server):
    mail_server.replies["MAIL"] = "451 later"
    for number in range(3):
        mails.tell(user, "renewal", str(number), **CONTEXTS["renewal"])
    assert mails.send_due() == 0
    assert sorted(Mail.objects.values_list("tries", flat=True)) == [0, 0, 1]


def test_a_refused_recipient_holds_up_nobody(user, other_user, mail_server):
    mail_server.replies["RCPT"] = "550 no <ada@example.com> here"
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    mails.tell(other_user, "renewal", "key", **CONTEXTS["renewal"])
    assert mails.send_due() == 0
    refused = Mail.objects.get(user=user)
    assert refused.error == "SMTPRecipientsRefused: 550 no <…> here"
    mail_server.replies.clear()
    assert mails.send_due() == 1
    assert [mail["To"] for mail in mail_server.mails] == ["eve@example.com"]


def test_an_error_tells_no_password(user, mail_server, settings, caplog):
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "shop", "hunter2-of-the-shop"
    mail_server.replies |= {
        "EHLO": "250-test\r\n250 AUTH PLAIN",
        "AUTH": "535 shop may not come in with hunter2-of-the-shop",
    }
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    mails.send_due()
    assert Mail.objects.get().error == "SMTPAuthenticationError: 535"
    mail_server.replies = {
        "EHLO": "250-test\r\n250 AUTH PLAIN",
        "AUTH": "235 in",
        "DATA": "554 hunter2-of-the-shop",
    }
    due()
    mails.send_due()
    assert Mail.objects.get().error == "SMTPDataError: 554 …"
    assert "hunter2" not in caplog.text
    assert "ada@example.com" not in caplog.text


def test_a_mail_that_cannot_be_rendered_is_on_record_and_holds_up_nobody(user, mail_server, caplog):
    mails.tell(user, "renewal", "bad", **CONTEXTS["renewal"])
    Mail.objects.update(kind="gone")
    mails.tell(user, "renewal", "good", **CONTEXTS["renewal"])
    assert (mails.send_due(), mails.send_due()) == (0, 1)
    bad = Mail.objects.get(key="bad")
    assert bad.error == "TemplateDoesNotExist: mail/gone_subject.txt"
    assert "Traceback" in caplog.text


def test_the_address_of_a_closed_account_goes_with_the_mail(user, mail_server):
    mails.tell(user, "account_closed", "closed", email="ada@example.org")
    User.objects.filter(pk=user.pk).update(email="gone@example.invalid")
    assert mails.send_due() == 1
    assert mail_server.mails[0]["To"] == "ada@example.org"
    assert Mail.objects.get().context == {}
    assert mails.send_again(Mail.objects.all()) == 0


def test_the_address_of_a_closed_account_goes_when_the_mail_is_given_up(user, dead_mail_server):
    mails.tell(user, "account_closed", "closed", email="ada@example.org")
    due(tries=mails.MAX_TRIES - 1)
    mails.send_due()
    assert Mail.objects.get().context == {}
    assert "ada@" not in Mail.objects.get().error


# --- Several workers, and their ends ----------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_send_each_mail_once(user, mail_server, at_once):
    for number in range(12):
        mails.tell(user, "renewal", str(number), **CONTEXTS["renewal"])
    answers = at_once(4, lambda _: mails.send_due())
    assert sum(answers) == 12
    assert len({mail["Message-ID"] for mail in mail_server.mails}) == 12
    assert len(mail_server.mails) == 12
    assert set(Mail.objects.values_list("tries", flat=True)) == {1}


@pytest.mark.django_db(transaction=True)
def test_a_slow_mail_server_holds_no_lock(user, mail_server, at_once):
    """While it thinks, the row can be changed, and another worker doesn't send it."""
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    found = {}

    def look() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        with transaction.atomic():
            mail = Mail.objects.select_for_update(nowait=True).get()
        found["claimed"] = mail.due_at > timezone.now() + timedelta(minutes=9)
        found["sent"] = mails._claim()
        connection.close()

    mail_server.before_reply = look
    assert mails.send_due() == 1
    assert found == {"claimed": True, "sent": None}


def test_who_dies_while_sending_leaves_the_mail_to_be_sent_again(user, mail_server, monkeypatch):
    """The one case in which a mail may come twice: the server took it, and nobody marked it."""
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])

    def die(mail: Mail) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(mails, "_mark_sent", die)
        with pytest.raises(SystemExit):
            mails.send_due()
    mail = Mail.objects.get()
    assert (mail.sent_at, mail.tries) == (None, 1)
    assert mails.send_due() == 0  # still claimed
    due()
    assert mails.send_due() == 1
    first, second = mail_server.mails
    assert first["Message-ID"] == second["Message-ID"]


def test_who_dies_of_a_mail_dies_of_it_no_more_often_than_it_is_tried(user, monkeypatch):
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    deaths = 0

    def die(mail: Mail) -> None:
        raise SystemExit

    monkeypatch.setattr(mails, "message_of", die)
    for _ in range(mails.MAX_TRIES + 5):
        due()
        try:
            mails.send_due()
        except SystemExit:
            deaths += 1
    assert deaths == mails.MAX_TRIES


# --- The admin --------------------------------------------------------------------------------


@pytest.fixture
def given_up(user):
    mails.tell(user, "renewal", "key", **CONTEXTS["renewal"])
    due(tries=mails.MAX_TRIES, error="TimeoutError: timed out")
    return Mail.objects.get()


def test_staff_see_what_was_given_up_and_send_it_again(client, staff, given_up, mail_server):
    client.force_login(staff)
    page = client.get("/admin/billing/mail/", {"state": "given_up"}).content.decode()
    for shown in (
        "given up",
        "TimeoutError: timed out",
        "ada@example.com",
        "Renewal" and "renewal",
    ):
        assert shown in page
    for state, count in {"given_up": 1, "waiting": 0, "sent": 0}.items():
        found = client.get("/admin/billing/mail/", {"state": state}).context["cl"].result_count
        assert found == count
    assert client.get("/admin/billing/mail/add/").status_code == 403
    assert client.get(f"/admin/billing/mail/{given_up.pk}/change/").status_code == 200
    again = {"action": "send_again", "_selected_action": [given_up.pk]}
    page = client.post("/admin/billing/mail/", again, follow=True)
    assert b"1 mail goes out now" in page.content
    assert mails.send_due() == 1
    assert mail_server.mails[0]["To"] == "ada@example.com"


def test_sending_again_takes_the_permission(client, given_up):
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    helper.user_permissions.add(*_permissions("view_mail"))
    client.force_login(helper)
    assert client.get("/admin/billing/mail/").status_code == 200
    again = {"action": "send_again", "_selected_action": [given_up.pk]}
    client.post("/admin/billing/mail/", again)
    given_up.refresh_from_db()
    assert given_up.tries == mails.MAX_TRIES
    helper.user_permissions.add(*_permissions("resend_mail"))
    client.post("/admin/billing/mail/", again)
    given_up.refresh_from_db()
    assert (given_up.tries, given_up.error) == (0, "")


def _permissions(codename: str):
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(codename=codename)


def test_an_organisation_s_mails_go_to_who_pays_each_in_their_language(user, mail_server):
    acme = found(user)
    join(acme, german := somebody("bob"), "billing")
    User.objects.filter(pk=german.pk).update(language="de")
    join(acme, somebody("carl"))
    for _ in range(2):
        mails.tell(acme.account, "purchase", "purchase:1", **CONTEXTS["purchase"])
    assert [mail.user for mail in Mail.objects.order_by("user")] == [user, german]
    message = mails.message_of(Mail.objects.get(user=user))
    assert "This is about the organisation Acme Ltd." in message.body
    assert f"{SITE}/dashboard/organisations/{acme.pk}" in message.body
    assert "/dashboard\n" not in message.body
    assert mails.send_due() == 2
    readers = sorted(mail["To"] for mail in mail_server.mails)
    assert readers == [user.email, german.email]


def test_another_organisation_s_fact_is_another(user):
    for name in ("Acme", "Beta"):
        account = found(user, name).account
        mails.tell(account, "restored", "charge:1", credits=5)
    assert Mail.objects.count() == 2


def test_an_organisation_that_runs_low_is_told_with_a_way_to_buy_for_it(user):
    acme = found(user)
    context = CONTEXTS["low_balance"]
    mails.tell(acme.account, "low_balance", "at:1", **context)
    message = mails.message_of(Mail.objects.get())
    assert f"{SITE}/credits?organisation={acme.pk}\n" in message.body
    assert "Choose another number" not in message.body
    assert context["off"] in message.body
