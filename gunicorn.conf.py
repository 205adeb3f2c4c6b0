"""The web server. Threads, so that a slow Stripe holds up one buyer and not the site."""

import os

# A variable that is set to nothing is not set.
environ = {name: value for name, value in os.environ.items() if value}
_debug = environ.get("DEBUG", "").lower() in {"1", "on", "true", "yes"}

bind = environ.get("BIND", "127.0.0.1:8000")
workers = int(environ.get("WEB_CONCURRENCY", "1" if _debug else "2"))
worker_class = "gthread"
threads = int(environ.get("THREADS", "16"))
timeout = 60
graceful_timeout = 25  # longer than the slowest answer, which waits for Stripe
keepalive = 5
limit_request_line = 4094
limit_request_field_size = 8190
# Whom to believe about the client's address and scheme: nobody, unless a proxy is declared.
forwarded_allow_ips = "*" if int(environ.get("TRUSTED_PROXIES", "0")) else "127.0.0.1"
loglevel = environ.get("LOG_LEVEL", "warning")
accesslog = None
control_socket_disable = True
