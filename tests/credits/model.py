"""The ledger as a reader of its rules would write it down: plain Python, no database.

Times are hours since the start.
"""

import copy
import itertools
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
    # Of what came out of escrow: the wallet and the lot that it is a part of.
    origin: tuple[int, int] | None = None
    # Of two in whatever wallets, the later one is greater.
    born: int = field(default_factory=itertools.count().__next__)

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
class Transfer:
    """Lots on their way from a wallet; `arrived` in one when they are there."""

    sender: int
    lots: list[Lot]
    arrived: int | None = None


@dataclass
class Wallet:
    me: int
    lots: list[Lot] = field(default_factory=list)
    holds: dict[str, Held] = field(default_factory=dict)
    booked: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)  # key of a grant: its lot
    bought: set[int] = field(default_factory=set)  # the lots of purchases
    entries: int = 0
    owed: int = 0
    overspent: int = 0

    # What it has

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.status == "open")

    def held_of(self, lot: Lot) -> int:
        holds = [hold for hold in self.holds.values() if hold.status == "open"]
        return sum(part for hold in holds for number, part in hold.draws if number == lot.number)

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

    def draw(self, amount: int, lots: list[Lot] | None = None) -> list[tuple[int, int]]:
        if amount > self.available:
            raise errors.InsufficientCredits(self.available, amount)
        draws = []
        for lot in sorted(self.lots if lots is None else lots, key=lambda lot: lot.order):
            part = min(amount, lot.remaining)
            if part:
                lot.remaining -= part
                amount -= part
                draws.append((lot.number, part))
        return draws

    def take_back(self, amount: int, entry: int | None) -> int:
        roots = self.roots(entry)
        own = [lot for lot in self.lots if lot in roots or self.is_of(lot, roots)]
        lots = [lot for lot in self.lots if lot.category == "paid" or lot in own]
        found = min(amount, sum(lot.remaining for lot in lots))
        left = found
        for lot in sorted(lots, key=lambda lot: (lot not in own, *lot.order)):
            part = min(left, lot.remaining)
            lot.remaining -= part
            left -= part
        return found

    def roots(self, entry: int | None) -> list[Lot]:
        """The lots that an entry brought, and those of what was restored of it."""
        return [
            lot for lot in self.lots if entry is not None and entry in (lot.entry, lot.restores)
        ]

    def is_of(self, lot: Lot, roots: list[Lot]) -> bool:
        """Whether a lot of whatever wallet is what was given of these."""
        return lot.origin is not None and lot.origin in [(self.me, root.number) for root in roots]

    def left_of(self, roots: list[Lot]) -> int:
        own = [lot for lot in self.lots if lot in roots or self.is_of(lot, roots)]
        return sum(lot.remaining for lot in own)

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
        self.bought.add(lot.number)
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

    def revoke(self, amount: int, of: str, world: "World", hour: int) -> None:
        lot = self.granted_lot(of)
        if lot.revoked + amount > lot.amount:
            raise errors.MoreThanGranted(lot.amount - lot.revoked)
        self.recall(amount, self.roots(lot.entry), world, hour)
        found = self.take_back(amount, lot.entry)
        self.entries += 1
        self.owed += amount - found
        lot.revoked += amount
        if found == amount:
            self.repay(None)

    def recall(self, amount: int, roots: list[Lot], world: "World", hour: int) -> None:
        """Fetch back what was given of some lots, until they have so much."""
        sent = [transfer for transfer in world.transfers if transfer.arrived is None]
        concerned = {
            transfer.sender
            for transfer in sent
            if any(self.is_of(lot, roots) for lot in transfer.lots)
        }
        for wallet in world.wallets:
            if wallet.me in concerned or any(
                self.is_of(lot, roots) and lot.remaining + wallet.held_of(lot)
                for lot in wallet.lots
            ):
                wallet.settle(hour)
        coming = 0
        owing = []
        for transfer in reversed(sent):
            if amount <= self.left_of(roots) + coming:
                break
            if any(self.is_of(lot, roots) for lot in transfer.lots):
                sender = world.wallets[transfer.sender]
                back = sender.arrive(transfer, hour)
                if sender is not self:
                    coming += sum(lot.remaining for lot in back if self.is_of(lot, roots))
                    owing.append(sender)
        given = [
            (wallet, lot)
            for wallet in world.wallets
            for lot in wallet.lots
            if wallet is not self and lot.remaining and self.is_of(lot, roots)
        ]
        for wallet, lot in sorted(given, key=lambda one: -one[1].born):
            part = min(lot.remaining, amount - self.left_of(roots))
            if part > 0:
                lot.remaining -= part
                wallet.entries += 1
                parted = copy.copy(lot)
                parted.amount = part
                self.arrive(Transfer(wallet.me, [parted]), hour)
        for sender in owing:
            sender.repay(None)

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

    def send(self, amount: int) -> Transfer:
        """Any credits on their way."""
        if self.owed:
            raise errors.CreditsOwed(self.owed)
        return self.leave(self.take(amount))

    def give(self, amount: int, of: str | None) -> Transfer:
        """Credits on their way that the owner bought, or of one purchase."""
        own = [lot for lot in self.lots if lot.category == "paid" and self.is_bought(lot)]
        if of is not None:
            roots = self.roots(self.granted_lot(of).entry)
            own = [lot for lot in self.lots if lot in roots or self.is_of(lot, roots)]
        if self.owed:
            raise errors.CreditsOwed(self.owed)
        if amount > sum(lot.remaining for lot in own):
            raise errors.NotGiftable(sum(lot.remaining for lot in own))
        self.entries += 1
        return self.leave(self.draw(amount, own))

    def is_bought(self, lot: Lot) -> bool:
        if lot.origin is None:
            return lot.number in self.bought or lot.restores is not None
        return lot.origin[0] == self.me and self.is_bought(self.lots[lot.origin[1]])

    def leave(self, draws: list[tuple[int, int]]) -> Transfer:
        parts = []
        for number, part in draws:
            lot = copy.copy(self.lots[number])
            lot.amount = part
            lot.origin = lot.origin or (self.me, number)
            parts.append(lot)
        return Transfer(self.me, parts)

    def arrive(self, transfer: Transfer, hour: int) -> list[Lot]:
        self.entries += 1
        transfer.arrived = self.me
        arrived = []
        for lot in transfer.lots:
            new = self.open(lot.amount, lot.category, lot.priority, lot.expires, lot.moment)
            new.origin = lot.origin
            arrived.append(new)
        self.settle(hour)
        return arrived

    def receive(self, transfer: Transfer, hour: int) -> None:
        arrived = self.arrive(transfer, hour)
        self.repay(arrived[0].entry)


@dataclass
class World:
    """All wallets, and what is on its way between them or was."""

    wallets: list[Wallet]
    transfers: list[Transfer] = field(default_factory=list)

    def do(
        self, number: int, hour: int, verb: Callable[["World", Wallet], Any]
    ) -> tuple["World", Any, errors.LedgerError | None]:
        """The world after a verb on a wallet, and what it answered, or why it refused."""
        after = copy.deepcopy(self)
        after.wallets[number].settle(hour)
        try:
            return after, verb(after, after.wallets[number]), None
        except errors.LedgerError as refusal:
            return self, None, refusal
