"""The stand-in for Stripe as a process of its own, and its controls."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests


class Sandbox:
    """Starts the stand-in on a free port, with a state file that goes when it stops."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stripe-sandbox-")
        self.state = Path(self._folder.name) / "state.sqlite3"
        self.base_url = f"http://127.0.0.1:{_free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        names = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "stripe_sandbox",
                "--bind",
                self.base_url.removeprefix("http://"),
                "--state",
                str(self.state),
            ],
            cwd=Path(__file__).parent.parent,
            env={name: os.environ[name] for name in names if name in os.environ},
            process_group=0,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the stand-in ended by itself"
            try:
                self._call("GET", "health")
            except requests.ConnectionError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the stand-in doesn't answer")

    def kill(self) -> None:
        """End it as a crash would, with its worker."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=20)
        self._folder.cleanup()

    def reset(self) -> None:
        self._call("POST", "reset", {})

    def deliver_to(self, url: str, secret: str) -> None:
        self._call("POST", "webhook", {"url": url, "secret": secret})

    def deliveries(self, mode: str, **terms: Any) -> None:
        self._call("POST", "deliveries", {"mode": mode, **terms})

    def deliver_again(self, event_id: str, times: int = 1) -> list[int]:
        return self._call("POST", f"events/{event_id}/deliver", {"times": times})["statuses"]

    def events(self, type: str | None = None) -> list[dict[str, Any]]:
        """Oldest first."""
        found = self._call("GET", "events")[::-1]
        return [event for event in found if type in (None, event["type"])]

    def pay(self, session_id: str, card: str = "4242424242424242") -> dict[str, Any]:
        return self._call("POST", f"checkout/{session_id}/pay", {"card": card})

    def pay_by_bank(self, session_id: str) -> dict[str, Any]:
        """Complete a session by a bank debit: unpaid until `settle` or `bounce`."""
        return self._call("POST", f"checkout/{session_id}/pay", {"account": "000123456789"})

    def settle(self, session_id: str) -> dict[str, Any]:
        return self._call("POST", f"checkout/{session_id}/succeed", {})

    def bounce(self, session_id: str) -> dict[str, Any]:
        return self._call("POST", f"checkout/{session_id}/fail", {})

    def charges_go(self, *outcomes: str) -> None:
        """How the next charges of saved cards go, in turn: succeed, decline, insufficient_funds,
        authenticate or process."""
        self._call("POST", "outcomes", {"outcomes": outcomes})

    def settle_intent(self, intent_id: str, *, is_paid: bool) -> dict[str, Any]:
        """What a charge that is being processed comes to."""
        return self._call("POST", f"intents/{intent_id}/settle", {"is_paid": is_paid})

    def detach(self, method_id: str) -> dict[str, Any]:
        return self._call("POST", f"payment-methods/{method_id}/detach", {})

    def refund(self, paid_by: str, amount: int | None = None, **fields: Any) -> dict[str, Any]:
        """Refund a charge, all that is left of it or an amount. It goes by its own id, its
        payment intent's, its invoice's or its Checkout Session's."""
        body = fields if amount is None else {"amount": amount, **fields}
        return self._call("POST", f"payments/{paid_by}/refund", body)

    def fail_refund(self, refund_id: str) -> dict[str, Any]:
        return self._call("POST", f"refunds/{refund_id}/fail", {})

    def dispute(self, paid_by: str, amount: int | None = None, **fields: Any) -> dict[str, Any]:
        """Dispute a charge, found as for `refund`; `status="warning_needs_response"` for an
        inquiry, which moves no money."""
        body = fields if amount is None else {"amount": amount, **fields}
        return self._call("POST", f"payments/{paid_by}/dispute", body)

    def submit_evidence(self, dispute_id: str) -> dict[str, Any]:
        return self._call("POST", f"disputes/{dispute_id}/submit", {})

    def escalate_dispute(self, dispute_id: str) -> dict[str, Any]:
        return self._call("POST", f"disputes/{dispute_id}/escalate", {})

    def win_dispute(self, dispute_id: str) -> dict[str, Any]:
        return self._call("POST", f"disputes/{dispute_id}/win", {})

    def lose_dispute(self, dispute_id: str) -> dict[str, Any]:
        return self._call("POST", f"disputes/{dispute_id}/lose", {})

    def withdraw_dispute(self, dispute_id: str) -> dict[str, Any]:
        return self._call("POST", f"disputes/{dispute_id}/withdraw", {})

    def advance(self, subscription_id: str) -> dict[str, Any]:
        return self._call("POST", f"subscriptions/{subscription_id}/advance", {})

    def let_pass(self, hours: int) -> None:
        """All that has happened becomes so many hours older, and what has become due is done."""
        self._call("POST", "time", {"hours": hours})

    def fail_renewals(self, subscription_id: str) -> dict[str, Any]:
        """Have it paid by a card that declines from now on."""
        return self._call(
            "POST", f"subscriptions/{subscription_id}/card", {"card": "4000000000000341"}
        )

    def fix_card(self, subscription_id: str, card: str = "4242424242424242") -> dict[str, Any]:
        """Have it paid by a good card from now on, which `retry` charges for what is owed."""
        return self._call("POST", f"subscriptions/{subscription_id}/card", {"card": card})

    def retry(self, subscription_id: str) -> dict[str, Any]:
        """Stripe's next try of a past-due month; the fourth that fails ends the subscription."""
        return self._call("POST", f"subscriptions/{subscription_id}/retry", {})

    def give_up(self, subscription_id: str, outcome: str = "canceled") -> dict[str, Any]:
        """The last try of a past-due month fails: it is `canceled` or `unpaid`."""
        return self._call("POST", f"subscriptions/{subscription_id}/give-up", {"outcome": outcome})

    def pay_invoice(self, invoice_id: str, card: str = "4242424242424242") -> dict[str, Any]:
        """Pay an open invoice as on its page."""
        return self._call("POST", f"invoices/{invoice_id}/pay", {"card": card})

    def void_invoice(self, invoice_id: str) -> dict[str, Any]:
        """As if it had never been, by somebody on Stripe's own pages."""
        return self._call("POST", f"invoices/{invoice_id}/void", {})

    def write_off_invoice(self, invoice_id: str) -> dict[str, Any]:
        """Mark it uncollectible there; it can still be paid."""
        return self._call("POST", f"invoices/{invoice_id}/write-off", {})

    def add_fault(self, **fault: Any) -> None:
        self._call("POST", "faults", fault)

    def faults(self) -> list[dict[str, Any]]:
        return self._call("GET", "faults")

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def requests(self) -> list[dict[str, Any]]:
        return self._call("GET", "requests")

    def objects(self, type: str) -> list[dict[str, Any]]:
        """Newest first."""
        return self._call("GET", f"objects/{type}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        response = requests.request(
            method, f"{self.base_url}/sandbox/api/{path}", json=body, timeout=60
        )
        assert response.ok, response.text
        return response.json()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
