import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from outgoing import endpoints
from outgoing.models import Endpoint


class Receiver:
    """A product that gets webhooks: keeps what comes and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        """The next status codes; then it is 204."""
        self.body = b""
        self.headers: dict[str, str] = {}
        self.before_answer: Callable[[], object] = lambda: None
        self.together = self.most_together = 0
        receiver, lock = self, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    receiver.got.append((dict(self.headers), body))
                    receiver.together += 1
                    receiver.most_together = max(receiver.most_together, receiver.together)
                    status = receiver.answers.pop(0) if receiver.answers else 204
                receiver.before_answer()
                with lock:
                    receiver.together -= 1
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # who has hung up doesn't wait for the answer

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """What came, as the library of Standard Webhooks lets it in."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.got]

    def raw(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    settings.OUTGOING_PRIVATE_ADDRESSES = True
    started = Receiver()
    yield started
    started.stop()


@pytest.fixture
def endpoint(receiver, staff) -> Endpoint:
    return endpoints.make(url=receiver.url, made_by=staff)
