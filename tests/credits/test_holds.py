from datetime import timedelta

import pytest

from credits import errors, ledger
from credits.models import Draw, Entry, Hold, Lot
from tests.credits.test_expiry import kinds, pass_time

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def funded(wallet):
    ledger.grant(wallet, 100, key="g", kind="purchase", paid=95)
    return wallet


def standing(wallet) -> tuple[int, int, int]:
    now = ledger.standing(wallet.user)
    return now.balance, now.held, now.available


def test_a_hold_reserves_without_an_entry(funded):
    hold = ledger.hold(funded, 30, key="job:1", expires_in=HOUR)
    assert standing(funded) == (100, 30, 70)
    assert (hold.status, hold.amount, hold.expires_at - hold.created_at) == ("open", 30, HOUR)
    assert kinds() == [("purchase", 100)]
    with pytest.raises(errors.InsufficientCredits) as refused:
        ledger.spend(funded, 71, key="s")
    assert refused.value.available == 70


def test_a_capture_spends_what_was_used_and_frees_the_rest(funded, staff):
    hold = ledger.hold(funded, 30, key="job:1", expires_in=HOUR)
    entry = ledger.capture(hold, 12, note="A film", actor=staff)
    assert (entry.kind, entry.amount, entry.balance, entry.note, entry.actor) == (
        "spend", -12, 88, "A film", staff,
    )  # fmt: skip
    assert standing(funded) == (88, 0, 88)
    hold.refresh_from_db()
    assert (hold.status, hold.entry_id) == ("captured", entry.pk)
    # floor(95 x 100 / 100) - floor(95 x 88 / 100)
    assert Draw.objects.get().paid == 95 - 83


def test_a_release_frees_all_of_it_as_often_as_one_likes(funded):
    hold = ledger.hold(funded, 30, key="job:1", expires_in=HOUR)
    for _ in range(3):
        assert ledger.release(hold).status == "released"
    assert standing(funded) == (100, 0, 100)
    assert kinds() == [("purchase", 100)]


def test_a_hold_is_found_in_its_own_wallet_only(funded, other_user):
    hold = ledger.hold(funded, 30, key="job:1", expires_in=HOUR)
    assert ledger.hold_of(funded, hold.pk) == hold
    other = ledger.wallet_of(other_user)
    for wallet, number in ((other, hold.pk), (funded, 0), (funded, -1), (funded, 10**30)):
        with pytest.raises(errors.UnknownHold):
            ledger.hold_of(wallet, number)
    assert standing(funded) == (100, 30, 70)


def test_the_same_key_is_the_same_hold(funded):
    first = ledger.hold(funded, 30, key="job:1", expires_in=HOUR)
    assert ledger.hold(funded, 30, key="job:1", expires_in=HOUR) == first
    for other in ({"amount": 31}, {"expires_in": 2 * HOUR}):
        with pytest.raises(errors.KeyReused):
            ledger.hold(funded, **{"amount": 30, "key": "job:1", "expires_in": HOUR} | other)
    assert standing(funded) == (100, 30, 70)


def test_what_a_hold_refuses(funded):
    with pytest.raises(errors.InsufficientCredits):
        ledger.hold(funded, 101, key="k", expires_in=HOUR)
    for duration in (timedelta(), -HOUR, timedelta(hours=24, seconds=1), timedelta(seconds=1.5)):
        with pytest.raises(errors.InvalidTerms):
            ledger.hold(funded, 1, key="k", expires_in=duration)
    assert Hold.objects.count() == 0


def test_a_capture_over_the_hold_is_refused(funded):
    hold = ledger.hold(funded, 30, key="k", expires_in=HOUR)
    with pytest.raises(errors.HoldExceeded) as refused:
        ledger.capture(hold, 31)
    assert refused.value.held == 30
    assert standing(funded) == (100, 30, 70)


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (0, errors.ZeroAmount),
        (-1, errors.NegativeAmount),
        (1.0, errors.NotWhole),
        (True, errors.NotWhole),
        (2**53, errors.AmountTooLarge),
    ],
)
def test_a_capture_of_no_amount_is_refused(funded, amount, error):
    hold = ledger.hold(funded, 30, key="k", expires_in=HOUR)
    with pytest.raises(error):
        ledger.capture(hold, amount)
    assert standing(funded) == (100, 30, 70)


def test_a_hold_is_captured_once(funded):
    hold = ledger.hold(funded, 30, key="k", expires_in=HOUR)
    ledger.capture(hold, 10)
    for amount in (10, 20):
        with pytest.raises(errors.HoldCaptured):
            ledger.capture(hold, amount)
    with pytest.raises(errors.HoldCaptured):
        ledger.release(hold)
    assert standing(funded) == (90, 0, 90)


def test_a_released_hold_is_not_captured(funded):
    hold = ledger.hold(funded, 30, key="k", expires_in=HOUR)
    ledger.release(hold)
    with pytest.raises(errors.HoldReleased):
        ledger.capture(hold, 1)
    assert standing(funded) == (100, 0, 100)


def test_a_hold_that_lapsed_is_free_without_a_job(funded):
    hold = ledger.hold(funded, 30, key="k", expires_in=HOUR)
    pass_time(hours=1)
    assert standing(funded) == (100, 0, 100)
    assert Hold.objects.get().status == "open"
    with pytest.raises(errors.HoldLapsed):
        ledger.capture(hold, 1)
    assert ledger.spend(funded, 100, key="s").balance == 0
    assert Hold.objects.get().status == "lapsed"
    assert ledger.release(hold).status == "lapsed"


def test_expire_due_frees_what_has_lapsed(funded):
    ledger.hold(funded, 30, key="k", expires_in=HOUR)
    pass_time(hours=1)
    assert ledger.expire_due() == 1
    assert Hold.objects.get().status == "lapsed"
    funded.refresh_from_db()
    assert (funded.balance, funded.held) == (100, 0)


def test_an_unknown_hold_is_refused(funded):
    hold = ledger.hold(funded, 30, key="k", expires_in=HOUR)
    with pytest.raises(errors.UnknownHold):
        ledger.capture(Hold(pk=hold.pk + 1, wallet=funded), 1)
    with pytest.raises(errors.UnknownHold):
        ledger.release(Hold(pk=hold.pk + 1, wallet=funded))


def test_neither_expiry_nor_clawback_reaches_into_a_hold(wallet):
    ledger.grant(wallet, 10, key="p", kind="purchase", paid=10)
    ledger.grant(wallet, 10, key="f", kind="promotion", category="promotional")
    hold = ledger.hold(wallet, 15, key="k", expires_in=timedelta(hours=24))
    pass_time(hours=23)
    # The promotional lot expires under the hold.
    Lot.objects.filter(category="promotional").update(expires_at=hold.created_at)
    ledger.revoke(wallet, 10, of="p", key="r", kind="refund")
    assert ledger.standing(wallet.user) == ledger.Standing(balance=15, held=15, owed=5)
    ledger.capture(hold, 12)
    # What came back of the promotional lot is none; of the paid one, it repays what is owed.
    assert ledger.standing(wallet.user) == ledger.Standing(balance=0, held=0, owed=2)
    assert kinds()[2:] == [("refund", -5), ("spend", -12), ("repayment", -3)]


def test_what_comes_back_to_an_expired_lot_expires_then(wallet):
    ledger.grant(wallet, 10, key="f", kind="promotion", category="promotional")
    hold = ledger.hold(wallet, 6, key="k", expires_in=timedelta(hours=24))
    other = ledger.hold(wallet, 1, key="l", expires_in=timedelta(hours=24))
    Lot.objects.update(expires_at=hold.created_at)
    assert ledger.standing(wallet.user) == ledger.Standing(balance=7, held=7)
    ledger.capture(hold, 2)
    ledger.release(other)
    assert ledger.standing(wallet.user) == ledger.Standing()
    assert kinds()[1:] == [("expiry", -3), ("spend", -2), ("expiry", -4), ("expiry", -1)]
    assert len({entry.key for entry in Entry.objects.all()}) == 5


def test_what_expired_under_a_hold_is_booked_before_the_hold_is_released(wallet):
    ledger.grant(wallet, 10, key="f", kind="promotion", category="promotional")
    hold = ledger.hold(wallet, 6, key="k", expires_in=timedelta(hours=24))
    Lot.objects.update(expires_at=hold.created_at)
    ledger.release(hold)
    assert ledger.standing(wallet.user) == ledger.Standing()
    assert kinds()[1:] == [("expiry", -4), ("expiry", -6)]
