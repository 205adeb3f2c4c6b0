import pytest
from django.db import connection


def test_healthz_needs_nothing(client):
    response = client.get("/healthz", headers={"Host": "10.0.0.7"})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_wants_the_database_and_its_migrations(client):
    assert client.get("/readyz").json() == {"status": "ready"}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'credits'")
    response = client.get("/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "migrations_pending")
