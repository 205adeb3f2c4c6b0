"""The ledger in the admin: to read, to correct by an adjustment, and to report on."""

from credits.admin import adjustments, books, revenue
from credits.admin.cells import ReadOnlyAdmin

__all__ = ["ReadOnlyAdmin", "adjustments", "books", "revenue"]
