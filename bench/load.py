"""Connections to a web server that each send a request as soon as the last one is answered.

One process and one thread for all of them, with sockets that are kept open and answers of which no
more is read than their status and length: it takes a small part of a core, and says how small.
"""

import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_CHUNK = 64 * 1024


@dataclass
class Load:
    """What came of it: seconds that each answer took, and those that all took together."""

    times: list[float] = field(default_factory=list)
    passed: float = 0
    own: float = 0
    """Seconds that the process itself has computed."""

    @property
    def rate(self) -> float:
        return len(self.times) / self.passed

    def percentile(self, part: float) -> float:
        times = sorted(self.times)
        return times[min(len(times) - 1, int(part * len(times)))]


@dataclass
class _Connection:
    socket: socket.socket
    sent: float = 0
    answer: bytes = b""


def repeat(
    url: str, requests: Iterator[bytes], *, connections: int, seconds: float, status: int
) -> Load:
    """Send one request after the other; an answer with another status ends the run."""
    place = urlsplit(url)
    assert place.hostname
    load = Load()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        opened = []
        for _ in range(connections):
            one = socket.create_connection((place.hostname, place.port or 80), timeout=30)
            stack.enter_context(one)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.append(_Connection(one))
            selector.register(one, selectors.EVENT_READ, opened[-1])
        start, busy = time.perf_counter(), time.process_time()
        for connection in opened:
            _send(connection, requests)
        waiting = connections
        while waiting:
            for key, _ in selector.select():
                connection = key.data
                if not _is_answered(connection, status):
                    continue
                now = time.perf_counter()
                load.times.append(now - connection.sent)
                if now - start < seconds:
                    _send(connection, requests)
                else:
                    waiting -= 1
        load.passed = time.perf_counter() - start
        load.own = time.process_time() - busy
    return load


def in_turns(url: str, requests: Sequence[bytes], rounds: int) -> list[list[float]]:
    """Seconds that each request's answers took, all of them 200.

    They take turns on one connection, so that what else the machine does meets them alike.
    """
    place = urlsplit(url)
    assert place.hostname
    times: list[list[float]] = [[] for _ in requests]
    with socket.create_connection((place.hostname, place.port or 80), timeout=30) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(one)
        for _ in range(rounds):
            for number, request in enumerate(requests):
                _send(connection, iter([request]))
                while not _is_answered(connection, 200):
                    pass
                times[number].append(time.perf_counter() - connection.sent)
    return times


def _send(connection: _Connection, requests: Iterator[bytes]) -> None:
    request = next(requests)
    connection.answer = b""
    connection.sent = time.perf_counter()
    connection.socket.sendall(request)


def _is_answered(connection: _Connection, status: int) -> bool:
    """Take what has come; whether that is all of an answer."""
    part = connection.socket.recv(_CHUNK)
    assert part, "the server has hung up"
    connection.answer += part
    head = _HEAD.match(connection.answer)
    if head is None:
        return False
    length = _LENGTH.search(head[0])
    assert length, head[0]
    is_whole = len(connection.answer) == head.end() + int(length[1])
    assert not is_whole or int(head[1]) == status, connection.answer
    return is_whole
