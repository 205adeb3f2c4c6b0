"""Every page in a language of brackets: what people read has some, or was not translated.

The pages are found by following links, as a visitor, as a busy user and as staff, so a new page is
looked at as soon as there is a way to it. What is data of the tests begins with zz.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urldefrag, urljoin, urlsplit

import pytest
from babel.messages.pofile import read_po
from django.contrib import admin, auth
from django.core.cache import caches
from django.test import Client
from django.urls import Resolver404, resolve, reverse
from django.utils import timezone
from django.utils.translation import trans_real

from accounts import keys
from accounts.models import ApiKey, Period, User
from billing import history
from billing.models import Event, Mail, PlanChange, Purchase, Reconciliation, Refund, Subscription
from billing.reconciliations import KINDS, STEPS
from credits import adjustments, ledger
from tests.languages.pseudo import Pseudo, bracketed, untranslated

pytestmark = pytest.mark.django_db
VISITS = 2
"""How often a view is looked at with the same names in its query."""

NEW_KEY = {
    "request_id": uuid.uuid4(), "name": "zz", "scopes": ["balance:read"], "expires_in": "30",
    "limit_period": "day",
}  # fmt: skip
SKIPPED = ("/api/", "/static/", "/admin/jsi18n/", "/admin/logout/")
AGAIN = re.compile(r"[?&](_changelist_filters|_facets|e|o|p)=")
"""The same pages of the admin in another order."""

# Data, and names that are the same in every language.
DATA = re.compile(
    r"zz[\w.@:-]*|\{\".*\}|pbkdf2_sha256|[\w/+]+\*{4,}|\bI[dD]\b"
    r"|Dynamic Credits|English|Deutsch|UTC|JSON|CSV|Stripe|usd"
    r"|\bdc[ps]_[\w-]+|\b[a-z]+:[a-z]+\b"
    r"|\b(cs|cus|evt|in|pi|re|sub|ch)_\w+|\b[a-z_]+(\.[a-z_]+)+\b|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
# Rows of Django's own and what is on record, in the language of whoever has made them; places of
# the tz database; what Django itself has not marked.
LISTS = re.compile(
    r'(?s)<select[^>]* id="(id_user_permissions|id_permissions|id_groups|time_zone)".*?</select>'
    r'|<div id="change-history".*?</table>|<ul class="actionlist".*?</ul>'
    r'| alt="(Search|True|False)"|<div class="help">\s*<p>[^<]*<ul id="id_unusable_warning".*?</ul>'
)


@pytest.fixture
def pseudo(monkeypatch) -> Iterator[Pseudo]:
    stand_in = Pseudo(trans_real.translation("de"))
    monkeypatch.setitem(trans_real._translations, "de", stand_in)
    _forget_texts()
    yield stand_in
    _forget_texts()


def _forget_texts() -> None:
    """What is kept of a language's texts: it is another language now."""
    caches["texts"].clear()
    for kept in (history._kinds, history._day, history._time):
        kept.cache_clear()


@pytest.fixture
def ada() -> User:
    """A user of whom every page has something to show."""
    user = User.objects.create_user("zzada@example.com", "zzpassword")
    wallet = ledger.wallet_of(user)
    ledger.grant(wallet, 1234, key="zzg", kind="purchase", paid=1172, note="zznote")
    soon = timezone.now() + timedelta(days=3)
    ledger.grant(
        wallet, 50, key="zzp", kind="promotion", category="promotional", note="zz", expires_at=soon
    )
    ledger.spend(wallet, 3, key="zzs", note="zz")
    for period in Period.values:
        make_key(user, limit_credits=5, limit_period=period, expires_at=soon)
    keys.revoke(make_key(user))
    ledger.hold(wallet, 100, key="zzh", expires_in=timedelta(hours=1))
    ledger.revoke(wallet, 1234, of="zzg", key="zzr", kind="refund")
    order = {
        "user": user, "mode": "payment", "credits": 500, "total": 475, "unit_price_e4": 95,
        "currency": "usd", "stripe_session_url": "http://127.0.0.1:9",
    }  # fmt: skip
    for status in Purchase.Status.values:
        Purchase.objects.create(**order, status=status)
    plan = Subscription.objects.create(
        user=user, stripe_id="sub_1", status="active", credits=500, total=475, currency="usd",
        current_period_end=timezone.now() + timedelta(days=9), fetched_at=timezone.now(),
    )  # fmt: skip
    PlanChange.objects.create(
        subscription=plan, credits=600, total=570, unit_price_e4=95, currency="usd"
    )
    Mail.objects.create(user=user, kind="renewal", key="zzm", context={"credits": 5, "total": 9})
    return user


def make_key(user: User, **terms: Any) -> ApiKey:
    return keys.make(made_by=user, owner=user, name="zz", scopes=ApiKey.Scope.values, **terms)[0]


@pytest.fixture
def boss(ada) -> User:
    """Staff who find some of each in the admin."""
    staff = User.objects.create_superuser("zzboss@example.com")
    adjustments.adjust(ada, 20_000, key="zza", reason="zz", staff=staff)
    Refund.objects.create(
        purchase=Purchase.objects.filter(user=ada).latest("created_at"), entry_key="zzg",
        amount=475, reason="zz", actor=staff,
    )  # fmt: skip
    for number, status in enumerate(Event.Status.values):
        Event.objects.create(
            stripe_id=f"evt_{number}", type="invoice.paid", status=status, livemode=False,
            payload=json.dumps({"id": f"evt_{number}", "data": {"object": {"id": "in_1"}}}),
            error="zzerror", object_id="in_1",
            customer_id="cus_1",
        )  # fmt: skip
    each = dict.fromkeys(STEPS, 1)
    Reconciliation.objects.create(
        since=timezone.now(), finished_at=timezone.now(),
        counts={
            "read": each, "mended": each, "differences": 1, "paid_at_stripe": 475, "paid_here": 0,
            "settled": 5,
        },
        differences=[
            {"kind": kind, "about": "zz", "here": "1", "at_stripe": "2", "user_id": ada.pk}
            for kind in KINDS
        ],
    )  # fmt: skip
    return staff


def look_around(client: Client, *starts: str) -> dict[str, list[str]]:
    """What is untranslated on each page, and the pages reached by the links there."""
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    seen: Counter = Counter()
    waiting, known = list(starts), set(starts)
    found: dict[str, list[str]] = {}
    while waiting:
        path = waiting.pop(0)
        parts = urlsplit(path)
        try:
            view = resolve(parts.path).view_name
        except Resolver404:
            view = ""
        key = (view, *sorted(parse_qs(parts.query)))
        seen[key] += 1
        if seen[key] > VISITS:
            continue
        response = client.get(path)
        if response.status_code in {301, 302, 303}:
            links = [response["Location"]]
        elif not response["Content-Type"].startswith("text/html") or response.streaming:
            continue
        else:
            page = LISTS.sub("", response.text)
            assert response.status_code < 500 or view in {"portal_link", "receipt"}, path
            found[path] = untranslated(page, DATA)
            links = re.findall(r'<a\b[^>]*?\bhref="([^"]*)"', response.text)
        for link in links:
            target = urldefrag(urljoin(path, link.replace("&amp;", "&")))[0]
            is_ours = target.startswith("/") and not target.startswith(SKIPPED)
            if is_ours and target not in known and not AGAIN.search(target):
                known.add(target)
                waiting.append(target)
    return found


def faults(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {path: texts for path, texts in found.items() if texts}


def test_visitors_read_nothing_untranslated(pseudo, client):
    found = look_around(
        client, "/", "/credits", "/credits?credits=5", "/nowhere", "/accounts/login/"
    )
    assert faults(found) == {}
    assert len(found) >= 6
    assert pseudo.missing == set()


def test_users_read_nothing_untranslated(pseudo, client, ada, dead_stripe):
    client.force_login(ada)
    purchases = [f"/credits/success?purchase={one.pk}" for one in Purchase.objects.all()]
    found = look_around(
        client, "/", "/dashboard", "/credits?credits=499", "/credits?credits=5", "/nowhere",
        "/dashboard?kind=dispute", "/dashboard?from=x", "/accounts/email/", *purchases,
    )  # fmt: skip
    assert faults(found) == {}
    assert len(found) >= 20
    assert pseudo.missing == set()


def test_what_is_said_of_a_form_is_translated(pseudo, client, ada, dead_stripe):
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    visitor = Client(headers={"Accept-Language": "de"})
    client.force_login(ada)
    for sender, path, form in [
        (client, "/credits", {"credits": "5.5"}),
        (client, "/credits", {"credits": "500", "expected_total": "1"}),
        (client, "/credits", {"credits": "500", "expected_total": "475"}),
        (client, "/credits", {"credits": "500", "mode": "subscription"}),
        (client, "/dashboard/alerts", {"low": "on", "threshold": "x"}),
        (client, "/dashboard/alerts", {"low": "on", "threshold": "7"}),
        (client, "/dashboard/plan/change", {"credits": "9"}),
        (client, "/dashboard/plan/change", {"credits": "500"}),
        (client, "/dashboard/plan/change", {"credits": "700"}),
        (client, "/dashboard/plan/cancel", {}),
        (client, "/dashboard/account/time-zone", {"time_zone": "zz"}),
        (client, "/dashboard/account/time-zone", {"time_zone": "UTC"}),
        (client, "/dashboard/account/close", {"password": "zz"}),
        (client, "/accounts/reauthenticate/", {"password": "zzpassword"}),
        (client, "/dashboard/account/keys/new", {"name": " ", "limit_credits": "x"}),
        (client, "/dashboard/account/keys/new", NEW_KEY),
        (client, "/dashboard/account/keys/new", NEW_KEY),
        (visitor, "/accounts/login/", {"login": "zz@example.com", "password": "zz"}),
        (visitor, "/accounts/signup/", {"email": "zz", "password1": "1"}),
        (visitor, "/accounts/signup/", {"email": ada.email, "password1": "12345678"}),
        (visitor, "/accounts/password/reset/", {"email": "zz"}),
        (client, "/accounts/password/change/", {"oldpassword": "zz", "password1": "12345678"}),
    ]:
        page = sender.post(path, form, follow=True).text
        assert untranslated(LISTS.sub("", page), DATA) == [], (path, form)
    assert pseudo.missing == set()


def test_staff_read_nothing_untranslated(pseudo, client, ada, boss, dead_stripe):
    client.force_login(boss)
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in admin.site._registry
    ]
    found = look_around(client, "/admin/", *lists)
    assert faults(found) == {}
    assert len(found) >= 40
    assert pseudo.missing <= djangos_own()


def djangos_own() -> set[str]:
    """The texts of its administration, of which its own catalogues lack some."""
    found: set[str] = set()
    for package in (admin, auth):
        with (Path(package.__file__).parent / "locale/de/LC_MESSAGES/django.po").open("rb") as file:
            found |= {message.id for message in read_po(file) if isinstance(message.id, str)}
    return found


def test_a_text_that_is_not_translated_is_found():
    page = f"<p>{bracketed('Hello <b>you</b>')} zzada 5 %</p><p title='Oh'>Planted</p>"
    assert untranslated(page, DATA) == ["Oh", "Planted"]
