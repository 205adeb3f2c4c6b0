-- A role that can run the site and the ledger's verbs, and can't change what is booked.
--
-- The triggers refuse to change entries and draws to everybody, but who owns a table can switch its
-- triggers off. With this role the site owns nothing: what was booked stays booked even when the
-- site's password is in the wrong hands.
--
-- Migrations go on running as the owner of the tables. Run this file as the owner as well (it takes
-- the right to create roles), once, and again after migrations that bring tables:
--
--     psql -v ON_ERROR_STOP=1 --single-transaction -f docs/database-role.sql "$DATABASE_URL"
--     psql -c "CREATE ROLE site LOGIN PASSWORD '…' IN ROLE dynamic_credits_site" "$DATABASE_URL"
--
-- and give the site that user's DATABASE_URL. What expires or lapses, and the audit, run with it too.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dynamic_credits_site') THEN
        CREATE ROLE dynamic_credits_site NOLOGIN;
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO dynamic_credits_site;

-- All that isn't the ledger's: users, sessions, purchases, events, rate limits, the admin's log.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO dynamic_credits_site;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO dynamic_credits_site;
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM dynamic_credits_site;
-- What staff did in the admin stays on record as well.
REVOKE UPDATE, DELETE ON django_admin_log FROM dynamic_credits_site;
-- But for the name of what they did it to: an account that is closed loses it.
GRANT UPDATE (object_repr) ON django_admin_log TO dynamic_credits_site;

-- What somebody has agreed to be charged.
REVOKE UPDATE, DELETE ON billing_topupconsent FROM dynamic_credits_site;

-- The ledger's. None of its rows is ever deleted.
REVOKE DELETE ON
    credits_wallet, credits_entry, credits_lot, credits_draw, credits_hold, credits_holddraw,
    credits_transfer, credits_adjustment
    FROM dynamic_credits_site;
-- What was used: new rows, and sums that only grow.
REVOKE UPDATE, DELETE ON usage_event, usage_month, usage_day FROM dynamic_credits_site;
GRANT UPDATE (units, charged) ON usage_month, usage_day TO dynamic_credits_site;
-- What is booked: new rows only.
REVOKE UPDATE ON credits_entry, credits_draw, credits_holddraw FROM dynamic_credits_site;
-- What changes as it is booked keeps what it is: whose, of which entry, how much it was and cost.
REVOKE UPDATE ON credits_wallet, credits_lot, credits_hold, credits_transfer, credits_adjustment
    FROM dynamic_credits_site;
GRANT UPDATE (balance, held, owed, overspent) ON credits_wallet TO dynamic_credits_site;
GRANT UPDATE (remaining, held, revoked) ON credits_lot TO dynamic_credits_site;
GRANT UPDATE (status, entry_id, closed_at) ON credits_hold TO dynamic_credits_site;
GRANT UPDATE (to_wallet_id, to_entry_id) ON credits_transfer TO dynamic_credits_site;
GRANT UPDATE (status, decided_by_id, decided_at, answer) ON credits_adjustment
    TO dynamic_credits_site;
