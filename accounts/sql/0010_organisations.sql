-- An organisation that is not closed has an owner. Looked at when a transaction ends, with the
-- organisation locked: of two owners who leave at once, the second to commit sees that the first has.
CREATE FUNCTION accounts_check_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_organisation bigint;
BEGIN
    IF TG_TABLE_NAME = 'accounts_organisation' THEN
        v_organisation := NEW.account_id;
    ELSE
        v_organisation := OLD.organisation_id;
    END IF;
    PERFORM FROM accounts_user WHERE id = v_organisation AND closed_at IS NULL FOR NO KEY UPDATE;
    IF FOUND AND NOT EXISTS (
        SELECT FROM accounts_membership
        WHERE organisation_id = v_organisation AND role = 'owner')
    THEN
        RAISE EXCEPTION 'organisation % would have no owner', v_organisation
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER accounts_organisation_has_owner AFTER INSERT ON accounts_organisation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION accounts_check_owner();
CREATE CONSTRAINT TRIGGER accounts_membership_leaves_owner AFTER UPDATE OR DELETE ON accounts_membership
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'owner')
    EXECUTE FUNCTION accounts_check_owner();

-- Count credits that a member draws on an organisation's wallet; whether their limit leaves as many, and
-- NULL where they are no member. The membership is locked until the end of the transaction: so the limit
-- is exact however many draws come at once, and whoever was removed draws nothing from then on.
CREATE FUNCTION accounts_draw(p_organisation bigint, p_user bigint, p_today date, p_credits bigint)
RETURNS boolean LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_limit bigint;
    v_period text;
    v_drawn bigint;
BEGIN
    SELECT limit_credits, limit_period INTO v_limit, v_period FROM accounts_membership
        WHERE organisation_id = p_organisation AND user_id = p_user FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_limit IS NOT NULL THEN
        -- A statement of its own: it sees what was committed before the lock was granted.
        SELECT coalesce(sum(credits), 0) INTO v_drawn FROM accounts_drawing
            WHERE organisation_id = p_organisation AND user_id = p_user
                AND day >= date_trunc(v_period, p_today)::date;
        IF v_drawn + p_credits > v_limit THEN
            RETURN false;
        END IF;
    END IF;
    INSERT INTO accounts_drawing AS drawing (organisation_id, user_id, day, credits)
        VALUES (p_organisation, p_user, p_today, p_credits)
        ON CONFLICT (organisation_id, user_id, day)
            DO UPDATE SET credits = drawing.credits + excluded.credits;
    RETURN true;
END $$;

-- As before, and an organisation's account, which is never active, is open until it is closed.
CREATE OR REPLACE FUNCTION accounts_admit(
    p_digest bytea, p_per_minute int, p_burst interval,
    OUT key accounts_apikey, OUT is_open boolean, OUT wait double precision
) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_step interval;
    v_ahead interval;
    v_full timestamptz;
BEGIN
    SELECT * INTO key FROM accounts_apikey WHERE digest = p_digest;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    is_open := key.user_id IS NULL OR EXISTS (
        SELECT FROM accounts_user AS owner WHERE owner.id = key.user_id
            AND (owner.is_active OR owner.is_organisation AND owner.closed_at IS NULL));
    wait := 0;
    IF is_open AND key.revoked_at IS NULL AND coalesce(key.expires_at > v_now, true) THEN
        v_step := interval '1 minute' / coalesce(key.requests_per_minute, p_per_minute);
        v_ahead := greatest(p_burst, v_step);
        INSERT INTO accounts_apikeypace AS pace (key_id, full_at) VALUES (key.id, v_now + v_step)
        ON CONFLICT (key_id) DO UPDATE SET full_at = greatest(pace.full_at, v_now) + v_step
            WHERE greatest(pace.full_at, v_now) + v_step <= v_now + v_ahead;
        IF NOT FOUND THEN
            SELECT full_at INTO v_full FROM accounts_apikeypace WHERE key_id = key.id;
            wait := greatest(0.001, extract(epoch FROM v_full + v_step - v_now - v_ahead));
        ELSIF key.last_used_at IS NULL OR key.last_used_at < v_now - interval '1 minute' THEN
            UPDATE accounts_apikey SET last_used_at = v_now WHERE id = key.id;
        END IF;
    END IF;
    RETURN NEXT;
END $$;
