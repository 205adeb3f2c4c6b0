"""Where a request may go, and how long it may take."""

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import requests_hardened.ip_filter_adapter
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from outgoing import transport
from outgoing.transport import Refused, check, post

PRIVATE = [
    "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0", "0.0.0.0", "10.0.0.1",
    "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.192", "198.18.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "[::]", "[::1]", "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fe80::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]",
    "[2002:7f00:1::]", "[2001::1]", "localhost", "LOCALHOST",
]  # fmt: skip
LEADS_INSIDE = "It leads to a private network."


def send(url: str) -> transport.Answer:
    return post(url, b"{}", {})


@pytest.fixture
def named(monkeypatch) -> Callable[..., list[str]]:
    """Has every name resolve to these addresses, one after the other; answers who asked."""

    def run(*addresses: str) -> list[str]:
        asked: list[str] = []

        def answer(host: str, port: int, *_: object, **__: object) -> list[tuple]:
            address = addresses[min(len(asked), len(addresses) - 1)]
            asked.append(host)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        return asked

    return run


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The addresses to which a connection was tried; none is made."""
    tried: list[str] = []

    def create(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib3.util.connection.create_connection", create)
    return tried


@pytest.mark.parametrize("host", PRIVATE)
def test_nothing_is_sent_to_a_private_address(host, opened):
    answer = send(f"https://{host}/hooks")
    assert (answer.code, answer.error) == (None, LEADS_INSIDE)
    with pytest.raises(Refused, match=LEADS_INSIDE):
        check(f"https://{host}/hooks")
    assert opened == []


@pytest.mark.parametrize("address", ["10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
def test_nor_to_a_name_that_leads_there(address, named, opened):
    named(address)
    assert send("https://inside.example/hooks").error == LEADS_INSIDE
    with pytest.raises(Refused, match=LEADS_INSIDE):
        check("https://inside.example/hooks")
    assert opened == []


def test_a_name_is_looked_up_once_and_that_address_is_used(named, opened):
    asked = named("93.184.215.14", "127.0.0.1")
    answer = send("https://rebinding.example/hooks")
    assert answer.error == "ConnectionError: [Errno 111] Connection refused"
    assert (asked, opened) == (["rebinding.example"], ["93.184.215.14"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://product.example/", "It must begin with https://."),
        ("ftp://product.example/", "It must begin with https://."),
        ("file:///etc/passwd", "It must begin with https://."),
        ("https:///hooks", "It must begin with https://."),
        ("product.example/hooks", "It must begin with https://."),
        ("https://product.example@10.0.0.1/", "It must have no user name, no # and no spaces."),
        ("https://product.example/#a", "It must have no user name, no # and no spaces."),
        ("https://product.example/a b", "It must have no user name, no # and no spaces."),
        ("https://product.example:port/", "It can't be read."),
        ("https://[::1/", "It can't be read."),
    ],
)
def test_what_is_no_address_to_send_to(url, why, named, opened):
    named("93.184.215.14")
    with pytest.raises(Refused) as refused:
        check(url)
    assert str(refused.value) == why
    if why.startswith("It must begin"):
        assert send(url).code is None
        assert opened == []


def test_a_public_address_is_fine_and_so_is_a_name_that_is_not_there_yet(named, monkeypatch):
    named("93.184.215.14")
    check("https://product.example:8443/hooks?shop=1")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    check("https://product.example/hooks")
    assert send("https://product.example/").error == "ConnectionError: Failed to resolve domain"


def test_the_setting_opens_this_machine_and_plain_http(receiver):
    check(receiver.url)
    receiver.body = b"thank you"
    assert send(receiver.url) == transport.Answer(204, "", "")
    receiver.answers = [200]
    assert send(receiver.url) == transport.Answer(200, "thank you", "")


def test_without_the_setting_they_are_closed_whatever_was_allowed_before(receiver, settings):
    settings.OUTGOING_PRIVATE_ADDRESSES = False
    assert send(receiver.url).error == "It must begin with https://."
    assert receiver.got == []


def test_a_redirect_is_not_followed(receiver):
    receiver.answers = [302, 307]
    receiver.headers = {"Location": receiver.url}
    for code in (302, 307):
        answer = send(receiver.url)
        assert (answer.code, answer.error) == (code, "Redirects are not followed.")
        assert not answer.is_taken
    assert len(receiver.got) == 2


def test_proxies_and_passwords_of_the_environment_are_not_used(receiver, monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert send(receiver.url).code == 204
    assert "Authorization" not in receiver.got[0][0]


def test_a_long_answer_is_read_in_part(receiver):
    receiver.answers = [500]
    receiver.body = "ä\0".encode() * 1_000_000
    answer = send(receiver.url)
    assert answer.code == 500
    assert 600 < len(answer.text) <= transport.ANSWER
    assert "\0" not in answer.text


def test_nobody_there(receiver):
    receiver.stop()
    assert send(receiver.url).error == "ConnectionError: [Errno 111] Connection refused"


# --- Time --------------------------------------------------------------------------------------


@pytest.fixture
def talking(settings) -> Iterator[Callable[[Callable[[socket.socket], object]], str]]:
    """A server that does what it is told with each connection. Answers its host and port."""
    settings.OUTGOING_PRIVATE_ADDRESSES = True
    servers = []

    def start(talk: Callable[[socket.socket], object]) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # who called has hung up
                    talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def drip(connection: socket.socket, start: bytes) -> None:
    connection.sendall(start)
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("scheme", "talk"),
    [
        ("http", lambda connection: connection.recv(65536) and time.sleep(1)),
        ("http", lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: ")),
        ("https", lambda connection: time.sleep(1)),
    ],
    ids=["silent", "dripping headers", "silent in the handshake"],
)
def test_the_time_limit_holds_whatever_the_server_does(scheme, talk, talking, monkeypatch):
    monkeypatch.setattr(transport, "TIME_LIMIT", 0.3)
    began = time.monotonic()
    answer = send(f"{scheme}://{talking(talk)}/")
    assert time.monotonic() - began < 2
    assert answer == transport.Answer(error="No answer within 10 s.")


@pytest.mark.parametrize("more", [b"\r\n", b"Content-Length: 9000\r\n\r\n"])
def test_a_body_that_does_not_end_is_cut_off_and_its_status_code_counts(more, talking, monkeypatch):
    monkeypatch.setattr(transport, "TIME_LIMIT", 0.2)
    began = time.monotonic()
    server = talking(lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\n" + more))
    answer = send(f"http://{server}/")
    assert time.monotonic() - began < 2
    assert (answer.is_taken, answer.error, set(answer.text) <= {"x"}) == (True, "", True)


# --- Certificates ------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path) -> str:
    """A file with a certificate for product.example, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "product.example")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("product.example")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(file)


@pytest.fixture
def secure_port(certificate, talking) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            read = b""
            while not read.endswith(b"{}"):
                read += secure.recv(65536)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    return talking(talk).partition(":")[2]


def test_a_certificate_must_be_good_for_the_name(secure_port, certificate, settings, monkeypatch):
    settings.OUTGOING_PRIVATE_ADDRESSES = False
    # As a public address that leads to the server of this test.
    monkeypatch.setattr(
        requests_hardened.ip_filter_adapter, "filter_host", lambda *_, **__: "127.0.0.1"
    )
    assert "self-signed certificate" in send(f"https://product.example:{secure_port}/").error
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", certificate)
    assert send(f"https://product.example:{secure_port}/") == transport.Answer(200, "ok", "")
    answer = send(f"https://other.example:{secure_port}/")
    assert (answer.code, answer.error.partition(":")[0]) == (None, "SSLError")
