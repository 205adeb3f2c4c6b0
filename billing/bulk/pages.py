"""An organisation's pages for bulk purchases: a list, what it costs, paying, and how far it is."""

import functools
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.contrib.auth.decorators import login_required
from django.http import (
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.closing import AccountClosing
from accounts.models import Membership
from accounts.requests import SignedInRequest
from billing import pricing
from billing.bulk import orders, results, terms
from billing.bulk.lines import LIMIT, MOST_LINES, BadLines, Line, of_file, of_text
from billing.checkout import PriceChanged, RequestIdReused
from billing.members import paying
from billing.models import BulkPurchase
from billing.pages import parse_cents
from billing.stripe_api import StripeRefused, StripeUnavailable
from credits import ledger
from credits.numbers import credits_in_words

LATEST: Final = 50
"""How many bulk purchases the list shows."""

PROBLEMS_SHOWN: Final = 100
PO_NUMBER_LENGTH: Final = BulkPurchase._meta.get_field("po_number").max_length or 0

Page = Callable[..., HttpResponseBase]


def _for_buyers(view: Page) -> Page:
    """A page for who buys for the organisation; for others there is no such page."""

    @never_cache
    @login_required
    @functools.wraps(view)
    def wrapped(request: SignedInRequest, organisation_id: int, **kwargs: Any) -> HttpResponseBase:
        return view(request, paying(request.user, organisation_id), **kwargs)

    return wrapped


@require_safe
@_for_buyers
def bulk_list(request: SignedInRequest, member: Membership) -> HttpResponse:
    """The organisation's bulk purchases, newest first."""
    found = (
        BulkPurchase.objects.filter(organisation=member.organisation)
        .select_related("purchase", "invoice")
        .order_by("-created_at", "-pk")
    )
    return _render(request, member, "billing/bulk_list.html", {"found": found[:LATEST]})


@require_http_methods(["GET", "HEAD", "POST"])
@_for_buyers
def new(request: SignedInRequest, member: Membership) -> HttpResponse:
    """GET is the form; POST keeps the list as a draft and leads to it, or says what is wrong."""
    if request.method != "POST":
        return _form(request, member, uuid.uuid4())
    request_id = _uuid(request.POST.get("request_id", "")) or uuid.uuid4()
    try:
        orders.check_room(member.organisation)
        bulk = orders.draft(member.organisation, _lines(request), by=request.user, id=request_id)
    except BadLines as error:
        return _form(request, member, request_id, problems=error.problems)
    except RequestIdReused:
        # The form of before, gone back to and filled in anew.
        problem = _("This form has made a list before. Here it is as a new one: send it again.")
        return _form(request, member, uuid.uuid4(), problem=problem)
    except orders.TooManyDrafts:
        problem = _(
            "Too many lists wait to be ordered. Order one of them; those that nobody orders go "
            "after a week."
        )
        return _form(request, member, request_id, problem=problem)
    except AccountClosing:
        problem = _("The organisation is being closed: nothing can be bought for it.")
        return _form(request, member, request_id, problem=problem)
    return HttpResponseRedirect(bulk.get_absolute_url(), status=303)


def _lines(request: SignedInRequest) -> list[Line]:
    upload = request.FILES.get("file")
    if upload is not None and upload.size:
        # No more than decides that it is too much.
        return of_file(upload.read(LIMIT + 1))
    return of_text(request.POST.get("text", ""))


def _form(
    request: SignedInRequest,
    member: Membership,
    request_id: uuid.UUID,
    *,
    problems: Any = (),
    problem: str = "",
) -> HttpResponse:
    text = request.POST.get("text", "")
    context = {
        "request_id": request_id,
        "text": text if len(text) <= LIMIT else "",
        "most": MOST_LINES,
        "problem": problem,
        "problems": problems[:PROBLEMS_SHOWN],
        "more_problems": max(0, len(problems) - PROBLEMS_SHOWN),
        "problem_count": len(problems),
    }
    status = 400 if problem or problems else 200
    return _render(request, member, "billing/bulk_new.html", context, status=status)


@require_safe
@_for_buyers
def bulk(request: SignedInRequest, member: Membership, bulk_id: uuid.UUID) -> HttpResponse:
    """A list: what it costs, then how far it is, then what became of each line."""
    return _page(request, member, _one_of(member, bulk_id))


@require_POST
@_for_buyers
def order(request: SignedInRequest, member: Membership, bulk_id: uuid.UUID) -> HttpResponse:
    """Order the list, and go to the payment page or have an invoice sent."""
    found = _one_of(member, bulk_id)
    # Whose form names no price has seen none.
    expected_total = parse_cents(request.POST.get("expected_total", "")) or 0
    po_number = " ".join(request.POST.get("po_number", "").split())
    if len(po_number) > PO_NUMBER_LENGTH or not po_number.isprintable():
        problem = _("An order number takes up to %(most)s characters. Nothing was ordered.")
        return _page(request, member, found, problem % {"most": PO_NUMBER_LENGTH}, status=400)
    try:
        if request.POST.get("pay") == "invoice":
            terms.pay_by_invoice(found, expected_total=expected_total, po_number=po_number)
            url = found.get_absolute_url()
        else:
            url = orders.pay_by_card(found, expected_total=expected_total)
    except PriceChanged:
        problem = _("The price has changed. Nothing was charged; look at the new one.")
        return _page(request, member, found, problem, status=409)
    except RequestIdReused:
        problem = _("It was ordered before, at another price or in another way. Look at it anew.")
        return _page(request, member, _one_of(member, bulk_id), problem, status=409)
    except terms.NotApproved:
        problem = _("This organisation doesn't pay by invoice (any more). Nothing was ordered.")
        return _page(request, member, found, problem, status=409)
    except orders.OwesCredits:
        return _page(request, member, found, status=409)  # which says so
    except AccountClosing:
        problem = _("The organisation is being closed: nothing can be bought for it.")
        return _page(request, member, found, problem, status=409)
    except StripeUnavailable:
        problem = _(
            "Our payment provider doesn't answer just now. Nothing was charged. Please try again "
            "in a minute: the order is made once, however often you ask."
        )
        return _page(request, member, _one_of(member, bulk_id), problem, status=503)
    except StripeRefused:
        problem = _("Our payment provider has refused this. Nothing was charged.")
        return _page(request, member, _one_of(member, bulk_id), problem, status=502)
    return HttpResponseRedirect(url, status=303)


def _page(
    request: SignedInRequest,
    member: Membership,
    found: BulkPurchase,
    problem: str = "",
    *,
    status: int = 200,
) -> HttpResponse:
    after = parse_cents(request.GET.get("after", "")) or 0
    lines, next_after = results.page_of(found, after=after)
    context: dict[str, Any] = {
        "bulk": found,
        "lines": lines,
        "after": after,
        "next_after": next_after,
        "problem": problem,
        "name": credits_in_words(found.credits),
    }
    if found.is_draft:
        context["quote"] = pricing.quote(found.credits)
        context["owed"] = ledger.standing(member.organisation.account).owed
        context["terms"] = approved = terms.terms_of(member.organisation)
        if approved is not None:
            total = context["quote"].total + terms.open_total(member.organisation)
            context["is_credited"] = total <= approved.credit_limit
            context["po_number"] = request.POST.get("po_number", "")[:PO_NUMBER_LENGTH]
    else:
        context["progress"] = results.progress_of(found)
    return _render(request, member, "billing/bulk.html", context, status=status)


@require_safe
@_for_buyers
def progress(request: SignedInRequest, member: Membership, bulk_id: uuid.UUID) -> HttpResponse:
    """How far it is, as JSON for the page's script."""
    found = _one_of(member, bulk_id)
    so_far = results.progress_of(found)
    return JsonResponse(
        {
            "status": found.status,
            "payment": found.purchase.status if found.purchase else None,
            "invoice": found.invoice.status if hasattr(found, "invoice") else None,
            "done": so_far.done,
            "lines": so_far.lines,
        }
    )


@require_safe
@_for_buyers
def results_csv(
    request: SignedInRequest, member: Membership, bulk_id: uuid.UUID
) -> StreamingHttpResponse:
    """What became of each line, as CSV."""
    found = _one_of(member, bulk_id)
    written: Iterator[str] = results.csv_of(found)
    response = StreamingHttpResponse(written, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="bulk-{found.pk}.csv"'
    return response


def _one_of(member: Membership, bulk_id: uuid.UUID) -> BulkPurchase:
    """The organisation's bulk purchase with this id, or a 404."""
    return get_object_or_404(
        BulkPurchase.objects.select_related("organisation__account", "purchase", "invoice"),
        pk=bulk_id,
        organisation=member.organisation,
    )


def _render(
    request: SignedInRequest,
    member: Membership,
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    context |= {"organisation": member.organisation, "page": "dashboard"}
    return render(request, template, context, status=status)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
