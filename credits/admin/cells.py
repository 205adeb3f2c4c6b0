"""How rows are shown that nobody edits."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.timezone import localtime

from credits import numbers

Cell = Callable[[Any, Any], str]
"""A method of an admin: the text of a row's column."""


class ReadOnlyAdmin(admin.ModelAdmin):
    """Looks, changes nothing: what the ledger holds is booked by its verbs alone."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def grouped(model: type[models.Model], field: str) -> Cell:
    """A whole number with its thousands grouped: 5,000."""
    return _cell(model, field, numbers.number)


def signed(model: type[models.Model], field: str) -> Cell:
    """A movement: grouped, with its sign."""
    return _cell(model, field, numbers.signed)


def moment(model: type[models.Model], field: str) -> Cell:
    """A time to the second, short enough for a list, with its time zone."""
    return _cell(model, field, to_the_second)


def to_the_second(time: datetime) -> str:
    return date_format(localtime(time), "Y-m-d H:i:s T")


def labelled(name: Any, field: str, labels: Mapping[str, Any]) -> type[admin.SimpleListFilter]:
    """A filter by a field whose values Stripe or the code names, in words for people."""

    class Labelled(admin.SimpleListFilter):
        title = name
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, str(label)) for value, label in labels.items() if value]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return Labelled


def _cell(model: type[models.Model], field: str, text: Callable[[Any], str]) -> Cell:
    label = getattr(model._meta.get_field(field), "verbose_name", field)

    @admin.display(description=label, ordering=field)
    def cell(_admin: Any, row: Any) -> str:
        value = getattr(row, field)
        return "-" if value is None else text(value)

    return cell
