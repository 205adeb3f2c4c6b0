"""A mail server, as small as can be, on a port of its own."""

import email
import email.policy
import socketserver
import threading
from collections.abc import Callable
from email.message import EmailMessage


class MailServer:
    """Takes mails and keeps them. Its answers, by command, can be changed: `replies["RCPT"]`."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.connections = 0
        self.replies: dict[str, str] = {}
        self.before_reply: Callable[[], object] = lambda: None  # to what was sent
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                self._say("220 test")
                while line := self.rfile.readline():
                    verb = line.decode().strip().partition(" ")[0].upper()
                    reply = outer.replies.get(verb, "250 ok")
                    if verb == "RCPT":
                        outer.recipients.append(line.decode().strip())
                    if verb == "DATA" and "DATA" not in outer.replies:
                        self._say("354 go on")
                        lines = []
                        while (line := self.rfile.readline()) not in (b".\r\n", b""):
                            lines.append(line.removeprefix(b".") if line[:2] == b".." else line)
                        outer.mails.append(
                            email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                        )
                        outer.before_reply()
                    if verb == "QUIT":
                        self._say("221 bye")
                        return
                    self._say(reply)

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
