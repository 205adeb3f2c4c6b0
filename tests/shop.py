"""A buyer at the shop, with the stand-in for Stripe behind it."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.test import Client

from accounts.models import User
from billing.checkout import start_checkout
from billing.models import Purchase
from credits import ledger
from credits.models import Entry
from tests.sandbox import Sandbox
from tests.stripe_events import post


@dataclass
class Shop:
    """A buyer, and the webhook that is told what the stand-in has to tell, when a test says so."""

    user: User
    sandbox: Sandbox
    client: Client
    told: int = 0

    def buy(self, credits: int = 500, mode: str = "payment") -> Purchase:
        purchase = self.order(credits, mode)
        self.sandbox.pay(str(purchase.stripe_session_id))
        self.tell()
        purchase.refresh_from_db()
        assert purchase.is_paid
        return purchase

    def order(self, credits: int = 500, mode: str = "payment") -> Purchase:
        start_checkout(self.user, credits, mode, request_id=(key := uuid.uuid4()))
        return Purchase.objects.get(request_id=key)

    def news(self) -> list[dict[str, Any]]:
        """Events that no test has asked for yet."""
        found = self.sandbox.events()
        new, self.told = found[self.told :], len(found)
        return [{key: one[key] for key in one if key != "delivery"} for one in new]

    def tell(self, status: int = 200) -> None:
        for payload in self.news():
            assert post(self.client, payload).status_code == status, payload["type"]

    @property
    def stands(self) -> tuple[int, int]:
        """Balance and debt."""
        now = ledger.standing(self.user)
        return now.balance, now.owed


def bonus_for(purchase: Purchase, amount: int) -> Entry:
    return ledger.grant(
        ledger.wallet_of(purchase.user), amount, key=f"purchase:{purchase.pk}:bonus",
        kind="promotion", category="promotional",
    )  # fmt: skip
