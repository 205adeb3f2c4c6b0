import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from tests.sandbox import Sandbox
from tests.stripe_sandbox.helpers import KEY, client, until


@pytest.fixture
def api(sandbox: Sandbox) -> stripe.StripeClient:
    return client(sandbox)


@pytest.fixture
def own_sandbox() -> Iterator[Sandbox]:
    """A stand-in that a test may kill."""
    process = Sandbox()
    process.start()
    yield process
    process.stop()


@pytest.fixture
def post(sandbox: Sandbox) -> Callable[..., tuple[int, dict[str, Any], dict[str, str]]]:
    """Post a form body to the API as it is, past the SDK's own care."""
    import requests

    def run(path: str, body: bytes | str, **headers: str) -> tuple[int, dict, dict]:
        response = requests.post(
            f"{sandbox.base_url}{path}",
            body,
            headers={"Authorization": f"Bearer {KEY}", **headers},
            timeout=20,
        )
        return response.status_code, response.json(), dict(response.headers)

    return run


class Receiver:
    """A webhook endpoint: keeps what it gets and answers what it is told to."""

    secret = "whsec_" + "of_the_receiver"

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.raw: list[tuple[bytes, str]] = []
        self.answers: list[int] = []
        """The next statuses; then it is 200."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.raw.append((body, self.headers["Stripe-Signature"]))
                receiver.got.append(json.loads(body))
                receiver.may_answer.wait(30)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Location", receiver.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *arguments: Any) -> None:
                pass  # a sender that was killed doesn't wait for the answer

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhook"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.got]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.got]

    def wait_for(self, count: int) -> None:
        until(lambda: len(self.got) >= count)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.may_answer.set()
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/webhook"
