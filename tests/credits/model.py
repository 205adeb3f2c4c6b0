"""The ledger as a reader of its rules would write it down: plain Python, one wallet, no database.

Times are hours since the start.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from credits import errors

FOREVER = float("inf")


@dataclass
class Lot:
    entry: int
    amount: int
    remaining: int
    category: str
    priority: int
    expires: float
    # Of two that expire in the same hour: when within it. The default is some days from the very
    # moment of the grant, a date that was asked for is the full hour.
    moment: int = 0
    revoked: int = 0
    number: int = 0
    # The entry that it gives back a part of.
    restores: int | None = None

    @property
    def order(self) -> tuple[Any, ...]:
        return (self.priority, self.expires, self.moment, self.category == "paid", self.number)


@dataclass
class Held:
    amount: int
    expires: int
    draws: list[tuple[int, int]]
    status: str = "open"


@dataclass
class Wallet:
    lots: list[Lot] = field(default_factory=list)
    holds: dict[str, Held] = field(default_factory=dict)
    booked: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)  # key of a grant: its lot
    entries: int = 0
    owed: int = 0
    overspent: int = 0

    # What it has

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.status == "open")

    @property
    def available(self) -> int:
        return sum(lot.remaining for lot in self.lots)

    @property
    def parts(self) -> list[tuple[float, int, str, int]]:
        """What can be spent until when: expiry, moment, category, credits."""
        found: dict[tuple[float, int, str], int] = {}
        for lot in self.lots:
            if lot.remaining:
                terms = (lot.expires, lot.moment, lot.category)
                found[terms] = found.get(terms, 0) + lot.remaining
        return sorted(
            ((*terms, credits) for terms, credits in found.items()),
            key=lambda part: (part[0], part[1], part[2] == "paid"),
        )

    def at(self, hour: int) -> "Wallet":
        later = copy.deepcopy(self)
        later.settle(hour)
        return later

    # What time does

    def settle(self, hour: int) -> None:
        has_freed = False
        for hold in self.holds.values():
            if hold.status == "open" and hold.expires <= hour:
                self.give_back(hold, "lapsed")
                has_freed = True
        for lot in self.lots:
            if lot.remaining and lot.expires <= hour:
                lot.remaining = 0
                self.entries += 1
        if has_freed:
            self.repay(None)

    def give_back(self, hold: Held, status: str) -> None:
        hold.status = status
        for number, amount in hold.draws:
            self.lots[number].remaining += amount

    def repay(self, arrived: int | None) -> None:
        clawed_back = self.take_back(self.owed - self.overspent, arrived)
        spent = self.take_back(self.overspent, arrived)
        self.overspent -= spent
        self.owed -= clawed_back + spent
        self.entries += bool(clawed_back) + bool(spent)

    # How credits move

    def open(
        self, amount: int, category: str, priority: int, expires: float, moment: int = 0
    ) -> Lot:
        number = len(self.lots)
        lot = Lot(self.entries, amount, amount, category, priority, expires, moment, 0, number)
        self.lots.append(lot)
        return lot

    def draw(self, amount: int) -> list[tuple[int, int]]:
        if amount > self.available:
            raise errors.InsufficientCredits(self.available, amount)
        draws = []
        for lot in sorted(self.lots, key=lambda lot: lot.order):
            part = min(amount, lot.remaining)
            if part:
                lot.remaining -= part
                amount -= part
                draws.append((lot.number, part))
        return draws

    def take_back(self, amount: int, entry: int | None) -> int:
        own = [lot for lot in self.lots if entry is not None and entry in (lot.entry, lot.restores)]
        lots = [lot for lot in self.lots if lot.category == "paid" or lot in own]
        found = min(amount, sum(lot.remaining for lot in lots))
        left = found
        for lot in sorted(lots, key=lambda lot: (lot not in own, *lot.order)):
            part = min(left, lot.remaining)
            lot.remaining -= part
            left -= part
        return found

    # The verbs, called on a copy that is kept if they don't raise

    def grant(
        self,
        key: str,
        amount: int,
        category: str,
        priority: int,
        expires: float,
        moment: int = 0,
    ) -> None:
        self.entries += 1
        lot = self.open(amount, category, priority, expires, moment)
        self.granted[key] = lot.number
        self.repay(lot.entry)

    def take(self, amount: int, owe_up_to: int = 0) -> list[tuple[int, int]]:
        missing = max(0, amount - self.available)
        if missing and self.owed + missing > owe_up_to:
            raise errors.InsufficientCredits(self.available, amount)
        draws = self.draw(amount - missing)
        self.entries += 1
        self.owed += missing
        self.overspent += missing
        return draws

    def revoke(self, amount: int, of: str) -> None:
        lot = self.granted_lot(of)
        if lot.revoked + amount > lot.amount:
            raise errors.MoreThanGranted(lot.amount - lot.revoked)
        found = self.take_back(amount, lot.entry)
        self.entries += 1
        self.owed += amount - found
        lot.revoked += amount

    def restore(self, amount: int, of: str, hour: int) -> None:
        lot = self.granted_lot(of)
        if amount > lot.revoked:
            raise errors.MoreThanRevoked(lot.revoked)
        lot.revoked -= amount
        self.entries += 1
        back = self.open(amount, lot.category, lot.priority, lot.expires, lot.moment)
        back.restores = lot.entry
        self.settle(hour)
        self.repay(back.entry)

    def granted_lot(self, key: str) -> Lot:
        if key not in self.granted:
            raise errors.UnknownGrant
        return self.lots[self.granted[key]]

    def hold(self, key: str, amount: int, expires: int) -> None:
        self.holds[key] = Held(amount, expires, self.draw(amount))

    def capture(self, key: str, amount: int, hour: int) -> None:
        hold = self.open_hold(key)
        if amount > hold.amount:
            raise errors.HoldExceeded(hold.amount)
        self.give_back(hold, "captured")
        self.entries += 1
        left = amount
        for number, reserved in hold.draws:
            part = min(left, reserved)
            self.lots[number].remaining -= part
            left -= part
        if amount < hold.amount:
            self.settle(hour)
            self.repay(None)

    def release(self, key: str, hour: int) -> None:
        if self.holds[key].status not in {"released", "lapsed"}:
            self.give_back(self.open_hold(key), "released")
            self.settle(hour)
            self.repay(None)

    def open_hold(self, key: str) -> Held:
        hold = self.holds[key]
        refusals: dict[str, type[errors.LedgerError]] = {
            "captured": errors.HoldCaptured,
            "released": errors.HoldReleased,
            "lapsed": errors.HoldLapsed,
        }
        if hold.status in refusals:
            raise refusals[hold.status]
        return hold

    def send(self, amount: int) -> list[Lot]:
        """The lots on their way."""
        if self.owed:
            raise errors.CreditsOwed(self.owed)
        draws = self.take(amount)
        parts = []
        for number, part in draws:
            lot = copy.copy(self.lots[number])
            lot.amount = part
            parts.append(lot)
        return parts

    def receive(self, lots: list[Lot], hour: int) -> None:
        self.entries += 1
        arrived = self.entries
        for lot in lots:
            self.open(lot.amount, lot.category, lot.priority, lot.expires, lot.moment)
        self.settle(hour)
        self.repay(arrived)

    def do(
        self, hour: int, verb: Callable[["Wallet"], Any]
    ) -> tuple["Wallet", Any, errors.LedgerError | None]:
        """The wallet after a verb, and what it answered, or why it refused."""
        after = self.at(hour)
        try:
            return after, verb(after), None
        except errors.LedgerError as refusal:
            return self, None, refusal
