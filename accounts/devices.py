"""Where somebody is signed in, and signing out there.

allauth notes the address and the browser of each sign-in. What counts is our own table of sessions,
which knows whose each is: one that began before allauth noted them ends with the others.
"""

from allauth.account.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import Session, User
from accounts.requests import SignedInRequest


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def devices(request: SignedInRequest) -> HttpResponse:
    """GET lists them; POST signs out on the one of `id`, or without it on all others."""
    here = request.session.session_key
    if request.method == "POST":
        if "id" in request.POST:
            sign_out(request.user, request.POST["id"], here=here)
        else:
            sign_out_elsewhere(request.user, here=here)
        get_adapter().add_message(
            request, messages.SUCCESS, "usersessions/messages/sessions_logged_out.txt"
        )
        return HttpResponseRedirect(reverse("usersessions_list"), status=303)
    if not UserSession.objects.filter(session_key=here).exists():
        UserSession.objects.create_from_request(request)
    found = sorted(
        UserSession.objects.purge_and_list(request.user),
        key=lambda session: (session.session_key != here, -session.created_at.timestamp()),
    )
    context = {"sessions": found, "here": here}
    return render(request, "usersessions/usersession_list.html", context)


def sign_out(user: User, number: str, *, here: str | None) -> None:
    """End one session of the user's that is not this one."""
    if not number.isdecimal() or len(number) > 18:
        return
    for session in UserSession.objects.filter(user=user, pk=int(number)).exclude(session_key=here):
        session.end()


def sign_out_elsewhere(user: User, *, here: str | None) -> None:
    """End all sessions of the user's but this one."""
    Session.objects.filter(user=user).exclude(session_key=here).delete()
    UserSession.objects.filter(user=user).exclude(session_key=here).delete()


def forget_old() -> int:
    """Delete sessions that have expired, and what was noted of sign-ins whose session is over."""
    sessions, _ = Session.objects.filter(expire_date__lt=timezone.now()).delete()
    over = UserSession.objects.exclude(session_key__in=Session.objects.values("session_key"))
    sign_ins, _ = over.delete()
    return sessions + sign_ins
