"""Mails to customers: which went out, which wait, and sending them again."""

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.requests import SignedInRequest
from billing import mails
from billing.models import Mail
from credits.admin.cells import ReadOnlyAdmin, labelled, moment, to_the_second
from credits.numbers import number


class MailState(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("sent", _("Sent")), ("waiting", _("Waiting")), ("given_up", _("Given up"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Mail]) -> QuerySet[Mail]:
        unsent = queryset.filter(sent_at__isnull=True)
        if self.value() == "sent":
            return queryset.filter(sent_at__isnull=False)
        if self.value() == "waiting":
            return unsent.filter(tries__lt=mails.MAX_TRIES)
        if self.value() == "given_up":
            return unsent.filter(tries__gte=mails.MAX_TRIES)
        return queryset


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    created_time = moment(Mail, "created_at")
    sent_time = moment(Mail, "sent_at")

    list_display = ("created_time", "what", "user", "sent_time", "tries", "next_try", "error")
    list_filter = (
        MailState,
        labelled(
            gettext_lazy("kind"), "kind", {name: one.label for name, one in mails.KINDS.items()}
        ),
    )
    search_fields = ("user__email", "=key")
    list_select_related = ("user",)
    ordering = ("-id",)
    actions = ["send_again"]
    show_full_result_count = False
    fields = (
        "what",
        "user",
        "created_time",
        "sent_time",
        "tries",
        "next_try",
        "error",
        "key",
        "told",
    )

    @admin.display(description=gettext_lazy("kind"), ordering="kind")
    def what(self, mail: Mail) -> str:
        return mails.label_of(mail)

    @admin.display(description=gettext_lazy("what it tells"))
    def told(self, mail: Mail) -> str:
        # A link to somebody's gift is theirs alone.
        return json.dumps({k: v for k, v in mail.context.items() if k != "link"})

    @admin.display(description=gettext_lazy("next try"))
    def next_try(self, mail: Mail) -> str:
        if mail.sent_at is not None:
            return "-"
        return _("given up") if mail.tries >= mails.MAX_TRIES else to_the_second(mail.due_at)

    @admin.action(description=gettext_lazy("Send the selected mails again"), permissions=["resend"])
    def send_again(self, request: SignedInRequest, chosen: QuerySet[Mail]) -> None:
        LogEntry.objects.log_actions(request.user.pk, chosen, CHANGE, change_message="Sent again")
        count = mails.send_again(chosen)
        words = ngettext("%(count)s mail goes out now.", "%(count)s mails go out now.", count)
        messages.success(request, words % {"count": number(count)})

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.resend_mail")
