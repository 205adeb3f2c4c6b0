"""Mails to users: written with the business fact that they tell, sent after its commit.

`tell` adds a row in the caller's transaction, so that there is a mail if and only if there is the
fact. The worker sends what is due (`send_due`): a dead mail server costs time, no purchase and no
mail.

A mail is claimed before it is sent, in a transaction of its own: so no lock is held while a mail
server takes its time, and no two workers send the same one. A process that dies between the mail
server's yes and the mark can't tell whether it was sent; then the mail goes out again once the
claim is over, under the same Message-ID.
"""

import logging
import smtplib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts import organisations, preferences
from accounts.models import User
from billing.models import Mail

logger = logging.getLogger(__name__)

CLAIM: Final = timedelta(minutes=10)
"""How long one worker has to send a mail. `EMAIL_TIMEOUT` bounds each of the few steps of it."""

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=6)
MAX_TRIES: Final = 20
"""With the pauses between them not quite three days; then staff may send it again."""

BATCH: Final = 20
"""At most so many mails a round, so that the worker's other jobs have their turn."""


@dataclass(frozen=True)
class Kind:
    """A kind of mail: its name for staff, and what its templates, `mail/<kind>…`, are told."""

    label: Promise | str
    needs: frozenset[str]
    may_have: frozenset[str] = field(default=frozenset())


KINDS: Final[Mapping[str, Kind]] = {
    # A one-time purchase was granted, or the first month of a plan.
    "purchase": Kind(_("Purchase"), frozenset({"credits", "total", "currency", "mode"})),
    # A further month of a plan was granted.
    "renewal": Kind(_("Monthly renewal"), frozenset({"credits", "total"})),
    # A plan's payment failed; with mode "payment", a one-time bank debit.
    "payment_failed": Kind(
        _("Payment failed"), frozenset({"credits", "total"}), frozenset({"mode"})
    ),
    # Money of a purchase went back and took credits along; `owed` of them weren't there.
    "refund": Kind(_("Refund"), frozenset({"credits", "owed", "money", "purchased_at"})),
    "dispute": Kind(_("Dispute"), frozenset({"credits", "owed", "money", "purchased_at"})),
    # Credits came back: a dispute was won, a refund failed.
    "dispute_won": Kind(_("Dispute won"), frozenset({"credits"})),
    "restored": Kind(_("Credits given back"), frozenset({"credits"})),
    # What can be spent has fallen below the user's threshold; `off` is the path to no more of them.
    "low_balance": Kind(_("Balance is low"), frozenset({"available", "threshold", "off"})),
    # An organisation has bought credits for them; `sender` is its name.
    "bulk_received": Kind(_("Credits from an organisation"), frozenset({"credits", "sender"})),
    # To the address that a gift is for: its link, and that it is not there any more.
    "gift": Kind(
        _("Gift"),
        frozenset({"email", "language", "credits", "sender", "message", "link", "returns"}),
    ),
    "gift_withdrawn": Kind(
        _("Gift withdrawn"), frozenset({"email", "language", "credits", "sender"})
    ),
    # To the sender: it was claimed; it came back, or a part of it, and `why`; it was bought, and is
    # on its way or, where it could not be sent, in the buyer's balance.
    "gift_claimed": Kind(_("Gift claimed"), frozenset({"credits", "to"})),
    "gift_returned": Kind(_("Gift returned"), frozenset({"credits", "to", "why"})),
    "gift_bought": Kind(_("Gift bought"), frozenset({"credits", "total", "to", "is_sent"})),
    # To who has claimed it: what is left was fetched back, since its purchase was not paid for.
    "gift_recalled": Kind(_("Gift taken back"), frozenset({"credits", "why"})),
    # The account is gone. `email` is where it was reached, in `language`: both leave with the mail.
    "account_closed": Kind(_("Account closed"), frozenset({"email"}), frozenset({"language"})),
    # An organisation is gone.
    "organisation_closed": Kind(_("Organisation closed"), frozenset({"name"})),
}


ELSEWHERE: Final = ("account_closed", "gift", "gift_withdrawn")
"""Kinds of mails that go to an address of their own, which stays in the row until they are sent."""


def label_of(mail: Mail) -> str:
    """What staff call a mail of this kind; of one that is sent no more, its own name."""
    kind = KINDS.get(mail.kind)
    return str(kind.label) if kind else mail.kind


def given_up() -> QuerySet[Mail]:
    """What was tried as often as it may be."""
    return Mail.objects.filter(sent_at__isnull=True, tries__gte=MAX_TRIES)


def waiting() -> QuerySet[Mail]:
    """What goes out once it is due."""
    # What was written while the account was being closed has nobody to go to.
    has_reader = Q(user__closed_at=None) | Q(kind__in=ELSEWHERE)
    return Mail.objects.filter(has_reader, sent_at__isnull=True, tries__lt=MAX_TRIES)


def tell(user: User, kind: str, key: str, **context: Any) -> None:
    """Have a mail sent to a user once this transaction is committed.

    `key` names the business fact (`invoice:<id>`); each kind tells it once. `context` is what the
    mail's text needs, as JSON (`KINDS`); raises `ValueError` where it is something else. Nothing
    is told to an account that is closed, and what is told to an organisation's, its owners and
    billing members read, each in a mail of their own that names it.
    """
    _check(kind, context)
    account = User.objects.get(pk=user.pk)
    if account.closed_at is not None:
        return
    readers = [account]
    if account.is_organisation and kind not in ELSEWHERE:
        name = account.organisation.name
        readers = list(organisations.who_reads_for(account))
        context["organisation"] = {"id": account.pk, "name": name}
        key = f"{account.pk}:{key}"  # another's facts may be called the same
    Mail.objects.bulk_create(
        [Mail(user=reader, kind=kind, key=key, context=context) for reader in readers],
        ignore_conflicts=True,
    )


def tell_each(kind: str, told: Iterable[tuple[User, str, Mapping[str, Any]]]) -> None:
    """Write many mails at once, each to a user under a key and with a context, like `tell`.

    For users whose accounts are known to be open; an organisation's readers are told by `tell`.
    """
    mails = []
    for user, key, context in told:
        _check(kind, context)
        mails.append(Mail(user=user, kind=kind, key=key, context=context))
    Mail.objects.bulk_create(mails, ignore_conflicts=True)


def _check(kind: str, context: Mapping[str, Any]) -> None:
    expected = KINDS.get(kind)
    if expected is None:
        raise ValueError(f"There is no mail {kind!r}.")
    if not expected.needs <= context.keys() <= expected.needs | expected.may_have:
        raise ValueError(f"A mail {kind!r} is told {sorted(expected.needs)}: {sorted(context)}.")


def send_due() -> int:
    """Send mails that are due, a batch at most. Answers how many were sent.

    The first one that fails ends the round: mostly it is the server, and each try at a dead one
    takes `EMAIL_TIMEOUT`.
    """
    sent = 0
    connection = get_connection()
    try:
        while sent < BATCH and (mail := _claim()) is not None:
            try:
                message = message_of(mail)
                message.connection = connection
                connection.open()  # at the first one, for all of them
                message.send()
            except Exception as error:  # noqa: BLE001 (whatever it is, the mail is tried again)
                _put_off(mail, error)
                break
            _mark_sent(mail)
            sent += 1
    finally:
        connection.close()
    return sent


def _claim() -> Mail | None:
    """The mail that is due the longest, nobody else's for the time of `CLAIM`."""
    with transaction.atomic():
        mail = (
            waiting()
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("user")
            .filter(due_at__lte=Now())
            .order_by("due_at", "pk")
            .first()
        )
        if mail is not None:
            # Counted before it is tried: a mail that ends the process must not do so for ever.
            mail.tries += 1
            Mail.objects.filter(pk=mail.pk).update(tries=mail.tries, due_at=Now() + CLAIM)
    return mail


def message_of(mail: Mail) -> EmailMultiAlternatives:
    """The mail as it is sent: text and HTML, in the user's language."""
    context = {
        **mail.context,
        "kind": mail.kind,
        "site_name": settings.SITE_NAME,
        "base_url": settings.BASE_URL,
        "home": reverse("dashboard"),
    }
    headers = {
        # The same for every try, so that a mailbox can tell a repeat.
        "Message-ID": f"<{mail.pk}.{mail.created_at:%Y%m%d%H%M%S%f}@{_host()}>",
        "Auto-Submitted": "auto-generated",  # no holiday notes, please
    }
    if "organisation" in mail.context:
        context["home"] = reverse("organisation", args=[mail.context["organisation"]["id"]])
    for name in {"purchased_at", "returns"} & mail.context.keys():
        context[name] = datetime.fromisoformat(mail.context[name])
    if "off" in mail.context:  # RFC 8058
        headers["List-Unsubscribe"] = f"<{settings.BASE_URL}{mail.context['off']}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    # Of a closed account only the mail knows it.
    mail.user.language = mail.context.get("language", mail.user.language)
    with preferences.read_by(mail.user):
        subject = render_to_string(f"mail/{mail.kind}_subject.txt", context)
        text = render_to_string(f"mail/{mail.kind}.txt", context)
        html = render_to_string(f"mail/{mail.kind}.html", context)
    message = EmailMultiAlternatives(
        f"[{settings.SITE_NAME}] {' '.join(subject.split())}",
        text.strip() + "\n",
        to=[_address(mail)],
        headers=headers,
    )
    message.attach_alternative(html, "text/html")
    return message


def _address(mail: Mail) -> str:
    address: str = mail.context.get("email") or mail.user.email
    return address


def _host() -> str:
    return urlsplit(settings.BASE_URL).hostname or "localhost"


def _mark_sent(mail: Mail) -> None:
    Mail.objects.filter(pk=mail.pk).update(
        sent_at=Now(), error="", context=_without_address(mail.context)
    )


def _put_off(mail: Mail, error: Exception) -> None:
    what = _what(error, _address(mail))
    is_last = mail.tries >= MAX_TRIES
    Mail.objects.filter(pk=mail.pk).update(
        due_at=Now() + min(FIRST_PAUSE * 2 ** (mail.tries - 1), LONGEST_PAUSE),
        error=what,
        context=_without_address(mail.context) if is_last else mail.context,
    )
    logger.log(
        logging.ERROR if is_last else logging.WARNING,
        "Mail %d (%s) was not sent at try %d, %s: %s",
        mail.pk,
        mail.kind,
        mail.tries,
        "given up" if is_last else "put off",
        what,
        # What the mail server says needs no traceback; a template of ours does.
        exc_info=None if isinstance(error, (smtplib.SMTPException, OSError)) else error,
    )


def _what(error: Exception, address: str) -> str:
    """An error in a line for staff, without addresses and passwords."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"SMTPAuthenticationError: {error.smtp_code}"  # what follows may name the login
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, reply = next(iter(error.recipients.values()))
        text = f"{code} {_text(reply)}"
    elif isinstance(error, smtplib.SMTPResponseException):
        text = f"{error.smtp_code} {_text(error.smtp_error)}"
    else:
        text = str(error)
    for secret in filter(None, (address, settings.EMAIL_HOST_PASSWORD)):
        text = text.replace(secret, "…")
    return f"{type(error).__name__}: {text}".replace("\0", "")[:500]


def _text(reply: bytes | str) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


def _without_address(context: dict[str, Any]) -> dict[str, Any]:
    """What stays on record: no address but the user's own, and no link that is somebody else's."""
    return {name: value for name, value in context.items() if name not in _SHORT_LIVED}


_SHORT_LIVED: Final = {"email", "language", "link", "message", "sender"}


def send_again(mails: QuerySet[Mail]) -> int:
    """Have mails sent once more, sent or given up before. Answers how many will be.

    Those to an address of their own are not: nobody knows it any more.
    """
    return mails.exclude(kind__in=ELSEWHERE).update(due_at=Now(), tries=0, error="", sent_at=None)
