"""A server before the site that loses and refuses requests, as networks and busy sites do."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextmanager
def unreliable(site: str, *faults: str) -> Iterator[tuple[str, Counter[str]]]:
    """Meets each Idempotency-Key of a spend with these faults in turn; then passes its requests on.

    "429" and "503" refuse it; "lost" does it and loses the answer. Answers the address, and how
    often each key came.
    """
    came: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            key = self.headers.get("Idempotency-Key")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = None
            if key is not None and self.path.endswith("/spend"):
                fault = faults[came[key]] if came[key] < len(faults) else None
                came[key] += 1
            if fault in {"429", "503"}:
                self._answer(
                    int(fault), b'{"error": "Later.", "code": "busy"}', {"Retry-After": "0"}
                )
                return
            place = urlsplit(site)
            connection = HTTPConnection(place.hostname or "", place.port, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            told = answer.read()
            connection.close()
            if fault != "lost":
                self._answer(answer.status, told, {"Content-Type": "application/json"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any  # noqa: N815 (as http.server names them)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
