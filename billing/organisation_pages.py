"""The pages of organisations: for their members, each as far as their role goes.

For who is no member, or may not do what a page does, there is no such page.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.core import ratelimit
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit as limits
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import organisations, preferences
from accounts.closing import AccountClosed, AccountClosing
from accounts.models import Invitation, Membership, Organisation, User
from accounts.organisations import LastOwner, NotAllowed, UnknownOrganisation
from accounts.requests import SignedInRequest
from billing import closing, customers, history
from billing.account_pages import REFUSALS as CLOSING_REFUSALS
from billing.members import member, owned, paying
from billing.models import Purchase
from billing.organisation_forms import (
    DetailsForm,
    InvitationForm,
    MemberForm,
    NewOrganisationForm,
)
from billing.pages import to_receipt
from billing.stripe_api import StripeRefused, StripeUnavailable
from credits import ledger, statement
from credits.models import Entry, Kind, Wallet
from credits.statement import Line

A_PAGE: Final = 25
"""Members that are listed at once."""

PURCHASES_SHOWN: Final = 10
PAYMENT_PAGE_LIFE: Final = timedelta(hours=24)
INVITATION_LIMIT: Final = {"invitation": "30/h/user"}


def to(name: str, *args: int) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse(name, args=args), status=303)


# --- All of somebody's ------------------------------------------------------------------------


@never_cache
@login_required
@require_safe
def organisation_list(request: SignedInRequest) -> HttpResponse:
    memberships = list(organisations.memberships_of(request.user))
    drawn = organisations.drawn(memberships)
    rows = [
        MemberRow(
            membership,
            drawn.get(membership.pk, 0),
            ledger.balance_of(membership.organisation.account),
        )
        for membership in memberships
    ]
    return _page(request, "organisations", {"rows": rows})


@dataclass(frozen=True)
class MemberRow:
    """A membership, and what was drawn in this period of its limit."""

    membership: Membership
    drawn: int
    available: int = 0


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def found(request: SignedInRequest) -> HttpResponse:
    if request.method != "POST":
        return _new(request, NewOrganisationForm(billing_email=request.user.email))
    form = NewOrganisationForm(request.POST)
    if not form.is_valid():
        return _new(request, form, status=400)
    try:
        organisation = organisations.found(request.user, **form.cleaned_data)
    except organisations.TooMany:
        return _new(request, form, _("You have made as many organisations as one can."), 409)
    except AccountClosing:
        return _new(request, form, _("Your account is being closed: nothing was made."), 409)
    return to("organisation", organisation.pk)


def _new(
    request: SignedInRequest, form: NewOrganisationForm, problem: str = "", status: int = 200
) -> HttpResponse:
    return _page(request, "organisation_new", {"form": form, "problem": problem}, status)


def _page(
    request: SignedInRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    context = {"page": "organisations", **context}
    return render(request, f"billing/{template}.html", context, status=status)


# --- One --------------------------------------------------------------------------------------


@never_cache
@login_required
@require_safe
def organisation(request: SignedInRequest, organisation_id: int) -> HttpResponse:
    """What is left, what one has drawn of it, and who else draws on it."""
    mine = member(request.user, organisation_id)
    context: dict[str, Any] = {
        "mine": mine,
        "organisation": mine.organisation,
        "standing": ledger.standing(mine.organisation.account),
        "drawn": organisations.drawn([mine])[mine.pk],
    }
    if mine.may_buy:
        context |= _members(mine, request.GET.get("page"))
        context["purchases"] = _purchases(mine.organisation)
    else:
        context["owners"] = organisations.owners(mine.organisation)
    if mine.is_owner:
        context["invitations"] = mine.organisation.invitations.order_by("email")
    return _page(request, "organisation", context)


def _members(mine: Membership, page: str | None) -> dict[str, Any]:
    found = Membership.objects.filter(organisation=mine.organisation).select_related("user")
    shown = Paginator(found.order_by("user__email", "pk"), A_PAGE).get_page(page)
    members = list(shown)
    drawn = organisations.drawn(members)
    return {"shown": shown, "rows": [MemberRow(one, drawn.get(one.pk, 0)) for one in members]}


@dataclass(frozen=True)
class PurchaseRow:
    """A purchase, the page to pay it on while it is open, and its entry once it is granted."""

    purchase: Purchase
    payment_page: str
    entry_id: int | None


def _purchases(organisation: Organisation) -> list[PurchaseRow]:
    """The latest, but for those that nobody went on with."""
    status = Purchase.Status
    found = list(
        Purchase.objects.filter(user=organisation.account)
        .exclude(status=status.EXPIRED)
        .exclude(status=status.PENDING, stripe_session_url="")
        .order_by("-created_at")[:PURCHASES_SHOWN]
    )
    keys = [f"purchase:{purchase.pk}" for purchase in found]
    entries = dict(
        Entry.objects.filter(wallet__user=organisation.account, key__in=keys).values_list(
            "key", "id"
        )
    )
    fresh = timezone.now() - PAYMENT_PAGE_LIFE
    return [
        PurchaseRow(
            purchase,
            purchase.stripe_session_url
            if purchase.status == status.PENDING and purchase.created_at > fresh
            else "",
            entries.get(f"purchase:{purchase.pk}"),
        )
        for purchase in found
    ]


@never_cache
@login_required
@require_safe
def organisation_history(request: SignedInRequest, organisation_id: int) -> HttpResponse:
    """All of it for who pays, and for others what they drew themselves."""
    mine = member(request.user, organisation_id)
    question = history.asked(request.GET, timezone.get_current_timezone())
    wallet = ledger.wallet_now(mine.organisation.account)
    page = statement.Page([])
    if wallet is not None:
        chosen = replace(question.chosen, actor=mine.sees_of)
        page = statement.history(wallet, chosen, before=question.before, after=question.after)
    here = reverse("organisation_history", args=[organisation_id])
    if page.is_stray:
        return redirect(f"{here}?{history.query_of(question.chosen)}#history")

    def receipt_path(entry_id: int) -> str:
        return reverse("organisation_receipt", args=[organisation_id, entry_id])

    context = {
        "mine": mine,
        "organisation": mine.organisation,
        "history_path": here,
        "csv_path": reverse("organisation_history_csv", args=[organisation_id]),
        **history.page_of(question, page, receipt_path, _drawn_by(wallet, page.lines)),
    }
    return _page(request, "organisation_history", context)


def _drawn_by(wallet: Wallet | None, lines: list[Line]) -> dict[int, str]:
    """The addresses of the members who spent, by the entry's id. Who of the staff booked something
    is the staff's."""
    spent = [line.id for line in lines if line.kind == Kind.SPEND]
    if wallet is None or not spent:
        return {}
    found = Entry.objects.filter(wallet=wallet, id__in=spent).exclude(actor=wallet.user_id)
    return dict(found.exclude(actor=None).values_list("id", "actor__email"))


@never_cache
@login_required
@require_safe
def organisation_history_csv(
    request: SignedInRequest, organisation_id: int
) -> StreamingHttpResponse:
    mine = member(request.user, organisation_id)
    chosen = history.asked(request.GET, timezone.get_current_timezone()).chosen
    wallet = Wallet.objects.filter(user=mine.organisation.account).first()
    chosen = replace(chosen, actor=mine.sees_of)
    # To HEAD nothing is sent, and nothing needs to be read.
    who = functools.partial(_drawn_by, wallet)
    lines = history.csv_of(wallet, chosen, who) if request.method == "GET" else ()
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{history.filename(chosen)}"'
    return response


@never_cache
@login_required
@require_GET
def organisation_receipt(
    request: SignedInRequest, organisation_id: int, entry_id: int
) -> HttpResponse:
    account = paying(request.user, organisation_id).organisation.account
    return to_receipt(request, account, entry_id)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def organisation_details(request: SignedInRequest, organisation_id: int) -> HttpResponse:
    organisation = owned(request.user, organisation_id).organisation
    initial = {"name": organisation.name, "billing_email": organisation.billing_email}
    form = DetailsForm(request.POST if request.method == "POST" else None, initial=initial)
    context = {"organisation": organisation, "form": form}
    if not form.is_bound:
        return _page(request, "organisation_details", context)
    if not form.is_valid():
        return _page(request, "organisation_details", context, 400)
    refused = _try(
        lambda: organisations.change_details(organisation_id, by=request.user, **form.cleaned_data)
    )
    if refused:
        return _page(request, "organisation_details", context | {"problem": refused}, 409)
    try:
        customers.tell_details(User.objects.get(pk=organisation_id))
    except (StripeUnavailable, StripeRefused) as error:
        context["problem"] = _(
            "Saved here, but our payment provider doesn't know it yet, so receipts still go where "
            "they went. Please save once more in a minute."
        )
        status = 503 if isinstance(error, StripeUnavailable) else 502
        return _page(request, "organisation_details", context, status)
    messages.success(request, _("Saved."))
    return to("organisation", organisation_id)


PROBLEMS: Final[dict[type[Exception], Any]] = {
    LastOwner: gettext_lazy(
        "An organisation needs an owner, and this is the only one. Nothing was changed; make "
        "somebody else an owner first."
    ),
    AccountClosing: gettext_lazy("It is being closed. Nothing was changed."),
    organisations.MemberAlready: gettext_lazy(
        "Whoever has this address is a member already. Nothing was sent."
    ),
    organisations.TooMany: gettext_lazy(
        "So many invitations are open that there can be no more. Nothing was sent; take some back "
        "or wait until they are answered."
    ),
}


def _try(act: Callable[[], object]) -> str:
    """Why it was refused, in words; empty where it was done.

    Raises `Http404` for who may not do it any more.
    """
    try:
        act()
    except (UnknownOrganisation, NotAllowed):
        raise Http404 from None
    except tuple(PROBLEMS) as error:
        return next(str(words) for kind, words in PROBLEMS.items() if isinstance(error, kind))
    return ""


# --- Members ----------------------------------------------------------------------------------


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def change_member(request: SignedInRequest, organisation_id: int, user_id: int) -> HttpResponse:
    mine = paying(request.user, organisation_id)
    theirs = _theirs(mine, user_id)
    preferences.answer_as_page(request)
    form = MemberForm.of(theirs, request.POST if request.method == "POST" else None, by=mine)
    context = {"mine": mine, "theirs": theirs, "organisation": mine.organisation, "form": form}
    if not form.is_bound:
        return _page(request, "organisation_member", context)
    if not form.is_valid():
        return _page(request, "organisation_member", context, 400)
    problem = _try(
        lambda: organisations.change_member(
            organisation_id,
            user_id,
            by=request.user,
            role=form.cleaned_data.get("role", theirs.role),
            **form.limit(),
        )
    )
    if problem:
        return _page(request, "organisation_member", context | {"problem": problem}, 409)
    messages.success(request, _("Saved: %(email)s.") % {"email": theirs.user.email})
    return to("organisation", organisation_id)


def _theirs(mine: Membership, user_id: int) -> Membership:
    return member(User(pk=user_id), mine.organisation_id)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def remove_member(request: SignedInRequest, organisation_id: int, user_id: int) -> HttpResponse:
    """GET says what it means, POST removes the member; oneself is how one leaves."""
    is_self = user_id == request.user.pk
    mine = (member if is_self else owned)(request.user, organisation_id)
    theirs = _theirs(mine, user_id)
    context = {
        "theirs": theirs,
        "organisation": mine.organisation,
        "is_self": is_self,
        "is_last": mine.organisation in organisations.owned_alone(theirs.user),
    }
    if request.method != "POST":
        return _page(request, "organisation_remove", context)
    problem = _try(lambda: organisations.remove_member(organisation_id, user_id, by=request.user))
    if problem:
        return _page(request, "organisation_remove", context | {"problem": problem}, 409)
    if is_self:
        words = _("You have left %(name)s.") % {"name": mine.organisation.name}
        messages.success(request, words)
        return to("organisations")
    messages.success(request, _("%(email)s is removed.") % {"email": theirs.user.email})
    return to("organisation", organisation_id)


# --- Invitations ------------------------------------------------------------------------------


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def invite(request: SignedInRequest, organisation_id: int) -> HttpResponse:
    organisation = owned(request.user, organisation_id).organisation
    preferences.answer_as_page(request)
    form = InvitationForm(request.POST if request.method == "POST" else None)
    context = {"organisation": organisation, "form": form}
    if not form.is_bound:
        return _page(request, "organisation_invite", context)
    if not form.is_valid():
        return _page(request, "organisation_invite", context, 400)
    if not limits.consume(
        request,
        app="billing",
        action="invitation",
        config=INVITATION_LIMIT,
        user=request.user,
    ):
        return ratelimit.respond_429(request)
    email, role = form.cleaned_data["email"].lower(), form.cleaned_data["role"]
    made: list[tuple[Invitation, str]] = []
    problem = _try(
        lambda: made.append(
            organisations.invite(
                organisation_id, by=request.user, email=email, role=role, **form.limit()
            )
        )
    )
    if problem:
        return _page(request, "organisation_invite", context | {"problem": problem}, 409)
    invitation, token = made[0]
    try:
        _mail(request, organisation, email, token)
    except ImmediateHttpResponse:
        organisations.take_back(organisation_id, invitation.pk, by=request.user)
        context["problem"] = _(
            "The mail did not leave, so nobody was invited. Please try again in a few minutes."
        )
        return _page(request, "organisation_invite", context, 503)
    messages.success(request, _("An invitation was mailed to %(email)s.") % {"email": email})
    return to("organisation", organisation_id)


def _mail(request: SignedInRequest, organisation: Organisation, email: str, token: str) -> None:
    """Now, as all mails with a link that lets somebody in: it must not lie in a table.

    Raises `ImmediateHttpResponse` where it can't be sent.
    """
    get_adapter(request).send_mail(
        "account/email/invitation",
        email,
        {
            "organisation": organisation.name,
            "invited_by": request.user.email,
            "link": f"{settings.BASE_URL}{reverse('organisation_join', args=[token])}",
            "days": organisations.INVITED_FOR.days,
        },
    )


@never_cache
@login_required
@require_POST
def take_back(request: SignedInRequest, organisation_id: int, invitation_id: int) -> HttpResponse:
    owned(request.user, organisation_id)
    problem = _try(lambda: organisations.take_back(organisation_id, invitation_id, by=request.user))
    if problem:
        messages.error(request, problem)
    else:
        messages.success(request, _("Taken back: its link opens nothing any more."))
    return to("organisation", organisation_id)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: SignedInRequest, token: str) -> HttpResponse:
    """GET says what one is invited to, POST accepts. So no program that opens links joins."""
    try:
        if request.method != "POST":
            invitation = organisations.invitation_of(request.user, token)
            return _page(request, "organisation_join", {"invitation": invitation})
        joined = organisations.accept(request.user, token)
    except organisations.InvitationOver:
        return _page(request, "organisation_join", {"is_over": True}, 404)
    except organisations.OtherAddress:
        return _page(request, "organisation_join", {"is_others": True}, 403)
    except AccountClosing:
        return _page(request, "organisation_join", {"is_over": True}, 409)
    messages.success(request, _("You are a member of %(name)s now.") % {"name": joined.name})
    return to("organisation", joined.pk)


# --- Its end ----------------------------------------------------------------------------------

CLOSING_PROBLEMS: Final = {
    closing.CreditsOwed: gettext_lazy(
        "It owes credits. Nothing was closed; buy what is owed first, or write to us."
    ),
    closing.CreditsHeld: gettext_lazy(
        "Some of its credits are reserved for work that is being done. Nothing was closed; please "
        "come back when it is done, at most a day from now."
    ),
    closing.BeingHandedOut: gettext_lazy(
        "What it has bought for many is still being handed out. Nothing was closed; please come "
        "back in some minutes."
    ),
}


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def close(request: SignedInRequest, organisation_id: int) -> HttpResponse:
    """GET says what closing means, POST closes, once one has ticked that one knows."""
    organisation = owned(request.user, organisation_id).organisation
    context: dict[str, Any] = {
        "organisation": organisation,
        "standing": ledger.standing(organisation.account),
        "members": organisation.memberships.count(),
    }
    if request.method != "POST":
        return _page(request, "organisation_close", context)
    if "is_sure" not in request.POST:
        return _page(request, "organisation_close", context | {"is_unsure": True}, 400)
    try:
        closing.close_organisation(organisation_id, by=request.user)
    except (UnknownOrganisation, NotAllowed):
        raise Http404 from None
    except AccountClosed:
        pass  # by the same button, pressed twice
    except tuple(CLOSING_PROBLEMS) as error:
        context["problem"] = CLOSING_PROBLEMS[type(error)]
        return _page(request, "organisation_close", context, 409)
    except tuple(CLOSING_REFUSALS) as error:
        status, context["problem"] = CLOSING_REFUSALS[type(error)]
        return _page(request, "organisation_close", context, status)
    messages.success(request, _("%(name)s is closed.") % {"name": organisation.name})
    return to("organisations")
