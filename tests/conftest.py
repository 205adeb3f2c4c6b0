import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.cache import cache
from django.db import connection, connections
from django.test import TransactionTestCase
from django.utils import translation
from whitenoise.base import WhiteNoise

from accounts.models import User
from billing.models import PriceTier
from credits import ledger
from credits.audit import audit
from credits.models import Wallet
from tests.emptying import empty
from tests.sandbox import Sandbox
from tests.second_step import StaffClient
from tests.site import serve

TIERS = [(10, 100), (500, 95), (2000, 90), (5000, 80)]


@pytest.fixture(autouse=True)
def _books(request: pytest.FixtureRequest, _django_db_marker: None) -> Iterator[None]:
    """Every test starts with the price table and ends with books that balance."""
    if request.node.get_closest_marker("django_db") is None:
        yield
        return
    if not PriceTier.objects.exists():
        PriceTier.objects.bulk_create(
            PriceTier(min_credits=first, unit_price_e4=price) for first, price in TIERS
        )
    yield
    if not request.node.get_closest_marker("corrupts_the_books"):
        assert audit() == []
    cache.clear()


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """A request leaves its language behind; the next test begins without."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _passwords_are_hashed_quickly(request: pytest.FixtureRequest, monkeypatch) -> None:
    """One round in place of a million, which take longer than most of the tests.

    A web server would hash such a password anew at its first use, and end sessions by that.
    """
    if "site_url" not in request.fixturenames:
        monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1)


@pytest.fixture(scope="session", autouse=True)
def _static_files_are_found_once() -> Iterator[None]:
    """Each test client has middleware of its own, whose WhiteNoise would look up all 290 static
    files before it answers: that took longer than most of the tests."""
    look_up = WhiteNoise.update_files_dictionary
    found: dict[tuple[str, str], dict] = {}

    def once(self: WhiteNoise, root: str, prefix: str) -> None:
        if (root, prefix) not in found:
            look_up(self, root, prefix)
            found[root, prefix] = dict(self.files)
        self.files.update(found[root, prefix])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoise, "update_files_dictionary", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tables_are_emptied_quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker) -> Iterator[None]:
    """The database of the tests can be removed: nobody is connected to it any more.

    A web server or a thread that was ended in the middle of something may have left a connection.
    """
    yield
    with django_db_blocker.unblock():
        connection.close()  # the last test may have had it ended
        with connection.cursor() as cursor:
            cursor.execute("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()""")


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[Sandbox]:
    process = Sandbox()
    process.start()
    yield process
    process.stop()


@pytest.fixture
def sandbox(sandbox_process: Sandbox, settings) -> Sandbox:
    """The stand-in for Stripe, empty, and the product pointed at it. It delivers no webhooks
    until a test gives it somewhere to deliver to."""
    sandbox_process.reset()
    settings.STRIPE_API_BASE = sandbox_process.base_url
    settings.STRIPE_REDIRECT_ORIGINS = [sandbox_process.base_url]
    return sandbox_process


@pytest.fixture(scope="session")
def site_url(django_db_setup, sandbox_process: Sandbox) -> Iterator[str]:
    """The site as it is served, on the tests' database."""
    with serve(
        STRIPE_API_BASE=sandbox_process.base_url,
        STRIPE_REDIRECT_ORIGINS=sandbox_process.base_url,
        WEB_CONCURRENCY="1",
    ) as url:
        yield url


@pytest.fixture
def dead_stripe(settings) -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.STRIPE_API_BASE = f"http://127.0.0.1:{free.getsockname()[1]}"
    return settings.STRIPE_API_BASE


@pytest.fixture
def client() -> StaffClient:
    return StaffClient()


@pytest.fixture
def user() -> User:
    # Nobody signs in by it: to hash a password takes longer than most of the tests.
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def other_user() -> User:
    return User.objects.create_user("eve@example.com")


@pytest.fixture
def wallet(user: User) -> Wallet:
    return ledger.wallet_of(user)


@pytest.fixture
def staff() -> User:
    return User.objects.create_superuser("admin@example.com")


@pytest.fixture
def admin_client(staff: User) -> StaffClient:
    client = StaffClient()
    client.force_login(staff)
    return client


@pytest.fixture
def at_once() -> Callable[..., list]:
    """Call something from many threads at the same moment; answers what each returned or raised."""

    def run(count: int, call: Callable[[int], object]) -> list:
        barrier = threading.Barrier(count)

        def one(index: int) -> object:
            barrier.wait(timeout=30)
            try:
                return call(index)
            except Exception as error:  # noqa: BLE001 (the test looks at it)
                return error
            finally:
                connections.close_all()

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    return run
