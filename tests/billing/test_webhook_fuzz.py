"""Webhook bodies and headers out of shape: thousands of them, by seeds that a failure names.

`WEBHOOK_FUZZ=long` sends 10,000 of each kind instead of a few hundred.
"""

import copy
import hashlib
import hmac
import json
import os
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings

from accounts.models import User
from billing.models import Event, Purchase
from billing.webhooks import HANDLERS
from credits.models import Entry
from tests.stripe_events import event, invoice_of, metadata_of, post, session_of, sign

pytestmark = pytest.mark.django_db

IS_LONG = os.environ.get("WEBHOOK_FUZZ") == "long"
UNSIGNED, SIGNED = (10_000, 10_000) if IS_LONG else (1_000, 400)

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, float("nan"), float("inf"), 2**31, 2**63, 10**30, 10**4000,
    "", "0", "-1", "1e3", "1172", "usd", "\0", "a\0b", "\ud800", "\udfff\ud800", "é", "٣",
    "x" * 5000, "../../v1/customers", "cs_test_1?expand[]=x", "a/b", "a b", "' OR 1=1 --",
    [], [None], [[[]]], ["cs_test_1"], [{"id": "in_1"}], {}, {"": ""}, {"id": None},
    {"id": ["x"]}, {"id": "sub_1"}, {"object": "charge"}, {"data": []}, {"data": [[]]},
    "dynamic_credits", {"type": "dynamic_credits"}, ["type", "dynamic_credits"],
]  # fmt: skip
BYTES = [b"\0", b"\xff", b"\xc3", b'"', b"{", b"}", b"[", b",", b":", b"\\", b"\\u0000", b"\\ud800"]


def payloads(user: User) -> list[dict[str, Any]]:
    """One good payload for each type of event that has a handler."""
    purchase, plan = (
        Purchase.objects.create(
            user=user, mode=mode, credits=1234, unit_price_e4=95, total=1172, currency="usd",
            stripe_session_id=f"cs_test_{uuid.uuid4().hex}",
        )
        for mode in ("payment", "subscription")
    )  # fmt: skip
    about = {"metadata": metadata_of(plan), "customer": f"cus_of_{user.pk}"}
    line = {"id": "il_1", "amount": 1172, "metadata": {}, "pricing": {"price_details": {}}}
    made: list[dict[str, Any]] = []
    objects: dict[str, Callable[[], dict[str, Any]]] = {
        "checkout.session": lambda: session_of(plan if len(made) % 2 else purchase),
        "invoice": lambda: invoice_of(plan, lines={"object": "list", "data": [line]}),
        "customer.subscription": lambda: {"id": "sub_1", "object": "subscription", **about},
        "charge.dispute": lambda: {"id": "du_1", "object": "dispute", "charge": "ch_1"},
        "charge": lambda: {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", **about},
        "refund": lambda: {"id": "re_1", "object": "refund", "charge": {"id": "ch_1"}},
    }
    for name in HANDLERS:
        kind = next((kind for kind in objects if name.startswith(f"{kind}.")), None)
        made.append(event(name, objects[kind]() if kind else {"id": "x_1", **about}))
    return made


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value in a payload."""
    found = [at] if at else []
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            found += places(value, (*at, key))
    return found


def bent(payload: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The payload with up to three values that are strange, gone, nested deep or swapped."""
    payload = copy.deepcopy(payload)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        *way, last = chance.choice(places(payload))
        node: Any = payload
        for key in way:
            node = node[key]
        what = chance.random()
        if what < 0.1 and isinstance(node, dict):
            del node[last]
        elif what < 0.2:
            value = node[last]
            for _ in range(chance.choice([1, 3, 40, 400])):
                value = chance.choice([[value], {"id": value}, {"data": value}])
            node[last] = value
        elif what < 0.3:
            node[last] = str(node[last]) if chance.random() < 0.5 else [node[last]]
        else:
            node[last] = copy.deepcopy(chance.choice(STRANGE))
    return payload


def broken(body: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, lost, doubled or put in."""
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(body) + 1)
        end = at + chance.choice([1, 1, 4, 40])
        body = chance.choice(
            [
                body[:at] + chance.choice(BYTES) + body[at:],
                body[:at] + body[end:],
                body[:at],
                body[:end] + body[at:],
                body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :],
            ]
        )
    return body


def header(body: bytes, good: str, chance: random.Random) -> str:
    """A signature that isn't one, or one of something else."""
    now = good[2:].partition(",")[0]
    noise = "".join(chr(chance.choice([*range(1, 10), *range(32, 383)])) for _ in range(20))
    return chance.choice(
        [
            good,
            "",
            noise,
            good.replace("v1=", "v0="),
            good[: chance.randrange(len(good))],
            f"{good[:-1]}{chance.choice('0123456789abcdef')}",
            f"t={chance.choice(['', '-1', '0', 'x', '1e9', '9' * 30, '9' * 5000])},v1={noise}",
            f"t={now},v1={'0' * 64}",
            f"t={now}," + ",".join(f"v1={n:064x}" for n in range(50)),
            f"t={now},t=1,{good}",
            f"{good},t={int(now) + 1}",
            good.upper(),
            sign(b"{}", secret="whsec_of_somebody"),
            sign(body.decode(errors="ignore").encode(), at=int(now) - 301),
        ]
    )


def is_signed(body: bytes, signature: str) -> bool:
    """Whether one of our secrets signed it: by another way than Stripe's SDK takes."""
    times = re.findall(r"(?:^|,)t=([0-9]+)", signature)
    codes = re.findall(r"(?:^|,)v1=([0-9a-f]{64})(?:,|$)", signature)
    return any(
        hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest() in codes
        for secret in settings.STRIPE_WEBHOOK_SECRETS
        for at in times
    )


def test_what_is_not_signed_is_refused_and_leaves_nothing(client, user):
    good = payloads(user)
    sent = 0
    for seed in range(UNSIGNED):
        chance = random.Random(seed)
        body = json.dumps(chance.choice(good)).encode()
        signature = sign(body)
        if chance.random() < 0.7:
            body = broken(body, chance)
        if chance.random() < 0.7:
            signature = header(body, signature, chance)
        if is_signed(body, signature):
            continue
        sent += 1
        response = post(client, body, signature)
        assert response.status_code == 400, seed
        assert response.json()["code"] in {"invalid_signature", "invalid_payload"}, seed
    assert sent > UNSIGNED * 0.8
    assert Event.objects.count() == 0
    assert Entry.objects.count() == 0
    assert not Purchase.objects.exclude(status="pending").exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_signed_and_out_of_shape_is_kept_or_refused(client, user, sandbox):
    good = payloads(user)
    answers: Counter[str] = Counter()
    for seed in range(SIGNED):
        chance = random.Random(seed)
        payload = chance.choice(good)
        if chance.random() < 0.9:
            payload = bent(payload | {"id": f"evt_{seed}"}, chance)
            body = json.dumps(payload).encode()
        else:
            body = broken(json.dumps(payload | {"id": f"evt_{seed}"}).encode(), chance)
            if not _is_text(body):
                continue  # which can't be signed here
        response = post(client, body, sign(body))
        answer = response.json()
        answers[answer.get("status") or answer["code"]] += 1
        if response.status_code == 500:
            # Asked of Stripe, which doesn't know it: it shall be sent again.
            error = Event.objects.get(stripe_id=json.loads(body)["id"]).error
            assert error.startswith(("StripeRefused", "NotGrantedYet")), (seed, error)
        else:
            assert response.status_code in {200, 400}, seed
    assert {"ignored", "quarantined", "invalid_payload", "done"} <= set(answers), answers
    # Nothing but what was sold; another id of an invoice is another month.
    assert set(Entry.objects.values_list("amount", flat=True)) == {1234}
    assert set(Purchase.objects.values_list("credits", flat=True)) == {1234}
    # Whatever was kept can be looked at.
    client.force_login(User.objects.create_superuser("admin@example.com"))
    assert client.get("/admin/billing/event/").status_code == 200
    for kept in random.Random(1).sample(list(Event.objects.all()), 20):
        assert client.get(f"/admin/billing/event/{kept.pk}/change/").status_code == 200, (
            kept.payload
        )


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
