"""One request to an address that somebody has typed: where it may lead, and how long it may take.

requests-hardened resolves the name once, refuses private addresses and connects to the very
address that it looked at, so a name can't lead elsewhere a moment later. Redirects are not
followed, and the environment's proxies, which would connect for us, are not used.
"""

import ipaddress
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
from django.conf import settings
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter
from requests_hardened.client import HTTPSession
from requests_hardened.config import Config
from requests_hardened.ip_filter import InvalidIPAddress, filter_host
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3.exceptions import HTTPError

TIME_LIMIT: Final = 10
"""Seconds that one request may take in all; looking the name up comes on top."""

CONNECT_TIMEOUT: Final = 5
TOO_SLOW: Final = f"No answer within {TIME_LIMIT} s."
USER_AGENT: Final = "dynamic-credits-webhooks"
ANSWER: Final = 2000
"""Bytes that are read of an answer, for staff to look at."""

_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")


class Refused(Exception):
    """An address that nothing is sent to. Its text says why."""


@dataclass(frozen=True)
class Answer:
    """What came of a request: a status code and the beginning of the answer, or an error."""

    code: int | None = None
    text: str = ""
    error: str = ""

    @property
    def is_taken(self) -> bool:
        return self.code is not None and 200 <= self.code < 300


def check(url: str) -> None:
    """Raise `Refused` unless requests may go to an address; a name is looked up for it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError as error:
        raise Refused(_("It can't be read.")) from error
    if parts.scheme not in _schemes() or not host:
        raise Refused(_("It must begin with %(start)s.") % {"start": _start()})
    if "@" in parts.netloc or parts.fragment or any(char.isspace() for char in url):
        raise Refused(_("It must have no user name, no # and no spaces."))
    if settings.OUTGOING_PRIVATE_ADDRESSES:
        return
    try:
        _check_public(filter_host(host, port, allow_loopback=False))
    except InvalidIPAddress as error:
        raise Refused(_("It leads to a private network.")) from error
    except (requests.ConnectionError, UnicodeError):
        pass  # there is no such name yet


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a body, and answer what came of it. Raises nothing: what fails is in the answer."""
    with _Limit(TIME_LIMIT) as limit:
        try:
            with _session(limit) as session:
                return _post(session, limit, url, body, headers)
        except Exception as error:  # noqa: BLE001 (an address can be wrong in any way)
            return Answer(error=TOO_SLOW if limit.is_over else _what(error))


def _schemes() -> list[str]:
    return ["https", "http"] if settings.OUTGOING_PRIVATE_ADDRESSES else ["https"]


def _start() -> str:
    return " / ".join(f"{scheme}://" for scheme in _schemes())


def _session(limit: "_Limit") -> requests.Session:
    session: requests.Session = HTTPSession(
        Config(
            ip_filter_enable=not settings.OUTGOING_PRIVATE_ADDRESSES,
            ip_filter_allow_loopback_ips=False,
            never_redirect=True,
            default_timeout=(CONNECT_TIMEOUT, TIME_LIMIT),
            user_agent_override=USER_AGENT,
        )
    )
    session.trust_env = False
    session.adapters.clear()
    for scheme in _schemes():
        adapter = (
            _LimitedAdapter()
            if settings.OUTGOING_PRIVATE_ADDRESSES
            else _PublicAdapter(is_https_proto=True)
        )
        adapter.limit = limit
        session.mount(f"{scheme}://", adapter)
    return session


def _post(
    session: requests.Session, limit: "_Limit", url: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    # One request a connection, and an answer that is read as it comes: nothing is unpacked.
    own = {"Connection": "close", "Accept-Encoding": "identity"}
    with session.post(url, body, headers={**own, **headers}, stream=True) as response:
        if limit.is_over:  # headers that are cut off look as if they ended there
            return Answer(error=TOO_SLOW)
        text = b""
        with suppress(HTTPError):  # the status code has come: what else it says is only for staff
            text = response.raw.read(ANSWER, decode_content=False)
        error = "Redirects are not followed." if response.is_redirect else ""
        return Answer(response.status_code, text.decode(errors="replace").replace("\0", ""), error)


class _Limit:
    """Ends connections when the time is up, whatever they are at.

    The timeouts of sockets begin anew with every byte, and so would wait for ever for a server that
    sends one now and then.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for handle in self._sockets:
            handle.close()

    def watch(self, connected: socket.socket) -> None:
        # A handle of our own: it stays good when TLS takes the first one over.
        self._sockets.append(connected.dup())
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        for handle in self._sockets:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)


class _LimitedAdapter(HTTPAdapter):
    """Tells its limit of each connection that it opens."""

    limit: _Limit

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        limit = self.limit

        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                connected: socket.socket = super()._new_conn()
                limit.watch(connected)
                return connected

        pool.ConnectionCls = Connection
        return pool


class _PublicAdapter(_LimitedAdapter, IPFilterAdapter):
    """Connects to public addresses only."""

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        _check_public(host["host"])
        return host, pool


def _check_public(host: str) -> None:
    """Raise `InvalidIPAddress` for what the library lets through and is not public.

    Site-local addresses and forms of IPv4 ones, such as ::127.0.0.1: all that is public of IPv6 is
    in one block.
    """
    address = ipaddress.ip_address(host.strip("[]"))
    if address.version == 6 and address not in _GLOBAL_IPV6:
        raise InvalidIPAddress(address)


def _what(error: Exception) -> str:
    """An error in a line for staff."""
    if isinstance(error, requests.Timeout):
        return TOO_SLOW
    if isinstance(error, InvalidIPAddress):
        return "It leads to a private network."
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"It must begin with {_start()}."
    # requests wraps what happened, with the objects' addresses in memory around it.
    cause = getattr(error.args[0] if error.args else None, "reason", error)
    return f"{type(error).__name__}: {str(cause).rpartition(': ')[2]}".replace("\0", "")[:300]
