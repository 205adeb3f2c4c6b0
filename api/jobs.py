"""What time asks for here; the worker does it (`billing/worker.py`)."""

from typing import Final

from api import answers, holds
from billing.worker import Job

JOBS: Final = (
    Job("lapsed holds", 60, holds.uncount_lapsed),
    Job("old answers", 3600, answers.forget_old),
)
