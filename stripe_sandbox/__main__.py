"""`python -m stripe_sandbox`: serve the stand-in from one process, on loopback only."""

import argparse
import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

OPTIONS = {
    "--bind": ("STRIPE_SANDBOX_BIND", "HOST:PORT, a loopback address"),
    "--state": ("STRIPE_SANDBOX_STATE", "the file that keeps everything"),
    "--webhook-url": ("STRIPE_SANDBOX_WEBHOOK_URL", "where events are delivered"),
    "--webhook-secret": ("STRIPE_WEBHOOK_SECRET", "what they are signed with"),
}


class Server(BaseApplication):
    """Gunicorn with one worker of many threads: a hanging call must not stop the others."""

    def __init__(self, bind: str) -> None:
        self.bind = bind
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self.bind,
            "workers": 1,
            "worker_class": "gthread",
            "threads": 32,
            "timeout": 0,
            "graceful_timeout": 1,
            "keepalive": 30,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": self.start_deliveries,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        from django.core.wsgi import get_wsgi_application

        return get_wsgi_application()

    @staticmethod
    def start_deliveries(worker: Any) -> None:
        from stripe_sandbox import delivery

        delivery.start()


def main() -> None:
    parser = argparse.ArgumentParser(prog="stripe_sandbox", description=__doc__)
    for option, (variable, words) in OPTIONS.items():
        parser.add_argument(option, dest=variable, help=f"{words} (or {variable})")
    for variable, value in vars(parser.parse_args()).items():
        if value is not None:
            os.environ[variable] = value
    if os.environ.get("STRIPE_SECRET_KEY", "").startswith(("sk_live_", "rk_live_")):
        sys.exit("STRIPE_SECRET_KEY is a live key: it has no business with a stand-in.")
    bind = os.environ.setdefault("STRIPE_SANDBOX_BIND", "127.0.0.1:8001")
    host = bind.rpartition(":")[0].strip("[]")
    if host != "localhost" and not _is_loopback(host):
        sys.exit(f"The sandbox takes payments from nobody: {bind} is not a loopback address.")
    state = Path(os.environ.setdefault("STRIPE_SANDBOX_STATE", "var/stripe-sandbox.sqlite3"))
    state.parent.mkdir(parents=True, exist_ok=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "stripe_sandbox.settings"
    Server(bind).run()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
