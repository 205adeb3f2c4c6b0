"""How rows are shown that nobody edits."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import models
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
    """A time to the second, short enough for a list, in the time zone of the site."""
    return _cell(model, field, to_the_second)


def to_the_second(time: datetime) -> str:
    return date_format(localtime(time), "Y-m-d H:i:s")


def _cell(model: type[models.Model], field: str, text: Callable[[Any], str]) -> Cell:
    label = getattr(model._meta.get_field(field), "verbose_name", field)

    @admin.display(description=label, ordering=field)
    def cell(_admin: Any, row: Any) -> str:
        value = getattr(row, field)
        return "-" if value is None else text(value)

    return cell
