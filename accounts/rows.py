"""Rows of a model by SQL of one's own, for what every page or every booking asks for.

To put such a query together through the model takes longer than to run it. What comes is what the
database answers: no field of these models is read by a conversion of its own (`from_db_value`).
"""

from functools import cache
from typing import Any, TypeVar

from django.db import connection, models

Row = TypeVar("Row", bound=models.Model)


def find(model: type[Row], rest: str, values: list[Any]) -> list[Row]:
    """The rows of a model's table; `rest` is what follows its name: `WHERE user_id = %s`."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns(model)} FROM {model._meta.db_table} {rest}", values)  # noqa: S608 (ours)
        return [made_of(model, row) for row in cursor.fetchall()]


@cache
def columns(model: type[models.Model], of: str = "") -> str:
    """A model's columns, as SQL names them, of the table that goes by the name `of`."""
    table = f"{of}." if of else ""
    return ", ".join(f"{table}{field.column}" for field in model._meta.concrete_fields)


def made_of(model: type[Row], values: tuple[Any, ...]) -> Row:
    """One of the model's, as it is read from the values of its columns."""
    return model.from_db(connection.alias, _names(model), values)


@cache
def _names(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]
