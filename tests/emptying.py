"""The database is emptied after a test that has committed something.

Django's own way truncates some fifty tables and makes content types and permissions anew, which
takes longer than most of the tests.
"""

import functools

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

KEPT = {ContentType._meta.db_table, Permission._meta.db_table}
"""What the apps are made of: no test commits to these."""
LARGE = 1_000_000  # bytes: rows that were deleted are still read over until they are vacuumed


def empty(_test_case: object = None) -> None:
    tables = _tables()
    listed = ", ".join(tables)
    with transaction.atomic(), connection.cursor() as cursor:
        # Who is still at it, such as a web server with a late webhook, ends first.
        cursor.execute(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE")
        # Without foreign keys, and without the guards of the ledger, which let nobody delete.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "SELECT max(pg_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", [tables]
        )
        (largest,) = cursor.fetchone()
        if largest > LARGE:
            cursor.execute(f"TRUNCATE {listed}")
        else:
            cursor.execute("; ".join(f"DELETE FROM {table}" for table in tables))


@functools.cache
def _tables() -> list[str]:
    found = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(found) - KEPT)
