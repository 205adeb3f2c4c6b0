"""API keys: all of them to look through, slow down and revoke; service keys to make."""

from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.account.decorators import reauthentication_required
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from accounts import keys, organisations
from accounts.models import ApiKey, User
from accounts.preferences import read_by
from accounts.requests import SignedInRequest
from billing.key_forms import ServiceKeyForm
from credits.admin.cells import moment
from credits.numbers import number

STATES: Final = {
    "open": gettext_lazy("In use"),
    "expired": pgettext_lazy("key", "Expired"),
    "revoked": pgettext_lazy("key", "Revoked"),
}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        help_text=gettext_lazy("For the record. The owner does not see it."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


class State(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        is_over = Q(expires_at__lte=timezone.now())
        match self.value():
            case "open":
                return queryset.filter(~is_over | Q(expires_at=None), revoked_at=None)
            case "expired":
                return queryset.filter(is_over, revoked_at=None)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Of a key only its pace is changed; what it is and whose it is never does."""

    made_time = moment(ApiKey, "created_at")
    used_time = moment(ApiKey, "last_used_at")
    expires_time = moment(ApiKey, "expires_at")
    revoked_time = moment(ApiKey, "revoked_at")

    list_display = ("name", "prefix", "kind", "user", "state", "made_time", "used_time")
    list_filter = ("kind", State)
    list_select_related = ("user",)
    search_fields = ("name", "^prefix", "user__email")
    search_help_text = gettext_lazy("Name, how it begins, or the email address of its owner")
    ordering = ("-id",)
    fields = (
        "name",
        "prefix",
        "kind",
        "user",
        "may",
        "limit",
        "state",
        "requests_per_minute",
        "made_by",
        "made_time",
        "used_time",
        "expires_time",
        "revoked_time",
    )
    readonly_fields = tuple(name for name in fields if name != "requests_per_minute")
    actions = ["revoke"]
    add_form_template = "admin/accounts/apikey/new.html"
    change_form_template = "admin/accounts/apikey/page.html"
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.make_service_key")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("state"))
    def state(self, key: ApiKey) -> str:
        name = "revoked" if key.revoked_at else "open" if key.is_open else "expired"
        return str(STATES[name])

    @admin.display(description=gettext_lazy("what it may do"))
    def may(self, key: ApiKey) -> str:
        return ", ".join(str(ApiKey.Scope(scope).label) for scope in key.scopes)

    @admin.display(description=gettext_lazy("spending limit"))
    def limit(self, key: ApiKey) -> str:
        if not key.limit_credits:
            return "-"
        words = ngettext(
            "%(spent)s of %(limit)s credit %(period)s",
            "%(spent)s of %(limit)s credits %(period)s",
            key.limit_credits,
        )
        return words % {
            "spent": number(keys.spent([key])[key.pk]),
            "limit": number(key.limit_credits),
            "period": key.get_limit_period_display(),
        }

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["show_save_and_add_another"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        # Not the rest of the row: it may have been revoked meanwhile.
        obj.save(update_fields=["requests_per_minute"])

    def add_view(
        self, request: Any, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self.make(request)

    @method_decorator(reauthentication_required)
    def make(self, request: SignedInRequest) -> HttpResponse:
        """GET is the form; POST makes a service key, and its answer shows it, this once."""
        form = ServiceKeyForm(request.POST or None)
        context = {"title": _("Make a service key"), "form": form}
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    key, token = keys.make(made_by=request.user, owner=None, **form.terms())
                    self.log_addition(request, key, "Made a service key")
            except keys.MadeBefore:
                words = _("This form has made its key already, and a key is shown only once.")
                messages.warning(request, words)
                return HttpResponseRedirect(reverse("admin:accounts_apikey_changelist"))
            context = {"title": _("The new service key"), "made": key, "token": token}
        return self._page(request, self.add_form_template, context)

    @admin.action(
        description=gettext_lazy("Revoke the selected keys, with a reason"), permissions=["change"]
    )
    def revoke(self, request: SignedInRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Asks for the reason first; also what the button on a key's page leads to."""
        form = ReasonForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            found = queryset.order_by("-pk")
            context = {"title": _("Revoke keys"), "form": form, "keys": found}
            return self._page(request, "admin/accounts/apikey/revoke.html", context)
        reason = form.cleaned_data["reason"]
        count = sum(_revoke(request, key, reason) for key in queryset.select_related("user"))
        words = ngettext("%(count)s key is revoked.", "%(count)s keys are revoked.", count)
        messages.success(request, words % {"count": number(count)})
        return None

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        site = self.admin_site.each_context(request)
        return TemplateResponse(request, template, {**site, "opts": self.opts, **context})


def _revoke(request: SignedInRequest, key: ApiKey, reason: str) -> bool:
    """On record, and its owner is told. False if it was revoked before."""
    with transaction.atomic():
        if not keys.revoke(key):
            return False
        LogEntry.objects.log_actions(
            request.user.pk,
            ApiKey.objects.filter(pk=key.pk),
            CHANGE,
            change_message=f"Revoked: {reason}",
            single_object=True,
        )
    for reader in _readers(key):
        with read_by(reader):
            get_adapter(request).send_mail(
                "account/email/key_revoked_by_staff",
                reader.email,
                {
                    "name": key.name,
                    "prefix": key.prefix,
                    "organisation": getattr(key.user, "organisation", None),
                    # Marks a notice: what is done is done, whether or not the mail leaves.
                    "timestamp": timezone.now(),
                },
            )
    return True


def _readers(key: ApiKey) -> list[User]:
    """Its owner, or the owners of an organisation."""
    if key.user is None:
        return []
    return (
        list(organisations.owners(key.user.organisation))
        if key.user.is_organisation
        else [key.user]
    )
