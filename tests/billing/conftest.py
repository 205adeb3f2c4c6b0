import pytest

from tests.shop import Shop


@pytest.fixture
def shop(user, sandbox, client) -> Shop:
    return Shop(user, sandbox, client)
