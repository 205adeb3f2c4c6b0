-- Paces are written with every request and worth nothing after a crash.
ALTER TABLE accounts_apikeypace SET UNLOGGED;

-- One round trip for each request: whose key this is, and whether it may go on. `wait` is 0, or the
-- seconds after which it may; then nothing was counted. No row: there is no such key.
--
-- The pace is a generic cell rate: each request takes its part of a minute, and a key may be up to
-- `p_burst` ahead of the clock.
CREATE FUNCTION accounts_admit(
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
        SELECT FROM accounts_user AS owner WHERE owner.id = key.user_id AND owner.is_active);
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
