"""The site under the role of docs/database-role.sql: it books and changes nothing booked."""

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.db import ProgrammingError, connection, transaction
from psycopg.errors import InsufficientPrivilege

from accounts.models import User
from credits import adjustments, errors, ledger, revenue
from credits.audit import audit
from credits.models import Adjustment, Entry
from outgoing import endpoints
from outgoing.models import Message

pytestmark = pytest.mark.django_db
FILE = Path(__file__).parent.parent.parent / "docs" / "database-role.sql"
BOOKED = ["credits_entry", "credits_draw", "credits_holddraw"]


@pytest.fixture
def role(db):
    """All that follows runs with the role's rights, and the role is gone with the test."""
    with connection.cursor() as cursor:
        cursor.execute(FILE.read_text())
        cursor.execute("SET LOCAL ROLE dynamic_credits_site")
        cursor.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == ("dynamic_credits_site", False)
    yield
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")


def test_the_verbs_run_under_it(role):
    user, other_user, staff, approver = (
        User.objects.create_user(f"{name}@example.com") for name in ("ada", "eve", "sam", "pat")
    )
    wallet, other = ledger.wallet_of(user), ledger.wallet_of(other_user)
    endpoints.make(url="https://product.example/hooks", made_by=staff)  # each entry is told
    ledger.grant(wallet, 1000, key="g", kind="purchase", paid=950)
    ledger.grant(wallet, 50, key="p", kind="promotion", category="promotional")
    ledger.spend(wallet, 70, key="s")
    ledger.capture(ledger.hold(wallet, 30, key="h1", expires_in=timedelta(hours=1)), 20)
    ledger.release(ledger.hold(wallet, 30, key="h2", expires_in=timedelta(hours=1)))
    ledger.receive(other, ledger.send(wallet, 40, key="t"), key="t")
    ledger.revoke(wallet, 1000, of="g", key="r", kind="refund")
    assert ledger.balance_of(other_user) == 0  # fetched back
    ledger.grant(other, 40, key="own", kind="purchase")
    ledger.restore(wallet, 500, of="g", key="back")
    with pytest.raises(errors.InsufficientCredits):
        ledger.spend(wallet, 10_000, key="too much")
    ledger.spend(other, 50, key="s", owe_up_to=10)
    ledger.grant(other, 5, key="g", kind="purchase")
    assert ledger.standing(other_user).owed == 5
    ledger.expire_due()
    adjustments.adjust(user, 5, key="adjustment:1", reason="Why", staff=staff)
    asked = adjustments.adjust(user, 50_000, key="adjustment:2", reason="Why", staff=staff)
    assert isinstance(asked, Adjustment)
    adjustments.approve(asked, staff=approver)
    revenue.months()
    assert audit() == []
    told = Message.objects.filter(type__startswith="credits.").exclude(type="credits.depleted")
    assert told.count() == Entry.objects.count()
    assert LogEntry.objects.count() == 4


def test_the_pages_run_under_it(client, role):
    user = User.objects.create_user("ada@example.com")
    client.force_login(User.objects.create_superuser("admin@example.com"))
    form = {"amount": "250", "reason": "Goodwill", "key": str(uuid.uuid4()), "confirm": "1"}
    page = client.post(f"/admin/credits/wallet/of/{user.pk}/adjust/", form, follow=True)
    assert b"250 credits booked" in page.content
    client.force_login(user)
    assert b"250" in client.get("/dashboard").content
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("table", BOOKED)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {0} SET amount = amount",
        "DELETE FROM {0}",
        "TRUNCATE {0}",
        "ALTER TABLE {0} ADD COLUMN more integer",
        "ALTER TABLE {0} DISABLE TRIGGER {0}_append_only",
        "ALTER TABLE {0} DISABLE TRIGGER ALL",
        "DROP TRIGGER {0}_append_only ON {0}",
        "CREATE TRIGGER mine BEFORE INSERT ON {0} EXECUTE FUNCTION credits_refuse_change()",
        "DROP TABLE {0}",
    ],
)
def test_what_is_booked_is_out_of_its_reach(wallet, table, statement, role):
    book(wallet)
    refuse(statement.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM credits_wallet",
        "DELETE FROM credits_lot",
        "DELETE FROM credits_hold",
        "DELETE FROM credits_transfer",
        "DELETE FROM credits_adjustment",
        "UPDATE credits_wallet SET user_id = user_id",
        "UPDATE credits_lot SET paid = paid",
        "UPDATE credits_lot SET amount = amount",
        "UPDATE credits_hold SET amount = amount",
        "UPDATE credits_transfer SET amount = amount",
        "UPDATE credits_adjustment SET amount = amount",
        "UPDATE credits_adjustment SET asked_by_id = asked_by_id",
        "DELETE FROM django_admin_log",
        "UPDATE django_admin_log SET change_message = ''",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('a', 'b', now())",
        "TRUNCATE credits_wallet CASCADE",
        "ALTER TABLE credits_wallet DROP CONSTRAINT credits_wallet_covered",
        "SET LOCAL session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION credits_refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
        "ALTER FUNCTION credits_refuse_change() OWNER TO dynamic_credits_site",
        "CREATE TABLE mine (id integer)",
        "CREATE ROLE more SUPERUSER",
    ],
)
def test_nor_are_the_rules(wallet, statement, role):
    book(wallet)
    refuse(statement)


def test_it_can_be_run_again(role):
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute(FILE.read_text())


def book(wallet) -> None:
    ledger.grant(wallet, 20, key="g", kind="purchase", paid=19)
    ledger.spend(wallet, 5, key="s")
    ledger.hold(wallet, 5, key="h", expires_in=timedelta(hours=1))


def refuse(statement: str) -> None:
    before = list(Entry.objects.values())
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # they would stand in ALTER's way
    with pytest.raises(ProgrammingError) as refused, transaction.atomic():
        connection.cursor().execute(statement)
    assert isinstance(refused.value.__cause__, InsufficientPrivilege)
    assert list(Entry.objects.values()) == before
