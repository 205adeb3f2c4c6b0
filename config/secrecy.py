"""Nothing secret in logs and on the pages that tell a developer what broke."""

import logging
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from billing.redaction import without_secrets


class Formatter(logging.Formatter):
    """Every line of the log, tracebacks with their messages included."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class Reporter(ExceptionReporter):
    """Django's page of what broke, for developers with `DEBUG` on."""

    def get_traceback_html(self) -> SafeString:
        return SafeString(without_secrets(super().get_traceback_html()))

    def get_traceback_text(self) -> SafeString:
        return SafeString(without_secrets(super().get_traceback_text()))


class ReporterFilter(SafeExceptionReporterFilter):
    """Hides also with `DEBUG` on, and every variable that is named like a secret."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        is_secret = self.hidden_settings.search
        return {
            name: self.cleansed_substitute if is_secret(name) else value
            for name, value in super().get_traceback_frame_variables(request, tb_frame)
        }.items()
