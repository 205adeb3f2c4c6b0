"""The pages that show money and credits together."""

import csv
import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db.models import Q
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import User
from accounts.requests import SignedInRequest
from billing import pricing
from billing.api import Refusal
from billing.checkout import live_subscription
from billing.models import MAX_CREDITS, MIN_CREDITS, Mode, Purchase, Subscription
from billing.views import buy as buy_or_refuse
from billing.views import valid_credits
from credits import ledger
from credits.models import Entry, Lot

PICKS: Final = [100, 500, 2000, 5000, 20000]
PAGE_SIZE: Final = 25
FIRST_AMOUNT: Final = 500

_GROUPED: Final = re.compile(r"[0-9]{1,3}([, '\u00a0\u202f\u2019])[0-9]{3}(\1[0-9]{3})*")
_PLAIN: Final = re.compile(r"[0-9]+")


def page_context(request: HttpRequest) -> dict[str, Any]:
    """What every page shows."""
    theme = request.COOKIES.get("theme", "")
    # There is no user where a request failed before the middleware that finds it.
    user = getattr(request, "user", None)
    return {
        "site_name": settings.SITE_NAME,
        "theme": theme if theme in {"light", "dark"} else "",
        "balance": _balance(request, user) if isinstance(user, User) else None,
        "payments_are_sandbox": settings.PAYMENTS_ARE_SANDBOX,
    }


def _balance(request: HttpRequest, user: User) -> int | None:
    # The admin's pages don't show it, and needn't ask for it.
    return None if request.path_info.startswith("/admin/") else ledger.balance_of(user)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return redirect("dashboard" if request.user.is_authenticated else "buy")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def buy(request: HttpRequest) -> HttpResponse:
    """The shop: GET shows the price of `?credits=`, POST goes to the payment page."""
    if request.method != "POST":
        text = request.GET.get("credits", str(FIRST_AMOUNT))
        form = {"credits": text, "mode": _mode(request.GET.get("mode"))}
        return _shop(request, form)
    form = {
        "credits": request.POST.get("credits", ""),
        "mode": _mode(request.POST.get("mode")),
        "request_id": request.POST.get("request_id", ""),
    }
    here = f"{reverse('buy')}?{urlencode({'credits': form['credits'], 'mode': form['mode']})}"
    if request.POST.get("action") == "price":  # without JavaScript
        return HttpResponseRedirect(here, status=303)
    if not request.user.is_authenticated:
        return redirect_to_login(here)
    try:
        url = buy_or_refuse(
            request.user,
            valid_credits(parse_credits(form["credits"])),
            form["mode"],
            request_id=_uuid(form["request_id"]),
            expected_total=_cents(request.POST.get("expected_total", "")),
        )
    except Refusal as refusal:
        return _shop(request, form, refusal)
    return HttpResponseRedirect(url, status=303)


def parse_credits(text: str) -> int | None:
    """A whole number as people write it, thousands grouped or not: 5000, 5,000, 5 000."""
    text = text.strip()
    if len(text) > 20 or not (_PLAIN.fullmatch(text) or _GROUPED.fullmatch(text)):
        return None
    return int(re.sub("[^0-9]", "", text))


def _mode(text: str | None) -> str:
    return text if text in Mode.values else Mode.PAYMENT


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _cents(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _shop(
    request: HttpRequest, form: dict[str, Any], refusal: Refusal | None = None
) -> HttpResponse:
    problem = None
    errors: dict[str, str] = {}
    # The same id again where Stripe didn't answer, so that trying again can't buy twice.
    keep_id = refusal is not None and refusal.status in {502, 503}
    if refusal is not None:
        if refusal.body.get("field") in {"credits"}:
            errors["credits"] = str(refusal)
        else:
            problem = {
                "title": _problem_title(refusal),
                "detail": str(refusal),
                "code": refusal.body["code"],
            }
    credits = parse_credits(form["credits"])
    try:
        quote = pricing.quote(valid_credits(credits))
    except Refusal as invalid:
        quote = None
        errors.setdefault("credits", str(invalid))
    tiers = pricing.load_tiers()
    subscription = live_subscription(request.user) if request.user.is_authenticated else None
    context = {
        "form": {
            **form,
            "credits": f"{credits:,}" if credits is not None and quote else form["credits"],
            "request_id": form["request_id"] if keep_id else str(uuid.uuid4()),
            "expected_total": quote.total if quote else None,
            "errors": errors,
        },
        "problem": problem,
        "quote": quote,
        "tiers": [
            {
                "min": tier.min,
                "max": tier.max,
                "unit_price": pricing.unit_price_text(tier.unit_price),
                "discount_percent": pricing.discount_percent(tier, tiers),
                "current": quote is not None and tier == quote.tier,
            }
            for tier in tiers
        ],
        "plan": pricing.plan(tiers),
        "min_credits": MIN_CREDITS,
        "max_credits": MAX_CREDITS,
        "picks": PICKS,
        "page": "buy",
        "discount": quote.total - quote.list_total if quote else 0,
        "next": f"{reverse('buy')}?{urlencode({'credits': form['credits'], 'mode': form['mode']})}",
        "subscription": subscription,
    }
    return render(
        request, "billing/credits.html", context, status=refusal.status if refusal else 200
    )


def _problem_title(refusal: Refusal) -> str:
    return {
        "price_changed": _("The price has changed"),
        "already_subscribed": _("You have a monthly plan already"),
        "request_id_reused": _("Please check your order"),
    }.get(str(refusal.body["code"]), _("We couldn't open the payment page"))


@never_cache
@login_required
@require_safe
def success(request: SignedInRequest) -> HttpResponse:
    """Where Stripe sends the buyer back to. It grants nothing: it waits for the webhook to."""
    purchase_id = _uuid(request.GET.get("purchase", ""))
    purchase = get_object_or_404(Purchase, pk=purchase_id, user=request.user)
    return render(request, "billing/success.html", {"purchase": purchase})


@never_cache
@login_required
@require_safe
def dashboard(request: SignedInRequest) -> HttpResponse:
    before = request.GET.get("before", "")
    history = Entry.objects.filter(wallet__user=request.user).order_by("-id")
    older_than = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    page = history.filter(id__lt=older_than) if older_than else history
    entries = list(page[: PAGE_SIZE + 1])
    older = f"?before={entries[PAGE_SIZE - 1].pk}" if len(entries) > PAGE_SIZE else None
    entries = entries[:PAGE_SIZE]
    pending = Purchase.objects.filter(user=request.user).filter(
        Q(status=Purchase.Status.REVIEW)
        | Q(status=Purchase.Status.PENDING, stripe_session_url__gt="")
    )
    return render(
        request,
        "billing/dashboard.html",
        {
            "page": "dashboard",
            "entries": _rows(request.user, entries),
            "older": older,
            "newer_exists": older_than is not None,
            "subscription": live_subscription(request.user) or _last_subscription(request.user),
            "pending": pending.order_by("-created_at")[:5],
        },
    )


def _last_subscription(user: User) -> Subscription | None:
    return Subscription.objects.filter(user=user).order_by("-created_at").first()


def _rows(user: User, entries: list[Entry]) -> list[dict[str, Any]]:
    incoming = [entry.pk for entry in entries if entry.amount > 0]
    paid = dict(
        Lot.objects.filter(wallet__user=user, entry_id__in=incoming).values_list("entry_id", "paid")
    )
    return [
        {
            "created_at": entry.created_at,
            "kind_label": entry.get_kind_display(),
            "note": entry.note,
            "amount": entry.amount,
            "balance": entry.balance,
            "paid": paid.get(entry.pk) or None,
        }
        for entry in entries
    ]


@never_cache
@login_required
@require_safe
def history_csv(request: SignedInRequest) -> HttpResponse | StreamingHttpResponse:
    """The whole history, oldest first, as it streams out of the database."""
    entries = (
        Entry.objects.filter(wallet__user=request.user).order_by("wallet_id", "id").iterator(2000)
    )
    response = StreamingHttpResponse(_csv(entries), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="credits-history.csv"'
    return response


class _Line:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _csv(entries: Iterator[Entry]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(["time", "kind", "note", "credits", "balance"])
    for entry in entries:
        yield writer.writerow(
            [
                entry.created_at.isoformat(),
                entry.kind,
                _inert(entry.note),
                entry.amount,
                entry.balance,
            ]
        )


def _inert(text: str) -> str:
    # A spreadsheet would run a cell that starts like a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
