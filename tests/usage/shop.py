"""Meters to use, with price lists from any month on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from django.db import connection, transaction

from usage.models import Band, Meter, Tariff

BANDS = [(0, 3, 1000), (10_000, 2, 1000)]
"""(above, credits, per): 3 credits per 1,000, then 2."""

THIS_MONTH = datetime.now(UTC).date().replace(day=1)


def make_meter(
    code: str = "tokens", bands: Sequence[tuple[int, int, int]] = BANDS, **terms: Any
) -> Meter:
    """A meter whose price list began years ago, so that each test may choose its month."""
    mode = terms.pop("mode", "graduated")
    meter = Meter.objects.create(
        code=code, **{"name": "Text generation", "unit": "tokens", **terms}
    )
    make_tariff(meter, date(2020, 1, 1), bands, mode)
    return meter


def make_tariff(
    meter: Meter,
    begins_on: date,
    bands: Sequence[tuple[int, int, int]] = BANDS,
    mode: str = "graduated",
) -> Tariff:
    with transaction.atomic(), unguarded():
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        tariff = Tariff.objects.create(
            meter=meter, begins_on=begins_on, mode=mode, created_at=long_ago
        )
        Band.objects.bulk_create(
            Band(tariff=tariff, above=above, credits=credits, per=per)
            for above, credits, per in bands
        )
    return tariff


@contextmanager
def unguarded() -> Iterator[None]:
    """Price lists may begin in the past, which the database refuses to everybody else."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what waits for the end keeps ALTER out
        for table in ("usage_tariff", "usage_band"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        for table in ("usage_tariff", "usage_band"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
