"""Why the ledger refuses. Whatever is raised, nothing was written."""


class LedgerError(Exception):
    """Nothing was written."""


class InvalidAmount(LedgerError):
    """Not a whole number of credits that this verb can book."""


class NotWhole(InvalidAmount):
    """Not an integer: `True`, 1.0 and "1" are none."""


class ZeroAmount(InvalidAmount):
    """Nothing would move."""


class NegativeAmount(InvalidAmount):
    """The verb says the direction, the amount is positive."""


class AmountTooLarge(InvalidAmount):
    """It, or the balance after it, would pass 2^53 - 1."""


class InvalidKey(LedgerError):
    """A key is 1 to 200 characters, and none that the ledger makes itself."""


class InvalidTerms(LedgerError):
    """A kind, category, priority, price or time that doesn't belong to this verb."""


class UnknownWallet(LedgerError):
    """There is no such wallet."""


class KeyReused(LedgerError):
    """The key has booked something else in this wallet."""


class InsufficientCredits(LedgerError):
    """The wallet has fewer credits than needed."""

    def __init__(self, available: int, needed: int) -> None:
        super().__init__(f"{needed} credits are needed and {available} are available.")
        self.available = available
        self.needed = needed


class UnknownGrant(LedgerError):
    """No entry with this key has brought credits into the wallet."""


class MoreThanGranted(LedgerError):
    """Clawbacks never take more than the entry brought; `left` is what they still may."""

    def __init__(self, left: int) -> None:
        super().__init__(f"Only {left} credits of it can still be taken back.")
        self.left = left


class MoreThanRevoked(LedgerError):
    """Only what was taken back can be restored, `revoked` at most."""

    def __init__(self, revoked: int) -> None:
        super().__init__(f"Only {revoked} credits of it were taken back.")
        self.revoked = revoked


class CreditsOwed(LedgerError):
    """A wallet that owes credits can't send any."""

    def __init__(self, owed: int) -> None:
        super().__init__(f"{owed} credits are owed.")
        self.owed = owed


class NotGiftable(LedgerError):
    """Fewer credits than these may be given away; `giftable` is how many may."""

    def __init__(self, giftable: int) -> None:
        super().__init__(f"Only {giftable} credits can be given away.")
        self.giftable = giftable


class UnknownTransfer(LedgerError):
    """There is no such transfer."""


class TransferArrived(LedgerError):
    """Its credits are in a wallet already."""


class UnknownHold(LedgerError):
    """There is no such hold."""


class HoldClosed(LedgerError):
    """The hold reserves nothing any more."""


class HoldCaptured(HoldClosed):
    """It was captured before."""


class HoldReleased(HoldClosed):
    """It was released before."""


class HoldLapsed(HoldClosed):
    """Its time is up."""


class HoldExceeded(LedgerError):
    """More than the hold reserves, which is `held`."""

    def __init__(self, held: int) -> None:
        super().__init__(f"Only {held} credits are held.")
        self.held = held


class LedgerBusy(LedgerError):
    """The wallet is locked by others for too long. Trying again, with the same key, is safe."""
