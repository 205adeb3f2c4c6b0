"""The web server. Threads, so that a slow Stripe holds up one buyer and not the site."""

import os
import sys

# A variable that is set to nothing is not set.
environ = {name: value for name, value in os.environ.items() if value}


def whole_number(name: str, default: int, *, at_least: int) -> int:
    value = environ.get(name, str(default))
    if not value.isdecimal() or int(value) < at_least:
        sys.exit(f"Settings: {name} must be a whole number of at least {at_least}")
    return int(value)


_debug = environ.get("DEBUG", "").lower() in {"1", "on", "true", "yes"}

bind = environ.get("BIND", "127.0.0.1:8000")
workers = whole_number("WEB_CONCURRENCY", 1 if _debug else 2, at_least=1)
worker_class = "gthread"
threads = whole_number("THREADS", 16, at_least=1)
timeout = 60
graceful_timeout = 25  # longer than the slowest answer, which waits for Stripe
keepalive = 5
limit_request_line = 4094
limit_request_field_size = 8190
# Whom to believe about the client's address and scheme: nobody, unless a proxy is declared.
forwarded_allow_ips = "*" if whole_number("TRUSTED_PROXIES", 0, at_least=0) else "127.0.0.1"
loglevel = environ.get("LOG_LEVEL", "warning")
accesslog = None
logger_class = "config.web_server.Log"
control_socket_disable = True
