"""Stripe's error answers."""

from typing import Any


class ApiError(Exception):
    """An answer in Stripe's error shape; its status decides which exception the SDK raises."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        # `about`: the objects that a refused charge tells of.
        error = {"message": message, "type": type, "code": code, "param": param, **(about or {})}
        self.body: dict[str, Any] = {
            "error": {name: value for name, value in error.items() if value is not None}
        }


def missing(kind: str, id: str, *, param: str = "id", status: int = 404) -> ApiError:
    return ApiError(status, f"No such {kind}: '{id}'", code="resource_missing", param=param)


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def unsupported(what: str) -> ApiError:
    return ApiError(501, f"This stand-in doesn't do {what}.", type="api_error")
