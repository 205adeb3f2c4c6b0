-- What API v1 does in the database. Raises what the ledger's verbs raise, and
--   AP001 there is no such user
--   AP002 the API key's limit leaves less than was asked for
-- and has written nothing then.
--
-- A connection plans a function's statements once. Planned while a table is empty they would read all of
-- it, and go on so when it has grown: so they are told to use the indexes.

-- What an Idempotency-Key has answered, or no row; then it is this transaction's to answer. Of two
-- with the same key, the second waits here until the first is over: for its answer, or, where it
-- failed, for its turn.
CREATE FUNCTION api_claim(p_scope text, p_key text) RETURNS SETOF api_answer
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_scope || ' ' || p_key, 0));
    -- A statement of its own: it sees what was committed before the lock was granted.
    RETURN QUERY SELECT * FROM api_answer WHERE scope = p_scope AND key = p_key;
END $$;

-- Whom a call is about: the API key's owner, or the one that it names by id or email, who has to be that
-- owner unless it is a service key. NULL: nobody that this key knows.
CREATE FUNCTION api_user(p_owner bigint, p_id bigint, p_email text) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    v_user bigint := p_owner;
BEGIN
    IF p_id IS NOT NULL THEN
        SELECT id INTO v_user FROM accounts_user WHERE id = p_id AND is_active;
    ELSIF p_email IS NOT NULL THEN
        SELECT id INTO v_user FROM accounts_user WHERE lower(email) = lower(p_email) AND is_active;
    END IF;
    RETURN CASE WHEN p_owner IS NULL OR v_user = p_owner THEN v_user END;
END $$;

-- An entry as `api.entries.Entry` has it.
CREATE FUNCTION api_entry(p_entry credits_entry) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN format(
        '{"id": %s, "created_at": "%s", "kind": "%s", "amount": %s, "owed": %s, '
        '"balance": %s, "note": %s}',
        p_entry.id,
        to_char(p_entry.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        p_entry.kind, p_entry.amount, p_entry.owed, p_entry.balance, to_json(p_entry.note));
END $$;

-- `POST /spend` in one round trip: whose, claim, count, spend, keep. Most requests are spends, and with a
-- statement for each step they took twice as long, most of that time with the wallet locked.
CREATE FUNCTION api_spend(
    p_scope text, p_key text, p_fingerprint bytea, p_owner bigint, p_id bigint, p_email text,
    p_amount bigint, p_note text, p_api_key bigint, p_limit bigint, p_begins_on date
) RETURNS api_answer LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_ledger_key text := format('api:%s:%s', p_scope, p_key);
    v_user bigint := api_user(p_owner, p_id, p_email);
    v_answer api_answer;
    v_wallet bigint;
    v_entry credits_entry;
    v_available bigint;
BEGIN
    -- Also where the account is closed by now: what was answered stays answered.
    SELECT * INTO v_answer FROM api_claim(p_scope, p_key);
    IF FOUND THEN
        RETURN v_answer;
    END IF;
    IF v_user IS NULL THEN
        RAISE EXCEPTION 'no such user' USING ERRCODE = 'AP001';
    END IF;
    SELECT id INTO v_wallet FROM credits_wallet WHERE user_id = v_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'not enough credits' USING ERRCODE = 'CR003', DETAIL = 0;
    END IF;
    -- The limit before the wallet, as everybody locks them. What the ledger has booked under this key
    -- and the API forgotten was counted then.
    IF p_limit IS NOT NULL
        AND NOT EXISTS (SELECT FROM credits_entry WHERE wallet_id = v_wallet AND key = v_ledger_key)
        AND NOT accounts_charge(p_api_key, p_begins_on, p_amount, p_limit)
    THEN
        RAISE EXCEPTION 'the limit is reached' USING ERRCODE = 'AP002';
    END IF;
    v_entry := credits_take(
        v_wallet, 'spend', 'spent', p_amount, v_ledger_key, p_note, p_owner);
    SELECT balance - held INTO v_available FROM credits_wallet WHERE id = v_wallet;
    INSERT INTO api_answer (scope, key, fingerprint, status, body)
        VALUES (p_scope, p_key, p_fingerprint, 201,
                format('{"entry": %s, "available": %s}', api_entry(v_entry), v_available))
        RETURNING * INTO v_answer;
    RETURN v_answer;
END $$;
