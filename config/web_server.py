"""What the web server writes by itself: it quotes a header that it can't read, a key and all."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from billing.redaction import without_keys


class Formatter(logging.Formatter):
    """By the look of keys alone: this also runs where no settings are read."""

    def format(self, record: logging.LogRecord) -> str:
        return without_keys(super().format(record))


class Log(Logger):  # type: ignore[misc]  # it has no types
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(Formatter(self.error_fmt, self.datefmt))
