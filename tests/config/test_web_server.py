"""Bodies in chunks, without a length, through the real web server."""

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from billing.models import Event
from tests.stripe_events import event, sign

pytestmark = pytest.mark.django_db(transaction=True)
MEGABYTE = 1024 * 1024


def chunks(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def send(site_url: str, body: bytes, size: int, signature: str) -> requests.Response:
    return requests.post(
        f"{site_url}/api/billing/webhook",
        chunks(body, size),  # without a length, so requests sends chunks
        headers={"Stripe-Signature": signature, "Content-Type": "application/json"},
        timeout=30,
    )


@pytest.mark.parametrize("size", [1, 7, 4096, MEGABYTE])
def test_an_event_in_chunks_is_kept_whole(site_url, size):
    about = {"id": "cus_1", "object": "customer", "name": "é" * (200 if size == 1 else 9000)}
    payload = event("customer.updated", about)
    body = json.dumps(payload, ensure_ascii=False).encode()
    response = send(site_url, body, size, sign(body))
    assert (response.status_code, response.json()) == (200, {"status": "ignored"})
    assert Event.objects.get().payload == body.decode()


def test_a_bad_signature_in_chunks_is_refused(site_url):
    body = json.dumps(event("product.created", {"id": "prod_1"})).encode()
    response = send(site_url, body[:-1] + b" }", 100, sign(body))
    assert (response.status_code, response.json()["code"]) == (400, "invalid_signature")
    assert send(site_url, b"", 1, sign(b"")).status_code == 400
    assert Event.objects.count() == 0


def test_a_megabyte_in_chunks_is_taken_and_no_byte_more(site_url):
    payload = event("product.created", {"id": "prod_1"})
    body = json.dumps(payload).encode()
    body += b" " * (MEGABYTE - len(body))
    assert send(site_url, body, 65_536, sign(body)).json() == {"status": "ignored"}
    response = send(site_url, body + b" ", 65_536, sign(body + b" "))
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",  # no size
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}x\r\n0\r\n\r\n",  # longer than it says
        b"5\r\n{}",  # and then nothing more
        b"",
    ],
)
def test_chunks_that_are_none_are_refused_and_the_server_lives_on(site_url, sent):
    address = urlsplit(site_url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(
            b"POST /api/billing/webhook HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nStripe-Signature: t=1,v1=a\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + sent
        )
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert answer.split(b" ")[1] == b"400"
    assert Event.objects.count() == 0
    assert requests.get(f"{site_url}/healthz", timeout=20).status_code == 200
